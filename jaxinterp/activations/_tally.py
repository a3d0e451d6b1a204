"""How the masks of units and the pixels of concepts overlap, summed over a data set."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int64

from jaxinterp._base import Activations, Batch, Layer, Statistic
from jaxinterp.activations._counts import WideCount, wide_add, wide_int64, wide_merge, wide_zeros
from jaxinterp.activations._labels import category_table, label_maps
from jaxinterp.activations._maps import broken, check_finite, check_positive, layer_maps
from jaxinterp.activations._overlap import UNIT_BLOCK, Sums, add_image
from jaxinterp.activations._upsample import Anchor, unit_masks

AreaRule = Literal["carried", "touched"]
"""Where a mask counts for a category: on images that carry a label of it, or on those where the mask touches one."""


class Tally(NamedTuple):
    """Pixel counts over a data set, from which every IoU follows.

    Attributes:
        intersection: sum of |M_k & L_c|, pixels where unit k answers and concept c lies.
        unit_area: sum of |M_k| over the images that carry some concept of a category (see `area_rule`).
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
    broken: WideCount  # activations that are NaN or infinite


def tally(
    layer: Layer,
    *,
    thresholds: Float[np.ndarray, "u"],
    categories: tuple[str, ...],
    label_size: int,
    image_size: int,
    anchor: Anchor = "receptive_field",
    area_rule: AreaRule = "carried",
    max_present: int = 23,
) -> Statistic:
    """Statistic: the pixel counts of network dissection for every unit and concept.

    A unit's map is upsampled to the label resolution and thresholded, M_k = S_k > T_k. Concept maps come as
    `batch.extra["concepts"]` `[n h w l]`, up to `l` concept numbers per pixel, 0 = none; a concept that a pixel carries
    twice counts once. An image costs a matrix product over the concepts that it has and the units that answer. Counts are
    exact whatever the size of the data set.

    In a layer without positions `[n u]` a mask is the whole image where the activation exceeds the threshold, and empty
    elsewhere. A unit that is constant never exceeds its threshold: its masks are empty, and its IoU is 0 with every concept.

    Args:
        layer: the layer; its name, units and geometry.
        thresholds: T_k, what `quantile_fine` computes.
        categories: the category of every concept, "none" first.
        label_size: side of the label maps in pixels; concept maps of another size are sampled at the nearest pixels.
        image_size: side of the network's input in pixels.
        anchor: where the positions of the map lie in the image, see `upsample`.
        area_rule: for which categories |M_k| counts on an image: with "carried" for those of which the image carries some
            label, as the paper says; with "touched" for those of which some label lies inside the mask, as the code of
            NetDissect-Lite counts. The union of equation 1 is then smaller, and the IoU larger, on images where mask and
            category lie apart.
        max_present: concepts in one matrix product; images with more need several.

    Returns:
        A statistic whose `compute` gives a `Tally`. It raises `ValueError` when a concept number is outside the table, and on
        NaN and infinity.

    Raises:
        ValueError: a wrong number of thresholds, a wrong table, or a size below 1.

    References:
        David Bau, Bolei Zhou, Aditya Khosla, Aude Oliva, Antonio Torralba, "Network Dissection: Quantifying
        Interpretability of Deep Visual Representations", 2017, section 2.2, equation 1.
    """
    num_units, num_concepts = layer.shape[2], len(categories)
    check_positive(label_size=label_size, image_size=image_size, max_present=max_present)
    check_thresholds(thresholds, layer)
    check_area_rule(area_rule)
    if label_size > 4096:
        raise ValueError(f"expected label_size <= 4096, got {label_size}; a matrix product in float32 counts to 2**24.")
    names, _ = category_table(categories)
    width = min(max_present, num_concepts - 1) + 1

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
        return _State(jnp.asarray(thresholds, jnp.float32), counts, wide_zeros())

    def compute(state: _State) -> Tally:
        check_finite(int(wide_int64(state.broken)), layer.name)
        intersection, unit_area, mask_area, label_area, concept_images, num_images, unknown = map(wide_int64, state.counts)
        if unknown > 0:
            raise ValueError(
                f"expected concept numbers in [0, {num_concepts}), got {int(unknown)} pixel(s) outside; "
                "write categories= the table of the source that made the concept maps."
            )
        areas = (intersection.T.copy(), unit_area.T.copy(), mask_area, label_area, concept_images)
        return Tally(*areas, int(num_images), label_size, tuple(categories), names)

    update = _update(layer, tuple(categories), label_size, image_size, anchor, area_rule, width)
    return Statistic(init, update, _merge, compute)


@functools.lru_cache(maxsize=64)
def _update(
    layer: Layer, categories: tuple[str, ...], label_size: int, image_size: int, anchor: Anchor, area_rule: AreaRule, width: int
) -> Callable[[_State, Batch, Activations], _State]:
    """The update of `tally`; the thresholds are in the state, so that one compilation serves all."""
    num_units = layer.shape[2]
    _, member = category_table(categories)

    def one_image(thresholds: Array, sums: Sums, image: tuple[Array, Array, Array]) -> tuple[Sums, None]:
        def masks(maps: Array, thresholds: Array) -> Array:
            found = unit_masks(maps, thresholds, layer, label_size, image_size=image_size, anchor=anchor)
            return found.reshape(-1, maps.shape[-1])

        knobs: dict[str, Any] = {"unit_masks": masks, "member": member, "touched": area_rule == "touched", "width": width}
        whole = functools.partial(add_image, **knobs, unit_block=num_units)
        if num_units <= UNIT_BLOCK:
            return whole(sums, *image, thresholds), None
        blocks = functools.partial(add_image, **knobs, unit_block=UNIT_BLOCK)
        return jax.lax.platform_dependent(sums, *image, thresholds, cpu=blocks, default=whole), None

    def update(state: _State, batch: Batch, activations: Activations) -> _State:
        maps, concepts = layer_maps(activations, layer.name, num_units), label_maps(batch, label_size)
        if concepts.size >= 2**30:
            raise ValueError(f"expected fewer than 2**30 labels a batch, got {concepts.size}; take a smaller batch.")
        zeros = Sums(*(jnp.zeros_like(count.low) for count in state.counts))
        sums, _ = jax.lax.scan(functools.partial(one_image, state.thresholds), zeros, (maps, concepts, batch.mask))
        counts = _Counts(*(wide_add(count, add) for count, add in zip(state.counts, sums, strict=True)))
        return _State(state.thresholds, counts, wide_add(state.broken, broken(maps, batch.mask)))

    return update


def _merge(left: _State, right: _State) -> _State:
    counts = _Counts(*(wide_merge(a, b) for a, b in zip(left.counts, right.counts, strict=True)))
    return _State(left.thresholds, counts, wide_merge(left.broken, right.broken))


def check_area_rule(area_rule: str) -> None:
    """Raises `ValueError` unless `area_rule` is known."""
    if area_rule not in ("carried", "touched"):
        raise ValueError(f'expected area_rule="carried" or "touched", got {area_rule!r}.')


def check_thresholds(thresholds: np.ndarray, layer: Layer) -> None:
    """Raises `ValueError` unless there is one threshold per unit of the layer."""
    if np.shape(thresholds) != (layer.shape[2],):
        raise ValueError(
            f"expected {layer.shape[2]} thresholds for layer {layer.name!r}, got shape {np.shape(thresholds)}; "
            "write what quantile_fine computed for this layer."
        )
