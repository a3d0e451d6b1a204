"""JSMA: the pair of values whose change raises one class and lowers all others together."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._ball import check_num_steps, check_radius
from jaxinterp.attacks._gradient import where_rows
from jaxinterp.attacks._loss import one_hot
from jaxinterp.attacks._nearest import MinimumNormInfo, aim, length, reached

DIRECTIONS = {"increase": (1,), "decrease": (-1,), "both": (1, -1)}
OUTPUTS = {"logits": lambda logits: logits, "probabilities": jax.nn.softmax}


class JsmaState(NamedTuple):
    """State of JSMA; every leaf has the leading axis `n`.

    Attributes:
        adversarial: `[n h w c]`, the first adversarial image; the clean image until then.
        iterate: `[n h w c]`, the newest image.
        done: `[n]` bool, adversarial, or without a pair that helps.
    """

    adversarial: Array
    iterate: Array
    done: Array


def jsma(
    *,
    step_size: float = 1.0,
    num_steps: int = 100,
    direction: str = "increase",
    pairs: bool = True,
    outputs: str = "logits",
    num_candidates: int = 128,
) -> Attack:
    """JSMA, the Jacobian-based saliency map attack: a greedy choice of the values to change, two at a time.

    With `a_i` the derivative of the target's output by the value `i` (a channel of a pixel), and `b_i` that of the sum of all
    other outputs, a step changes the pair of largest

        (a_p + a_q) |b_p + b_q|   with a_p + a_q > 0 and b_p + b_q < 0

    by `step_size`, cut off at [0, 1]. Values at their end are not chosen again. To decrease them, both signs turn. A row is
    done once its image is adversarial, which is the answer, or when no pair qualifies. The distance is the number of values
    that changed, at most `2 num_steps`: the paper's bound is that part of all values.

    A row without a target leaves its label: `a` and `b` are then those of the label with the other sign, as in the non-targeted
    form of Wiyatno and Xu. With `direction="both"` each step takes the better of the best pair to increase and the best to
    decrease.

    A step is one evaluation of the network, two pullbacks, and another evaluation. The best pair is among the values that at
    most one other beats in both derivatives, which a sort finds: nothing of the size of all pairs is held. Only where there are
    more than `num_candidates` of these, the pair is the best of those with the largest `a`.

    Args:
        step_size: theta, in (0, 1].
        num_steps: at most so many changes.
        direction: "increase", "decrease" or "both".
        pairs: two values at once; False changes one by the same rule.
        outputs: whose derivatives, "logits" or "probabilities"; of probabilities, `b` is `-a`.
        num_candidates: of which pairs are made.

    Returns:
        An attack of kind "minimum_norm" on one model; its state is a `JsmaState`.

    Raises:
        ValueError: a step_size outside (0, 1], another direction or output, num_steps below 1, num_candidates below 2.

    References:
        N. Papernot, P. McDaniel, S. Jha, M. Fredrikson, Z. B. Celik, A. Swami, "The Limitations of Deep Learning in Adversarial
        Settings", IEEE European Symposium on Security and Privacy 2016, algorithms 2 and 3.
        R. Wiyatno, A. Xu, "Maximal Jacobian-based Saliency Map Attack", arXiv 1808.07945, 2018, for rows without a target.
    """
    check_radius(step_size, name="step_size")
    check_num_steps(num_steps)
    for name, value, choices in (("direction", direction, DIRECTIONS), ("outputs", outputs, OUTPUTS)):
        if value not in choices:
            raise ValueError(f"expected {name} in {', '.join(choices)}, got {value!r}; write {name}={next(iter(choices))!r}.")
    if num_candidates < 2:
        raise ValueError(f"expected num_candidates >= 2, got {num_candidates}; write num_candidates=128.")
    signs = DIRECTIONS[direction]

    def init(key: Array, model: Any, batch: Batch) -> JsmaState:
        return JsmaState(batch.image, batch.image, jnp.zeros(batch.id.shape, bool))

    def step(key: Array, state: JsmaState, model: Any, batch: Batch) -> tuple[JsmaState, MinimumNormInfo]:
        def evaluated(image: Array) -> tuple[Array, Array]:
            logits = model(image, key=None)[0]
            return OUTPUTS[outputs](logits), logits

        _, pullback, logits = jax.vjp(evaluated, state.iterate, has_aux=True)
        errs = reached(logits, batch) & ~state.done
        aimed, own = aim(batch)
        chosen = one_hot(own, logits) * jnp.where(aimed, 1, -1).astype(logits.dtype)[:, None]
        rise = pullback(chosen)[0]
        others = pullback(jnp.where(aimed, 1, -1).astype(logits.dtype)[:, None] - chosen)[0]

        change, helps = jax.vmap(lambda *row: _change(*row, signs=signs, pairs=pairs, num_candidates=num_candidates))(
            state.iterate, rise, others
        )
        active = ~state.done & ~errs & helps
        moved = jnp.clip(state.iterate + step_size * change, 0.0, 1.0)
        iterate = where_rows(active, moved, state.iterate)
        found = active & reached(model(iterate, key=None)[0], batch)
        adversarial = where_rows(found | errs, iterate, state.adversarial)
        info = MinimumNormInfo(length(iterate - batch.image, "l0"), found | errs)
        return JsmaState(adversarial, iterate, state.done | found | errs | ~helps), info

    return Attack(init=init, step=step, num_steps=num_steps, kind="minimum_norm")


def _change(
    image: Array, rise: Array, others: Array, *, signs: Sequence[int], pairs: bool, num_candidates: int
) -> tuple[Array, Array]:
    """The best change of an image, -1, 0 or 1 at each value; and whether there is one."""
    pixels, found = image.ravel(), []
    for sign in signs:
        free = pixels < 1 if sign > 0 else pixels > 0
        found.append((_best_pair if pairs else _best)(sign * rise.ravel(), -sign * others.ravel(), free, num_candidates))
    scores, places = jnp.stack([score for score, _ in found]), jnp.stack([place for _, place in found])
    best = jnp.argmax(scores)
    value = jnp.asarray(signs, image.dtype)[best]
    return jnp.zeros_like(pixels).at[places[best]].set(value).reshape(image.shape), scores[best] > 0


def _best(rise: Array, fall: Array, free: Array, num_candidates: int) -> tuple[Array, Array]:
    """The largest product of two positive numbers of one value, 0 where there is none; and its place `[1]`."""
    score = jnp.where(free & (rise > 0) & (fall > 0), rise * fall, 0.0)
    place = jnp.argmax(score)
    return score[place], place[None]


def _best_pair(rise: Array, fall: Array, free: Array, num_candidates: int) -> tuple[Array, Array]:
    """The largest product of two positive sums over a pair of values, 0 where there is none; and the places `[2]`."""
    order = jnp.argsort(jnp.where(free, -rise, jnp.inf))
    height = jnp.where(free, fall, -jnp.inf)[order]
    # Of those before: who has a larger rise is beaten only by them.
    _, second = jax.lax.associative_scan(_two_largest, (height, jnp.full_like(height, -jnp.inf)))
    unbeaten = (height > jnp.concatenate([jnp.full((1,), -jnp.inf, height.dtype), second[:-1]])) & free[order]
    # Moved to the front, in their order; what finds no room is dropped.
    size = min(num_candidates, len(order))
    slot = jnp.where(unbeaten, jnp.cumsum(unbeaten) - 1, size)
    places = jnp.zeros((size,), order.dtype).at[slot].set(order, mode="drop")
    counts = jnp.arange(size) < jnp.sum(unbeaten)

    up, down = rise[places], fall[places]
    up, down = up[:, None] + up[None], down[:, None] + down[None]
    allowed = counts[:, None] & counts[None] & ~jnp.eye(len(places), dtype=bool) & (up > 0) & (down > 0)
    score = jnp.where(allowed, up * down, 0.0).ravel()
    best = jnp.argmax(score)
    return score[best], places[jnp.stack([best // len(places), best % len(places)])]


def _two_largest(one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
    """Of two pairs of numbers, the larger first."""
    return jnp.maximum(one[0], other[0]), jnp.maximum(jnp.minimum(one[0], other[0]), jnp.maximum(one[1], other[1]))
