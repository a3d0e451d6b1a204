"""What the units of one network of CIFAR-10 answer to, however it was trained: LC, CS1, CS2, r1, r2 and accuracies.

The measurements of Dong, Su, Zhu, Bao, "Towards Interpretable Deep Neural Networks by Leveraging Adversarial Examples"
(2017; journal 2022), without any training: networks that `configs/train_cifar10.py` trained are compared by running it on
each. The adversarial images are made against the network itself.

    jaxinterp study configs/cifar10_network.py --workdir runs/units --weights runs/consistent/weights/network.safetensors \\
        --images cifar-10-python.tar.gz

Every other training image is analysed; accuracies are on test images.
"""

from typing import Literal

import jax
from invertible import BLOCKS, HIDDEN

from jaxinterp import Model, attacks, data, models, pipelines, report

NETWORKS = {
    "resnet20": ("ResNet-20", "layer3.2"),
    "gated": ("ResNet-20", "layer3.2"),
    "invertible": ("i-ResNet", "layer3.1"),
}
"""Name and layer of each kind of network."""


def cifar10_network(
    *,
    weights: str,
    images: str,
    network: Literal["resnet20", "gated", "invertible"] = "resnet20",
    num_attacked: int = 600,
    num_targets: int = 2,
    attack_steps: int = 20,
    step_size: float = 3 / 255,
    decay: float = 0.6,
    distance_weight: float = 2e4,
    epsilon: float = 4 / 255,
    num_restarts: int = 1,
    black_box: str | None = None,
    standard_images: int = 0,
    num_concept_images: int = 0,
    num_gate_steps: int = 0,
    gate_rate: float = 5.0,
    gate_density: float = 0.2,
    num_held_out: int | None = None,
    num_robustness: int = 500,
    num_traced: int = 120,
    seed: int = 0,
) -> pipelines.Study:
    """LC, CS, r and accuracies of one network.

    Args:
        weights: of the network.
        images: an archive or a folder, see `data.cifar10`.
        network: "resnet20"; "gated", one that was trained with class-specific gates; or "invertible", as configs/invertible.py
            trains by default.
        num_attacked: how many of the analysed images are attacked.
        num_targets: least-likely classes each is driven to.
        attack_steps: iterations of the attack.
        step_size: of Adam, in [0, 1] units.
        decay: of Adam's mean gradient.
        distance_weight: lambda of the attack.
        epsilon: of FGSM and PGD in the table of accuracies, in [0, 1] units.
        num_restarts: random starts of PGD.
        black_box: weights of a ResNet-56, whose adversarial images are tried on the network too; none by default.
        standard_images: test images of the standard evaluation at epsilon; 0 leaves it out.
        num_concept_images: pictures of the concept world, at 32 px, over which the units are dissected; CIFAR has no concept
            labels. 0 leaves it out.
        num_gate_steps: steps in which a class-specific gate is fitted to the frozen network; 0 leaves gates out.
        gate_rate: learning rate of that gate.
        gate_density: up to which its norm is free.
        num_held_out: so many test images, spread evenly; all by default.
        num_robustness: how many of these are attacked for the table of accuracies.
        num_traced: adversarial images that are traced.
        seed: of every draw.
    """

    title, layer = NETWORKS[network]

    def build() -> Model:
        if network == "invertible":
            return models.iresnet(blocks=BLOCKS, hidden=HIDDEN, readout="flat", weights=weights)
        if network == "gated":
            return models.load(weights, models.gated(models.cifar_resnet20(key=jax.random.key(0)), layer=layer))
        return models.cifar_resnet20(weights=weights)

    def analysed() -> data.Source:
        everything = data.cifar10(images, "train")
        return data.subset(everything, range(0, len(everything), 2))

    def drawn() -> data.Source:
        return data.concept_world(seed=seed, num_images=num_concept_images, image_size=32)

    def held_out() -> data.Source:
        return data.spread(data.cifar10(images, "test"), num_held_out)

    return pipelines.Study(
        title=f"What the units of {title} answer to",
        description=f"CIFAR-10, {num_attacked * num_targets:,} adversarial images of the network's own.",
        methods=report.methods_paragraph(
            [title],
            "CIFAR-10 (32 x 32 pixels)",
            num_images=num_attacked,
            num_targets=num_targets,
            num_steps=attack_steps,
            step_size=step_size,
            distance_weight=distance_weight,
            top_k=100,
            dissected=False,
        ),
        members=(pipelines.Member(title, build, layer),),
        source=analysed,
        held_out=held_out,
        attack=lambda phase: attacks.ensemble_optimization(
            num_steps=attack_steps, step_size=step_size, decay=decay, distance_weight=distance_weight
        ),
        num_attacked=num_attacked,
        num_targets=num_targets,
        robustness=pipelines.Robustness(
            epsilon=epsilon,
            num_images=num_robustness,
            num_restarts=num_restarts,
            transferred_from=(lambda: models.cifar_resnet56(weights=black_box)) if black_box else None,
        ),
        standard=pipelines.Standard(epsilon=epsilon, num_images=standard_images) if standard_images else None,
        dissection=pipelines.Dissection(source=drawn, adversarial=False, label_size=32, num_null_draws=200)
        if num_concept_images
        else None,
        gates=pipelines.Gates(num_steps=num_gate_steps, learning_rate=gate_rate, density=gate_density)
        if num_gate_steps
        else None,
        num_traced=num_traced,
        seed=seed,
    )
