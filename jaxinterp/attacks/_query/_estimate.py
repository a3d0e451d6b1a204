"""Attacks that step along a gradient which they estimate from pairs of queries."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._ball import Ball
from jaxinterp.attacks._criterion import joint_success
from jaxinterp.attacks._gradient import example_keys
from jaxinterp.attacks._loss import Loss
from jaxinterp.attacks._query._budget import check_budget


class EstimateState(NamedTuple):
    """State of an attack along estimated gradients.

    Attributes:
        adversarial: `[n h w c]`, the newest image; of a row that succeeded, the first adversarial one.
        rule: states of the update rule, one per example.
        queries: `[n]` int32.
        done: `[n]` bool, adversarial or too few queries left for a step.
    """

    adversarial: Array
    rule: Any
    queries: Array
    done: Array


class EstimateInfo(NamedTuple):
    """What one step saw.

    Attributes:
        loss: `[n]`, its mean over the images around the one that the step started from.
        reached: `[n]` bool, whether the image that the step came to is adversarial.
    """

    loss: Array
    reached: Array


def estimate_attack(
    loss: Loss,
    *,
    draw: Callable[..., Array],
    probe_size: float | int,
    num_directions: int,
    update_rule: optax.GradientTransformation,
    ball: Ball,
    max_queries: int,
) -> Attack:
    """Descends along `sum_i (loss(x + s u_i) - loss(x - s u_i)) u_i / (2 s m)`, s = `probe_size`, m = `num_directions`.

    A step asks for `2 m` images around x at once, as so many more rows of the batch, and then for the image that it came to;
    the first query of all is the clean image. A step that the budget does not pay for in full is not begun.

    Args:
        loss: minimised; asked for all images at once.
        draw: `(key, shape, dtype)`, of the directions `u_i`; `E[u u^T]` must be the identity.
        probe_size: distance of the images asked for, per pixel, in [0, 1] units.
        num_directions: pairs of queries for one step.
        update_rule: an optax transformation, mapped over the examples.
        ball: where the attack starts and is projected onto.
        max_queries: per image.

    Returns:
        An attack of kind "query".

    Raises:
        ValueError: a `probe_size` that is not positive, `num_directions` below 1, a budget below one step.
    """
    if not probe_size > 0:
        raise ValueError(f"expected probe_size > 0, got {probe_size}; write probe_size=0.001.")
    if num_directions < 1:
        raise ValueError(f"expected num_directions >= 1, got {num_directions}; write num_directions=25.")
    cost = 2 * num_directions + 1
    check_budget(max_queries, least=1 + cost)

    def init(key: Array, model: Any, batch: Batch) -> EstimateState:
        iterate = jax.vmap(ball.start)(example_keys(key, batch), batch.image)
        reached = joint_success(None, model, iterate, batch)
        return EstimateState(iterate, jax.vmap(update_rule.init)(iterate), jnp.ones(batch.id.shape, jnp.int32), reached)

    def step(key: Array, state: EstimateState, model: Any, batch: Batch) -> tuple[EstimateState, EstimateInfo]:
        iterate = state.adversarial
        shape = (num_directions, *iterate.shape[1:])
        directions = jax.vmap(lambda key: draw(key, shape, iterate.dtype))(example_keys(key, batch))
        reach = jnp.asarray(probe_size, iterate.dtype) * directions
        probes = jnp.concatenate([iterate[:, None] + reach, iterate[:, None] - reach], axis=1)
        each = jax.tree.map(lambda leaf: jnp.repeat(leaf, 2 * num_directions, axis=0), batch)
        values = loss(None, model, probes.reshape(-1, *iterate.shape[1:]), each).reshape(-1, 2, num_directions)

        slopes = (values[:, 0] - values[:, 1]) / (2 * probe_size * num_directions)
        gradient = jnp.einsum("nm,nmhwc->nhwc", slopes.astype(iterate.dtype), directions)
        update, rule = jax.vmap(update_rule.update)(gradient, state.rule, iterate)
        moved = jax.vmap(ball.project)(jnp.asarray(optax.apply_updates(iterate, update)), batch.image)
        reached = joint_success(None, model, moved, batch)

        active = ~state.done
        queries = state.queries + cost * active.astype(jnp.int32)
        new = EstimateState(
            adversarial=jnp.where(active[:, None, None, None], moved, iterate),
            rule=rule,
            queries=queries,
            done=state.done | reached | (queries + cost > max_queries),
        )
        return new, EstimateInfo(jnp.mean(values, axis=(1, 2)), reached)

    return Attack(init=init, step=step, num_steps=(max_queries - 1) // cost, kind="query")
