"""Square attack: random search over the colours of square windows."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._ball import Scalar, check_radius
from jaxinterp.attacks._criterion import joint_success
from jaxinterp.attacks._gradient import example_keys, where_rows
from jaxinterp.attacks._loss import cross_entropy, margin
from jaxinterp.attacks._query import _windows
from jaxinterp.attacks._query._budget import answered, check_budget, choose
from jaxinterp.attacks._transform import targeted

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""The last of 10 000 squares before the share of the pixels that a square covers is halved."""


class SquareState(NamedTuple):
    """State of the Square attack.

    Attributes:
        adversarial: `[n h w c]`, the clean image until the start was asked for, then `iterate`.
        iterate: `[n h w c]`, the start, then the best image so far.
        loss: `[n]`, of `iterate`.
        queries: `[n]` int32.
        done: `[n]` bool, adversarial or out of queries.
    """

    adversarial: Array
    iterate: Array
    loss: Array
    queries: Array
    done: Array


class SquareInfo(NamedTuple):
    """What one step saw.

    Attributes:
        loss: `[n]`, of the image that was asked for.
        reached: `[n]` bool, whether that image is adversarial.
    """

    loss: Array
    reached: Array


def square(epsilon: Scalar, *, norm: str = "linf", max_queries: int = 5000, initial_size: float | int = 0.8) -> Attack:
    """Square attack: a window of random size and place is painted anew, and stays so where that lowers the loss.

    One query a step: first the clean image, then the start (vertical stripes, or a grid of peaks for "l2"), then windows. The
    loss is the margin, `z_label - max z_other`, and the cross-entropy of the target in rows that have one. The side of a window
    is the integer nearest to `sqrt(p h w)`; `p` is halved after 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 windows of
    10 000, and proportionally for other budgets. An image is done once it is adversarial.

    Unlike the authors' code, which never reaches the last row and column and paints one window for all images of a batch, a
    window may lie anywhere, as in the paper, and every image draws its own.

    Args:
        epsilon: radius in [0, 1] units, such as `8 / 255`; with "l2" the Euclidean norm over the image, such as 0.5.
        norm: "linf" or "l2".
        max_queries: per image, the clean image and the start included.
        initial_size: `p` of the first windows, the share of the pixels that they cover; by default that of AutoAttack, while
            the paper has .05 (Linf) and .1 (L2).

    Returns:
        An attack of kind "query".

    Raises:
        ValueError: an epsilon that is no radius, another norm, `max_queries` below 1, `initial_size` outside (0, 1].

    References:
        M. Andriushchenko, F. Croce, N. Flammarion, M. Hein, "Square Attack: a query-efficient black-box adversarial attack via
        random search", ECCV 2020, algorithms 1 to 3 and equation 2.
        F. Croce, M. Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks",
        ICML 2020, for the schedule in proportion to the budget.
    """
    painter = choose("norm", norm, {"linf": _windows.linf, "l2": _windows.l2})
    check_radius(epsilon, name="epsilon", largest=1.0 if norm == "linf" else float("inf"))
    check_budget(max_queries, least=1)
    if not 0 < initial_size <= 1:
        raise ValueError(f"expected initial_size in (0, 1], got {initial_size}; write initial_size=0.8.")
    start, paint, least_side = painter(epsilon)

    def init(key: Array, model: Any, batch: Batch) -> SquareState:
        nothing = jnp.zeros(batch.id.shape, jnp.int32)
        return SquareState(
            adversarial=batch.image,
            iterate=jax.vmap(start)(example_keys(key, batch), batch.image),
            loss=jnp.full(batch.id.shape, jnp.inf, batch.image.dtype),
            queries=nothing,
            done=nothing > 0,
        )

    def step(key: Array, state: SquareState, model: Any, batch: Batch) -> tuple[SquareState, SquareInfo]:
        sides = side_of_window(state.queries - 2, batch.image.shape[1:3], max_queries, initial_size, least_side)
        painted = jax.vmap(paint)(example_keys(key, batch), state.iterate, batch.image, sides)
        at_clean, at_start = state.queries == 0, state.queries == 1
        asked = where_rows(at_clean, batch.image, where_rows(at_start, state.iterate, painted))

        answer = answered(model(asked)[0])
        loss = _loss(None, answer, asked, batch).astype(state.loss.dtype)
        reached = joint_success(None, answer, asked, batch)

        active = ~state.done
        kept = active & ~at_clean & (at_start | reached | (loss < state.loss))
        queries = state.queries + active
        new = SquareState(
            adversarial=where_rows(kept, asked, state.adversarial),
            iterate=where_rows(kept, asked, state.iterate),
            loss=jnp.where(kept, loss, state.loss),
            queries=queries,
            done=state.done | reached | (queries >= max_queries),
        )
        return new, SquareInfo(loss, reached)

    return Attack(init=init, step=step, num_steps=max_queries, kind="query")


def side_of_window(index: Array, size: tuple[int, ...], max_queries: int, initial_size: float | int, least: int) -> Array:
    """The side of the window `index` (0, 1, ...) in pixels: of so many static values that a step compares with them all."""
    height, width = size

    def side(halvings: int) -> int:
        wanted = max(round((initial_size / 2**halvings * height * width) ** 0.5), least)
        # An odd window has a centre, which the peaks of the L2 attack need.
        wanted += least > 1 and wanted % 2 == 0
        return min(wanted, height, width)

    result = jnp.full(index.shape, side(0), jnp.int32)
    for halvings, last in enumerate(HALVINGS, start=1):
        first = -(-(last + 1) * max_queries // 10_000)
        result = jnp.where(index >= first, side(halvings), result)
    return result


def _loss(key: Array | None, model: Any, adversarial: Array, batch: Batch) -> Array:
    towards = targeted(cross_entropy)(key, model, adversarial, batch)
    return jnp.where(batch.target >= 0, towards, margin(key, model, adversarial, batch))
