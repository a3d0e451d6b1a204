"""Normal training, the consistent loss and TRADES on CIFAR-10 from several seeds, measured alike; or the loss ablated.

The adversarial training of Dong, Su, Zhu, Bao, "Towards Interpretable Deep Neural Networks by Leveraging Adversarial
Examples" (2017; journal 2022) on a ResNet-20: accuracy on clean images, under FGSM, PGD with restarts, a black box and the
standard evaluation; LC, CS1, CS2, r1, r2; the units dissected over the concept world at 32 px.

    jaxinterp compare configs/cifar10_comparison.py --workdir runs/comparison --images cifar-10-python.tar.gz \\
        --weights resnet20.npz --black-box resnet56.safetensors

Fine-tunes the published weights of the ResNet-20, all contenders for the same steps; the weight of the divergence of TRADES
rises over half of them. `--contenders ablation` compares the consistent loss at other weights (beta), layers and radii instead.
About ten minutes a network on two quiet cores, most of it attacks.

The attack that always drives a normal network to its target hardly ever moves one that was trained with the consistent loss,
so its CS, r1 and r2 may say no more than that. `--contenders matched` attacks these networks harder, until they follow as
often, and a normal network just as hard beside them; with `--trained runs/comparison` it measures networks that are there.
"""

import functools
import pathlib
from typing import Any, Literal

from cifar10_network import cifar10_network
from train_cifar10 import train_cifar10

from jaxinterp import pipelines

OBJECTIVES: dict[str, dict[str, Any]] = {
    "normal": {"objective": "standard"},
    "consistent": {"objective": "consistent"},
    "TRADES": {"objective": "trades", "attack_steps": 3},
}
MATCHED = {"normal": ("normal", False), "normal, attacked as hard": ("normal", True), "consistent": ("consistent", True)}
"""Name -> objective, and whether its networks are attacked with the smaller weight of the distance."""
ABLATION: dict[str, dict[str, Any]] = {
    "consistent": {},
    "beta 0": {"feature_weight": 0.0},
    "beta 10": {"feature_weight": 10.0},
    "layer1.2": {"layer": "layer1.2"},
    "layer2.2": {"layer": "layer2.2"},
    "radius 2": {"epsilon": 2 / 255},
    "radius 8": {"epsilon": 8 / 255},
}


def cifar10_comparison(
    *,
    images: str,
    weights: str,
    black_box: str | None = None,
    trained: str | None = None,
    contenders: Literal["objectives", "ablation", "matched"] = "objectives",
    seeds: tuple[int, ...] = (0, 1, 2),
    epsilon: float = 4 / 255,
    distance_weight: float = 2e4,
    hard_distance_weight: float = 1e3,
    num_steps: int = 300,
    batch_size: int = 64,
    learning_rate: float = 0.01,
    num_held_out: int | None = 1000,
    num_robustness: int = 500,
    num_restarts: int = 3,
    standard_images: int = 0,
    num_concept_images: int = 1000,
    num_attacked: int = 600,
    num_traced: int = 120,
) -> pipelines.Comparison:
    """Ways to train a ResNet-20, compared.

    Args:
        images: an archive or a folder, see `data.cifar10`.
        weights: that every training begins with.
        black_box: weights of a ResNet-56, whose adversarial images are tried too; none by default.
        trained: work directory of an earlier comparison of objectives, whose networks are measured again; nothing is trained.
        contenders: "objectives"; "ablation" of the consistent loss; or "matched", normal training and the consistent loss under
            attacks that succeed as often.
        seeds: of the order of the images and of every draw.
        epsilon: radius of the attacks of training and evaluation, in [0, 1] units; the ablation changes that of training alone.
        distance_weight: lambda of the attack whose images LC, CS and r are of.
        hard_distance_weight: lambda of the attack that moves networks trained with the consistent loss too.
        num_steps: of each training.
        batch_size: images in a step.
        learning_rate: its peak.
        num_held_out: so many test images, spread evenly; all for None.
        num_robustness: how many of these are attacked.
        num_restarts: random starts of PGD.
        standard_images: test images of the standard evaluation; 0 leaves it out.
        num_concept_images: pictures over which the units are dissected; 0 leaves it out.
        num_attacked: training images that are attacked for LC, CS and r.
        num_traced: adversarial images that are traced.
    """
    shared = {"images": images, "num_held_out": num_held_out, "num_robustness": num_robustness}

    def fit(knobs: dict[str, Any], seed: int) -> pipelines.Fit:
        training = {"weights": weights, "num_steps": num_steps, "batch_size": batch_size, "learning_rate": learning_rate}
        training |= {"epsilon": epsilon, "divergence_rise": num_steps // 2, "seed": seed}
        return train_cifar10(**(shared | training | knobs))

    def study(seed: int, trained_weights: str, *, hard: bool) -> pipelines.Study:
        return cifar10_network(
            weights=trained_weights,
            black_box=black_box,
            epsilon=epsilon,
            distance_weight=hard_distance_weight if hard else distance_weight,
            num_restarts=num_restarts,
            standard_images=standard_images,
            num_concept_images=num_concept_images,
            num_attacked=num_attacked,
            num_traced=num_traced,
            seed=seed,
            **shared,
        )

    made_by = ABLATION if contenders == "ablation" else OBJECTIVES

    def contender(name: str) -> pipelines.Contender:
        objective, hard = MATCHED[name] if contenders == "matched" else (name, False)
        studied = functools.partial(study, hard=hard)
        if trained is not None:
            networks = pathlib.Path(trained) / "networks"
            return pipelines.Contender(
                name, studied, weights=lambda seed: str(networks / f"{objective}-{seed}" / "train/weights/network.safetensors")
            )
        return pipelines.Contender(name, studied, fit=functools.partial(fit, made_by[objective]))

    names = MATCHED if contenders == "matched" else made_by
    made = (
        "Networks of an earlier comparison" if trained else f"{num_steps:,} steps of {batch_size} images from published weights"
    )
    return pipelines.Comparison(
        title="The consistent loss, ablated" if contenders == "ablation" else "Ways to train a ResNet-20 of CIFAR-10",
        description=f"{made}, epsilon {255 * epsilon:.3g}/255.",
        contenders=tuple(contender(name) for name in names),
        seeds=seeds,
    )
