"""The images on which networks are dissected: concept images, their adversarial versions, and a noise control."""

import functools
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float64, Int32, UInt8

from jaxinterp import data
from jaxinterp._base import Model
from jaxinterp.data import Example, Source
from jaxinterp.pipelines._context import Run, progress
from jaxinterp.pipelines._dissection_settings import Dissection
from jaxinterp.pipelines._generation import SPLIT, Making, write_images
from jaxinterp.pipelines._passes import Derived, with_concepts

REAL, ADVERSARIAL, NOISE = "real", "adversarial", "noise"
"""Images as they are; adversarial versions; the same with another image's perturbation of the same norm."""

_FOLD = 6


def concept_images(settings: Dissection) -> data.Subset:
    """The images with concept labels that a study dissects its networks on."""
    source = settings.source()
    if source.concepts is None:
        raise ValueError("expected images with concept labels, got none; take a source such as data.broden(...).")
    return data.spread(source, settings.num_images)


def perturbed_path(run: Run, phase: str) -> pathlib.Path:
    """The folder of the adversarial versions of the concept images, made against a phase's networks."""
    return run.workdir.path / "adversarial" / f"concepts.{phase}"


def concept_sets(run: Run, phase: str, settings: Dissection) -> dict[str, Source]:
    """The sets that are dissected; adversarial versions are made where they are not there yet.

    Concept images have no class: the class that an adversarial image leaves is what the ensemble predicts for the clean one,
    by the mean of its logits (our reading).

    Args:
        run: the run.
        phase: whose networks are attacked.
        settings: the concept images.

    Returns:
        Name of the set -> source; the same images in the same order, with the same concept maps.
    """
    clean = concept_images(settings)
    if not settings.adversarial:
        return {REAL: clean}
    models = run.models(phase)
    sizes = {model.num_classes for model in models}
    if len(sizes) > 1:
        raise ValueError(f"expected networks of the same classes to attack together, got {sorted(sizes)} classes; drop some.")
    labels = said_of(run, models, clean, batch_size=settings.batch_size, title=f"predict {phase}").prediction
    classes = tuple(f"class {index}" for index in range(sizes.pop()))
    labelled = Derived(
        clean,
        clean.concepts,
        change=functools.partial(_with_label, labels),
        labelled=(classes, settings.class_names or classes),
    )
    made = Making(labelled, np.arange(len(clean)), 1, perturbed_path(run, phase), _FOLD)
    write_images(run, made, run.study.attack(phase), models, title=f"generate concepts {phase}")
    adversarial = with_concepts(data.adversarial_set(made.folder, split=SPLIT), clean)
    return {REAL: clean, ADVERSARIAL: adversarial, NOISE: noise_control(run.key(_FOLD, 1), clean, adversarial)}


def noise_control(key: Array, clean: Source, adversarial: Source) -> Derived:
    """The clean images, each with the perturbation of another one, scaled to the norm of its own.

    The other one is the image before it in a random round over the set. The sum is rounded to 8 bits and cut off at 0 and
    255, so its norm is a little smaller where the image is very dark or bright.

    Args:
        key: of the round.
        clean: the images.
        adversarial: an adversarial version of each, in the same order.

    Returns:
        A source with the clean images' ids and concept maps.

    Raises:
        ValueError: sets of different lengths, or fewer than two images.
    """
    if len(clean) != len(adversarial) or len(clean) < 2:
        raise ValueError(
            f"expected an adversarial version of each of 2 or more images, got {len(adversarial)} of {len(clean)}; "
            "the control needs the perturbation of another one."
        )
    order = np.asarray(jax.random.permutation(key, len(clean)))
    partner = np.empty(len(order), np.int64)
    partner[order] = np.roll(order, 1)

    def perturbation(index: int, image: UInt8[np.ndarray, "h w 3"]) -> Float64[np.ndarray, "h w 3"]:
        return data.read(adversarial, index, concepts=False).image.astype(np.float64) - image

    def noisy(index: int, example: Example) -> UInt8[np.ndarray, "h w 3"]:
        other = int(partner[index])
        own = perturbation(index, example.image)
        foreign = perturbation(other, data.read(clean, other, concepts=False).image)
        norm = np.linalg.norm(foreign)
        scaled = foreign * (np.linalg.norm(own) / norm) if norm > 0 else foreign
        return np.clip(np.round(example.image + scaled), 0, 255).astype(np.uint8)

    return Derived(clean, clean.concepts, image=noisy)


class Said(NamedTuple):
    """What some networks say together of every image of a source, in the source's order.

    Attributes:
        id: of the image.
        target: the class an attack drove it to; -1 for none.
        prediction: class of highest mean logit.
    """

    id: Int32[np.ndarray, " n"]
    target: Int32[np.ndarray, " n"]
    prediction: Int32[np.ndarray, " n"]


def said_of(run: Run, models: tuple[Model, ...], source: Source, *, batch_size: int, title: str) -> Said:
    """One pass over a source: what some networks say together of every image."""
    size = run.rounded(batch_size)
    read = data.batches(source, batch_size=size, read_concepts=False)
    rows = [
        (batch.id, batch.target, _ensemble_class(models, run.shard(batch).image))
        for batch in progress(read, title=title, total=-(-len(source) // size))
    ]
    return Said(*(np.concatenate([np.asarray(row) for row in part])[: len(source)] for part in zip(*rows, strict=True)))


@jax.jit
def _ensemble_class(models: tuple[Model, ...], images: Array) -> Array:
    return jnp.mean(jnp.stack([model(images)[0] for model in models]), axis=0).argmax(axis=1).astype(jnp.int32)


def _with_label(labels: np.ndarray, index: int, example: Example) -> Example:
    return example._replace(label=int(labels[index]))
