"""HopSkipJump: the direction of the boundary from the classes of random images around it."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Attack
from jaxinterp.attacks._query._budget import choose
from jaxinterp.attacks._query._decision import Walk, blend, decision_attack, l2_distance

FIRST_PROBE = 0.1
"""Distance of the images around the first boundary point."""


class HopSkipJumpState(NamedTuple):
    """State of the walk of one image.

    Attributes:
        iteration: [] int32, t = 1, 2, ...
        probes: [] int32, asked for in this iteration.
        hits: [], the sum of their signs: 1 where adversarial, -1 elsewhere.
        total: `[h w c]`, sum of their directions.
        signed: `[h w c]`, sum of their directions times their signs.
        step: [], the next jump; 0 before the first one.
    """

    iteration: Array
    probes: Array
    hits: Array
    total: Array
    signed: Array
    step: Array


def hop_skip_jump(
    *, norm: str = "l2", max_queries: int = 10_000, initial_probes: int = 100, most_probes: int = 10_000
) -> Attack:
    """HopSkipJump: estimates the normal of the boundary, jumps along it, and searches the boundary anew.

    It sees the predicted class only. One query a step: the clean image, where an error ends the run; uniform noise until an
    image is adversarial, or first `batch.extra["start"]` `[n h w c]` where the batch has it (noise hardly ever shows a given
    target); then, in turns, a binary search between an adversarial image and the clean one to a precision of `theta` of their
    distance, `B_t = initial_probes sqrt(t)` images around the boundary point, and jumps of `distance / sqrt(t)`, halved until
    one is adversarial. `theta` is `d^-3/2` for "l2" and `d^-2` for "linf", d the number of values of an image, but not below
    what the type of the images resolves.

    The answer is the nearest adversarial image that was asked for, and the clean image where there was none. Rows of a batch
    are in different stages; a step is one pass of the network over all of them, so larger batches make better use of a device.

    Args:
        norm: of the distance that is made small: "l2" or "linf".
        max_queries: per image, those of the start included; the budget is spent whatever is found.
        initial_probes: `B_0`.
        most_probes: bound on `B_t`, as in the authors' code.

    Returns:
        An attack of kind "query".

    Raises:
        ValueError: another norm, `max_queries`, `initial_probes` or `most_probes` below 1.

    References:
        J. Chen, M. I. Jordan, M. J. Wainwright, "HopSkipJumpAttack: A Query-Efficient Decision-Based Attack", IEEE S&P 2020,
        algorithms 1 and 2, equations 9, 12, 15 and 16.
    """
    geometry = choose("norm", norm, {"l2": _Geometry(1.5, l2_distance, blend), "linf": _Geometry(2.0, _linf_distance, _within)})
    for name, value in (("initial_probes", initial_probes), ("most_probes", most_probes)):
        if value < 1:
            raise ValueError(f"expected {name} >= 1, got {value}; write {name}=100.")

    def init(clean: Array) -> HopSkipJumpState:
        nothing, counter = jnp.zeros((), clean.dtype), jnp.zeros((), jnp.int32)
        still = jnp.zeros_like(clean)
        return HopSkipJumpState(counter + 1, counter, nothing, still, still, nothing)

    def wanted(state: HopSkipJumpState) -> Array:
        number = initial_probes * jnp.sqrt(state.iteration.astype(jnp.float32))
        return jnp.minimum(number, most_probes).astype(jnp.int32)

    def reach_of(state: HopSkipJumpState, iterate: Array, clean: Array) -> Array:
        """`distance / d`; where rounding would swallow that, the least distance that the type resolves."""
        least = 8 * jnp.finfo(clean.dtype).eps * math.sqrt(clean.size)
        later = jnp.maximum(geometry.distance(iterate, clean) / clean.size, least)
        return jnp.where(state.iteration == 1, FIRST_PROBE, later).astype(clean.dtype)

    def propose(key: Array, state: HopSkipJumpState, iterate: Array, clean: Array) -> Array:
        if norm == "l2":
            draw = jax.random.normal(key, clean.shape, clean.dtype)
        else:
            draw = jax.random.uniform(key, clean.shape, clean.dtype, -1.0, 1.0)
        probe = iterate + reach_of(state, iterate, clean) * _unit(draw)
        # The estimate of equation 16: the mean sign is subtracted, unless all signs are equal.
        probes = jnp.maximum(state.probes, 1).astype(clean.dtype)
        mean = jnp.where(jnp.abs(state.hits) == probes, 0.0, state.hits / probes)
        normal = state.signed - mean * state.total
        direction = _unit(normal) if norm == "l2" else jnp.sign(normal)
        jump = iterate + jump_of(state, iterate, clean) * direction
        return jnp.clip(jnp.where(state.probes < wanted(state), probe, jump), 0.0, 1.0)

    def jump_of(state: HopSkipJumpState, iterate: Array, clean: Array) -> Array:
        first = geometry.distance(iterate, clean) / jnp.sqrt(state.iteration.astype(clean.dtype))
        return jnp.where(state.step > 0, state.step, first)

    def learn(
        state: HopSkipJumpState, iterate: Array, proposed: Array, adversarial: Array, clean: Array
    ) -> tuple[HopSkipJumpState, Array, Array]:
        probing = state.probes < wanted(state)
        sign = jnp.where(adversarial, 1.0, -1.0).astype(clean.dtype)
        direction = (proposed - iterate) / reach_of(state, iterate, clean)
        estimated = state._replace(
            probes=state.probes + 1,
            hits=state.hits + sign,
            total=state.total + direction,
            signed=state.signed + sign * direction,
        )
        shorter = state._replace(step=jump_of(state, iterate, clean) / 2)
        onwards = init(clean)._replace(iteration=state.iteration + 1)
        jumped = ~probing & adversarial
        new = jax.tree.map(
            lambda one, two, three: jnp.where(probing, one, jnp.where(adversarial, three, two)), estimated, shorter, onwards
        )
        return new, jnp.where(jumped, proposed, iterate), jumped

    def halvings(clean: Array) -> int:
        return min(math.ceil(geometry.power * math.log2(clean.size)), jnp.finfo(clean.dtype).nmant)

    walk = Walk(init, propose, learn, geometry.between, geometry.distance, halvings)
    return decision_attack(walk, max_queries=max_queries)


class _Geometry(NamedTuple):
    """What a norm decides: theta is `d^-power`."""

    power: float
    distance: Callable[[Array, Array], Array]
    between: Callable[[Array, Array, Array], Array]


def _linf_distance(image: Array, clean: Array) -> Array:
    return jnp.max(jnp.abs(image - clean))


def _within(far: Array, clean: Array, share: Array) -> Array:
    """The far image, cut off at a share of its own Linf distance."""
    radius = share * _linf_distance(far, clean)
    return jnp.clip(far, clean - radius, clean + radius)


def _unit(values: Array) -> Array:
    norm = jnp.sqrt(jnp.sum(jnp.square(values)))
    return values / jnp.where(norm > 0, norm, 1.0)
