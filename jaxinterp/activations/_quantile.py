"""The exact top quantile of every unit's activations, in two counting passes and fixed memory.

A float32 maps to an integer in the same order (the sign bit flipped, all bits of negative numbers flipped). The first
pass counts the high 16 bits of that integer, which names the bin that holds the order statistic; the second pass counts
the low 16 bits of the values inside that bin. Counts add across shards, so the threshold does not depend on how the
images were split.
"""

import functools
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float32, Int64

from jaxinterp._base import Activations, Batch, Statistic
from jaxinterp.activations._counts import WideCount, wide_add, wide_int64, wide_merge, wide_zeros
from jaxinterp.activations._maps import check_finite, check_positive, layer_maps

_BINS, _BLOCK = 65536, 256
_FINITE, _ZERO, _INFINITE = 0x0080, 0x8000, 0xFF80  # high halves of the lowest finite number, of zero, and of infinity


class CoarseQuantile(NamedTuple):
    """What the first pass knows about each unit's threshold.

    Attributes:
        high: high 16 bits of the threshold's integer.
        above: number of activations with larger high bits.
        inside: number of activations with these high bits.
        total: activations per unit, all positions of all images.
        quantile: the share of activations above the threshold.
    """

    high: Int64[np.ndarray, "u"]
    above: Int64[np.ndarray, "u"]
    inside: Int64[np.ndarray, "u"]
    total: int
    quantile: float


class _State(NamedTuple):
    """Counts by unit and bin, without zeros, which most activations are: these are counted apart."""

    counts: Array
    zeros: Array
    positions: WideCount


class _FineState(NamedTuple):
    """The bin of the first pass that each unit's threshold lies in, and counts within it."""

    high: Array
    low: _State


def quantile_coarse(layer: str, *, num_units: int, quantile: float = 0.005) -> Statistic:
    """Statistic: first pass of the exact top quantile of a layer's activations, over all positions of all images.

    Args:
        layer: name of the layer; maps `[n h w u]`, or `[n u]`.
        num_units: units of that layer.
        quantile: share of the activations that shall lie above the threshold; 0.005 is the paper's.

    Returns:
        A statistic whose `compute` gives the `CoarseQuantile` that `quantile_fine` takes; its state is one int32 array
        of `num_units * 65536`, and no copy of it is made on the host. `compute` raises `ValueError` on NaN and infinity, on no
        image, and above 2**31 - 1 positions. A unit that is constant has its constant as threshold, and empty masks.

    Raises:
        ValueError: `quantile` outside (0, 1), or `num_units` below 1.

    References:
        David Bau, Bolei Zhou, Aditya Khosla, Aude Oliva, Antonio Torralba, "Network Dissection: Quantifying
        Interpretability of Deep Visual Representations", 2017, section 2.2, P(a_k > T_k) = 0.005.
    """
    check_positive(num_units=num_units)
    if not 0 < quantile < 1:
        raise ValueError(f"expected 0 < quantile < 1, got {quantile}; write 0.005 for the top half per cent.")
    return _coarse(layer, num_units, quantile)


@functools.lru_cache(maxsize=64)
def _coarse(layer: str, num_units: int, quantile: float) -> Statistic:
    """One object for one set of arguments, so that what was compiled for it is used again."""

    def update(state: _State, batch: Batch, activations: Activations) -> _State:
        maps = layer_maps(activations, layer, num_units)
        high = (_ordered(maps) >> 16).astype(jnp.int32)
        wanted = jnp.broadcast_to(batch.mask[:, None, None, None], high.shape)
        return _count(state, high, wanted, maps == 0, batch)

    def compute(state: _State) -> CoarseQuantile:
        counts, zeros, count = _host(state, num_units)
        check_finite(int(counts[:, :_FINITE].sum() + counts[:, _INFINITE:].sum()), layer)
        if count == 0:
            raise ValueError(f"expected at least one image, got none for the quantile of layer {layer!r}.")
        found = _descend(counts, zeros, _ZERO, np.full(num_units, _exceeding(quantile, count)))
        return CoarseQuantile(found.bin, found.above, found.inside, count, quantile)

    return Statistic(lambda: _zeros(num_units), update, _merge, compute)


def quantile_fine(layer: str, coarse: CoarseQuantile) -> Statistic:
    """Statistic: second pass of the exact top quantile, over the same images as the first.

    With N activations `a` of a unit, its threshold T is the smallest of them for which `#(a > T) <= quantile * N`: in
    descending order the one at rank `floor(quantile * N)`, counted from 0. NumPy gives the same number as
    `np.quantile(a, 1 - quantile, method="inverted_cdf")`.

    Args:
        layer: name of the layer.
        coarse: what the first pass computed.

    Returns:
        A statistic whose `compute` gives the thresholds, float32 `[u]`. It raises `ValueError` when the two passes saw
        different activations.
    """
    num_units = len(coarse.high)

    def init() -> _FineState:
        return _FineState(jnp.asarray(coarse.high, jnp.int32), _zeros(num_units))

    def compute(state: _FineState) -> Float32[np.ndarray, "u"]:
        counts, zeros, count = _host(state.low, num_units)
        found = _descend(counts, zeros, 0, _exceeding(coarse.quantile, count) - coarse.above)
        if count != coarse.total or (found.total != coarse.inside).any():
            raise ValueError(
                f"expected the activations of the first pass ({coarse.total} a unit), got others ({count} a unit) of "
                f"layer {layer!r}; run both passes over the same images with the same batch size and weights."
            )
        return _float32((coarse.high.astype(np.uint32) << 16) | found.bin.astype(np.uint32))

    return Statistic(init, _fine_update(layer, num_units), _fine_merge, compute)


