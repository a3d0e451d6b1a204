"""The study on real images with real ImageNet weights: ResNet-18, ResNet-50 and SqueezeNet 1.1 as one ensemble, no training.

`--weights` is a folder with resnet18.safetensors, resnet50.safetensors and squeezenet1_1.safetensors in torchvision's
layout (for example saved from torchvision's own models), `--images` a folder of images with a labels.csv beside it
(columns: index, wnid, name, file). `--networks` takes others: SqueezeNet 1.0, and resnet18_ktb, a second compression of
ResNet-18.

    jaxinterp study configs/imagenet_sample.py --workdir runs/imagenet --weights WEIGHTS --images IMAGES

With one image a class, LC, CS and r are computed over WordNet superclasses of at least 20 images and are under-powered by
the page's own rule; the paper's claims are tested on the concept world. These images carry no concept labels.
"""

import functools
import pathlib
from typing import Literal

from jaxinterp import Model, attacks, data, models, pipelines, report

Name = Literal["resnet18", "resnet18_ktb", "resnet50", "squeezenet1_0", "squeezenet1_1"]
NETWORKS = {
    "resnet18": ("ResNet-18", models.resnet18, "layer4.1"),
    "resnet18_ktb": ("ResNet-18 KTB", models.resnet18, "layer4.1"),
    "resnet50": ("ResNet-50", models.resnet50, "layer4.2"),
    "squeezenet1_0": ("SqueezeNet 1.0", models.squeezenet1_0, "fire9"),
    "squeezenet1_1": ("SqueezeNet 1.1", models.squeezenet1_1, "fire9"),
}
"""Name of the weight file -> name, builder, layer whose units are studied."""


def network(name: str, weights: pathlib.Path) -> Model:
    """One of `NETWORKS` with its weights in that folder."""
    return NETWORKS[name][1](weights=weights / f"{name}.safetensors")


def imagenet_sample(
    *,
    weights: str,
    images: str,
    labels: str = "labels.csv",
    networks: tuple[Name, ...] = ("resnet18", "resnet50", "squeezenet1_1"),
    num_images: int = 1000,
    num_attacked: int = 50,
    num_targets: int = 2,
    attack_steps: int = 20,
    step_size: float = 5 / 255,
    decay: float = 0.9,
    distance_weight: float = 1e5,
    num_traced: int = 100,
    occluder: int = 0,
    occluder_stride: int = 3,
    seed: int = 0,
) -> pipelines.Study:
    """The study on real images with real ImageNet weights.

    Args:
        weights: folder of the weight files in torchvision's layout.
        images: folder of the images.
        labels: the CSV that lists them; a path, or a name that is looked for in the folder and beside it.
        networks: which of the five networks, attacked together.
        num_images: images that are analysed, spread evenly over the list.
        num_attacked: how many of them are attacked.
        num_targets: least-likely classes each is driven to.
        attack_steps: iterations of the ensemble-optimization attack.
        step_size: of Adam, in [0, 1] units.
        decay: of Adam's mean gradient.
        distance_weight: lambda.
        num_traced: adversarial images that are traced.
        occluder: side in pixels of an occluder by which the galleries mark what a unit needs; 11 is the paper's, and 5 184
            evaluations an image; 0 marks where the unit's map is high.
        occluder_stride: pixels from one place of it to the next.
        seed: of every draw.
    """
    folder = pathlib.Path(weights)
    chosen = {name: NETWORKS[name] for name in networks}
    return pipelines.Study(
        title="What the units of ImageNet networks answer to",
        description=f"{num_images:,} real images, {num_attacked * num_targets:,} adversarial ones, real weights, no training.",
        methods=report.methods_paragraph(
            [title for title, _, _ in chosen.values()],
            "ImageNet (224 x 224 pixels)",
            num_images=num_attacked,
            num_targets=num_targets,
            num_steps=attack_steps,
            step_size=step_size,
            distance_weight=distance_weight,
            top_k=max(num_images // 100, min(100, num_images // 10)),
            dissected=False,
        ),
        members=tuple(
            pipelines.Member(title, functools.partial(network, name, folder), layer)
            for name, (title, _, layer) in chosen.items()
        ),
        source=lambda: data.image_folder(images, labels=labels, image_size=224, num_images=num_images),
        attack=lambda phase: attacks.ensemble_optimization(
            num_steps=attack_steps, step_size=step_size, decay=decay, distance_weight=distance_weight
        ),
        num_attacked=num_attacked,
        num_targets=num_targets,
        occlusion=pipelines.Occlusion(occluder=occluder, stride=occluder_stride) if occluder else None,
        shard_size=25,
        batch_size=16,
        attack_batch_size=10,
        num_traced=num_traced,
        seed=seed,
    )
