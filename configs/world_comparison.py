"""Ways to train a network on the concept world, from several seeds, measured alike: objectives, or class-specific gates.

`--contenders objectives`: normal training, the consistent loss of Dong, Su, Zhu, Bao, "Towards Interpretable Deep Neural
Networks by Leveraging Adversarial Examples" (2017; journal 2022), and TRADES; accuracies, LC, CS1, CS2, r1, r2 and the
dissection ratio. `--contenders attacks`: the consistent loss with one step of FGSM and with several of PGD, and adversarial
training with that PGD and no distance between features. `--contenders gates`: the gates of Liang et al., "Training
Interpretable Convolutional Neural Networks by Differentiating Class-specific Filters" (2020), beside normal training: what
units say about classes, what masking a class's filters costs, whether they find the object, and whether they tell
adversarial images.

    jaxinterp compare configs/world_comparison.py --workdir runs/world
    jaxinterp compare configs/world_comparison.py --workdir runs/world_gates --contenders gates

Every training goes on from the small ResNet-18 that ships with the package, the contenders for the same steps. The same on
CIFAR-10: `configs/cifar10_comparison.py`, and `configs/neighbours.py --contenders gates`.
"""

import functools
from typing import Literal

import optax

from jaxinterp import Model, attacks, data, models, pipelines, report, training

LAYER = "layer4.1"
CONTENDERS = {
    "objectives": ("normal", "consistent", "TRADES"),
    "attacks": ("normal", "consistent", "consistent PGD", "PGD"),
    "gates": ("normal", "class-specific"),
}
TITLES = {
    "normal": "normal training",
    "consistent": "consistent loss",
    "consistent PGD": "consistent loss with PGD",
    "PGD": "adversarial training with PGD",
    "TRADES": "TRADES",
    "class-specific": "class-specific gates",
}


