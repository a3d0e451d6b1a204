"""The protocol of the NIPS 2017 competition on adversarial attacks, between ImageNet networks whose weights one has.

Each network alone, and the networks of all families but one together, are attacked by MI-FGSM on the mean of their logits, as
the winner of both attack tracks did; once away from the true label, once to the target that the competition chose. The images
are stored in 8 bits and shown to every network. Compressions and versions of one network form a family, and never count as
each other's black boxes.

`--weights` is a folder with resnet18, resnet18_ktb, resnet50, squeezenet1_0 and squeezenet1_1 as .safetensors files in
torchvision's layout; resnet18_ktb is a second compression of resnet18. `--images` is the competition's folder: images of 299
pixels in images/, and dev_dataset.csv, whose labels and targets count from 1.

    jaxinterp transfer configs/nips17.py --workdir runs/nips17 --weights WEIGHTS --images IMAGES

In the competition epsilon was drawn from 4/255 to 16/255 for each batch; here it is one number, 16/255 by default. Our reading
of its images: they are resized once, whole, to the 224 pixels of these networks and rounded to 8 bits; attack, ball and scoring
are on those. `--image-size 299` leaves the competition's pixels as they are, and every network resizes them inside.

Points are those of the competition: an attack gets one for each image on which a network that is a black box to it errs (or
predicts the target), a network one for each image that it still classifies correctly.

With all 100 development images, of which every network classifies 48 correctly, expect untargeted success of 80 % or more of
each ensemble on the family that it leaves out, 35 % to 90 % between single networks of different families, and targeted success
of 0 % to 6 % on black boxes. The control matters: at 16/255 the perturbation of another image turns half of these images for
the SqueezeNets. An hour on two busy cores; `--num-images 20` is a first look.
"""

import functools
import pathlib

from imagenet_sample import NETWORKS, network

from jaxinterp import Model, attacks, data, metrics, models, pipelines, report

FAMILIES = {
    "ResNet-18": ("resnet18", "resnet18_ktb"),
    "ResNet-50": ("resnet50",),
    "SqueezeNet": ("squeezenet1_0", "squeezenet1_1"),
}
"""Networks that are versions of one."""


def resized(name: str, weights: pathlib.Path, image_size: int) -> Model:
    """One of `NETWORKS` with its weights in that folder, for images of that size."""
    return models.at_size(network(name, weights), image_size)


def nips17(
    *,
    weights: str,
    images: str,
    num_images: int = 100,
    epsilon: float = 16 / 255,
    attack_steps: int = 10,
    decay: float = 1.0,
    image_size: int = 224,
    batch_size: int = 20,
    num_attacked: int = 20,
    seed: int = 0,
) -> pipelines.Study:
    """The competition's protocol between five ImageNet networks.

    Args:
        weights: folder of the five weight files in torchvision's layout.
        images: the competition's folder, with images/ and dev_dataset.csv.
        num_images: how many are attacked, spread evenly over the list.
        epsilon: Linf radius, in [0, 1] units; the competition's were 4/255 to 16/255.
        attack_steps: of MI-FGSM, each of epsilon / attack_steps.
        decay: of its accumulated gradient.
        image_size: side of the images that are attacked, in pixels.
        batch_size: images in a batch.
        num_attacked: images of the study's own attack, by ensemble optimization; `transfer` does not run it.
        seed: of every draw.
    """
    folder, competition = pathlib.Path(weights), pathlib.Path(images)
    wnids = metrics.ilsvrc_wnids()
    class_names = metrics.wordnet_taxonomy(wnids, corpus="shipped").names
    alone = {name: (name,) for name in NETWORKS}
    without = {
        f"all but {left_out}": tuple(name for family, names in FAMILIES.items() if family != left_out for name in names)
        for left_out in FAMILIES
    }
    away = attacks.ensemble_logits(attacks.cross_entropy)
    return pipelines.Study(
        title="Transfer between five ImageNet networks, by the protocol of the NIPS 2017 competition",
        description=f"{num_images:,} of the competition's images, real weights, no training.",
        methods=report.methods_paragraph(
            list(NETWORKS),
            f"the NIPS 2017 competition ({image_size} x {image_size} pixels)",
            num_images=num_attacked,
            num_targets=2,
            num_steps=20,
            step_size=5 / 255,
            distance_weight=1e5,
            top_k=max(2, num_images // 10),
            dissected=False,
        ),
        members=tuple(
            pipelines.Member(name, functools.partial(resized, name, folder, image_size), layer)
            for name, (_, _, layer) in NETWORKS.items()
        ),
        source=lambda: data.image_folder(
            competition / "images",
            labels=competition / "dev_dataset.csv",
            first_label=1,
            classes=wnids,
            class_names=class_names,
            image_size=image_size,
            crop=1.0,
            num_images=num_images,
        ),
        attack=lambda phase: attacks.ensemble_optimization(step_size=5 / 255, decay=0.9, distance_weight=1e5),
        num_attacked=num_attacked,
        num_targets=2,
        transfer=pipelines.Transfer(
            sources=alone | without,
            epsilon=epsilon,
            untargeted=attacks.mi_fgsm(epsilon, decay=decay, num_steps=attack_steps, loss=away),
            targeted=attacks.mi_fgsm(epsilon, decay=decay, num_steps=attack_steps, loss=attacks.targeted(away)),
            families=tuple(FAMILIES.values()),
            batch_size=batch_size,
        ),
        shard_size=20,
        batch_size=batch_size,
        attack_batch_size=10,
        num_traced=min(num_attacked * 2, 40),
        seed=seed,
    )
