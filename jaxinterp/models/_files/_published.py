"""Weights that others published: where they are, how they are recognised, and what they expect of an image."""

import dataclasses

from jaxinterp._base import did_you_mean

Channels = tuple[float, float, float]

_IMAGENET: tuple[Channels, Channels] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF: tuple[Channels, Channels] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_TORCHVISION = "https://download.pytorch.org/models/"
_TIMM_HUB = "https://huggingface.co/timm/"
_TIMM_RELEASES = "https://github.com/huggingface/pytorch-image-models/releases/download/"


@dataclasses.dataclass(frozen=True)
class Published:
    """One file of weights for ImageNet's 1000 classes in their usual order.

    Attributes:
        name: its name here.
        url: where it is.
        sha256: the hex digest of the file, all 64 digits of it; or the first 8, where no more is known than what the official
            name of the file says. What is known is checked.
        image_size: side of the images that it was trained for, in pixels.
        mean: per channel of images in [0, 1]; subtracted first.
        std: per channel; divided by.
        background: whether the file has 1001 classes, the first of which is a background that is no class of ImageNet and
            is dropped at loading.
        num_classes: without the background.
    """

    name: str
    url: str
    sha256: str
    image_size: int
    mean: Channels
    std: Channels
    background: bool
    num_classes: int = 1000

    @property
    def file(self) -> str:
        """The name of the file in the cache: as it is published, or made from `name` where that says nothing."""
        last = self.url.rpartition("/")[2]
        return f"{self.name}.safetensors" if last == "model.safetensors" else last


def published(name: str) -> Published:
    """The weights of that name: an architecture's own are torchvision's, others have a tag after a dot.

    GoogLeNet and Inception expect 0.5 as mean and std: that is what torchvision's `transform_input` amounts to. The
    files of TensorFlow's networks (`tf_`) are those that timm converted, without auxiliary classifiers, with a background.

    Args:
        name: such as "resnet50", "resnet50.imagenet1k_v2" or "inception_v3.tf_adv_in1k".

    Raises:
        ValueError: no such name; the message lists those there are.
    """
    if name not in PUBLISHED:
        names = list(PUBLISHED)
        raise ValueError(f"expected one of {', '.join(names)}, got {name!r}{did_you_mean(name, names)}.")
    return PUBLISHED[name]


def _torchvision() -> list[Published]:
    """torchvision's own files; the names of V1 are those of the networks."""
    rows = (
        ("alexnet", "alexnet-owt-7be5be79", "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"),
        ("vgg11", "vgg11-8a719046", "8a719046"),
        ("vgg11_bn", "vgg11_bn-6002323d", "6002323d"),
        ("vgg13", "vgg13-19584684", "19584684"),
        ("vgg13_bn", "vgg13_bn-abd245e5", "abd245e5"),
        ("vgg16", "vgg16-397923af", "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"),
        ("vgg16_bn", "vgg16_bn-6c64b313", "6c64b3138f2f4fcb3bcc4cafde11619c4f440eb1631787e93a682fd88305888a"),
        ("vgg19", "vgg19-dcbb9e9d", "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44"),
        ("vgg19_bn", "vgg19_bn-c79401a0", "c79401a0cf3cb42714e4182f5868c7a6f4f4534f5df9e956e2bb2098de41cbb6"),
        ("resnet18", "resnet18-f37072fd", "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec"),
        ("resnet34", "resnet34-b627a593", "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f"),
        ("resnet50", "resnet50-0676ba61", "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a"),
        ("resnet50.imagenet1k_v2", "resnet50-11ad3fa6", "11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca"),
        ("resnet101", "resnet101-63fe2227", "63fe2227b86e8f1f2063f43a75c84d195911b6a0eace650907dd3dc62dd49a0a"),
        ("resnet101.imagenet1k_v2", "resnet101-cd907fc2", "cd907fc2a0de2292b2ba2b27d2216bc672d84632d1cf20058d01c0c03b5e020e"),
        ("resnet152", "resnet152-394f9c45", "394f9c45966e3651a89bbb78a48410a6755854ce4a5ab64927cf1c7247f85e58"),
        ("resnet152.imagenet1k_v2", "resnet152-f82ba261", "f82ba261"),
        ("googlenet", "googlenet-1378be20", "1378be20a8e875cf1568b8a71654e704449655e34711a959a38b04fb34905cef"),
        ("inception_v3", "inception_v3_google-0cc3c7bd", "0cc3c7bd75056d25e46cba549dc184522069b81e9787eff6df84f397bd52a5ef"),
        ("densenet121", "densenet121-a639ec97", "a639ec97d7c33b07ae66f0b5fb7d0192f95a3b11b7576c66c0126c2a727c4395"),
        ("densenet161", "densenet161-8d451a50", "8d451a50bad6b9a83f477126c443716882a17af26e94d338154b058fb2dfd359"),
        ("squeezenet1_0", "squeezenet1_0-b66bff10", "b66bff10"),
        ("squeezenet1_1", "squeezenet1_1-b8a52dc0", "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b"),
        ("mobilenet_v2", "mobilenet_v2-b0353104", "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"),
    )
    return [
        Published(
            name=name,
            url=f"{_TORCHVISION}{file}.pth",
            sha256=digest,
            image_size=299 if name == "inception_v3" else 224,
            mean=(_HALF if name in ("googlenet", "inception_v3") else _IMAGENET)[0],
            std=(_HALF if name in ("googlenet", "inception_v3") else _IMAGENET)[1],
            background=False,
        )
        for name, file, digest in rows
    ]


