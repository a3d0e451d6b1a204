"""The attack of Szegedy et al.: a quasi-Newton method in the box of images."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._gradient import where_rows
from jaxinterp.attacks._nearest import (
    MinimumNormInfo,
    beside,
    keep_nearest,
    length,
    log_odds,
    none_yet,
    reached,
)
from jaxinterp.attacks._search import Search, advance, check_search, start_search

DECREASE = 1e-4
"""The share of what the gradient promises that a move has to gain."""


class LbfgsState(NamedTuple):
    """State of the attack; every leaf has the leading axis `n`.

    Attributes:
        adversarial: `[n h w c]`, the nearest adversarial image so far; the clean one where there is none.
        distance: `[n]`, of it; infinite where there is none.
        iterate: `[n h w c]`, the last image that was accepted.
        value: `[n]`, of the objective there; infinite before the first of a round.
        gradient: `[n h w c]`, of the objective there.
        direction: `[n h w c]`, from there.
        reach: `[n]`, how far along the direction the next trial is.
        trial: `[n h w c]`, the image that is evaluated next.
        rule: what is remembered of the curvature, one per example.
        search: for the weight.
    """

    adversarial: Array
    distance: Array
    iterate: Array
    value: Array
    gradient: Array
    direction: Array
    reach: Array
    trial: Array
    rule: Any
    search: Search


def lbfgs(*, num_steps: int = 50, num_search_steps: int = 9, initial_weight: float = 1e-3, memory_size: int = 10) -> Attack:
    """The attack of Szegedy et al.: limited-memory BFGS on distance plus weighted cross-entropy, and a search for the weight.

    Minimises over `x*` in [0, 1]

        |x* - x|_2^2 - c log p(success | x*)

    where success is the target, or without a target any class but the label; the paper has targets only. The weight `c` is
    searched for as in `carlini_wagner`, each example with its own, and each of its rounds starts at the clean image. The
    paper weighs the distance and not the loss, which is the same family of problems.

    One step is one value and one gradient at a trial image, each example at its own place of the search: a trial that gains
    `1e-4` of what the gradient promises is accepted and gives the next direction, any other halves the move. Unlike the paper,
    which has box-constrained L-BFGS, moves are cut off at [0, 1] and the line search takes the move that is left
    (projected search); a direction that does not descend gives way to the gradient.

    Args:
        num_steps: evaluations in one round.
        num_search_steps: number of rounds.
        initial_weight: c of the first round.
        memory_size: pairs of moves and changes of gradient that are remembered, each as large as two images.

    Returns:
        An attack of kind "minimum_norm" on one model; its state is an `LbfgsState`.

    Raises:
        ValueError: num_steps, num_search_steps or memory_size below 1, an initial_weight that is not positive.

    References:
        C. Szegedy, W. Zaremba, I. Sutskever, J. Bruna, D. Erhan, I. Goodfellow, R. Fergus, "Intriguing Properties of Neural
        Networks", ICLR 2014, section 4.1.
    """
    check_search(num_steps, num_search_steps, initial_weight)
    if memory_size < 1:
        raise ValueError(f"expected memory_size >= 1, got {memory_size}; write memory_size=10.")
    rule = optax.scale_by_lbfgs(memory_size)

    def init(key: Array, model: Any, batch: Batch) -> LbfgsState:
        clean, still = batch.image, jnp.zeros_like(batch.image)
        kept, unknown = none_yet(batch), jnp.full(batch.id.shape, jnp.inf, clean.dtype)
        search = start_search(initial_weight, batch)
        return LbfgsState(*kept, clean, unknown, still, still, unknown, clean, jax.vmap(rule.init)(clean), search)

    def step(key: Array, state: LbfgsState, model: Any, batch: Batch) -> tuple[LbfgsState, MinimumNormInfo]:
        clean, trial = batch.image, state.trial

        def total(image: Array) -> tuple[Array, tuple[Array, Array]]:
            logits = model(image, key=None)[0]
            squares = jnp.sum(jnp.square(image - clean), axis=(1, 2, 3))
            # softplus of log-odds is minus the logarithm of the other probability.
            values = squares + state.search.weight * jax.nn.softplus(log_odds(logits, batch))
            return jnp.sum(values), (values, logits)

        gradient, (value, logits) = jax.grad(total, has_aux=True)(trial)
        found, distance = reached(logits, batch), length(trial - clean, "l2")
        kept = keep_nearest((state.adversarial, state.distance), trial, distance, found)

        promised = _inner(state.gradient, trial - state.iterate)
        accepted = jnp.isinf(state.value) | (value <= state.value + DECREASE * promised)
        scaled, rule_state = jax.vmap(rule.update)(gradient, state.rule, trial)
        direction = -jnp.asarray(scaled)
        direction = where_rows(_inner(direction, gradient) < 0, direction, -gradient)

        search, ends = advance(state.search, found, num_steps=num_steps, num_search_steps=num_search_steps)
        iterate = where_rows(accepted, trial, state.iterate)
        direction = where_rows(accepted, direction, state.direction)
        reach = jnp.where(accepted, 1.0, state.reach / 2)
        following = jnp.clip(iterate + reach[:, None, None, None] * direction, 0.0, 1.0)
        remembered = jax.tree.map(lambda new, old: jnp.where(beside(accepted, old), new, old), rule_state, state.rule)
        fresh = jax.vmap(rule.init)(clean)
        new = LbfgsState(
            *kept,
            iterate=iterate,
            value=jnp.where(ends, jnp.inf, jnp.where(accepted, value, state.value)),
            gradient=where_rows(accepted, gradient, state.gradient),
            direction=direction,
            reach=reach,
            trial=where_rows(ends, clean, following),
            rule=jax.tree.map(lambda new, old: jnp.where(beside(ends, old), new, old), fresh, remembered),
            search=search,
        )
        return new, MinimumNormInfo(distance, found)

    return Attack(init=init, step=step, num_steps=num_steps * num_search_steps, kind="minimum_norm")


def _inner(first: Array, second: Array) -> Array:
    return jnp.sum(first * second, axis=(1, 2, 3))
