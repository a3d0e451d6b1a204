"""Histograms of a unit's activation over the images that carry each concept."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float32, Int64, Num

from jaxinterp._base import Activations, Batch, Statistic
from jaxinterp.activations._labels import label_maps
from jaxinterp.activations._maps import Reduce, check_positive, check_reduce, layer_maps, pool


class ConceptHistogram(NamedTuple):
    """How many images have which activation, over all images and over those that carry each concept.

    Attributes:
        counts: images by concept, unit and bin of activation, bins ascending; concept 0 stands for all images.
        edges: what separates the bins of each unit: a value lies above the edges that are less than it.
    """

    counts: Int64[np.ndarray, "q u b"]
    edges: Float32[np.ndarray, "u e"]


class _State(NamedTuple):
    edges: Array
    counts: Array
    unknown: Array


def histogram_edges(values: Num[np.ndarray, "m u"], *, num_bins: int = 64) -> Float32[np.ndarray, "u e"]:
    """Edges between bins of a unit's activation, from a sample of images; the closer to the top, the finer.

    The number of sample images above an edge grows geometrically from one edge to the next, since average precision hangs
    most on the highest activations. With at least as many bins as images every distinct value has its own bin.

    Args:
        values: a sample of pooled activations, of `pooled`.
        num_bins: bins.

    Returns:
        `num_bins - 1` edges, ascending; fewer where there are fewer images.

    Raises:
        ValueError: fewer than 2 images or 2 bins, or values that are not finite.
    """
    rows = len(values)
    if rows < 2 or num_bins < 2 or not np.isfinite(values).all():
        raise ValueError(f"expected at least 2 bins and 2 rows of finite values, got {num_bins} bins and {rows} rows.")
    rank = np.arange(1, rows)
    if num_bins < rows:
        rank = np.geomspace(1, rows - 1, num_bins - 1).round().astype(int)
        for i in range(1, len(rank)):  # where rounding makes ranks equal, the next ones move on
            rank[i] = max(rank[i], rank[i - 1] + 1)
    return np.sort(-np.sort(-values, axis=0)[rank], axis=0).T.astype(np.float32)


def concept_histogram(layer: str, *, edges: Float32[np.ndarray, "u e"], num_concepts: int, reduce: Reduce = "max") -> Statistic:
    """Statistic: histograms of every unit's pooled activation over the images that carry each concept.

    An image carries a concept when a pixel of `batch.extra["concepts"]` does. The state holds
    `4 * num_concepts * num_units * num_bins` bytes, whatever the number of images.

    Args:
        layer: name of the layer; maps `[n h w u]`, or `[n u]`.
        edges: of each unit's bins, of `histogram_edges`.
        num_concepts: length of the concept table, the number 0 included.
        reduce: maximum or mean over the positions.

    Returns:
        A statistic whose `compute` gives a `ConceptHistogram`; it raises `ValueError` for a concept outside the table.

    Raises:
        ValueError: edges that are not ascending, fewer than one concept, or an unknown `reduce`.
    """
    check_positive(num_concepts=num_concepts)
    check_reduce(reduce)
    if (np.diff(edges, axis=1) < 0).any():
        raise ValueError("expected ascending edges for every unit; write what histogram_edges gives.")
    num_units, num_bins = len(edges), edges.shape[1] + 1

    def init() -> _State:
        counts = jnp.zeros((num_concepts, num_units * num_bins), jnp.int32)
        return _State(jnp.asarray(edges, jnp.float32), counts, jnp.int32(0))

    def compute(state: _State) -> ConceptHistogram:
        if int(state.unknown):
            raise ValueError(
                f"expected concept numbers in [0, {num_concepts}), got {int(state.unknown)} pixel(s) outside; "
                "write num_concepts=len(source.concepts.names)."
            )
        counts = np.asarray(state.counts).astype(np.int64).reshape(num_concepts, num_units, num_bins)
        return ConceptHistogram(counts, np.asarray(state.edges))

    return Statistic(init, _update(layer, num_units, num_concepts, reduce), _merge, compute)


@functools.lru_cache(maxsize=64)
def _update(layer: str, num_units: int, num_concepts: int, reduce: Reduce) -> Callable[[_State, Batch, Activations], _State]:
    """The update of `concept_histogram`; the edges are in the state, so that one compilation serves all."""

    def carried(concepts: Array) -> Array:
        known = jnp.where((concepts >= 0) & (concepts < num_concepts), concepts, num_concepts)
        return jnp.zeros(num_concepts, bool).at[known.reshape(-1)].set(True, mode="drop")

    def update(state: _State, batch: Batch, activations: Activations) -> _State:
        value = pool(layer_maps(activations, layer, num_units), reduce)
        side = batch.extra["concepts"].shape[1] if "concepts" in batch.extra else 1
        concepts = label_maps(batch, side)
        present = jax.vmap(carried)(concepts).at[:, 0].set(True) & batch.mask[:, None]
        above = jax.vmap(lambda edges, column: jnp.searchsorted(edges, column, side="left"), in_axes=(0, 1), out_axes=1)
        bins = jnp.arange(state.edges.shape[1] + 1, dtype=jnp.int32)
        one_hot = above(state.edges, value).astype(jnp.int32)[:, :, None] == bins[None, None, :]
        # Zeros and ones are exact in every matrix unit's precision, and so are sums below 2**24.
        new = present.T.astype(jnp.float32) @ one_hot.reshape(len(value), -1).astype(jnp.float32)
        unknown = ((concepts < 0) | (concepts >= num_concepts)).sum()
        return _State(state.edges, state.counts + new.astype(jnp.int32), state.unknown + unknown.astype(jnp.int32))

    return update


def _merge(left: _State, right: _State) -> _State:
    return _State(left.edges, left.counts + right.counts, left.unknown + right.unknown)
