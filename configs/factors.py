"""Factors of interpretability on the concept world or on CIFAR-10: iterations, weights at the start, width, depth, dropout,
batch normalisation, tasks without labels, and fine-tuning from one task to another.

Reproduces in small: Bolei Zhou, David Bau, Aude Oliva, Antonio Torralba, "Interpreting Deep Visual Representations via Network
Dissection" (2019), the sections on training conditions and on self-supervised networks.

    jaxinterp factors configs/factors.py --workdir runs/factors
    jaxinterp factors configs/factors.py --workdir runs/cifar_factors --images cifar-10-python.tar.gz

Every condition is a small AlexNet that differs from the first one in one thing. Expect the excess over the null to grow with
training, and tasks without labels to stay below labels. `--training-steps 100 --num-training-images 1200` is a first look.
"""

import dataclasses
import functools
from typing import Any, Literal, get_args

import jax
import optax

from jaxinterp import Model, data, models, pipelines, training
from jaxinterp.pipelines import Condition

Group = Literal[
    "iterations",
    "start",
    "width",
    "depth",
    "dropout",
    "batch norm",
    "without labels",
    "fine-tuning",
    "architecture",
]
WORLD: dict[str, Any] = {"num_classes": 24, "image_size": 64, "output_stride": 8}
CIFAR: dict[str, Any] = {"num_classes": 10, "image_size": 32, "output_stride": 4}
SHIPPED = (
    ("AlexNet", models.small_alexnet, "conv5"),
    ("VGG-16", models.small_vgg16, "conv5_3"),
    ("ResNet-18", models.small_resnet18, "layer4.1"),
)
"""Networks whose weights ship with the package, and their layers."""
TILES = 24
"""Side of the tiles of jigsaw and of context prediction, in pixels."""


def network(
    images: dict[str, Any], *, seed: int = 0, width: float = 3 / 16, dropout: float = 0.0, batch_norm: bool = True
) -> Model:
    """The small AlexNet, and its variants."""
    return models.alexnet(
        width=width, hidden=64, pool_size=2, dropout=dropout, batch_norm=batch_norm, key=jax.random.key(seed), **images
    )


def for_whole_images(images: dict[str, Any], model: Model) -> Model:
    """The same weights in the network for whole images, with batch normalisation folded."""
    return models.fold_batch_norm(dataclasses.replace(model, network=network(images).network))


