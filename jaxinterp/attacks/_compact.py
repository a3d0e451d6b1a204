"""Rows that are done leave the batch of a long run, so that the network is not asked about them again."""

import functools
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec

COMPILING = 18_000
"""What a step for a smaller batch has to save before it is compiled: images not shown to the network, times their side.

On CPU a step of ResNet-18 compiles in the time of some 75 images of 224 px, and one of ResNet-20 in that of some 600 of 32 px.
"""

COARSENESS = 8
"""A batch gets smaller by at least this part of it, so that few sizes are compiled."""


def rows_to_keep(
    done: np.ndarray, mask: np.ndarray, sharding: NamedSharding | None, *, cost_per_row: float | int
) -> np.ndarray | None:
    """The rows of a smaller batch, which has just room for all that are not done; None where it would not be worth while.

    Rows that do not count (`mask` False) need no room. On several devices sizes stay multiples of their number. The choice
    depends on nothing that is measured, so that two runs make the same one.

    Args:
        done: `[n]` bool.
        mask: `[n]` bool.
        sharding: of the rows.
        cost_per_row: queries that are left for each row, times the side of an image.
    """
    going = ~done & mask
    parts = 1 if sharding is None else sharding.mesh.size
    size = parts * max(-(-int(going.sum()) // parts), 1)
    saved = len(done) - size
    if saved < max(len(done) // COARSENESS, 1) or saved * cost_per_row < COMPILING:
        return None
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
