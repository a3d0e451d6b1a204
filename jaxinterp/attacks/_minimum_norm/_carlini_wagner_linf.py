"""The attack of Carlini and Wagner in Linf."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._ball import check_num_steps
from jaxinterp.attacks._nearest import (
    INSIDE,
    MinimumNormInfo,
    beside,
    check_at_least_zero,
    check_positive,
    gap,
    keep_nearest,
    length,
    none_yet,
    reached,
)

SMALLEST = 1 / 256
"""A radius below which no further round starts: no stored image is nearer."""

SOLVED = 1e-4
"""Part of the weight that the excess over the radius may come to in a round that counts as solved."""


class CarliniWagnerLinfState(NamedTuple):
    """State of the attack; every leaf has the leading axis `n`.

    Attributes:
        adversarial: `[n h w c]`, the nearest adversarial image so far; the clean one where there is none.
        distance: `[n]`, of it; infinite where there is none.
        start: `[n h w c]`, the variable at the start of the round, whose hyperbolic tangent is the image.
        variable: `[n h w c]`, the same now.
        rule: states of Adam, one per example.
        radius: `[n]`, tau.
        weight: `[n]`, c.
        moves: `[n]` int32, steps made in this round.
        done: `[n]` bool, no further round.
    """

    adversarial: Array
    distance: Array
    start: Array
    variable: Array
    rule: Any
    radius: Array
    weight: Array
    moves: Array
    done: Array


def carlini_wagner_linf(
    *,
    confidence: float = 0.0,
    step_size: float = 5e-3,
    num_steps: int = 1000,
    num_rounds: int = 20,
    initial_weight: float = 1e-5,
    largest_weight: float = 20.0,
    shrink: float = 0.9,
) -> Attack:
    """The attack of Carlini and Wagner in Linf: the radius beyond which changes are punished shrinks as long as it succeeds.

    Minimises over `w`, with `x* = (tanh(w) + 1) / 2`,

        c max(margin(x*) + confidence, 0) + sum_i max(|x*_i - x_i| - tau, 0)

    by Adam. A round ends at its first iterate that is adversarial by `confidence` and hardly exceeds tau; the next one starts
    there with tau set to `shrink` times the smaller of tau and the distance. A round that does not succeed in `num_steps`
    steps is repeated with twice the weight c, until that exceeds `largest_weight`. The row is done then, or once tau is below
    1/256. At first tau is 1.

    The answer is the nearest adversarial iterate of all rounds. One step of the attack is one step of Adam; it has
    `num_steps * num_rounds` steps at most, which the rounds of a row share as they need them. An iterate is scored before it
    moves, by the evaluation that gives its gradient.

    Args:
        confidence: kappa, by how much the logits have to differ, not negative.
        step_size: of Adam.
        num_steps: of one round, at most.
        num_rounds: how many rounds of full length the whole attack may take; a bound of ours.
        initial_weight: c of the first round.
        largest_weight: of c.
        shrink: factor of tau after a success, in (0, 1).

    Returns:
        An attack of kind "minimum_norm" on one model; its state is a `CarliniWagnerLinfState`.

    Raises:
        ValueError: num_steps or num_rounds below 1, or a number outside the range stated.

    References:
        N. Carlini, D. Wagner, "Towards Evaluating the Robustness of Neural Networks", IEEE Symposium on Security and Privacy
        2017, section VI.C; doubled weights, the bound on them and on tau are those of the authors' code.
    """
    check_num_steps(num_steps)
    if num_rounds < 1:
        raise ValueError(f"expected num_rounds >= 1, got {num_rounds}; write num_rounds=20.")
    check_at_least_zero(confidence, name="confidence")
    check_positive(step_size, name="step_size", instead=5e-3)
    check_positive(initial_weight, name="initial_weight", instead=1e-5)
    if not initial_weight <= largest_weight < float("inf"):
        raise ValueError(f"expected largest_weight >= {initial_weight}, got {largest_weight}; write largest_weight=20.0.")
    if not 0 < shrink < 1:
        raise ValueError(f"expected shrink in (0, 1), got {shrink}; write shrink=0.9.")
    rule = optax.adam(step_size)

    def init(key: Array, model: Any, batch: Batch) -> CarliniWagnerLinfState:
        variable = jnp.arctanh((2 * batch.image - 1) * INSIDE)
        ones = jnp.ones(batch.id.shape, batch.image.dtype)
        rows, count = (ones, initial_weight * ones), jnp.zeros(batch.id.shape, jnp.int32)
        return CarliniWagnerLinfState(
            *none_yet(batch), variable, variable, jax.vmap(rule.init)(variable), *rows, count, count > 0
        )

    def step(
        key: Array, state: CarliniWagnerLinfState, model: Any, batch: Batch
    ) -> tuple[CarliniWagnerLinfState, MinimumNormInfo]:
        clean = batch.image

        def total(variable: Array) -> tuple[Array, tuple[Array, Array, Array]]:
            image = (jnp.tanh(variable) + 1) / 2
            logits = model(image, key=None)[0]
            missing = jnp.maximum(gap(logits, batch) + confidence, 0.0)
            over = jnp.maximum(jnp.abs(image - clean) - state.radius[:, None, None, None], 0.0)
            excess = jnp.sum(over, axis=(1, 2, 3))
            return jnp.sum(state.weight * missing + excess), (logits, image, excess)

        gradient, (logits, image, excess) = jax.grad(total, has_aux=True)(state.variable)
        # Until a round was solved, rounds start at the clean image but for the factor that keeps the variable finite.
        at_clean = (state.moves == 0) & (state.radius == 1)
        image = jnp.where(at_clean[:, None, None, None], clean, image)
        found, distance = reached(logits, batch, confidence=confidence), length(image - clean, "linf")
        adversarial, least = keep_nearest((state.adversarial, state.distance), image, distance, found)

        update, moved_rule = jax.vmap(rule.update)(gradient, state.rule)
        solved = found & (excess < SOLVED * state.weight)
        failed = ~solved & (state.moves + 1 >= num_steps)
        radius = jnp.where(solved, shrink * jnp.minimum(state.radius, distance), state.radius)
        weight = jnp.where(failed, 2 * state.weight, state.weight)
        anew = (solved | failed)[:, None, None, None]
        start = jnp.where(solved[:, None, None, None], state.variable, state.start)
        variable = jnp.where(anew, start, state.variable + jnp.asarray(update))
        fresh = jax.vmap(rule.init)(variable)
        new_rule = jax.tree.map(lambda new, old: jnp.where(beside(solved | failed, old), new, old), fresh, moved_rule)
        count = jnp.where(solved | failed, 0, state.moves + 1)
        done = (radius < SMALLEST) | (weight > largest_weight)
        new = CarliniWagnerLinfState(adversarial, least, start, variable, new_rule, radius, weight, count, done)
        kept = jax.tree.map(lambda before, after: jnp.where(beside(state.done, before), before, after), state, new)
        return kept, MinimumNormInfo(distance, found)

    return Attack(init=init, step=step, num_steps=num_steps * num_rounds, kind="minimum_norm")
