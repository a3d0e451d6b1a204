"""Network Dissection of ImageNet networks over a concept set in Broden's format, real and adversarial.

Reproduces: David Bau, Bolei Zhou, Aditya Khosla, Aude Oliva, Antonio Torralba, "Network Dissection: Quantifying
Interpretability of Deep Visual Representations" (2017), section 3, and Table 1 of Dong, Su, Zhu, Bao, "Towards Interpretable
Deep Neural Networks by Leveraging Adversarial Examples" (journal version), over the concept images that one has.

`--weights` is a folder with resnet18.safetensors, resnet50.safetensors and squeezenet1_1.safetensors in torchvision's layout,
`--concepts` a folder in Broden's format with images of 224 pixels: Broden itself, or a set built by `data.build_broden`.

    jaxinterp dissect configs/dissection.py --workdir runs/dissection --weights WEIGHTS --concepts CONCEPTS

With the whole of Broden, ResNet-50 trained on ImageNet has 251 unique detectors and 56 % of units that detect (the authors'
file). With a few hundred images most units pass an IoU of 0.04 by chance: the excess over the permuted-label null is what
counts, and more images are the remedy. `--networks resnet18` and `--no-adversarial` are a first look.
"""

import functools
import pathlib

from imagenet_sample import NETWORKS, Name, network

from jaxinterp import attacks, data, metrics, pipelines, report


def dissection(
    *,
    weights: str,
    concepts: str,
    networks: tuple[Name, ...] = ("resnet18", "resnet50", "squeezenet1_1"),
    adversarial: bool = True,
    num_images: int | None = None,
    attack_steps: int = 12,
    step_size: float = 5 / 255,
    decay: float = 0.9,
    distance_weight: float = 1e5,
    quantile: float = 0.005,
    iou_threshold: float = 0.04,
    min_images: int = 10,
    num_null_draws: int = 100,
    num_null_images: int = 1000,
    num_formula_draws: int = 0,
    batch_size: int = 16,
    attack_batch_size: int = 8,
    seed: int = 0,
) -> pipelines.Study:
    """Network Dissection over a concept set in Broden's format.

    Args:
        weights: folder of the weight files in torchvision's layout.
        concepts: folder in Broden's format.
        networks: which of the five of configs/imagenet_sample.py; adversarial versions are made against these together.
        adversarial: dissect adversarial versions of the images and the noise control too.
        num_images: how many of the images, spread evenly over the set; all by default.
        attack_steps: iterations of the ensemble-optimization attack.
        step_size: of Adam, in [0, 1] units.
        decay: of Adam's mean gradient.
        distance_weight: lambda.
        quantile: share of a unit's activations above its threshold.
        iou_threshold: a unit detects a concept above this IoU.
        min_images: concepts that fewer images carry are left out.
        num_null_draws: permutations of the label maps behind each count.
        num_null_images: images on which these are counted.
        num_formula_draws: permutations behind formulas of two concepts and concepts by average precision, such as 20; 0, the
            default, leaves both out.
        batch_size: images in a batch.
        attack_batch_size: the same for the attack.
        seed: of every draw.
    """
    folder = pathlib.Path(weights)
    chosen = {name: NETWORKS[name] for name in networks}
    class_names = metrics.wordnet_taxonomy(metrics.ilsvrc_wnids(), corpus="shipped").names
    return pipelines.Study(
        title="What the units of ImageNet networks answer to",
        description="Network Dissection over concept images, real weights, no training.",
        methods=report.dissection_paragraph(
            [title for title, _, _ in chosen.values()],
            "the given set (224 x 224 pixels)",
            quantile=quantile,
            iou_threshold=iou_threshold,
            min_images=min_images,
            num_null_draws=num_null_draws,
            num_formula_draws=num_formula_draws,
            num_steps=attack_steps if adversarial else None,
            step_size=step_size if adversarial else None,
            distance_weight=distance_weight if adversarial else None,
        ),
        members=tuple(
            pipelines.Member(title, functools.partial(network, name, folder), layer)
            for name, (title, _, layer) in chosen.items()
        ),
        source=None,
        attack=lambda phase: attacks.ensemble_optimization(
            num_steps=attack_steps, step_size=step_size, decay=decay, distance_weight=distance_weight
        ),
        num_targets=1,
        dissection=pipelines.Dissection(
            source=lambda: data.broden(concepts, image_size=224, label_size=112),
            layers={title: (layer,) for title, _, layer in chosen.values()},
            adversarial=adversarial,
            num_images=num_images,
            quantile=quantile,
            iou_threshold=iou_threshold,
            min_images=min_images,
            num_null_draws=num_null_draws,
            num_null_images=num_null_images,
            num_formula_draws=num_formula_draws,
            class_names=class_names,
            batch_size=batch_size,
        ),
        shard_size=40,
        attack_batch_size=attack_batch_size,
        seed=seed,
    )
