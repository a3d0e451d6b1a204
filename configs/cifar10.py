"""The whole study on CIFAR-10: two real networks, normally trained and then adversarially, on real images.

Reproduces, on real networks: Dong, Su, Zhu, Bao, "Towards Interpretable Deep Neural Networks by Leveraging Adversarial
Examples" (2017; journal 2022): LC, CS1, CS2, r1 and r2 with all their controls before and after training with the consistent
loss, and the table of accuracies. With 10 classes, and top sets of 100 images, LC and CS are well powered; the taxonomy is
WordNet's over the ten classes.

`--weights` is a folder with resnet20 and resnet56 as .safetensors, .npz or .th (those of
github.com/akamaster/pytorch_resnet_cifar10), `--images` a folder with train/CLASS/*.jpg and test/CLASS/*.jpg, the classes
named airplane ... truck. Every other training image is analysed, the others are those of the fine-tuning; accuracies are on
the test images.

    jaxinterp study configs/cifar10.py --workdir runs/cifar10 --weights WEIGHTS --images IMAGES

These images carry no concept labels.

With `--attack-steps 12 --finetuning-steps 250 --num-robustness 200` expect every claim of the paper about LC, CS, r and FGSM
to be reproduced at 1 200 adversarial images: CS1 falls with LC by .14 (95 % interval .10 to .18), CS2 rises beyond what clean
images give by .26 (.22 to .29), training raises CS1 by .25 (.22 to .28), lowers what the attack adds to CS2 by .44 (.42 to
.47), r1 by .51 and r2 by .81; 28 points of accuracy under FGSM and 15 under PGD. Three quarters of an hour on two busy cores.
"""

import dataclasses
import functools
import pathlib

import optax

from jaxinterp import Model, attacks, data, models, pipelines, report, training

NETWORKS = {
    "ResNet-20": ("resnet20", models.cifar_resnet20, "layer3.2"),
    "ResNet-56": ("resnet56", models.cifar_resnet56, "layer3.8"),
}
"""Name -> weight file, builder, layer whose units are studied."""


def network(name: str, folder: pathlib.Path) -> Model:
    """One of `NETWORKS` with its weights in that folder, whatever the kind of file."""
    stem, build, _ = NETWORKS[name]
    found = sorted(file for file in folder.glob(f"{stem}.*") if file.suffix in (".safetensors", ".npz", ".th"))
    if not found:
        raise ValueError(f"expected {stem}.safetensors, .npz or .th in {folder}, found none; put the weights there.")
    return build(weights=found[0])


def pictures(folder: pathlib.Path, num_images: int | None = None) -> data.ImageFolder:
    """The images of a split."""
    found = data.image_folder(
        folder, labels=None, classes=list(data.CIFAR10_CLASSES), image_size=32, crop=1.0, num_images=num_images, smallest=32
    )
    classes = data.CIFAR10_CLASSES
    return dataclasses.replace(found, classes=tuple(classes.values()), class_names=tuple(classes))


def cifar10(
    *,
    weights: str,
    images: str,
    num_attacked: int = 600,
    num_targets: int = 2,
    attack_steps: int = 20,
    step_size: float = 3 / 255,
    decay: float = 0.6,
    distance_weight: float = 2e4,
    robust_distance_weight: float = 2e4,
    epsilon: float = 4 / 255,
    feature_weight: float = 1.0,
    finetuning_steps: int = 400,
    learning_rate: float = 1e-3,
    num_held_out: int | None = None,
    num_robustness: int = 400,
    num_traced: int = 240,
    seed: int = 0,
) -> pipelines.Study:
    """The whole study on CIFAR-10 with two real networks.

    Args:
        weights: folder of the two weight files.
        images: folder with train/ and test/, each with a folder a class.
        num_attacked: how many of the analysed images are attacked.
        num_targets: least-likely classes each is driven to.
        attack_steps: iterations of the ensemble-optimization attack.
        step_size: of Adam, in [0, 1] units.
        decay: of Adam's mean gradient.
        distance_weight: lambda of the attack on the normal networks.
        robust_distance_weight: lambda of the attack on the trained networks.
        epsilon: of FGSM in training, and of FGSM and PGD in the table of accuracies, in [0, 1] units.
        feature_weight: beta of the consistent loss.
        finetuning_steps: its steps, of 64 images.
        learning_rate: its peak learning rate.
        num_held_out: test images on which accuracy is measured; all by default.
        num_robustness: how many of these are attacked for the table of accuracies.
        num_traced: adversarial images that are traced.
        seed: of every draw.
    """
    files, folder = pathlib.Path(weights), pathlib.Path(images)

    def half(first: int) -> data.Source:
        everything = pictures(folder / "train")
        return data.cached(data.subset(everything, range(first, len(everything), 2)))

    def optimizer(member: pipelines.Member) -> optax.GradientTransformation:
        rate = optax.warmup_cosine_decay_schedule(
            learning_rate / 10, learning_rate, max(1, finetuning_steps // 15), finetuning_steps, learning_rate / 50
        )
        return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate))

    return pipelines.Study(
        title="What the units of two CIFAR-10 networks answer to",
        description=f"Real images, {num_attacked * num_targets:,} adversarial ones, before and after adversarial training.",
        methods=report.methods_paragraph(
            list(NETWORKS),
            "CIFAR-10 (32 x 32 pixels)",
            num_images=num_attacked,
            num_targets=num_targets,
            num_steps=attack_steps,
            step_size=step_size,
            distance_weight=distance_weight,
            top_k=100,
            dissected=False,
            epsilon=epsilon,
            feature_weight=feature_weight,
        ),
        members=tuple(
            pipelines.Member(name, functools.partial(network, name, files), layer) for name, (_, _, layer) in NETWORKS.items()
        ),
        source=lambda: half(0),
        held_out=lambda: pictures(folder / "test", num_held_out),
        attack=lambda phase: attacks.ensemble_optimization(
            num_steps=attack_steps,
            step_size=step_size,
            decay=decay,
            distance_weight=distance_weight if phase == "normal" else robust_distance_weight,
        ),
        num_attacked=num_attacked,
        num_targets=num_targets,
        finetuning=pipelines.Training(
            source=lambda: half(1),
            objective=lambda member: training.consistent(
                attacks.fgsm(epsilon), layer=member.layer, feature_weight=feature_weight, statistics="frozen"
            ),
            optimizer=optimizer,
            num_steps=lambda member: finetuning_steps,
            seed=seed,
            flip=True,
        ),
        robustness=pipelines.Robustness(epsilon=epsilon, num_images=num_robustness),
        num_traced=num_traced,
        seed=seed,
    )
