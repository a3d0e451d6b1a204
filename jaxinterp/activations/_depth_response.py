"""How strongly every unit answers at every depth: R_kd, over a batch and over a data set."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Float64, Int64

from jaxinterp._base import Activations, Batch, Layer, Statistic
from jaxinterp.activations._counts import WideCount, wide_add, wide_int64, wide_merge, wide_zeros
from jaxinterp.activations._depth_bins import DepthBins
from jaxinterp.activations._maps import broken, check_finite, check_positive, layer_maps
from jaxinterp.activations._upsample import Anchor, interpolation


class DepthResponse(NamedTuple):
    """Sums over the pixels of every bin, of each half of the images apart.

    Attributes:
        total: sum of the upsampled map of every unit over the pixels of a bin; the first axis is the half.
        pixels: of a bin.
        num_images: images of each half.
    """

    total: Float64[np.ndarray, "2 u d"]
    pixels: Int64[np.ndarray, "2 d"]
    num_images: Int64[np.ndarray, "2"]

    @property
    def response(self) -> Float64[np.ndarray, "u d"]:
        """R_kd over all images, NaN in bins without a pixel."""
        return _mean(self.total.sum(axis=0), self.pixels.sum(axis=0))

    @property
    def halves(self) -> Float64[np.ndarray, "2 u d"]:
        """R_kd of each half, NaN in bins without a pixel."""
        return _mean(self.total, self.pixels[:, None])


class _State(NamedTuple):
    high: Array  # [2 u d], high + low is the sum
    low: Array
    pixels: WideCount  # [2 d]
    num_images: WideCount  # [2]
    broken: WideCount


def depth_response(
    layer: Layer, bins: DepthBins, *, image_size: int, anchor: Anchor = "receptive_field", name: str = "depth"
) -> Statistic:
    """Statistic: the mean response of every unit over all pixels of every depth bin, R_kd.

    The map is upsampled bilinearly to the depth map; pixels without value count nowhere. Pixel counts are exact; sums are kept
    in two float32 words, so that what a split of the images changes is far below float32. Images are told apart in halves by a
    hash of their `source_id`, so that a bin can be chosen on one half and scored on the other.

    Args:
        layer: the layer; its name, units and geometry.
        bins: of depth.
        image_size: side of the network's input in pixels.
        anchor: where the positions of the map lie in the image, see `upsample`.
        name: of the depth maps in `batch.extra`, `[n h h]` metres, 0 where there is no value.

    Returns:
        A statistic whose `compute` gives a `DepthResponse`. It raises `ValueError` on NaN and infinity in the maps.

    Raises:
        ValueError: an image size below 1.

    References:
        Zunzhi You, Yi-Hsuan Tsai, Wei-Chen Chiu, Guanbin Li, "Towards Interpretable Deep Networks for Monocular Depth
        Estimation", ICCV 2021.
    """
    check_positive(image_size=image_size)
    num_units, num_bins = layer.shape[2], bins.num_bins

    def init() -> _State:
        high, low = (jnp.zeros((2, num_units, num_bins), jnp.float32) for _ in range(2))
        return _State(high, low, wide_zeros(2, num_bins), wide_zeros(2), wide_zeros())

    def compute(state: _State) -> DepthResponse:
        check_finite(int(wide_int64(state.broken)), layer.name)
        total = np.asarray(state.high).astype(np.float64) + np.asarray(state.low)
        return DepthResponse(total, wide_int64(state.pixels), wide_int64(state.num_images))

    return Statistic(init, _update(layer, bins, image_size, anchor, name), _merge, compute)


@functools.lru_cache(maxsize=64)
def _update(
    layer: Layer, bins: DepthBins, image_size: int, anchor: Anchor, name: str
) -> Callable[[_State, Batch, Activations], _State]:
    """One object for one set of arguments, so that what was compiled for it is used again."""

    def update(state: _State, batch: Batch, activations: Activations) -> _State:
        maps = layer_maps(activations, layer.name, layer.shape[2])
        half = half_of(batch.source_id)
        for number in range(2):
            rows = batch.mask & (half == number)
            total, count = response_sums(
                maps, depth_maps(batch, name=name), rows, layer, bins, image_size=image_size, anchor=anchor
            )
            high, error = _two_sum(state.high[number], total)
            state = state._replace(
                high=state.high.at[number].set(high),
                low=state.low.at[number].add(error),
                pixels=_at(state.pixels, number, count),
            )
        images = jnp.stack([(batch.mask & (half == number)).sum() for number in range(2)])
        return state._replace(
            num_images=wide_add(state.num_images, images), broken=wide_add(state.broken, broken(maps, batch.mask))
        )

    return update


def _at(count: WideCount, half: int, more: Array) -> WideCount:
    return wide_add(count, jnp.zeros_like(count.low).at[half].set(more))


def _merge(left: _State, right: _State) -> _State:
    high, error = _two_sum(jnp.asarray(left.high), jnp.asarray(right.high))
    pixels, images = wide_merge(left.pixels, right.pixels), wide_merge(left.num_images, right.num_images)
    return _State(high, left.low + right.low + error, pixels, images, wide_merge(left.broken, right.broken))


def _two_sum(left: Array, right: Array) -> tuple[Array, Array]:
    """The sum in float32, and what it leaves out, exactly."""
    total = left + right
    part = total - left
    return total, (left - (total - part)) + (right - part)


def half_of(source_id: Array) -> Array:
    """Which half an image belongs to, 0 or 1, by a hash of its source id (Knuth's multiplicative one)."""
    return ((source_id.astype(jnp.uint32) * jnp.uint32(2654435761)) >> 31).astype(jnp.int32)


def depth_maps(batch: Batch, *, name: str = "depth") -> Float[Array, "n h h"]:
    """The depth maps of a batch.

    Args:
        batch: with depth.
        name: of the maps in `batch.extra`.

    Raises:
        ValueError: it has none, or they are not square.
    """
    depth = batch.extra.get(name)
    if depth is None or depth.ndim != 3 or depth.shape[1] != depth.shape[2]:
        got = "none" if depth is None else f"shape {depth.shape}"
        raise ValueError(f"expected batch.extra[{name!r}] [n h h], got {got}; take a source with depth.")
    return depth


def response_sums(
    maps: Float[Array, "n h w u"],
    depth: Float[Array, "n s s"],
    mask: Bool[Array, " n"],
    layer: Layer,
    bins: DepthBins,
    *,
    image_size: int,
    anchor: Anchor = "receptive_field",
) -> tuple[Float[Array, "u d"], Array]:
    """Sum of every unit's upsampled map over the pixels of every bin, and their number; differentiable in the maps.

    Upsampling is linear, so the pixels of a bin are gathered at the positions of the map, with the weights that upsampling
    gives them, and not the map at the pixels: the same sum, with the map's number of products.

    Args:
        maps: activations of the layer.
        depth: metres, 0 where there is no value.
        mask: which images count.
        layer: geometry of the layer.
        bins: of depth.
        image_size: side of the network's input in pixels.
        anchor: see `upsample`.

    Returns:
        `[u d]` in the type of the maps, and int32 `[d]`.
    """
    size = depth.shape[1]
    down, right = (
        jnp.asarray(interpolation(length, layer, size, image_size=image_size, anchor=anchor), maps.dtype)
        for length in maps.shape[1:3]
    )
    place = jnp.where(mask[:, None, None], bins.bin_of(depth), -1)
    inside = place[..., None] == jnp.arange(bins.num_bins)[None, None, None]
    gathered = jnp.einsum("qj,npqd->npjd", right, inside.astype(maps.dtype), precision=jax.lax.Precision.HIGHEST)
    weight = jnp.einsum("pi,npjd->nijd", down, gathered, precision=jax.lax.Precision.HIGHEST)
    maps = jnp.where(mask[:, None, None, None], maps, 0)
    total = jnp.einsum("niju,nijd->ud", maps, weight, precision=jax.lax.Precision.HIGHEST)
    return total, inside.sum(axis=(0, 1, 2), dtype=jnp.int32)


def _mean(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
