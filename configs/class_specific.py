"""Class-specific gates on the concept world, where the place of every object is known, beside normal training of equal length.

The gates of Liang et al., "Training Interpretable Convolutional Neural Networks by Differentiating Class-specific Filters"
(2020), on the small ResNet-18 that ships with the package: what units say about classes, what masking a class's filters costs,
whether they find the object, and whether they tell adversarial images.

    jaxinterp compare configs/class_specific.py --workdir runs/class_specific

The same on CIFAR-10: `configs/neighbours.py --contenders gates`.
"""

import functools

import optax

from jaxinterp import Model, attacks, data, models, pipelines, report, training

LAYER = "layer4.1"


def class_specific(
    *,
    seeds: tuple[int, ...] = (0, 1, 2),
    num_steps: int = 300,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    gate_rate: float = 10.0,
    num_gate_steps: int = 100,
    gate_density: float = 0.2,
    num_training_images: int = 12000,
    num_images: int = 960,
    num_attacked: int = 240,
    num_held_out: int = 960,
    num_localised: int = 300,
    epsilon: float = 4 / 255,
    world_seed: int = 0,
) -> pipelines.Comparison:
    """Normal training and class-specific gates on the concept world.

    Args:
        seeds: of the order of the images and of every draw.
        num_steps: of training, from the weights that ship with the package.
        batch_size: images in a step.
        learning_rate: its peak; AdamW, linear warm-up over a tenth, then a cosine.
        gate_rate: learning rate of the gates, in training and of those that are fitted to frozen networks.
        num_gate_steps: in which a gate is fitted; training has a third of its steps less the warm-up.
        gate_density: up to which the norm of a gate is free.
        num_training_images: of training.
        num_images: that are analysed.
        num_attacked: how many of them are attacked.
        num_held_out: on which accuracy and gates are measured.
        num_localised: of these, on which localisation is measured.
        epsilon: radius of FGSM and PGD in the evaluation, in [0, 1] units.
        world_seed: of the world.
    """
    gated = training.gate_schedule(1, warm_up=num_steps // 10)

    def build(*, with_gate: bool) -> Model:
        model = models.small_resnet18()
        return models.gated(model, layer=LAYER) if with_gate else model

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

    def fit(seed: int, *, with_gate: bool) -> pipelines.Fit:
        rate = optax.warmup_cosine_decay_schedule(0.0, learning_rate, max(1, num_steps // 10), num_steps)
        optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=0.02))
        return pipelines.Fit(
            title="Small ResNet-18, class-specific gates" if with_gate else "Small ResNet-18, normal training",
            description=f"Concept world, {num_steps:,} steps of {batch_size} images.",
            build=functools.partial(build, with_gate=with_gate),
            source=training_images,
            objective=training.class_specific(gated=gated, density=gate_density) if with_gate else training.standard(),
            optimizer=training.gate_optimizer(optimizer, optax.sgd(gate_rate), gated=gated) if with_gate else optimizer,
            num_steps=num_steps,
            batch_size=batch_size,
            augment=data.random_flip(),
            seed=seed,
        )

    def trained_network(weights: str, *, with_gate: bool) -> Model:
        return models.load(weights, build(with_gate=with_gate))

    def study(seed: int, weights: str, *, with_gate: bool) -> pipelines.Study:
        return pipelines.Study(
            title="Which unit speaks for which class",
            description=f"Concept world, {num_held_out:,} held-out images.",
            methods=report.methods_paragraph(
                ["ResNet-18"],
                "an embedded world of drawn images (24 classes of WordNet, 64 x 64 pixels; a small variant of the network)",
                num_images=num_attacked,
                num_targets=1,
                num_steps=20,
                step_size=4 / 255,
                distance_weight=7e3,
                top_k=100,
            ),
            members=(pipelines.Member("ResNet-18", functools.partial(trained_network, weights, with_gate=with_gate), LAYER),),
            source=analysed,
            held_out=held_out,
            attack=lambda phase: attacks.ensemble_optimization(num_steps=20, step_size=4 / 255, decay=0.3, distance_weight=7e3),
            num_attacked=num_attacked,
            num_targets=1,
            robustness=pipelines.Robustness(epsilon=epsilon, num_images=min(240, num_held_out)),
            gates=pipelines.Gates(
                num_steps=num_gate_steps,
                learning_rate=gate_rate,
                density=gate_density,
                category="object",
                num_localised=num_localised,
            ),
            num_traced=60,
            seed=seed,
        )

    return pipelines.Comparison(
        title="Class-specific gates on the concept world",
        description=f"A small ResNet-18, {num_steps:,} more steps of {batch_size} images from the weights of the package.",
        contenders=tuple(
            pipelines.Contender(
                name, functools.partial(study, with_gate=with_gate), fit=functools.partial(fit, with_gate=with_gate)
            )
            for name, with_gate in (("normal", False), ("class-specific", True))
        ),
        seeds=seeds,
    )