@functools.lru_cache(maxsize=64)
def _fine_update(layer: str, num_units: int) -> Callable[[_FineState, Batch, Activations], _FineState]:
    """The update of `quantile_fine`; what the first pass found is in the state, so that one compilation serves all."""

    def update(state: _FineState, batch: Batch, activations: Activations) -> _FineState:
        maps = layer_maps(activations, layer, num_units)
        integer = _ordered(maps)
        inside = (integer >> 16).astype(jnp.int32) == state.high[None, None, None, :]
        low = (integer & 0xFFFF).astype(jnp.int32)
        return state._replace(low=_count(state.low, low, inside & batch.mask[:, None, None, None], maps == 0, batch))

    return update


def _fine_merge(left: _FineState, right: _FineState) -> _FineState:
    return left._replace(low=_merge(left.low, right.low))


def _zeros(num_units: int) -> _State:
    return _State(jnp.zeros((num_units * _BINS,), jnp.int32), jnp.zeros(num_units, jnp.int32), wide_zeros())


def _merge(left: _State, right: _State) -> _State:
    return _State(left.counts + right.counts, left.zeros + right.zeros, wide_merge(left.positions, right.positions))


def _ordered(values: Array) -> Array:
    """uint32 in the order of the float32 `values`: -0.0 with 0.0, NaN above everything."""
    bits = jax.lax.bitcast_convert_type(jnp.where(values == 0, 0.0, values), jnp.uint32)
    integer = jnp.where(bits >> 31 == 1, ~bits, bits | jnp.uint32(2**31))
    return jnp.where(jnp.isnan(values), jnp.uint32(2**32 - 1), integer)


def _float32(integer: np.ndarray) -> Float32[np.ndarray, "u"]:
    """The inverse of `_ordered`."""
    return np.where(integer >> 31 == 1, integer & np.uint32(2**31 - 1), ~integer).astype(np.uint32).view(np.float32)


def _count(state: _State, index: Array, wanted: Array, zero: Array, batch: Batch) -> _State:
    """Adds one to bin `index` `[n h w u]` of its unit wherever `wanted`; a `zero` is summed apart, which is far cheaper."""
    _, h, w, u = index.shape
    flat = jnp.where(wanted & ~zero, index + _BINS * jnp.arange(u, dtype=jnp.int32)[None, None, None, :], u * _BINS)
    counts = state.counts.at[flat.reshape(-1)].add(1, mode="drop")
    zeros = state.zeros + (wanted & zero).sum(axis=(0, 1, 2), dtype=jnp.int32)
    return _State(counts, zeros, wide_add(state.positions, batch.mask.sum() * (h * w)))


def _host(state: _State, num_units: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Counts `[u b]` in int32, without zeros, the zeros `[u]`, and the positions of a unit."""
    count = int(wide_int64(state.positions))
    if count >= 2**31:
        raise ValueError(f"expected fewer than 2**31 positions a unit, got {count}; take fewer images or a later layer.")
    return np.asarray(state.counts).reshape(num_units, _BINS), np.asarray(state.zeros), count


def _exceeding(quantile: float, count: int) -> int:
    """`floor(quantile * count)` for the decimal number that `quantile` is written as."""
    return int(Fraction(str(quantile)) * count)


class _Found(NamedTuple):
    """Of each unit: the bin that holds a rank, the number of values in higher bins, in that bin, and in all."""

    bin: Int64[np.ndarray, "u"]
    above: Int64[np.ndarray, "u"]
    inside: Int64[np.ndarray, "u"]
    total: Int64[np.ndarray, "u"]


def _descend(counts: np.ndarray, zeros: np.ndarray, zero_bin: int, rank: np.ndarray) -> _Found:
    """The bins that hold descending rank `rank` (from 0); a block of 256 bins first, so that only block sums are int64."""
    units = np.arange(len(counts))
    in_blocks = counts.reshape(len(counts), -1, _BLOCK)
    sums = in_blocks.sum(axis=2, dtype=np.int64)
    sums[:, zero_bin // _BLOCK] += zeros
    block, above = _last_reaching(sums, rank)
    bins = in_blocks[units, block].astype(np.int64)
    bins[:, zero_bin % _BLOCK] += np.where(block == zero_bin // _BLOCK, zeros, 0)
    place, more = _last_reaching(bins, rank - above)
    return _Found(block * _BLOCK + place, above + more, bins[units, place], sums.sum(axis=1))


def _last_reaching(counts: np.ndarray, rank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each row, the bin that holds descending rank `rank`, and the number of values in higher bins."""
    reaching = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
    index = np.maximum((reaching > rank[:, None]).sum(axis=1) - 1, 0)
    units = np.arange(len(counts))
    return index, reaching[units, index] - counts[units, index]