def _timm_hub() -> list[Published]:
    """timm's copies of torchvision's V1 weights as safetensors, each pinned to a revision."""
    rows = (
        (
            "resnet18.tv_in1k",
            "bbd144b3e5565108aad885f145491d11bc6ce807",
            "694f673df6520a3158624e8a89af086f59923ee4cd7436fe5bc3bc71d295ad81",
        ),
        (
            "resnet50.tv_in1k",
            "78f3ecfdb38e06d9b8397f662e7ab8fee96026fa",
            "5d061a3c593d795bfe682d9b152bafbcf550579873492def3515b46db1189888",
        ),
        (
            "densenet121.tv_in1k",
            "f0d0f2698a02cb133b09d48396db6e1e46fe9f3b",
            "c894c6d9caa317a8ca1942986dee7a16a86c77734a4d691d2abe05389cfef358",
        ),
    )
    return [
        Published(name, f"{_TIMM_HUB}{name}/resolve/{revision}/model.safetensors", digest, 224, *_IMAGENET, False)
        for name, revision, digest in rows
    ]


def _timm_releases() -> list[Published]:
    """Files of timm's releases, whose names say the first digits of the digest."""
    rows = (
        ("inception_v3.tf_in1k", "v0.1-weights/tf_inception_v3-e0069de4", 299, True),
        ("inception_v3.tf_adv_in1k", "v0.1-weights/adv_inception_v3-9e27bd63", 299, True),
        ("inception_v4.tf_in1k", "v0.1-cadene/inceptionv4-8e4777a0", 299, True),
        ("inception_resnet_v2.tf_in1k", "v0.1-weights/inception_resnet_v2-940b1cd6", 299, True),
        ("inception_resnet_v2.tf_ens_adv_in1k", "v0.1-weights/ens_adv_inception_resnet_v2-2592a550", 299, True),
        ("resnetv2_50.a1h_in1k", "v0.1-rsb-weights/resnetv2_50_a1h-000cdf49", 224, False),
        ("resnetv2_101.a1h_in1k", "v0.1-rsb-weights/resnetv2_101_a1h-5d01f016", 224, False),
    )
    return [
        Published(name, f"{_TIMM_RELEASES}{file}.pth", file.rpartition("-")[2], size, *_HALF, background)
        for name, file, size, background in rows
    ]


PUBLISHED = {entry.name: entry for entry in (*_torchvision(), *_timm_hub(), *_timm_releases())}
"""Every published file by its name."""
