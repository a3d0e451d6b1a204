"""The pixels that the masks of units share with the concepts of one image."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

UNIT_BLOCK = 32
"""Units in one matrix product on CPU: their masks then fit into the cache."""


class Sums(NamedTuple):
    """What is counted over images, int32; `q` concepts, `c` categories, `u` units.

    Attributes:
        intersection: `[q u]`.
        unit_area: `[c u]`.
        mask_area: `[u]`.
        label_area: `[q]`.
        concept_images: `[q]`.
        num_images: a number.
        unknown: pixels whose concept number is outside the table.
    """

    intersection: Array
    unit_area: Array
    mask_area: Array
    label_area: Array
    concept_images: Array
    num_images: Array
    unknown: Array


def add_image(
    sums: Sums,
    maps: Array,
    concepts: Array,
    valid: Array,
    thresholds: Array,
    *,
    unit_masks: Callable[[Array, Array], Array],
    member: np.ndarray,
    touched: bool,
    width: int,
    unit_block: int,
) -> Sums:
    """Adds the counts of one image.

    A unit whose map nowhere exceeds its threshold has an empty mask, since interpolation does not exceed the map's maximum: the
    other units are gathered, `unit_block` at a time. The concepts that the image has, `width - 1` at a time, are the rows of a
    matrix product with the masks; its last row is all ones and gives the masks' areas.
    Zeros and ones are exact in every matrix unit's precision, and so are sums below 2**24.

    Args:
        sums: the counts so far.
        maps: the layer's maps `[h w u]`.
        concepts: `[p l]`; 0 and numbers outside the table count nothing.
        valid: whether the image counts.
        thresholds: `[u]`.
        unit_masks: `(maps [h w b], thresholds [b]) -> masks [p b]`, bool.
        member: which concept belongs to which category `[q c]`.
        touched: an area counts for the categories that the mask touches, not for those that the image carries.
        width: rows of the matrix product.
        unit_block: its columns.
    """
    num_concepts, num_categories = member.shape
    num_units = maps.shape[-1]
    known = (concepts > 0) & (concepts < num_concepts)
    number = jnp.where(known, concepts, 0)
    present = jnp.zeros(num_concepts, bool).at[number].set(True).at[0].set(False)
    label_blocks = -(-num_concepts // (width - 1))
    concept = _where(present, label_blocks * (width - 1), num_concepts)
    active = valid & (maps.max(axis=(0, 1)) > thresholds)
    unit = _where(active, -(-num_units // unit_block) * unit_block, num_units)
    belongs = jnp.asarray(member, jnp.float32)
    slot = jnp.arange(width, dtype=jnp.int32)

    def of_concepts(index: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        rows = jnp.append(jax.lax.dynamic_slice_in_dim(concept, index * (width - 1), width - 1), num_concepts)
        wanted = jnp.where(rows < num_concepts, rows, -1)  # no pixel's number is -1
        labels = (number[:, None, :] == wanted[None, :, None]).any(axis=2)
        labels = (labels | (slot == width - 1)[None, :]).astype(jnp.float32)
        intersection, label_area, area, touches = carry
        of_rows = jnp.take(belongs, rows, axis=0, mode="fill", fill_value=0)

        def of_units(index: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
            intersection, area, touches = carry
            columns = jax.lax.dynamic_slice_in_dim(unit, index * unit_block, unit_block)
            chosen = jnp.take(maps, columns, axis=2, mode="fill", fill_value=0)
            masks = unit_masks(chosen, jnp.take(thresholds, columns, mode="fill", fill_value=jnp.inf))
            shared = labels.T @ masks.astype(jnp.float32)
            area = area.at[columns].set(shared[-1].astype(jnp.int32), mode="drop")
            if touched:
                new = of_rows.T @ (shared > 0).astype(jnp.float32) > 0
                touches = touches.at[:, columns].max(new, mode="drop")
            shared = shared.astype(jnp.int32)
            return intersection.at[rows[:, None], columns[None, :]].add(shared, mode="drop"), area, touches

        blocks = -(-active.sum(dtype=jnp.int32) // unit_block)
        found = (intersection, area, touches)
        found = of_units(jnp.int32(0), found) if unit_block >= num_units else jax.lax.fori_loop(0, blocks, of_units, found)
        intersection, area, touches = found
        label_area = label_area.at[rows].add(labels.sum(axis=0).astype(jnp.int32), mode="drop")
        return intersection, label_area, area, touches

    start = (
        sums.intersection,
        sums.label_area,
        jnp.zeros(num_units, jnp.int32),
        jnp.zeros((num_categories, num_units if touched else 0), bool),
    )
    blocks = jnp.maximum(1, -(-present.sum(dtype=jnp.int32) // (width - 1)))
    intersection, label_area, area, touches = jax.lax.fori_loop(0, blocks, of_concepts, start)
    carried = (present[:, None] & jnp.asarray(member)).any(axis=0)[:, None]
    return Sums(
        intersection,
        sums.unit_area + jnp.where(touches if touched else carried, area[None, :], 0),
        sums.mask_area + area,
        label_area,
        sums.concept_images + present,
        sums.num_images + valid,
        sums.unknown + ((concepts < 0) | (concepts >= num_concepts)).sum(dtype=jnp.int32),
    )


def _where(wanted: Array, length: int, absent: int) -> Array:
    """The places where `wanted`, ascending, then `absent`."""
    return jnp.nonzero(wanted, size=length, fill_value=absent)[0].astype(jnp.int32)
