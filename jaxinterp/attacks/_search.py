"""The search for the weight of the loss, one for each example, within one attack."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Batch
from jaxinterp.attacks._ball import check_num_steps
from jaxinterp.attacks._nearest import check_positive


class Search(NamedTuple):
    """A search for the least weight that succeeds; every leaf is `[n]`.

    Attributes:
        weight: of the loss in this round.
        lower: the largest weight that failed, 0 at first.
        upper: the least weight that succeeded, infinite at first.
        found: bool, whether some iterate of this round succeeded.
        moves: int32, steps made in all rounds.
    """

    weight: Array
    lower: Array
    upper: Array
    found: Array
    moves: Array


def check_search(num_steps: int, num_search_steps: int, initial_weight: float) -> None:
    """Raises `ValueError` for fewer than one step or round, and for a weight that is not positive."""
    check_num_steps(num_steps)
    if num_search_steps < 1:
        raise ValueError(f"expected num_search_steps >= 1, got {num_search_steps}; write num_search_steps=9.")
    check_positive(initial_weight, name="initial_weight", instead=1e-3)


def start_search(initial_weight: float, batch: Batch) -> Search:
    """The first round."""
    zeros = jnp.zeros(batch.id.shape, batch.image.dtype)
    return Search(zeros + initial_weight, zeros, zeros + jnp.inf, zeros > 0, jnp.zeros(batch.id.shape, jnp.int32))


def advance(search: Search, found: Array, *, num_steps: int, num_search_steps: int) -> tuple[Search, Array]:
    """One step of a round of `num_steps`; at its end the next weight, and True where the iterate has to start anew.

    The weight is multiplied by ten until it succeeds, then halves the interval between the bounds. The last of ten or more
    rounds repeats the least weight that succeeded.
    """
    found, count = search.found | found, search.moves + 1
    ends = count % num_steps == 0
    upper, lower = jnp.where(found, search.weight, search.upper), jnp.where(found, search.lower, search.weight)
    weight = jnp.where(jnp.isinf(upper), 10 * search.weight, (lower + upper) / 2)
    if num_search_steps >= 10:
        last = count // num_steps == num_search_steps - 1
        weight = jnp.where(last, jnp.minimum(upper, 1e10), weight)
    following = Search(weight, lower, upper, jnp.zeros_like(found), count)
    same = Search(search.weight, search.lower, search.upper, found, count)
    return Search(*(jnp.where(ends, new, old) for new, old in zip(following, same, strict=True))), ends
