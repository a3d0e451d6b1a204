"""How the masks of units and the pixels of concepts overlap, summed over a data set."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int64

from jaxinterp._base import Activations, Batch, Layer, Statistic
from jaxinterp.activations._counts import WideCount, wide_add, wide_int64, wide_merge, wide_zeros
from jaxinterp.activations._labels import category_table, label_maps
from jaxinterp.activations._maps import check_positive, layer_maps
from jaxinterp.activations._upsample import Anchor, unit_masks


class Tally(NamedTuple):
    """Pixel counts over a data set, from which every IoU follows.

    Attributes:
        intersection: sum of |M_k & L_c|, pixels where unit k answers and concept c lies.
        unit_area: sum of |M_k| over the images that carry some concept of a category.
        mask_area: sum of |M_k| over all images.
        label_area: sum of |L_c|.
        concept_images: number of images that carry a concept.
        num_images: number of images.
        label_size: side of the label maps in pixels.
        categories: the category of every concept; concept 0 is "none".
        category_names: the names along axis `c`.
    """

    intersection: Int64[np.ndarray, "u q"]
    unit_area: Int64[np.ndarray, "u c"]
    mask_area: Int64[np.ndarray, "u"]
    label_area: Int64[np.ndarray, "q"]
    concept_images: Int64[np.ndarray, "q"]
    num_images: int
    label_size: int
    categories: tuple[str, ...]
    category_names: tuple[str, ...]


class _Counts(NamedTuple):
    intersection: WideCount  # [q u]
    unit_area: WideCount  # [c u]
    mask_area: WideCount  # [u]
    label_area: WideCount  # [q]
    concept_images: WideCount  # [q]
    num_images: WideCount
    unknown: WideCount  # pixels whose concept number is outside the table


class _State(NamedTuple):
    thresholds: Array  # [u]
    counts: _Counts


def tally(
    layer: Layer,
    *,
    thresholds: Float[np.ndarray, "u"],
    categories: tuple[str, ...],
    label_size: int,
    image_size: int,
    anchor: Anchor = "receptive_field",
    max_present: int = 64,
) -> Statistic:
    """Statistic: the pixel counts of network dissection for every unit and concept.

    A unit's map is upsampled to the label resolution and thresholded, M_k = S_k > T_k. Concept maps come as
    `batch.extra["concepts"]` `[n h w l]`, up to `l` concept numbers per pixel, 0 = none; a concept that a pixel carries
    twice counts once. Each image costs one matrix product over the concepts that are present in it. Counts are exact
    whatever the size of the data set.

    Args:
        layer: the layer; its name, units and geometry.
        thresholds: T_k, what `quantile_fine` computes.
        categories: the category of every concept, "none" first.
        label_size: side of the label maps in pixels; concept maps of another size are sampled at the nearest pixels.
        image_size: side of the network's input in pixels.
        anchor: where the positions of the map lie in the image, see `upsample`.
        max_present: width of the matrix product; images with more concepts are counted too, only slower.

    Returns:
        A statistic whose `compute` gives a `Tally`. It raises `ValueError` when a concept number is outside the table.

    Raises:
        ValueError: a wrong number of thresholds, a wrong table, or a size below 1.

    References:
        David Bau, Bolei Zhou, Aditya Khosla, Aude Oliva, Antonio Torralba, "Network Dissection: Quantifying
        Interpretability of Deep Visual Representations", 2017, section 2.2, equation 1.
    """
    num_units, num_concepts = layer.shape[2], len(categories)
    check_positive(label_size=label_size, image_size=image_size, max_present=max_present)
    check_thresholds(thresholds, layer)
    names, _ = category_table(categories)

    def init() -> _State:
        per_concept, per_unit = (num_concepts,), (num_units,)
        counts = _Counts(
            wide_zeros(num_concepts, num_units),
            wide_zeros(len(names), num_units),
            wide_zeros(*per_unit),
            wide_zeros(*per_concept),
            wide_zeros(*per_concept),
            wide_zeros(),
            wide_zeros(),
        )
        return _State(jnp.asarray(thresholds, jnp.float32), counts)

    def compute(state: _State) -> Tally:
        intersection, unit_area, mask_area, label_area, concept_images, num_images, unknown = map(wide_int64, state.counts)
        if unknown > 0:
            raise ValueError(
                f"expected concept numbers in [0, {num_concepts}), got {int(unknown)} pixel(s) outside; "
                "write categories= the table of the source that made the concept maps."
            )
        areas = (intersection.T.copy(), unit_area.T.copy(), mask_area, label_area, concept_images)
        return Tally(*areas, int(num_images), label_size, tuple(categories), names)

    update = _update(layer, tuple(categories), label_size, image_size, anchor, min(max_present, num_concepts))
    return Statistic(init, update, _merge, compute)


@functools.lru_cache(maxsize=64)
def _update(
    layer: Layer, categories: tuple[str, ...], label_size: int, image_size: int, anchor: Anchor, width: int
) -> Callable[[_State, Batch, Activations], _State]:
    """The update of `tally`; the thresholds are in the state, so that one compilation serves all."""
    num_units, num_concepts = layer.shape[2], len(categories)
    _, member = category_table(categories)

    def one_image(
        thresholds: Array, sums: tuple[Array, ...], image: tuple[Array, Array, Array]
    ) -> tuple[tuple[Array, ...], None]:
        maps, concepts, valid = image
        masks = unit_masks(maps, thresholds, layer, label_size, image_size=image_size, anchor=anchor)
        masks = (masks.reshape(-1, num_units) & valid).astype(jnp.float32)
        intersection, label_area = overlap(masks, concepts, num_concepts, width)
        present = label_area > 0
        area = masks.sum(axis=0).astype(jnp.int32)
        in_category = (present[:, None] & jnp.asarray(member)).any(axis=0)
        unknown = ((concepts < 0) | (concepts >= num_concepts)).sum()
        new = (intersection, in_category[:, None] * area[None, :], area, label_area, present, valid, unknown)
        return tuple(old + add.astype(jnp.int32) for old, add in zip(sums, new, strict=True)), None

    def update(state: _State, batch: Batch, activations: Activations) -> _State:
        maps, concepts = layer_maps(activations, layer.name, num_units), label_maps(batch, label_size)
        if concepts.size >= 2**30:
            raise ValueError(f"expected fewer than 2**30 labels a batch, got {concepts.size}; take a smaller batch.")
        zeros = tuple(jnp.zeros_like(count.low) for count in state.counts)
        sums, _ = jax.lax.scan(functools.partial(one_image, state.thresholds), zeros, (maps, concepts, batch.mask))
        counts = _Counts(*(wide_add(count, add) for count, add in zip(state.counts, sums, strict=True)))
        return state._replace(counts=counts)

    return update


def _merge(left: _State, right: _State) -> _State:
    return left._replace(counts=_Counts(*(wide_merge(a, b) for a, b in zip(left.counts, right.counts, strict=True))))


def overlap(masks: Array, concepts: Array, num_concepts: int, width: int) -> tuple[Array, Array]:
    """Pixels shared by unit masks `[p u]` (0 or 1, float32) and concepts `[p l]` of one image, and the concepts' areas.

    The concepts present in the image are renumbered from 0, so that the matrix product has `width` rows instead of
    `num_concepts`. Zeros and ones are exact in every matrix unit's precision, and so are sums below 2**24.

    Returns:
        Counts `[q u]` and `[q]`, int32; concept 0 and numbers outside the table count nothing.
    """
    known = (concepts > 0) & (concepts < num_concepts)
    present = jnp.zeros(num_concepts + 1, bool).at[jnp.where(known, concepts, num_concepts)].set(True)[:-1]
    rank = jnp.cumsum(present, dtype=jnp.int32) - 1

    def one_hot(number: Array, rows: int) -> Array:
        return (number[:, None, :] == jnp.arange(rows, dtype=jnp.int32)[None, :, None]).any(axis=2).astype(jnp.float32)

    def compact() -> tuple[Array, Array]:
        labels = one_hot(jnp.where(known, rank[jnp.where(known, concepts, 0)], -1), width)
        number = jnp.where(present, rank, width)
        concept = jnp.full(width, num_concepts, jnp.int32).at[number].set(jnp.arange(num_concepts), mode="drop")
        shared = jnp.zeros((num_concepts, masks.shape[1]), jnp.float32).at[concept].set(labels.T @ masks, mode="drop")
        return shared, jnp.zeros(num_concepts, jnp.float32).at[concept].set(labels.sum(axis=0), mode="drop")

    def whole() -> tuple[Array, Array]:
        labels = one_hot(jnp.where(known, concepts, -1), num_concepts)
        return labels.T @ masks, labels.sum(axis=0)

    shared, area = compact() if width >= num_concepts else jax.lax.cond(present.sum() <= width, compact, whole)
    return shared.astype(jnp.int32), area.astype(jnp.int32)


def check_thresholds(thresholds: np.ndarray, layer: Layer) -> None:
    """Raises `ValueError` unless there is one threshold per unit of the layer."""
    if np.shape(thresholds) != (layer.shape[2],):
        raise ValueError(
            f"expected {layer.shape[2]} thresholds for layer {layer.name!r}, got shape {np.shape(thresholds)}; "
            "write what quantile_fine computed for this layer."
        )
