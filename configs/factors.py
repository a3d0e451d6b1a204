"""Factors of interpretability on the concept world: iterations, weights at the start, width, depth, dropout, batch
normalisation, tasks without labels, and fine-tuning from one world to another.

Reproduces in small: Bolei Zhou, David Bau, Aude Oliva, Antonio Torralba, "Interpreting Deep Visual Representations via Network
Dissection" (2019), the sections on training conditions and on self-supervised networks.

    jaxinterp factors configs/factors.py --workdir runs/factors

Every condition is a small AlexNet that differs from the first one in one thing. Expect the excess over the null to grow with
training, and tasks without labels to stay below labels. `--training-steps 100 --num-training-images 1200` is a first look.
"""

import dataclasses
import functools

import jax
import optax

from jaxinterp import Model, data, models, pipelines, training
from jaxinterp.pipelines import Condition

TILES = 24


def network(
    *, seed: int = 0, width: float = 3 / 16, dropout: float = 0.0, batch_norm: bool = True, image_size: int = 64
) -> Model:
    """The AlexNet of the concept world, and its variants."""
    return models.alexnet(
        num_classes=24,
        width=width,
        image_size=image_size,
        output_stride=8,
        hidden=64,
        pool_size=2,
        dropout=dropout,
        batch_norm=batch_norm,
        key=jax.random.key(seed),
    )


def for_whole_images(model: Model) -> Model:
    """The same weights in the network for images of 64 px, with batch normalisation folded."""
    return models.fold_batch_norm(dataclasses.replace(model, network=network().network))


def factors(
    *,
    training_steps: int = 2000,
    peak_rate: float = 4e-3,
    batch_size: int = 64,
    num_training_images: int = 12000,
    num_concept_images: int = 960,
    num_probe_images: int = 960,
    num_held_out: int = 960,
    num_null_draws: int = 40,
    iou_threshold: float = 0.04,
    groups: tuple[str, ...] = (
        "iterations",
        "start",
        "width",
        "depth",
        "dropout",
        "batch norm",
        "without labels",
        "fine-tuning",
        "architecture",
    ),
    seed: int = 0,
) -> pipelines.Factors:
    """Small networks in conditions that differ in one thing.

    Args:
        training_steps: of every condition; of fine-tuning a half.
        peak_rate: of the learning rate.
        batch_size: images in a step.
        num_training_images: images of every training.
        num_concept_images: images that units are compared with.
        num_probe_images: images that linear probes are fitted to.
        num_held_out: images on which probes and accuracies are measured.
        num_null_draws: permutations of the label maps behind each count.
        iou_threshold: a unit detects a concept above this IoU.
        groups: the factors that are studied. "architecture" trains nothing: it reads the small networks with drawn weights
            and with those that ship with the package.
        seed: of the world and of every draw.
    """

    @functools.cache
    def world(confounding: float = 0.0) -> data.Source:
        made = data.concept_world(seed=seed + 1, num_images=num_training_images, confounding=confounding)
        return data.cached(made, keep_concepts=False)

    def schedule(steps: int) -> optax.GradientTransformation:
        rate = optax.cosine_onecycle_schedule(steps, peak_rate, pct_start=0.15, div_factor=25, final_div_factor=100)
        return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=0.02))

    fold = models.fold_batch_norm
    common = {"layers": ("conv5",), "source": world, "num_steps": training_steps, "optimizer": schedule}
    tiles = {**common, "build": lambda: network(image_size=TILES), "finish": for_whole_images}
    whole = {**common, "build": network, "finish": fold}
    fractions = {"1 %": 0.01, "10 %": 0.1, "50 %": 0.5}
    every = {"layers": tuple(f"conv{number}" for number in range(1, 6))}

    def resnet() -> Model:
        return models.small_resnet18(key=jax.random.key(seed))

    def vgg() -> Model:
        return models.small_vgg16(key=jax.random.key(seed), batch_norm=True)

    def same(group: str, title: str) -> Condition:
        return Condition(f"base ({group})", group, title=title, of="base")

    conditions = (
        Condition("base", "iterations", title="all steps", **{**whole, **every}),
        Condition("untrained", "iterations", title="none", of="base", at_step=0),
        *(
            Condition(f"after {name}", "iterations", title=name, of="base", at_step=max(1, round(part * training_steps)))
            for name, part in fractions.items()
        ),
        same("start", "seed 0"),
        *(
            Condition(f"seed {other}", "start", **{**whole, "build": lambda other=other: network(seed=other)})
            for other in (1, 2)
        ),
        Condition("width half", "width", title="half", **{**whole, "build": lambda: network(width=3 / 32)}),
        same("width", "one"),
        Condition("width double", "width", title="double", **{**whole, "build": lambda: network(width=3 / 8)}),
        same("depth", "AlexNet"),
        Condition("VGG-16", "depth", **{**whole, "build": vgg, "layers": ("conv5_3",)}),
        Condition("ResNet-18", "depth", **{**whole, "build": resnet, "layers": ("layer4.1",), "finish": None}),
        same("dropout", "none"),
        Condition("dropout 0.5", "dropout", title="0.5", **{**whole, "build": lambda: network(dropout=0.5)}),
        same("batch norm", "with"),
        Condition("no batch norm", "batch norm", title="without", **{**common, "build": lambda: network(batch_norm=False)}),
        same("without labels", "labels"),
        Condition("rotation", "without labels", objective=training.rotation(layer="fc7"), **whole),
        Condition("jigsaw", "without labels", objective=training.jigsaw(layer="fc7"), **tiles),
        Condition("colours", "without labels", objective=training.colourisation(layer="conv5"), **whole),
        Condition("context", "without labels", objective=training.context_prediction(layer="fc7"), **tiles),
        Condition("confounded", "fine-tuning", title="tied world", **{**whole, **every, "source": lambda: world(1.0)}),
        Condition(
            "tuned",
            "fine-tuning",
            title="then free",
            start="confounded",
            **{**whole, **every, "num_steps": max(1, training_steps // 2)},
        ),
        same("fine-tuning", "free world"),
        *(
            Condition(f"{name} {how}", "architecture", build=build, layers=(layer,))
            for name, builder, layer in (
                ("AlexNet", models.small_alexnet, "conv5"),
                ("VGG-16", models.small_vgg16, "conv5_3"),
                ("ResNet-18", models.small_resnet18, "layer4.1"),
            )
            for how, build in (("drawn", lambda builder=builder: builder(key=jax.random.key(seed))), ("shipped", builder))
        ),
    )
    chosen = [one for one in conditions if one.group in groups]
    referred = {other for one in chosen for other in (one.of, one.start)}
    return pipelines.Factors(
        title="What the units of a small network owe to how it was trained",
        description=(
            f"AlexNet for the concept world (64 px, 24 classes), {training_steps:,} steps of {batch_size} images a condition."
        ),
        conditions=tuple(one for one in conditions if one in chosen or one.name in referred),
        dissection=pipelines.Dissection(
            source=lambda: data.cached(data.concept_world(seed=seed + 50, num_images=num_concept_images)),
            adversarial=False,
            num_null_draws=num_null_draws,
            num_null_images=num_concept_images,
            label_size=32,
            null_label_size=32,
            iou_threshold=iou_threshold,
            num_top=1,
        ),
        probe_training=lambda: data.cached(
            data.concept_world(seed=seed + 100, num_images=num_probe_images), keep_concepts=False
        ),
        held_out=lambda: data.cached(data.concept_world(seed=seed + 200, num_images=num_held_out), keep_concepts=False),
        batch_size=batch_size,
        seed=seed,
    )
