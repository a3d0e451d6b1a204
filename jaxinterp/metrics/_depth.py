"""Errors of predicted depth, by image and by bin of depth."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Float64

from jaxinterp._base import Activations, Batch, Statistic
from jaxinterp.activations import DepthBins, depth_maps

DEPTH_METRICS = ("abs_rel", "rmse", "rmse_log", "within_1", "within_2", "within_3")
"""Mean |d - d*| / d*; root of the mean of (d - d*)^2; the same of log d; share of pixels with max(d/d*, d*/d) < 1.25^i."""

_ROOTS = ("rmse", "rmse_log")


class _State(NamedTuple):
    sums: Array  # [n d m]
    outside: Array


class DepthErrors(NamedTuple):
    """Sums over the pixels that have a value within the bins.

    Attributes:
        total: of every image, bin and metric, in the order of `DEPTH_METRICS`; of squares where the metric is a root.
        pixels: of every image and bin.
    """

    total: Float64[np.ndarray, "n d m"]
    pixels: Float64[np.ndarray, "n d"]

    @property
    def overall(self) -> dict[str, float]:
        """Every metric over all pixels of all images."""
        return {
            name: float(value) for name, value in _finished(self.total.sum(axis=(0, 1)), np.asarray(self.pixels.sum())).items()
        }

    @property
    def per_bin(self) -> dict[str, Float64[np.ndarray, " d"]]:
        """Every metric over all pixels of each bin, NaN where there is none."""
        return _finished(self.total.sum(axis=0), self.pixels.sum(axis=0))

    @property
    def per_image(self) -> dict[str, Float64[np.ndarray, " n"]]:
        """Every metric over all pixels of each image, NaN where there is none; the mean over images is what papers print."""
        return _finished(self.total.sum(axis=1), self.pixels.sum(axis=1))


def depth_errors(bins: DepthBins, *, num_images: int, first_id: int = 0, name: str = "depth") -> Statistic:
    """Statistic: the errors of predicted depth, of every image and bin apart.

    The prediction is `activations[name]` `[n h h 1]` in metres, as `models.depth_network` has it, cut off at the edges of the
    bins; the truth `batch.extra[name]`. Pixels without value, or with one outside of the bins, are left out.

    Args:
        bins: of depth.
        num_images: rows of the result; the row of an image is `id - first_id`.
        first_id: id of the image in row 0.
        name: of the depth, predicted and true.

    Returns:
        A statistic whose `compute` gives `DepthErrors`; rows of images never seen count nothing. It raises `ValueError` when an
        id lay outside the rows.

    Raises:
        ValueError: no images.

    References:
        David Eigen, Christian Puhrsch, Rob Fergus, "Depth Map Prediction from a Single Image using a Multi-Scale Deep Network",
        NIPS 2014, section 4.
    """
    if num_images < 1:
        raise ValueError(f"expected num_images >= 1, got {num_images}.")

    def init() -> _State:
        return _State(jnp.zeros((num_images, bins.num_bins, len(DEPTH_METRICS) + 1), jnp.float32), jnp.int32(0))

    def compute(state: _State) -> DepthErrors:
        if int(state.outside):
            raise ValueError(
                f"expected ids in [{first_id}, {first_id + num_images}), got {int(state.outside)} image(s) outside; "
                "write first_id= the smallest id and num_images= the number of ids."
            )
        sums = np.asarray(state.sums).astype(np.float64)
        return DepthErrors(sums[..., :-1], sums[..., -1])

    return Statistic(init, _update(bins, num_images, first_id, name), _merge, compute)


@functools.lru_cache(maxsize=64)
def _update(bins: DepthBins, num_images: int, first_id: int, name: str) -> Callable[[_State, Batch, Activations], _State]:
    def update(state: _State, batch: Batch, activations: Activations) -> _State:
        sums = depth_error_sums(activations[name][..., 0], depth_maps(batch, name=name), bins)
        row = batch.id.astype(jnp.int32) - first_id
        known = (row >= 0) & (row < num_images)
        row = jnp.where(batch.mask & known, row, num_images)
        outside = state.outside + (batch.mask & ~known).sum(dtype=jnp.int32)
        return _State(state.sums.at[row].set(sums, mode="drop"), outside)

    return update


def _merge(left: _State, right: _State) -> _State:
    return _State(left.sums + right.sums, left.outside + right.outside)


def depth_error_sums(predicted: Float[Array, "n s s"], truth: Float[Array, "n s s"], bins: DepthBins) -> Float[Array, "n d m"]:
    """Sums over the pixels of every image and bin: those of `DEPTH_METRICS`, and last the number of pixels.

    Args:
        predicted: metres, cut off at the edges of the bins.
        truth: metres, 0 where there is no value.
        bins: of depth.
    """
    place = bins.bin_of(truth)
    valid = place >= 0
    truth = jnp.where(valid, truth, 1)
    predicted = jnp.where(valid, jnp.clip(predicted, bins.smallest, bins.largest), 1)
    ratio = jnp.log(predicted) - jnp.log(truth)
    factor = jnp.maximum(predicted / truth, truth / predicted)
    values = [jnp.abs(predicted - truth) / truth, (predicted - truth) ** 2, ratio**2]
    values += [(factor < 1.25**power).astype(ratio.dtype) for power in (1, 2, 3)]
    stacked = jnp.stack([*values, jnp.ones_like(ratio)], axis=-1)
    inside = (place[..., None] == jnp.arange(bins.num_bins)[None, None, None]).astype(ratio.dtype)
    return jnp.einsum("npqd,npqm->ndm", inside, stacked, precision="highest")


def _finished(total: np.ndarray, count: np.ndarray) -> dict[str, np.ndarray]:
    mean = np.where(count[..., None] > 0, total / np.maximum(count, 1)[..., None], np.nan)
    return {name: np.sqrt(mean[..., place]) if name in _ROOTS else mean[..., place] for place, name in enumerate(DEPTH_METRICS)}
