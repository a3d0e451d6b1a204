"""The study on real images with real ImageNet weights: ResNet-18, ResNet-50 and SqueezeNet 1.1 as one ensemble, no training.

`--weights` is a folder with resnet18.safetensors, resnet50.safetensors and squeezenet1_1.safetensors in torchvision's
layout (for example saved from torchvision's own models), `--images` a folder of images with a labels.csv beside it
(columns: index, wnid, name, file).

    jaxinterp study configs/imagenet_sample.py --workdir runs/imagenet --weights WEIGHTS --images IMAGES

With one image a class, LC, CS and r are computed over WordNet superclasses of at least 20 images and are under-powered by
the page's own rule; the paper's claims are tested on the concept world. These images carry no concept labels.
"""

import pathlib

from jaxinterp import attacks, data, models, pipelines, report


def imagenet_sample(
    *,
    weights: str,
    images: str,
    labels: str = "labels.csv",
    num_images: int = 1000,
    num_attacked: int = 50,
    num_targets: int = 2,
    attack_steps: int = 20,
    step_size: float = 5 / 255,
    decay: float = 0.9,
    distance_weight: float = 1e5,
    num_traced: int = 100,
    seed: int = 0,
) -> pipelines.Study:
    """The study on real images with real ImageNet weights.

    Args:
        weights: folder of the three weight files in torchvision's layout.
        images: folder of the images.
        labels: the CSV that lists them; a path, or a name that is looked for in the folder and beside it.
        num_images: images that are analysed, spread evenly over the list.
        num_attacked: how many of them are attacked.
        num_targets: least-likely classes each is driven to.
        attack_steps: iterations of the ensemble-optimization attack.
        step_size: of Adam, in [0, 1] units.
        decay: of Adam's mean gradient.
        distance_weight: lambda.
        num_traced: adversarial images that are traced.
        seed: of every draw.
    """
    folder = pathlib.Path(weights)

    return pipelines.Study(
        title="What the units of three ImageNet networks answer to",
        description=f"{num_images:,} real images, {num_attacked * num_targets:,} adversarial ones, real weights, no training.",
        methods=report.methods_paragraph(
            ["ResNet-18", "ResNet-50", "SqueezeNet 1.1"],
            "ImageNet (224 x 224 pixels)",
            num_images=num_attacked,
            num_targets=num_targets,
            num_steps=attack_steps,
            step_size=step_size,
            distance_weight=distance_weight,
            top_k=max(num_images // 100, min(100, num_images // 10)),
            dissected=False,
        ),
        members=(
            pipelines.Member("ResNet-18", lambda: models.resnet18(weights=folder / "resnet18.safetensors"), "layer4.1"),
            pipelines.Member("ResNet-50", lambda: models.resnet50(weights=folder / "resnet50.safetensors"), "layer4.2"),
            pipelines.Member(
                "SqueezeNet 1.1", lambda: models.squeezenet1_1(weights=folder / "squeezenet1_1.safetensors"), "fire9"
            ),
        ),
        source=lambda: data.image_folder(images, labels=labels, image_size=224, num_images=num_images),
        attack=lambda phase: attacks.ensemble_optimization(
            num_steps=attack_steps, step_size=step_size, decay=decay, distance_weight=distance_weight
        ),
        num_attacked=num_attacked,
        num_targets=num_targets,
        shard_size=25,
        batch_size=16,
        attack_batch_size=10,
        num_traced=num_traced,
        seed=seed,
    )
