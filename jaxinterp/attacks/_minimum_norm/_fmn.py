"""FMN: the fast minimum-norm attack."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._ball import check_num_steps
from jaxinterp.attacks._minimum_norm._projection import onto_l1_ball
from jaxinterp.attacks._nearest import (
    MinimumNormInfo,
    annealed,
    check_norm,
    check_positive,
    dual_length,
    gap,
    keep_nearest,
    length,
    none_yet,
    reached,
)

NORMS = ("l2", "linf", "l1", "l0")


class FmnState(NamedTuple):
    """State of FMN; every leaf has the leading axis `n`.

    Attributes:
        adversarial: `[n h w c]`, the nearest adversarial image so far; the clean one where there is none.
        distance: `[n]`, of it; infinite where there is none.
        iterate: `[n h w c]`.
        radius: `[n]`, of the ball that the iterate was projected onto.
        moves: `[n]` int32, steps made.
    """

    adversarial: Array
    distance: Array
    iterate: Array
    radius: Array
    moves: Array


def fmn(*, norm: str = "l2", num_steps: int = 100, change: float = 0.05, step_size: float = 1.0) -> Attack:
    """The fast minimum-norm attack: a ball whose radius follows the boundary, and projected steps within it.

    Let `L` be the margin (negative where the iterate is adversarial) and `q` dual to the norm. Before the first success the
    radius is the distance to the linearised boundary, `|d| + |L| / |grad L|_q` for a perturbation `d`; after it, a success
    makes it `min((1 - change) radius, |d*|)` with `d*` the smallest successful perturbation so far, and a failure
    `(1 + change) radius`. Then `d` moves by `step_size` along the gradient of unit Euclidean length, is projected into the
    ball and cut off at [0, 1]. By half a cosine `step_size` falls to a hundredth of it, and `change` to 0.001.

    In "l0", the number of values (of pixels and channels) that differ, the radius starts at one, changes by at least one, and
    the projection keeps the largest values.

    The iterate of a step is scored before it moves, by the evaluation that gives its gradient: one evaluation a step, and the
    very last iterate does not count. No radius exceeds the distance to the furthest corner of the box. It starts at the clean
    image; the paper's start at an adversarial image is not offered.

    Args:
        norm: what is minimised: "l2", "linf", "l1" or "l0".
        num_steps: number of gradients.
        change: gamma_0, in [0.001, 1).
        step_size: alpha_0, of the first step, a Euclidean length over all pixels and channels in [0, 1] units.

    Returns:
        An attack of kind "minimum_norm" on one model; its state is an `FmnState`.

    Raises:
        ValueError: an unknown norm, num_steps below 1, or a number outside the range stated.

    References:
        M. Pintor, F. Roli, W. Brendel, B. Biggio, "Fast Minimum-norm Adversarial Attacks through Adaptive Norm Constraints",
        NeurIPS 2021, algorithm 1.
    """
    check_norm(norm, NORMS)
    check_num_steps(num_steps)
    check_positive(step_size, name="step_size", instead=1.0)
    if not 0.001 <= change < 1:
        raise ValueError(f"expected change in [0.001, 1), got {change}; write change=0.05.")
    project = jax.vmap(functools.partial(_into_ball, norm=norm))

    def init(key: Array, model: Any, batch: Batch) -> FmnState:
        radius = jnp.full(batch.id.shape, 1.0 if norm == "l0" else jnp.inf, batch.image.dtype)
        return FmnState(*none_yet(batch), iterate=batch.image, radius=radius, moves=jnp.zeros(batch.id.shape, jnp.int32))

    def step(key: Array, state: FmnState, model: Any, batch: Batch) -> tuple[FmnState, MinimumNormInfo]:
        def total(image: Array) -> tuple[Array, tuple[Array, Array]]:
            logits = model(image, key=None)[0]
            missing = gap(logits, batch)
            return jnp.sum(missing), (logits, missing)

        clean = batch.image
        gradient, (logits, missing) = jax.grad(total, has_aux=True)(state.iterate)
        perturbation = state.iterate - clean
        found, distance = reached(logits, batch), length(perturbation, norm)
        kept = keep_nearest((state.adversarial, state.distance), state.iterate, distance, found)

        rate = annealed(change, 0.001, state.moves, num_steps, clean.dtype)
        if norm == "l0":
            smaller = jnp.minimum(state.radius - 1, jnp.floor(state.radius * (1 - rate)))
            larger = jnp.maximum(state.radius + 1, jnp.floor(state.radius * (1 + rate)))
            radius = jnp.maximum(jnp.where(found, jnp.minimum(smaller, kept[1]), larger), 1.0)
        else:
            slope = dual_length(gradient, norm)
            to_boundary = distance + jnp.abs(missing) / jnp.where(slope > 0, slope, 1.0)
            grown = jnp.where(jnp.isfinite(kept[1]), state.radius * (1 + rate), to_boundary)
            radius = jnp.where(found, jnp.minimum(state.radius * (1 - rate), kept[1]), grown)
        radius = jnp.minimum(radius, length(jnp.maximum(clean, 1 - clean), norm))

        size = annealed(step_size, step_size / 100, state.moves, num_steps, clean.dtype)
        steepness = length(gradient, "l2")
        size = size / jnp.where(steepness > 0, steepness, 1.0)
        perturbation = project(perturbation - size[:, None, None, None] * gradient, radius)
        iterate = jnp.clip(clean + perturbation, 0.0, 1.0)
        return FmnState(*kept, iterate, radius, state.moves + 1), MinimumNormInfo(distance, found)

    return Attack(init=init, step=step, num_steps=num_steps, kind="minimum_norm")


def _into_ball(perturbation: Array, radius: Array, norm: str) -> Array:
    """The Euclidean projection of one perturbation `[h w c]` onto the ball of a norm."""
    if norm == "linf":
        return jnp.clip(perturbation, -radius, radius)
    if norm == "l2":
        size = jnp.sqrt(jnp.sum(jnp.square(perturbation)))
        return perturbation * jnp.minimum(radius / jnp.where(size > 0, size, 1.0), 1.0)
    if norm == "l1":
        return onto_l1_ball(perturbation, radius)
    largest_first = jnp.argsort(-jnp.abs(perturbation).ravel())
    rank = jnp.argsort(largest_first).reshape(perturbation.shape)
    return jnp.where(rank < radius, perturbation, 0.0)
