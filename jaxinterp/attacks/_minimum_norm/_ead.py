"""EAD: elastic-net attacks."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._nearest import (
    MinimumNormInfo,
    check_at_least_zero,
    check_positive,
    gap,
    keep_nearest,
    length,
    none_yet,
    reached,
)
from jaxinterp.attacks._search import Search, advance, check_search, start_search


class EadState(NamedTuple):
    """State of EAD; every leaf has the leading axis `n`.

    Attributes:
        adversarial: `[n h w c]`, the nearest adversarial image so far; the clean one where there is none.
        distance: `[n]`, of it by the decision rule; infinite where there is none.
        iterate: `[n h w c]`, after the last shrinkage.
        lookahead: `[n h w c]`, where the gradient is taken.
        search: for the weight.
    """

    adversarial: Array
    distance: Array
    iterate: Array
    lookahead: Array
    search: Search


def ead(
    *,
    decision: str = "l1",
    l1_weight: float = 0.01,
    confidence: float = 0.0,
    step_size: float = 0.01,
    num_steps: int = 1000,
    num_search_steps: int = 9,
    initial_weight: float = 1e-3,
) -> Attack:
    """The elastic-net attack: like that of Carlini and Wagner, with the L1 distance beside the squared L2.

    Minimises over `x*` in [0, 1]

        c max(margin(x*) + confidence, 0) + |x* - x|_2^2 + beta |x* - x|_1

    by the fast iterative shrinkage-thresholding algorithm: a gradient step of the smooth terms at the lookahead image, then
    every value whose change exceeds beta shrinks by beta and all others are set back to the clean image, then the lookahead
    adds `k / (k + 3)` of the last move. The step falls as `sqrt(1 - k / num_steps)`. The weight `c` is searched for as in
    `carlini_wagner`, each example with its own. The answer is the nearest adversarial image of all rounds by `decision`.

    One step is one gradient and one evaluation of the image after shrinkage; the attack has `num_steps * num_search_steps`
    steps. Unlike the authors' code, no round is cut short where the loss stops falling.

    Args:
        decision: by which distance the answer is chosen: "l1", or "elastic_net", `|.|_2^2 + beta |.|_1`.
        l1_weight: beta, not negative, in [0, 1] units.
        confidence: kappa, by how much the logits have to differ, not negative.
        step_size: of the first gradient step of a round.
        num_steps: of one round.
        num_search_steps: number of rounds.
        initial_weight: c of the first round.

    Returns:
        An attack of kind "minimum_norm" on one model; its state is an `EadState`.

    Raises:
        ValueError: an unknown decision, num_steps or num_search_steps below 1, or a number outside the range stated.

    References:
        P.-Y. Chen, Y. Sharma, H. Zhang, J. Yi, C.-J. Hsieh, "EAD: Elastic-Net Attacks to Deep Neural Networks via Adversarial
        Examples", AAAI 2018, algorithm 1.
    """
    if decision not in ("l1", "elastic_net"):
        raise ValueError(f"expected decision 'l1' or 'elastic_net', got {decision!r}; write decision='l1'.")
    check_search(num_steps, num_search_steps, initial_weight)
    check_at_least_zero(l1_weight, name="l1_weight")
    check_at_least_zero(confidence, name="confidence")
    check_positive(step_size, name="step_size", instead=0.01)

    def far(image: Array, clean: Array) -> Array:
        distance = length(image - clean, "l1")
        if decision == "l1":
            return distance
        return jnp.sum(jnp.square(image - clean), axis=(1, 2, 3)) + l1_weight * distance

    def init(key: Array, model: Any, batch: Batch) -> EadState:
        return EadState(*none_yet(batch), batch.image, batch.image, start_search(initial_weight, batch))

    def step(key: Array, state: EadState, model: Any, batch: Batch) -> tuple[EadState, MinimumNormInfo]:
        clean, search = batch.image, state.search

        def total(image: Array) -> tuple[Array, Array]:
            logits = model(image, key=None)[0]
            missing = jnp.maximum(gap(logits, batch) + confidence, 0.0)
            squares = jnp.sum(jnp.square(image - clean), axis=(1, 2, 3))
            return jnp.sum(squares + search.weight * missing), logits

        gradient, logits = jax.grad(total, has_aux=True)(state.lookahead)
        errs = reached(logits, batch, confidence=confidence) & (length(state.lookahead - clean, "linf") == 0)
        kept = state.adversarial, jnp.where(errs, 0.0, state.distance)

        number = (search.moves % num_steps).astype(clean.dtype)
        size = (step_size * jnp.sqrt(1 - number / num_steps))[:, None, None, None]
        change = state.lookahead - size * gradient - clean
        shrunk = jnp.clip(clean + jnp.sign(change) * (jnp.abs(change) - l1_weight), 0.0, 1.0)
        iterate = jnp.where(jnp.abs(change) > l1_weight, shrunk, clean)
        lookahead = iterate + (number / (number + 3))[:, None, None, None] * (iterate - state.iterate)

        found, distance = reached(model(iterate, key=None)[0], batch, confidence=confidence), far(iterate, clean)
        kept = keep_nearest(kept, iterate, distance, found)
        search, ends = advance(search, found, num_steps=num_steps, num_search_steps=num_search_steps)
        anew = ends[:, None, None, None]
        new = EadState(*kept, jnp.where(anew, clean, iterate), jnp.where(anew, clean, lookahead), search)
        return new, MinimumNormInfo(distance, found)

    return Attack(init=init, step=step, num_steps=num_steps * num_search_steps, kind="minimum_norm")
