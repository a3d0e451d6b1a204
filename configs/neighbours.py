"""Four ways to units that keep or show their meaning, compared on CIFAR-10: nothing, the consistent loss, gates, invertibility.

A ResNet-20 fine-tuned normally, with the consistent loss of Dong, Su, Zhu, Bao, "Towards Interpretable Deep Neural Networks by
Leveraging Adversarial Examples" (2017; journal 2022), and with the class-specific gates of Liang et al., "Training
Interpretable Convolutional Neural Networks by Differentiating Class-specific Filters" (2020); and an i-ResNet (Behrmann et al.,
2019) trained from nothing. The same images, seeds and measurements: accuracy, robust accuracy, LC, CS1, CS2, r1, r2, MIS,
gates, dissection ratio.

    jaxinterp compare configs/neighbours.py --workdir runs/neighbours --images cifar-10-python.tar.gz --weights resnet20.npz

`--contenders gates` compares normal fine-tuning with gates alone. The ResNets begin with published weights and the i-ResNet
does not, so its accuracy is not theirs to be compared with; differences are to normal fine-tuning.
"""

import functools
from typing import Any, Literal

from cifar10_network import cifar10_network
from invertible import invertible
from train_cifar10 import train_cifar10

from jaxinterp import pipelines

NORMAL: dict[str, Any] = {"objective": "standard"}
CONSISTENT: dict[str, Any] = {"objective": "consistent"}
GATED: dict[str, Any] = {"objective": "class_specific", "gate_epoch": 1}


def neighbours(
    *,
    images: str,
    weights: str | None = None,
    contenders: Literal["all", "gates"] = "all",
    seeds: tuple[int, ...] = (0, 1, 2),
    epsilon: float = 4 / 255,
    num_steps: int = 300,
    num_invertible_steps: int = 2000,
    batch_size: int = 64,
    learning_rate: float = 0.01,
    gate_rate: float = 5.0,
    gate_density: float = 0.2,
    num_gate_steps: int = 100,
    num_held_out: int | None = 1000,
    num_robustness: int = 500,
    num_concept_images: int = 1000,
    num_attacked: int = 600,
    num_traced: int = 120,
) -> pipelines.Comparison:
    """Normal, consistent, class-specific and invertible networks.

    Args:
        images: an archive or a folder, see `data.cifar10`.
        weights: of a ResNet-20, which the first three begin with; they too are trained from nothing by default, which takes
            `--num-steps 2000 --learning-rate 0.1` at least.
        contenders: "all", or "gates" for normal fine-tuning and class-specific gates alone.
        seeds: of the order of the images and of every draw; the i-ResNet's weights too.
        epsilon: radius of the attacks of training and evaluation, in [0, 1] units.
        num_steps: of each ResNet's fine-tuning.
        num_invertible_steps: of the i-ResNet's training.
        batch_size: images in a step.
        learning_rate: peak of the ResNets'.
        gate_rate: learning rate of the gates, in training and of those that are fitted to frozen networks.
        gate_density: up to which the norm of a fitted gate is free; gates of training have .2.
        num_gate_steps: in which a gate is fitted; training has a third of its steps less the warm-up.
        num_held_out: so many test images, spread evenly; all for None.
        num_robustness: how many of these are attacked.
        num_concept_images: pictures over which the units are dissected; 0 leaves it out.
        num_attacked: training images that are attacked for LC, CS, r and detection.
        num_traced: adversarial images that are traced.
    """
    shared: dict[str, Any] = {
        "images": images,
        "num_held_out": num_held_out,
        "num_robustness": num_robustness,
        "epsilon": epsilon,
    }

    def resnet(knobs: dict[str, Any], seed: int) -> pipelines.Fit:
        training: dict[str, Any] = {"weights": weights, "num_steps": num_steps, "batch_size": batch_size}
        training |= {"learning_rate": learning_rate, "gate_rate": gate_rate, "gate_warm_up": num_steps // 10, "seed": seed}
        return train_cifar10(**shared, **training, **knobs)

    def flow(seed: int) -> pipelines.Fit:
        return invertible(**shared, num_steps=num_invertible_steps, batch_size=batch_size, seed=seed)

    def study(network: Literal["resnet20", "gated", "invertible"]) -> Any:
        def of(seed: int, trained: str) -> pipelines.Study:
            return cifar10_network(
                weights=trained,
                network=network,
                num_gate_steps=num_gate_steps,
                gate_rate=gate_rate,
                gate_density=gate_density,
                num_concept_images=num_concept_images,
                num_attacked=num_attacked,
                num_traced=num_traced,
                seed=seed,
                **shared,
            )

        return of

    every = (
        pipelines.Contender("normal", study("resnet20"), fit=functools.partial(resnet, NORMAL)),
        pipelines.Contender("consistent", study("resnet20"), fit=functools.partial(resnet, CONSISTENT)),
        pipelines.Contender("class-specific", study("gated"), fit=functools.partial(resnet, GATED)),
        pipelines.Contender("invertible", study("invertible"), fit=flow),
    )
    return pipelines.Comparison(
        title="Four ways to units with a meaning" if contenders == "all" else "Class-specific gates",
        description=f"CIFAR-10, {num_steps:,} steps of {batch_size} images, epsilon {255 * epsilon:.3g}/255.",
        contenders=every if contenders == "all" else (every[0], every[2]),
        seeds=seeds,
    )
