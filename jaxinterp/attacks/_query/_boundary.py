"""Boundary attack: a random walk along the boundary, towards the clean image."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Attack
from jaxinterp.attacks._query._decision import Walk, blend, decision_attack, l2_distance

EVERY = 5
"""Of so many proposals one is an orthogonal step without a step towards the clean image."""

HALVINGS = 10
"""Of the blend of noise and image that the walk starts from."""

ORTHOGONAL_RATE, SOURCE_RATE = 0.5, 0.2
"""Shares of adversarial proposals at which the step sizes stay as they are."""

GAIN = 0.1
"""How fast they change: a proposal multiplies a size by `exp(GAIN (adversarial / rate - 1))`."""


class BoundaryState(NamedTuple):
    """State of the walk of one image.

    Attributes:
        proposals: [] int32, so far.
        orthogonal_step: [], relative to the distance from the clean image.
        source_step: [], likewise.
    """

    proposals: Array
    orthogonal_step: Array
    source_step: Array


def boundary(*, max_queries: int = 10_000, orthogonal_step: float | int = 0.01, source_step: float | int = 0.01) -> Attack:
    """Boundary attack: steps on the sphere around the clean image and then towards it, taken where they stay adversarial.

    It sees the predicted class only, and makes the Euclidean distance small. One query a step: the clean image, where an error
    ends the run; uniform noise until an image is adversarial, or first `batch.extra["start"]` `[n h w c]` where the batch has
    it (noise hardly ever shows a given target); 10 halvings of the line from there to the clean image; then proposals. The
    answer is the nearest adversarial image that was asked for, and the clean image where there was none.

    Every fifth proposal is the orthogonal step alone. The orthogonal step size rises and falls with the success of these around
    one half, the step towards the clean image with that of the others around one fifth: our reading, as the paper names only
    the one half. Every image has its own step sizes.

    Args:
        max_queries: per image, those of the start included; the budget is spent whatever is found.
        orthogonal_step: the first, relative to the distance from the clean image.
        source_step: towards the clean image, likewise.

    Returns:
        An attack of kind "query".

    Raises:
        ValueError: `max_queries` below 1, a step outside (0, 1).

    References:
        W. Brendel, J. Rauber, M. Bethge, "Decision-Based Adversarial Attacks: Reliable Attacks Against Black-Box Machine
        Learning Models", ICLR 2018, algorithm 1 and sections 2.1 to 2.3.
    """
    for name, value in (("orthogonal_step", orthogonal_step), ("source_step", source_step)):
        if not 0 < value < 1:
            raise ValueError(f"expected {name} in (0, 1), got {value}; write {name}=0.01.")

    def init(clean: Array) -> BoundaryState:
        sizes = (jnp.asarray(size, clean.dtype) for size in (orthogonal_step, source_step))
        return BoundaryState(jnp.zeros((), jnp.int32), *sizes)

    def propose(key: Array, state: BoundaryState, iterate: Array, clean: Array) -> Array:
        away = iterate - clean
        distance = jnp.sqrt(jnp.sum(jnp.square(away)))
        outward = away / jnp.where(distance > 0, distance, 1.0)
        sideways = jax.random.normal(key, clean.shape, clean.dtype)
        sideways = sideways - jnp.sum(sideways * outward) * outward
        length = jnp.sqrt(jnp.sum(jnp.square(sideways)))
        sideways = sideways / jnp.where(length > 0, length, 1.0)

        on_sphere = (outward + state.orthogonal_step * sideways) / jnp.sqrt(1 + jnp.square(state.orthogonal_step))
        shrink = jnp.where(_orthogonal_only(state), 1.0, 1 - state.source_step)
        return jnp.clip(clean + shrink * distance * on_sphere, 0.0, 1.0)

    def learn(
        state: BoundaryState, iterate: Array, proposed: Array, adversarial: Array, clean: Array
    ) -> tuple[BoundaryState, Array, Array]:
        only = _orthogonal_only(state)
        hit = adversarial.astype(clean.dtype)
        orthogonal = state.orthogonal_step * jnp.exp(GAIN * (hit / ORTHOGONAL_RATE - 1))
        source = state.source_step * jnp.exp(GAIN * (hit / SOURCE_RATE - 1))
        new = BoundaryState(
            proposals=state.proposals + 1,
            orthogonal_step=jnp.where(only, jnp.minimum(orthogonal, 1.0), state.orthogonal_step),
            source_step=jnp.where(only, state.source_step, jnp.minimum(source, 0.5)),
        )
        return new, jnp.where(adversarial, proposed, iterate), jnp.zeros((), bool)

    walk = Walk(init, propose, learn, blend, l2_distance, lambda clean: HALVINGS)
    return decision_attack(walk, max_queries=max_queries)


def _orthogonal_only(state: BoundaryState) -> Array:
    return state.proposals % EVERY == 0
