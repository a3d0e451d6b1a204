"""DDN: direction and norm of the perturbation, decoupled."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._ball import check_num_steps
from jaxinterp.attacks._nearest import (
    MinimumNormInfo,
    annealed,
    check_positive,
    keep_nearest,
    length,
    log_odds,
    none_yet,
    reached,
)


class DdnState(NamedTuple):
    """State of DDN; every leaf has the leading axis `n`.

    Attributes:
        adversarial: `[n h w c]`, the nearest adversarial image so far; the clean one where there is none.
        distance: `[n]`, of it; infinite where there is none.
        iterate: `[n h w c]`.
        radius: `[n]`, of the sphere that the iterate was put on, before it was cut off at [0, 1].
        moves: `[n]` int32, steps made.
    """

    adversarial: Array
    distance: Array
    iterate: Array
    radius: Array
    moves: Array


def ddn(*, num_steps: int = 100, initial_radius: float = 1.0, change: float = 0.05, step_size: float = 1.0) -> Attack:
    """Decoupled direction and norm, in L2: the radius shrinks while the iterate is adversarial and grows while it is not.

    A step of length `step_size` along the normalised gradient gives the direction of the perturbation; the radius is
    multiplied by `1 - change` or `1 + change`; the perturbation is rescaled *onto* the sphere of that radius, then cut off at
    [0, 1]. The step falls by a cosine from `step_size` to a hundredth of it.

    The gradient is the one of the cross-entropy, of the target or of the label. Only its direction counts, so it is taken of
    the log-odds, whose gradient is a positive multiple of it and does not vanish in float32. No radius exceeds the distance
    to the furthest corner of the box.

    The iterate of a step is scored before it moves, by the evaluation that gives its gradient: one evaluation a step, and the
    very last iterate does not count.

    Unlike the paper, perturbations are not rounded to grey levels, and where the gradient is zero nothing moves, where the
    authors' code draws a direction at random.

    Args:
        num_steps: number of gradients.
        initial_radius: epsilon_0, Euclidean, in [0, 1] units over all pixels and channels.
        change: gamma, in (0, 1).
        step_size: alpha, of the first step, in the same units as the radius.

    Returns:
        An attack of kind "minimum_norm" on one model; its state is a `DdnState`.

    Raises:
        ValueError: num_steps below 1, or a number outside the range stated.

    References:
        J. Rony, L. G. Hafemann, L. S. Oliveira, I. Ben Ayed, R. Sabourin, E. Granger, "Decoupling Direction and Norm for
        Efficient Gradient-Based L2 Adversarial Attacks and Defenses", CVPR 2019, algorithm 1.
    """
    check_num_steps(num_steps)
    check_positive(initial_radius, name="initial_radius", instead=1.0)
    check_positive(step_size, name="step_size", instead=1.0)
    if not 0 < change < 1:
        raise ValueError(f"expected change in (0, 1), got {change}; write change=0.05.")

    def init(key: Array, model: Any, batch: Batch) -> DdnState:
        radius = jnp.full(batch.id.shape, initial_radius, batch.image.dtype)
        return DdnState(*none_yet(batch), iterate=batch.image, radius=radius, moves=jnp.zeros(batch.id.shape, jnp.int32))

    def step(key: Array, state: DdnState, model: Any, batch: Batch) -> tuple[DdnState, MinimumNormInfo]:
        def total(image: Array) -> tuple[Array, Array]:
            logits = model(image, key=None)[0]
            return jnp.sum(log_odds(logits, batch)), logits

        clean = batch.image
        gradient, logits = jax.grad(total, has_aux=True)(state.iterate)
        found, distance = reached(logits, batch), length(state.iterate - clean, "l2")
        kept = keep_nearest((state.adversarial, state.distance), state.iterate, distance, found)

        size = annealed(step_size, step_size / 100, state.moves, num_steps, clean.dtype)
        steepness = length(gradient, "l2")
        size = size / jnp.where(steepness > 0, steepness, 1.0)
        perturbation = state.iterate - clean - size[:, None, None, None] * gradient
        furthest = length(jnp.maximum(clean, 1 - clean), "l2")
        radius = jnp.minimum(state.radius * jnp.where(found, 1 - change, 1 + change), furthest)
        norm = length(perturbation, "l2")
        scale = radius / jnp.where(norm > 0, norm, 1.0)
        iterate = jnp.clip(clean + scale[:, None, None, None] * perturbation, 0.0, 1.0)
        return DdnState(*kept, iterate, radius, state.moves + 1), MinimumNormInfo(distance, found)

    return Attack(init=init, step=step, num_steps=num_steps, kind="minimum_norm")
