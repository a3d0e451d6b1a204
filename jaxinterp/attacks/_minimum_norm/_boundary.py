"""The decision boundary to which a network, linearised at an image, is nearest."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Batch
from jaxinterp.attacks._nearest import aim, dual_length
from jaxinterp.attacks._samples import over_samples

WRITTEN_OUT = 16
"""Candidates, at most, that stand in a program for CPU one after the other; each takes its time to compile."""


class Boundary(NamedTuple):
    """A boundary between two classes, linearised: `gap + gradient . (image' - image) = 0`.

    Attributes:
        logits: `[n k]` at the image.
        gap: `[n]`, difference of the two logits, positive on the side that is not adversarial.
        gradient: `[n h w c]` of the gap.
    """

    logits: Array
    gap: Array
    gradient: Array


def nearest_boundary(model: Any, image: Array, batch: Batch, *, norm: str, num_candidates: int | None) -> Boundary:
    """The boundary that has to be crossed, of those between one class and each candidate.

    In rows without a target the nearest boundary of the label; in rows with one, the furthest boundary that the target has
    still to cross, since it has to cross them all. Distances are those of the linearised network in `norm`, without the box.

    One evaluation of the network and one of its pullback for each candidate, one after the other: the memory is that of one
    gradient, whatever the number of classes. On CPU, where convolutions in a compiled loop are several times slower, the
    program is written out for up to `WRITTEN_OUT` candidates.

    Args:
        model: one model.
        image: where to linearise, `[n h w c]`.
        batch: its labels and targets are used.
        norm: "linf", "l2" or "l1".
        num_candidates: of the classes with the largest logits at the image; all by default.
    """
    logits, pullback = jax.vjp(lambda image: model(image, key=None)[0], image)
    aimed, own = aim(batch)
    count = logits.shape[-1] - 1 if num_candidates is None else min(num_candidates, logits.shape[-1] - 1)
    if count == logits.shape[-1] - 1:
        number = jnp.arange(count)[:, None]
        others = number + (number >= own[None]).astype(number.dtype)
    else:
        # `lax.top_k` would gather the rows of all devices.
        others = jnp.argsort(jnp.where(_one_hot(own, logits) > 0, jnp.inf, -logits), axis=-1)[:, :count].T

    def consider(best: tuple[Array, Array, Array], index: Array) -> tuple[tuple[Array, Array, Array], Array]:
        gap, gradient = _between(logits, pullback, own, others[index], aimed)
        slope = dual_length(gradient, norm)
        distance = gap / jnp.where(slope > 0, slope, 1.0)
        score = jnp.where(slope > 0, jnp.where(aimed, -distance, jnp.abs(distance)), jnp.inf)
        better = score < best[0]
        chosen = jnp.where(better[:, None, None, None], gradient, best[2])
        return (jnp.where(better, score, best[0]), jnp.where(better, gap, best[1]), chosen), score

    start = (jnp.full_like(logits[:, 0], jnp.inf), jnp.zeros_like(logits[:, 0]), jnp.zeros_like(image))
    if count <= WRITTEN_OUT:
        (_, gap, gradient), _ = over_samples(consider, start, count)
    else:
        (_, gap, gradient), _ = jax.lax.scan(consider, start, jnp.arange(count))
    return Boundary(logits, gap, gradient)


def boundary_towards(model: Any, image: Array, batch: Batch) -> Boundary:
    """The boundary between the label and the target; in rows without a target, and the class of the largest other logit."""
    logits, pullback = jax.vjp(lambda image: model(image, key=None)[0], image)
    runner_up = jnp.argmax(jnp.where(_one_hot(batch.label, logits) > 0, -jnp.inf, logits), axis=-1)
    other = jnp.where(batch.target >= 0, batch.target, runner_up)
    return Boundary(logits, *_between(logits, pullback, batch.label, other, jnp.zeros(other.shape, bool)))


def _between(logits: Array, pullback: Any, own: Array, other: Array, aimed: Array) -> tuple[Array, Array]:
    direction = _one_hot(own, logits) - _one_hot(other, logits)
    direction = jnp.where(aimed[:, None], -direction, direction)
    return jnp.sum(direction * logits, axis=-1), pullback(direction)[0]


def _one_hot(classes: Array, logits: Array) -> Array:
    return jax.nn.one_hot(classes, logits.shape[-1], dtype=logits.dtype)
