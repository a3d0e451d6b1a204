"""The attack of Carlini and Wagner in L2."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxinterp._base import Attack, Batch
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
from jaxinterp.attacks._search import Search, advance, check_search, start_search


class CarliniWagnerState(NamedTuple):
    """State of the attack; every leaf has the leading axis `n`.

    Attributes:
        adversarial: `[n h w c]`, the nearest adversarial image so far; the clean one where there is none.
        distance: `[n]`, of it; infinite where there is none.
        offset: `[n h w c]`, of the variable whose hyperbolic tangent is the image, from its value at the clean image.
        rule: states of Adam, one per example.
        search: for the weight.
    """

    adversarial: Array
    distance: Array
    offset: Array
    rule: Any
    search: Search


def carlini_wagner(
    *,
    confidence: float = 0.0,
    step_size: float = 0.01,
    num_steps: int = 1000,
    num_search_steps: int = 9,
    initial_weight: float = 1e-3,
) -> Attack:
    """The attack of Carlini and Wagner in L2: Adam on distance plus a weighted margin, and a search for the weight.

    Minimises over `w`, with `x* = (tanh(w) + 1) / 2` in [0, 1] by construction,

        |x* - x|_2^2 + c max(margin(x*) + confidence, 0)

    by Adam from the clean image, for `num_search_steps` values of `c`, each example with its own: times ten until a round of
    `num_steps` steps succeeds, then by halving the interval between failure and success. The last of ten or more rounds
    repeats the least weight that succeeded. The answer is the nearest image of all rounds that is adversarial by at least
    `confidence`. With a target the margin is that of the target.

    One step of the attack is one step of Adam, so it has `num_steps * num_search_steps` steps; an iterate is scored before it
    moves, by the evaluation that gives its gradient. Unlike the authors' code, no round is cut short where the loss stops
    falling: they decide that for the batch as a whole. Their code makes 10,000 steps a round.

    Args:
        confidence: kappa, by how much the logits have to differ, not negative.
        step_size: of Adam.
        num_steps: of one round.
        num_search_steps: number of rounds.
        initial_weight: c of the first round.

    Returns:
        An attack of kind "minimum_norm" on one model; its state is a `CarliniWagnerState`.

    Raises:
        ValueError: num_steps or num_search_steps below 1, a negative confidence, step_size or initial_weight not positive.

    References:
        N. Carlini, D. Wagner, "Towards Evaluating the Robustness of Neural Networks", IEEE Symposium on Security and Privacy
        2017, sections V and VI.A; the objective is f_6 of section V.A.
    """
    check_search(num_steps, num_search_steps, initial_weight)
    check_at_least_zero(confidence, name="confidence")
    check_positive(step_size, name="step_size", instead=0.01)
    rule = optax.adam(step_size)

    def init(key: Array, model: Any, batch: Batch) -> CarliniWagnerState:
        offset = jnp.zeros_like(batch.image)
        return CarliniWagnerState(*none_yet(batch), offset, jax.vmap(rule.init)(offset), start_search(initial_weight, batch))

    def step(key: Array, state: CarliniWagnerState, model: Any, batch: Batch) -> tuple[CarliniWagnerState, MinimumNormInfo]:
        clean = batch.image
        centre = jnp.arctanh((2 * clean - 1) * INSIDE)
        nearly_clean = (jnp.tanh(centre) + 1) / 2

        def total(offset: Array) -> tuple[Array, tuple[Array, Array]]:
            image = (jnp.tanh(centre + offset) + 1) / 2
            logits = model(image, key=None)[0]
            missing = jnp.maximum(gap(logits, batch) + confidence, 0.0)
            squares = jnp.sum(jnp.square(image - nearly_clean), axis=(1, 2, 3))
            return jnp.sum(squares + state.search.weight * missing), (logits, image)

        gradient, (logits, image) = jax.grad(total, has_aux=True)(state.offset)
        # A round starts at the clean image but for the factor that keeps the variable finite.
        image = jnp.where((state.search.moves % num_steps == 0)[:, None, None, None], clean, image)
        found, distance = reached(logits, batch, confidence=confidence), length(image - clean, "l2")
        kept = keep_nearest((state.adversarial, state.distance), image, distance, found)

        update, moved_rule = jax.vmap(rule.update)(gradient, state.rule)
        search, ends = advance(state.search, found, num_steps=num_steps, num_search_steps=num_search_steps)
        fresh = jax.vmap(rule.init)(state.offset)
        new_rule = jax.tree.map(lambda new, old: jnp.where(beside(ends, old), new, old), fresh, moved_rule)
        offset = jnp.where(ends[:, None, None, None], 0.0, state.offset + jnp.asarray(update))
        return CarliniWagnerState(*kept, offset, new_rule, search), MinimumNormInfo(distance, found)

    return Attack(init=init, step=step, num_steps=num_steps * num_search_steps, kind="minimum_norm")
