"""The masks of units and the label maps of images, kept image by image, bit-packed."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, UInt8, UInt16

from jaxinterp._base import Activations, Batch, Layer, Statistic
from jaxinterp.activations._counts import WideCount, wide_add, wide_int64, wide_merge, wide_zeros
from jaxinterp.activations._labels import label_maps
from jaxinterp.activations._maps import broken, check_finite, check_positive, layer_maps
from jaxinterp.activations._pooled import check_ids
from jaxinterp.activations._tally import check_thresholds
from jaxinterp.activations._upsample import Anchor, unit_masks


class MaskSet(NamedTuple):
    """The masks of a layer's units and the label maps of the same images.

    Attributes:
        id: the images seen, ascending.
        source_id: the clean images that they were made from; images of one source share one label map.
        mask: one bit per pixel, row-major, first pixel in the highest bit of the first byte.
        concepts: concept numbers per pixel, row-major, 0 = none.
        label_size: side of the masks and of the label maps in pixels.
    """

    id: Int[np.ndarray, "n"]
    source_id: Int[np.ndarray, "n"]
    mask: UInt8[np.ndarray, "n b u"]
    concepts: UInt16[np.ndarray, "n p l"]
    label_size: int


class _State(NamedTuple):
    thresholds: Array
    mask: Array
    concepts: Array
    source_id: Array
    seen: Array
    outside: Array
    unknown: Array
    broken: WideCount


def masks(
    layer: Layer,
    *,
    thresholds: Float[np.ndarray, "u"],
    num_images: int,
    label_layers: int,
    label_size: int,
    image_size: int,
    first_id: int = 0,
    anchor: Anchor = "receptive_field",
) -> Statistic:
    """Statistic: every unit's mask and the label maps, image by image, for what needs them again and again.

    The permuted-label null pairs the masks of one image with the label maps of another. Its memory grows with the data
    set: `num_images * label_size**2 * (num_units / 8 + 2 * label_layers)` bytes; take a sample of the images, or a
    smaller `label_size`, where that does not fit. The row of an image is `id - first_id`.

    Args:
        layer: the layer; its name, units and geometry.
        thresholds: T_k, what `quantile_fine` computes.
        num_images: number of ids, from `first_id` on.
        label_layers: concepts per pixel, the last axis of `batch.extra["concepts"]`.
        label_size: side of the masks in pixels.
        image_size: side of the network's input in pixels.
        first_id: the smallest id.
        anchor: where the positions of the map lie in the image, see `upsample`.

    Returns:
        A statistic whose `compute` gives a `MaskSet` of the images seen. It raises `ValueError` when an image's id lay
        outside `[first_id, first_id + num_images)`, on concept numbers outside [0, 65536), and on NaN and infinity.

    Raises:
        ValueError: a wrong number of thresholds, or a size below 1.
    """
    check_positive(num_images=num_images, label_layers=label_layers, label_size=label_size, image_size=image_size)
    check_thresholds(thresholds, layer)
    num_units, pixels = layer.shape[2], label_size**2

    def init() -> _State:
        return _State(
            jnp.asarray(thresholds, jnp.float32),
            jnp.zeros((num_images, -(-pixels // 8), num_units), jnp.uint8),
            jnp.zeros((num_images, pixels, label_layers), jnp.uint16),
            jnp.full(num_images, -1, jnp.int32),
            jnp.zeros(num_images, bool),
            jnp.int32(0),
            jnp.int32(0),
            wide_zeros(),
        )

    def compute(state: _State) -> MaskSet:
        check_ids(int(state.outside), first_id, num_images)
        check_finite(int(wide_int64(state.broken)), layer.name)
        if int(state.unknown):
            raise ValueError(f"expected concept numbers in [0, 65536), got {int(state.unknown)} image(s) with others.")
        row = np.flatnonzero(np.asarray(state.seen))
        source_id, mask, concepts = (np.asarray(a)[row] for a in (state.source_id, state.mask, state.concepts))
        return MaskSet(row + first_id, source_id, mask, concepts, label_size)

    update = _update(layer, num_images, label_layers, label_size, image_size, first_id, anchor)
    return Statistic(init, update, _merge, compute)


@functools.lru_cache(maxsize=64)
def _update(
    layer: Layer, num_images: int, label_layers: int, label_size: int, image_size: int, first_id: int, anchor: Anchor
) -> Callable[[_State, Batch, Activations], _State]:
    """The update of `masks`; the thresholds are in the state, so that one compilation serves all."""
    num_units, pixels = layer.shape[2], label_size**2

    def update(state: _State, batch: Batch, activations: Activations) -> _State:
        maps, concepts = layer_maps(activations, layer.name, num_units), label_maps(batch, label_size)
        if concepts.shape[2] != label_layers:
            raise ValueError(
                f"expected {label_layers} concepts a pixel, got {concepts.shape[2]}; write label_layers={concepts.shape[2]}."
            )
        answers = unit_masks(maps, state.thresholds, layer, label_size, image_size=image_size, anchor=anchor)
        packed = jnp.packbits(answers.reshape(-1, pixels, num_units), axis=1)
        row = batch.id.astype(jnp.int32) - first_id
        inside = (row >= 0) & (row < num_images)
        row = jnp.where(batch.mask & inside, row, num_images)
        return _State(
            state.thresholds,
            state.mask.at[row].set(packed, mode="drop"),
            state.concepts.at[row].set(concepts.astype(jnp.uint16), mode="drop"),
            state.source_id.at[row].set(batch.source_id.astype(jnp.int32), mode="drop"),
            state.seen.at[row].set(True, mode="drop"),
            state.outside + (batch.mask & ~inside).sum(),
            state.unknown + ((concepts < 0) | (concepts >= 2**16)).any(axis=(1, 2)).sum(),
            wide_add(state.broken, broken(maps, batch.mask)),
        )

    return update


def _merge(left: _State, right: _State) -> _State:
    return _State(
        left.thresholds,
        left.mask | right.mask,
        left.concepts | right.concepts,
        jnp.maximum(left.source_id, right.source_id),
        left.seen | right.seen,
        left.outside + right.outside,
        left.unknown + right.unknown,
        wide_merge(left.broken, right.broken),
    )
