"""One number per image and unit, for data sets where that fits into memory."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float32

from jaxinterp._base import Activations, Batch, Statistic
from jaxinterp.activations._counts import WideCount, wide_add, wide_int64, wide_merge, wide_zeros
from jaxinterp.activations._maps import Reduce, broken, check_finite, check_positive, check_reduce, layer_maps, pool


class _State(NamedTuple):
    value: Array
    outside: Array
    broken: WideCount


def pooled(layer: str, *, num_units: int, num_images: int, first_id: int = 0, reduce: Reduce = "max") -> Statistic:
    """Statistic: every image's pooled activation, one row per image.

    Unlike the other statistics its memory grows with the data set, `4 * num_images * num_units` bytes on each device;
    it is for data sets where that fits. The row of an image is `id - first_id`.

    Args:
        layer: name of the layer; maps `[n h w u]`, or `[n u]`.
        num_units: units of that layer.
        num_images: rows of the result.
        first_id: id of the image in row 0.
        reduce: maximum or mean over the positions.

    Returns:
        A statistic whose `compute` gives float32 `[num_images num_units]`, NaN in the rows of images never seen. It
        raises `ValueError` when an image's id lay outside `[first_id, first_id + num_images)`, and on NaN and infinity.

    Raises:
        ValueError: a size below 1, or an unknown `reduce`.
    """
    check_positive(num_units=num_units, num_images=num_images)
    check_reduce(reduce)

    def init() -> _State:
        return _State(jnp.full((num_images, num_units), -jnp.inf, jnp.float32), jnp.int32(0), wide_zeros())

    def update(state: _State, batch: Batch, activations: Activations) -> _State:
        maps = layer_maps(activations, layer, num_units)
        value = pool(maps, reduce)
        row = batch.id.astype(jnp.int32) - first_id
        inside = (row >= 0) & (row < num_images)
        row = jnp.where(batch.mask & inside, row, num_images)
        return _State(
            state.value.at[row].set(value, mode="drop"),
            state.outside + (batch.mask & ~inside).sum(),
            wide_add(state.broken, broken(maps, batch.mask)),
        )

    def merge(left: _State, right: _State) -> _State:
        bad = wide_merge(left.broken, right.broken)
        return _State(jnp.maximum(left.value, right.value), left.outside + right.outside, bad)

    def compute(state: _State) -> Float32[np.ndarray, "n u"]:
        check_ids(int(state.outside), first_id, num_images)
        check_finite(int(wide_int64(state.broken)), layer)
        value = np.asarray(state.value)
        return np.where(value == -np.inf, np.float32(np.nan), value)

    return Statistic(init, update, merge, compute)


def mean_pooled(layer: str, *, num_units: int, num_images: int, first_id: int = 0) -> Statistic:
    """Statistic: every image's globally average-pooled features, the representation behind r1 and r2.

    Args:
        layer: name of the layer, usually the last convolutional one.
        num_units: units of that layer.
        num_images: rows of the result.
        first_id: id of the image in row 0.

    Returns:
        `pooled(..., reduce="mean")`.
    """
    return pooled(layer, num_units=num_units, num_images=num_images, first_id=first_id, reduce="mean")


def check_ids(outside: int, first_id: int, num_images: int) -> None:
    """Raises `ValueError` when `outside` images had no row."""
    if outside:
        raise ValueError(
            f"expected ids in [{first_id}, {first_id + num_images}), got {outside} image(s) outside; "
            "write first_id= the smallest id and num_images= the number of ids."
        )
