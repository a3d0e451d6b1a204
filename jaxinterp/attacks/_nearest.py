"""What minimum-norm attacks share: lengths, success read off the logits, and the nearest success so far."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Batch

Kept = tuple[Array, Array]
"""The nearest adversarial image so far `[n h w c]`, and its distance `[n]`, infinite where there is none."""

INSIDE = 0.999999
"""Factor that takes [-1, 1] into the open interval, where the inverse of the hyperbolic tangent is finite."""


class MinimumNormInfo(NamedTuple):
    """What one step of a minimum-norm attack tried.

    Attributes:
        distance: `[n]`, of the image that was tried from the clean one, in the norm of the attack.
        reached: `[n]` bool, whether it was adversarial.
    """

    distance: Array
    reached: Array


def check_norm(norm: str, allowed: Sequence[str]) -> None:
    """Raises `ValueError` for the name of a norm that an attack does not have."""
    if norm not in allowed:
        raise ValueError(f"expected norm in {', '.join(allowed)}, got {norm!r}; write norm={allowed[0]!r}.")


def check_positive(value: float, *, name: str, instead: float) -> None:
    """Raises `ValueError` for a number that is not positive and finite."""
    if not 0 < value < float("inf"):
        raise ValueError(f"expected {name} in (0, inf), got {value}; write {name}={instead}.")


def length(change: Array, norm: str) -> Array:
    """The norm of each row of `[n h w c]`: "linf", "l2", "l1", "l0" (values that changed) or "pixels" (with any such value)."""
    axes = (1, 2, 3)
    if norm == "linf":
        return jnp.max(jnp.abs(change), axis=axes)
    if norm == "l2":
        return jnp.sqrt(jnp.sum(jnp.square(change), axis=axes))
    if norm == "l1":
        return jnp.sum(jnp.abs(change), axis=axes)
    if norm == "pixels":
        return jnp.sum(jnp.any(change != 0, axis=-1).astype(change.dtype), axis=(1, 2))
    return jnp.sum((change != 0).astype(change.dtype), axis=axes)


def dual_length(gradient: Array, norm: str) -> Array:
    """The norm of each gradient that is dual to the norm of the change: an affine function changes by at most its product."""
    return length(gradient, {"linf": "l1", "l2": "l2", "l1": "linf"}[norm])


def aim(batch: Batch) -> tuple[Array, Array]:
    """Which rows aim at a target, and the class of each row that matters: the target, or else the label."""
    aimed = batch.target >= 0
    return aimed, jnp.where(aimed, batch.target, batch.label)


def reached(logits: Array, batch: Batch, *, confidence: float = 0.0) -> Array:
    """Whether the target is predicted, or the label is not, by a difference of logits of at least `confidence`."""
    aimed, own = aim(batch)
    handicap = jnp.where(aimed, -confidence, confidence).astype(logits.dtype)
    prediction = jnp.argmax(logits + handicap[:, None] * _one_hot(own, logits), axis=-1)
    return (prediction == own) == aimed


def gap(logits: Array, batch: Batch) -> Array:
    """By how much the logits miss success; negative exactly where `reached` is true, up to ties."""
    return _missing(logits, batch, jnp.max)


def log_odds(logits: Array, batch: Batch) -> Array:
    """Log-odds of the label against all others, or of all others against the target; lower = more adversarial.

    Its gradient is a positive multiple of the one of the cross-entropy, without the factor that vanishes in float32.
    """
    return _missing(logits, batch, jax.nn.logsumexp)


def keep_nearest(kept: Kept, image: Array, distance: Array, found: Array) -> Kept:
    """Takes the images that are adversarial and nearer than the kept ones."""
    better = found & (distance < kept[1])
    return jnp.where(better[:, None, None, None], image, kept[0]), jnp.where(better, distance, kept[1])


def none_yet(batch: Batch) -> Kept:
    """The clean images, infinitely far."""
    return batch.image, jnp.full(batch.id.shape, jnp.inf, batch.image.dtype)


def _missing(logits: Array, batch: Batch, largest: Callable[..., Array]) -> Array:
    aimed, own = aim(batch)
    here = _one_hot(own, logits)
    others = largest(jnp.where(here > 0, -jnp.inf, logits), axis=-1)
    ahead = jnp.sum(here * logits, axis=-1) - others
    return jnp.where(aimed, -ahead, ahead)


def _one_hot(classes: Array, logits: Array) -> Array:
    return jax.nn.one_hot(classes, logits.shape[-1], dtype=logits.dtype)


def annealed(first: float, last: float, count: Array, num_steps: int, dtype: Any) -> Array:
    """What falls from `first` by half a cosine, and would be `last` after `num_steps` steps; `[n]`."""
    turn = jnp.pi * count.astype(dtype) / num_steps
    return last + (first - last) * (1 + jnp.cos(turn)) / 2


def check_at_least_zero(value: float, *, name: str) -> None:
    """Raises `ValueError` for a number that is negative or not finite."""
    if not 0 <= value < float("inf"):
        raise ValueError(f"expected {name} >= 0, got {value}; write {name}=0.0.")


def beside(rows: Array, leaf: Array) -> Array:
    """One value per row, with the axes of the leaf."""
    return rows.reshape(rows.shape + (1,) * (leaf.ndim - 1))
