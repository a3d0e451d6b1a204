"""Rows that are done leave the batch of a long run, so that the network is not asked about them again."""

import functools
import math
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec

from jaxinterp._base import Attack

COMPILING = 3e6
"""What a step for a smaller batch has to save before it is compiled, in pixels that are not shown to the network.

On CPU a step of ResNet-18 compiles in the time of 75 images of 224 px, and one of ResNet-20 in that of 1 900 of 32 px.
"""

GRID = 16
"""Sizes of smaller batches are multiples of this part of the whole, so that batches to come find their programs compiled."""


@functools.lru_cache(maxsize=256)
def costs_so_far(attack: Attack, structure: Any, shape: tuple[int, ...], sharding: NamedSharding | None) -> dict[int, float]:
    """What has been lost by not compiling a size, for each size; infinite for those that are compiled.

    One dictionary for each kind of program, which `rows_to_keep` brings up to date. It decides how fast an answer is had, and
    not which.
    """
    del attack, structure, shape, sharding
    return {}


def rows_to_keep(
    done: np.ndarray,
    mask: np.ndarray,
    sharding: NamedSharding | None,
    *,
    whole: int,
    pixels: int,
    steps_left: int,
    costs: dict[int, float],
) -> np.ndarray | None:
    """The rows of a smaller batch that has room for all that are not done; None where it would not be worth while.

    A size is compiled once what it saves in this run and what it would have saved before come to the price of a program; a size
    that is compiled is taken at once. Rows that do not count (`mask` False) need no room. On several devices sizes stay
    multiples of their number.

    Args:
        done: `[n]` bool.
        mask: `[n]` bool.
        sharding: of the rows.
        whole: rows of the whole batch.
        pixels: of an image.
        steps_left: of the attack, each one query for a row or more.
        costs: see `costs_so_far`.
    """
    going = ~done & mask
    parts = 1 if sharding is None else sharding.mesh.size
    grain = parts * -(-whole // (GRID * parts))
    size = grain * max(-(-int(going.sum()) // grain), 1)
    # The last rows take most steps: below one part of the grid sizes are halved.
    while size % (2 * parts) == 0 and 2 * int(going.sum()) <= size:
        size //= 2
    saved = (len(done) - size) * pixels
    if saved > 0 and costs.get(size, 0.0) + saved * steps_left < COMPILING:
        costs[size] = costs.get(size, 0.0) + saved
        size = min((known for known, lost in costs.items() if math.isinf(lost) and known > size), default=len(done))
    # To move the rows costs a part of a step.
    if 4 * (len(done) - size) * steps_left <= len(done):
        return None
    costs[size] = math.inf
    # Behind the rows that go on stand those that are done, which no step changes.
    order = np.lexsort((~done, ~going))
    return np.sort(order[:size])


def take(tree: Any, rows: np.ndarray, *, count: int, sharding: NamedSharding | None) -> Any:
    """Those of `count` rows, of every leaf that has them."""
    return _take(tree, rows, count=count, sharding=sharding)


def put_back(whole: Any, part: Any, rows: np.ndarray, *, count: int, sharding: NamedSharding | None) -> Any:
    """The whole state with the newest of those rows; what has no rows is of the part."""
    return _put_back(whole, part, rows, count=count, sharding=sharding)


@functools.partial(jax.jit, static_argnames=("count", "sharding"))
def _take(tree: Any, rows: Array, *, count: int, sharding: NamedSharding | None) -> Any:
    return jax.tree.map(lambda leaf: _split(leaf[rows], sharding) if _has_rows(leaf, count) else leaf, tree)


@functools.partial(jax.jit, static_argnames=("count", "sharding"))
def _put_back(whole: Any, part: Any, rows: Array, *, count: int, sharding: NamedSharding | None) -> Any:
    def put(old: Array, new: Array) -> Array:
        return _split(old.at[rows].set(new), sharding) if _has_rows(old, count) else new

    return jax.tree.map(put, whole, part)


def _has_rows(leaf: Array, count: int) -> bool:
    return leaf.ndim > 0 and leaf.shape[0] == count


def _split(leaf: Array, sharding: NamedSharding | None) -> Array:
    if sharding is None:
        return leaf
    return jax.lax.with_sharding_constraint(leaf, NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[:1])))
