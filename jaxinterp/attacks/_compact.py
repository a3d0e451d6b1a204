"""Rows that are done leave the batch of a long run, so that the network is not asked about them again."""

import functools
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec

PATIENCE = 256
"""Steps that have to be left for a smaller batch: its step is compiled anew."""


def rows_to_keep(done: np.ndarray, mask: np.ndarray, sharding: NamedSharding | None) -> np.ndarray | None:
    """The rows of a batch of a half, a quarter, ... of the size that has room for all that are not done; None at full size.

    Rows that do not count (`mask` False) need no room. On several devices sizes stay multiples of their number.
    """
    going = ~done & mask
    size, parts = len(done), 1 if sharding is None else sharding.mesh.size
    while size % (2 * parts) == 0 and 2 * int(going.sum()) <= size:
        size //= 2
    # Behind the rows that go on stand those that are done, which no step changes.
    order = np.lexsort((~done, ~going))
    return None if size == len(done) else np.sort(order[:size])


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
