"""The attack of Carlini and Wagner in L0."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._ball import check_num_steps
from jaxinterp.attacks._gradient import where_rows
from jaxinterp.attacks._nearest import (
    INSIDE,
    MinimumNormInfo,
    check_at_least_zero,
    check_positive,
    gap,
    keep_nearest,
    length,
    none_yet,
    reached,
)


class CarliniWagnerL0State(NamedTuple):
    """State of the attack; every leaf has the leading axis `n`.

    Attributes:
        adversarial: `[n h w c]`, the adversarial image of fewest changed pixels so far; the clean one where there is none.
        distance: `[n]`, the number of these pixels; infinite where there is none.
        offset: `[n h w c]`, of the variable whose hyperbolic tangent is the image, from its value at the clean image.
        rule: states of Adam, one per example.
        free: `[n h w]` bool, the pixels that may still change.
        weight: `[n]`, c.
        moves: `[n]` int32, steps made with this weight since the last success.
        done: `[n]` bool, no further step changes the row.
    """

    adversarial: Array
    distance: Array
    offset: Array
    rule: Any
    free: Array
    weight: Array
    moves: Array
    done: Array


def carlini_wagner_l0(
    *,
    confidence: float = 0.0,
    step_size: float = 0.01,
    num_steps: int = 1000,
    num_rounds: int = 20,
    initial_weight: float = 1e-3,
    largest_weight: float = 2e6,
    shrink: float = 0.3,
) -> Attack:
    """The attack of Carlini and Wagner in L0: the L2 attack, again and again, on ever fewer pixels.

    Minimises over the free pixels, by Adam on `w` with `x* = (tanh(w) + 1) / 2`,

        |x* - x|_2^2 + c max(margin(x*) + confidence, 0).

    At its first adversarial iterate the free pixels that helped least are set back to the clean image for good:
    `shrink sqrt(p)` of them, rounded up, where `p` pixels are changed. With `g` the gradient of the margin and `d` the change,
    a pixel helped by `-g . d`, summed over its channels. Adam starts anew, from where it was. Where `num_steps` steps find
    nothing the weight c is doubled; the row is done once c exceeds `largest_weight`, or no pixel is free. The distance counts
    pixels, whatever number of their channels changed.

    One step of the attack is one step of Adam; it has `num_steps * num_rounds` at most, which a row uses as it needs them.
    Pixels go one after the other, so `p` pixels take `2 sqrt(p) / shrink` successes: 213 at 32 x 32. An iterate is scored
    before it moves, by the evaluation that gives its gradient.

    Unlike the paper, which takes g from the objective, it is that of the margin without the maximum with zero, since that is
    flat where the attack succeeded. Several pixels at once, the doubled weight and its bound are those of the authors' code,
    which has `|sum d| sum |g|` in the place of `-g . d`.

    Args:
        confidence: kappa, by how much the logits have to differ, not negative.
        step_size: of Adam.
        num_steps: with one weight, until it is doubled.
        num_rounds: how many times `num_steps` the whole attack may take; a bound of ours.
        initial_weight: c at first.
        largest_weight: of c.
        shrink: how many pixels are given up after a success, as a part of the root of the number that changed.

    Returns:
        An attack of kind "minimum_norm" on one model; its state is a `CarliniWagnerL0State`.

    Raises:
        ValueError: num_steps or num_rounds below 1, or a number outside the range stated.

    References:
        N. Carlini, D. Wagner, "Towards Evaluating the Robustness of Neural Networks", IEEE Symposium on Security and Privacy
        2017, section VI.B.
    """
    check_num_steps(num_steps)
    if num_rounds < 1:
        raise ValueError(f"expected num_rounds >= 1, got {num_rounds}; write num_rounds=20.")
    check_at_least_zero(confidence, name="confidence")
    check_positive(step_size, name="step_size", instead=0.01)
    check_positive(initial_weight, name="initial_weight", instead=1e-3)
    check_positive(shrink, name="shrink", instead=0.3)
    if not initial_weight <= largest_weight < float("inf"):
        raise ValueError(f"expected largest_weight >= {initial_weight}, got {largest_weight}; write largest_weight=2e6.")
    rule = optax.adam(step_size)

    def init(key: Array, model: Any, batch: Batch) -> CarliniWagnerL0State:
        offset, count = jnp.zeros_like(batch.image), jnp.zeros(batch.id.shape, jnp.int32)
        free = jnp.ones(batch.image.shape[:3], bool)
        weight = jnp.full(batch.id.shape, initial_weight, batch.image.dtype)
        return CarliniWagnerL0State(*none_yet(batch), offset, jax.vmap(rule.init)(offset), free, weight, count, count > 0)

    def step(key: Array, state: CarliniWagnerL0State, model: Any, batch: Batch) -> tuple[CarliniWagnerL0State, MinimumNormInfo]:
        clean, free = batch.image, state.free[..., None]
        centre = jnp.arctanh((2 * clean - 1) * INSIDE)
        turned = jnp.tanh(centre + state.offset)
        image = jnp.clip(clean + jnp.where(free, turned - jnp.tanh(centre), 0.0) / 2, 0.0, 1.0)

        def margins(image: Array) -> tuple[Array, tuple[Array, Array]]:
            logits = model(image, key=None)[0]
            missing = gap(logits, batch)
            return jnp.sum(missing), (missing, logits)

        slope, (missing, logits) = jax.grad(margins, has_aux=True)(image)
        found, change = reached(logits, batch, confidence=confidence), image - clean
        distance = length(change, "pixels")
        kept = keep_nearest((state.adversarial, state.distance), image, distance, found)

        pull = jnp.where(missing + confidence > 0, state.weight, 0.0)[:, None, None, None] * slope + 2 * change
        gradient = jnp.where(free, pull * (1 - jnp.square(turned)) / 2, 0.0)
        update, moved_rule = jax.vmap(rule.update)(gradient, state.rule)
        offset = state.offset + jnp.asarray(update)

        helped = jnp.where(state.free, -jnp.sum(slope * change, axis=-1), jnp.inf)
        number = jnp.ceil(shrink * jnp.sqrt(distance))
        remaining = state.free & ~jax.vmap(_least)(helped, number)
        largest = min(largest_weight, float(jnp.finfo(clean.dtype).max))
        failed = ~found & (state.moves + 1 >= num_steps)
        weight = jnp.where(failed, 2 * state.weight, state.weight)
        new = CarliniWagnerL0State(
            *kept,
            offset=where_rows(found, state.offset, offset),
            rule=jax.tree.map(lambda a, b: where_rows(found, a, b), jax.vmap(rule.init)(offset), moved_rule),
            free=where_rows(found, remaining, state.free),
            weight=weight,
            moves=jnp.where(found | failed, 0, state.moves + 1),
            # Without a changed pixel the image is the clean one.
            done=(found & ((distance == 0) | ~jnp.any(remaining, axis=(1, 2)))) | (weight > largest),
        )
        new = jax.tree.map(lambda before, after: where_rows(state.done, before, after), state, new)
        return new, MinimumNormInfo(distance, found)

    return Attack(init=init, step=step, num_steps=num_steps * num_rounds, kind="minimum_norm")


def _least(values: Array, number: Array) -> Array:
    """True at the `number` smallest values; of equal ones, at the first."""
    order = jnp.argsort(values.ravel())
    rank = jnp.zeros_like(order).at[order].set(jnp.arange(len(order)))
    return (rank < number).reshape(values.shape)