def world_comparison(
    *,
    contenders: Literal["objectives", "attacks", "gates"] = "objectives",
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    num_steps: int = 300,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    num_training_images: int = 12000,
    num_images: int = 960,
    num_attacked: int = 240,
    num_targets: int = 1,
    distance_weight: float = 7e3,
    num_held_out: int = 960,
    num_robustness: int = 240,
    epsilon: float = 4 / 255,
    pgd_steps: int = 5,
    divergence_weight: float = 3.0,
    num_null_draws: int = 8,
    gate_rate: float = 10.0,
    num_gate_steps: int = 100,
    gate_density: float = 0.2,
    num_localised: int = 300,
    world_seed: int = 0,
) -> pipelines.Comparison:
    """Ways to train the small ResNet-18, compared.

    Args:
        contenders: "objectives", "attacks" or "gates".
        seeds: of the order of the images and of every draw.
        num_steps: of each training.
        batch_size: images in a step.
        learning_rate: its peak; AdamW, linear warm-up over a tenth, then a cosine.
        num_training_images: of training.
        num_images: that are analysed.
        num_attacked: how many of them are attacked.
        num_targets: least-likely classes each is driven to.
        distance_weight: lambda of the attack whose images LC, CS and r are of.
        num_held_out: on which accuracy and gates are measured.
        num_robustness: how many of these are attacked.
        epsilon: radius of the attacks of training and evaluation, in [0, 1] units.
        pgd_steps: of the contenders with PGD, each of half of epsilon.
        divergence_weight: of TRADES; it rises from 0 over half of the steps, since at once it makes a trained network constant.
        num_null_draws: permutations behind each null of the detector counts.
        gate_rate: learning rate of the gates, in training and of those that are fitted to frozen networks.
        num_gate_steps: in which a gate is fitted; training has a third of its steps less the warm-up.
        gate_density: up to which the norm of a gate is free.
        num_localised: held-out images on which localisation is measured.
        world_seed: of the world.
    """
    gated = training.gate_schedule(1, warm_up=num_steps // 10)
    consistent = functools.partial(training.consistent, layer=LAYER, statistics="frozen")
    pgd = attacks.pgd(epsilon, num_steps=pgd_steps, step_size=epsilon / 2)
    objectives = {
        "normal": training.standard(),
        "consistent": consistent(attacks.fgsm(epsilon)),
        "consistent PGD": consistent(pgd),
        "PGD": consistent(pgd, feature_weight=0.0),
        "TRADES": training.trades(
            epsilon,
            num_steps=3,
            step_size=epsilon / 2,
            divergence_weight=optax.linear_schedule(0.0, divergence_weight, num_steps // 2),
            statistics="frozen",
        ),
        "class-specific": training.class_specific(gated=gated, density=gate_density),
    }

    # Drawn once for all networks and seeds: the images of a training take longer to draw than to train on.
    @functools.cache
    def training_images() -> data.Source:
        return data.cached(data.concept_world(seed=world_seed + 1, num_images=num_training_images), keep_concepts=False)

    @functools.cache
    def analysed() -> data.Source:
        return data.cached(data.concept_world(seed=world_seed, num_images=num_images))

    @functools.cache
    def held_out() -> data.Source:
        return data.cached(data.concept_world(seed=world_seed + 100, num_images=num_held_out))

    def build(name: str) -> Model:
        model = models.small_resnet18()
        return models.gated(model, layer=LAYER) if name == "class-specific" else model

    def fit(name: str, seed: int) -> pipelines.Fit:
        rate = optax.warmup_cosine_decay_schedule(0.0, learning_rate, max(1, num_steps // 10), num_steps)
        optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=0.02))
        if name == "class-specific":
            optimizer = training.gate_optimizer(optimizer, optax.sgd(gate_rate), gated=gated)
        return pipelines.Fit(
            title=f"Small ResNet-18, {TITLES[name]}",
            description=f"Concept world, {num_steps:,} steps of {batch_size} images.",
            build=functools.partial(build, name),
            source=training_images,
            objective=objectives[name],
            optimizer=optimizer,
            num_steps=num_steps,
            batch_size=batch_size,
            augment=data.random_flip(),
            seed=seed,
        )

    def study(name: str, seed: int, weights: str) -> pipelines.Study:
        gates = pipelines.Gates(
            num_steps=num_gate_steps,
            learning_rate=gate_rate,
            density=gate_density,
            category="object",
            num_localised=num_localised,
        )
        return pipelines.Study(
            title="What the units of a small ResNet-18 answer to",
            description=f"Concept world, {TITLES[name]}; {num_images:,} images analysed, {num_held_out:,} held out.",
            methods=report.methods_paragraph(
                ["ResNet-18"],
                "an embedded world of drawn images (24 classes of WordNet, 64 x 64 pixels; a small variant of the network)",
                num_images=num_attacked,
                num_targets=num_targets,
                num_steps=20,
                step_size=4 / 255,
                distance_weight=distance_weight,
                top_k=100,
            ),
            members=(pipelines.Member("ResNet-18", lambda: models.load(weights, build(name)), LAYER),),
            source=analysed,
            held_out=held_out,
            attack=lambda phase: attacks.ensemble_optimization(
                num_steps=20, step_size=4 / 255, decay=0.3, distance_weight=distance_weight
            ),
            num_attacked=num_attacked,
            num_targets=num_targets,
            robustness=pipelines.Robustness(epsilon=epsilon, num_images=min(num_robustness, num_held_out)),
            gates=gates if contenders == "gates" else None,
            num_traced=60,
            num_null_draws=num_null_draws,
            num_null_images=300,
            num_bootstrap_draws=60,
            seed=seed,
        )

    return pipelines.Comparison(
        title="Ways to train a network on the concept world",
        description=f"A small ResNet-18, {num_steps:,} more steps of {batch_size} images from the weights of the package.",
        contenders=tuple(
            pipelines.Contender(name, functools.partial(study, name), fit=functools.partial(fit, name))
            for name in CONTENDERS[contenders]
        ),
        seeds=seeds,
    )