def factors(
    *,
    images: str | None = None,
    training_steps: int = 2000,
    peak_rate: float = 4e-3,
    batch_size: int = 64,
    num_training_images: int = 12000,
    num_concept_images: int = 960,
    num_probe_images: int = 960,
    num_held_out: int = 960,
    num_null_draws: int = 40,
    iou_threshold: float = 0.04,
    groups: tuple[Group, ...] = get_args(Group),
    seed: int = 0,
) -> pipelines.Factors:
    """Small networks in conditions that differ in one thing.

    Args:
        images: what `data.cifar10` reads, for networks of CIFAR-10, trained and probed on it and dissected over the concept
            world at its size; none, the default, for those of the concept world.
        training_steps: of every condition; of fine-tuning a half.
        peak_rate: of the learning rate.
        batch_size: images in a step.
        num_training_images: drawn images of every training on the concept world.
        num_concept_images: images that units are compared with.
        num_probe_images: images that linear probes are fitted to.
        num_held_out: images on which probes and accuracies are measured, test images of CIFAR-10.
        num_null_draws: permutations of the label maps behind each count.
        iou_threshold: a unit detects a concept above this IoU.
        groups: the factors that are studied. "architecture" trains nothing: it reads the small networks with drawn weights
            and with those that ship with the package, which know the concept world alone.
        seed: of the world and of every draw.
    """

    kind = CIFAR if images else WORLD
    size = kind["image_size"]

    def drawn(world_seed: int, count: int, *, confounding: float = 0.0, keep_concepts: bool = False) -> data.Source:
        made = data.concept_world(seed=world_seed, num_images=count, image_size=size, confounding=confounding)
        return data.cached(made, keep_concepts=keep_concepts)

    @functools.cache
    def pictures() -> data.Source:
        return data.cifar10(images, "train") if images else drawn(seed + 1, num_training_images)

    def unseen(split: str, world_seed: int, count: int) -> data.Source:
        return data.spread(data.cifar10(images, split), count) if images else drawn(world_seed, count)

    @functools.cache
    def tied() -> data.Source:
        return drawn(seed + 1, num_training_images, confounding=1.0)

    def schedule(steps: int) -> optax.GradientTransformation:
        rate = optax.cosine_onecycle_schedule(steps, peak_rate, pct_start=0.15, div_factor=25, final_div_factor=100)
        return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=0.02))

    fold = models.fold_batch_norm
    common = {"layers": ("conv5",), "source": pictures, "num_steps": training_steps, "optimizer": schedule}
    tiles = {
        **common,
        "build": lambda: network({**kind, "image_size": TILES}),
        "finish": functools.partial(for_whole_images, kind),
    }
    whole = {**common, "build": lambda: network(kind), "finish": fold}
    fractions = {"1 %": 0.01, "10 %": 0.1, "50 %": 0.5}
    every = {"layers": tuple(f"conv{number}" for number in range(1, 6))}

    def resnet() -> Model:
        return models.resnet18(width=1 / 8, key=jax.random.key(seed), **kind)

    def vgg() -> Model:
        knobs: dict[str, Any] = {"width": 7 / 64, "hidden": 64, "pool_size": 2, "dropout": 0.0, "batch_norm": True}
        return models.vgg16(key=jax.random.key(seed), **knobs, **kind)

    def same(group: str, title: str) -> Condition:
        return Condition(f"base ({group})", group, title=title, of="base")

    if images:
        before = Condition("rotation (fine-tuning)", "fine-tuning", title="rotation", of="rotation", layers=every["layers"])
        architectures = ()
    else:
        before = Condition("confounded", "fine-tuning", title="tied world", **{**whole, **every, "source": tied})
        architectures = SHIPPED
    conditions = (
        Condition("base", "iterations", title="all steps", **{**whole, **every}),
        Condition("untrained", "iterations", title="none", of="base", at_step=0),
        *(
            Condition(f"after {name}", "iterations", title=name, of="base", at_step=max(1, round(part * training_steps)))
            for name, part in fractions.items()
        ),
        same("start", "seed 0"),
        *(
            Condition(f"seed {other}", "start", **{**whole, "build": lambda other=other: network(kind, seed=other)})
            for other in (1, 2)
        ),
        Condition("width half", "width", title="half", **{**whole, "build": lambda: network(kind, width=3 / 32)}),
        same("width", "one"),
        Condition("width double", "width", title="double", **{**whole, "build": lambda: network(kind, width=3 / 8)}),
        same("depth", "AlexNet"),
        Condition("VGG-16", "depth", **{**whole, "build": vgg, "layers": ("conv5_3",)}),
        Condition("ResNet-18", "depth", **{**whole, "build": resnet, "layers": ("layer4.1",), "finish": None}),
        same("dropout", "none"),
        Condition("dropout 0.5", "dropout", title="0.5", **{**whole, "build": lambda: network(kind, dropout=0.5)}),
        same("batch norm", "with"),
        Condition(
            "no batch norm", "batch norm", title="without", **{**common, "build": lambda: network(kind, batch_norm=False)}
        ),
        same("without labels", "labels"),
        Condition("rotation", "without labels", objective=training.rotation(layer="fc7"), **whole),
        Condition("jigsaw", "without labels", objective=training.jigsaw(layer="fc7"), **tiles),
        Condition("colours", "without labels", objective=training.colourisation(layer="conv5"), **whole),
        Condition("context", "without labels", objective=training.context_prediction(layer="fc7"), **tiles),
        before,
        Condition(
            "tuned",
            "fine-tuning",
            title="then labels" if images else "then free",
            start="rotation" if images else "confounded",
            **{**whole, **every, "num_steps": max(1, training_steps // 2)},
        ),
        same("fine-tuning", "labels alone" if images else "free world"),
        *(
            Condition(f"{name} {how}", "architecture", build=build, layers=(layer,))
            for name, builder, layer in architectures
            for how, build in (("drawn", lambda builder=builder: builder(key=jax.random.key(seed))), ("shipped", builder))
        ),
    )
    chosen = [one for one in conditions if one.group in groups]
    referred = {other for one in chosen for other in (one.of, one.start)}
    return pipelines.Factors(
        title="What the units of a small network owe to how it was trained",
        description=(
            f"AlexNet for {'CIFAR-10' if images else 'the concept world'} ({size} px, {kind['num_classes']} classes), "
            f"{training_steps:,} steps of {batch_size} images a condition."
        ),
        conditions=tuple(one for one in conditions if one in chosen or one.name in referred),
        dissection=pipelines.Dissection(
            source=lambda: drawn(seed + 50, num_concept_images, keep_concepts=True),
            adversarial=False,
            num_null_draws=num_null_draws,
            num_null_images=num_concept_images,
            label_size=32,
            null_label_size=32,
            iou_threshold=iou_threshold,
            num_top=1,
        ),
        probe_training=lambda: unseen("train", seed + 100, num_probe_images),
        held_out=lambda: unseen("test", seed + 200, num_held_out),
        batch_size=batch_size,
        seed=seed,
        repeats="start" if "start" in groups else None,
    )
