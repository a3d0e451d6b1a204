"""Two-concept formulas: what a unit detects as "a and b", "a or b", or "a and not b"."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
import scipy.sparse
from jax import Array
from jaxtyping import Bool, Float64, Int64

from jaxinterp.activations import MaskSet
from jaxinterp.metrics._dissection_null import MaskPairs, tail_p_values
from jaxinterp.metrics._intervals import benjamini_hochberg

OPERATORS = ("and", "or", "and not")
"""How a formula joins its two concepts."""


class Formulas(NamedTuple):
    """The two-concept formula of highest IoU of every unit, beside the single concept and beside permuted labels.

    Attributes:
        first: a; 0 where no formula overlaps the unit's mask.
        operator: index into `OPERATORS`.
        second: b.
        iou: of the formula.
        single: the single concept of highest IoU.
        single_iou: its IoU.
        draws: the highest IoU of the same search in every draw of the null.
        single_draws: that of the single concepts.
        p_value: the chance of so high an IoU of a formula under the null.
        survives: units with more than chance, Benjamini-Hochberg over the layer.
        num_images: images that this rests on.
        num_sources: source images among them, which are what is permuted.
    """

    first: Int64[np.ndarray, " u"]
    operator: Int64[np.ndarray, " u"]
    second: Int64[np.ndarray, " u"]
    iou: Float64[np.ndarray, " u"]
    single: Int64[np.ndarray, " u"]
    single_iou: Float64[np.ndarray, " u"]
    draws: Float64[np.ndarray, "d u"]
    single_draws: Float64[np.ndarray, "d u"]
    p_value: Float64[np.ndarray, " u"]
    survives: Bool[np.ndarray, " u"]
    num_images: int
    num_sources: int


class _Found(NamedTuple):
    first: np.ndarray
    operator: np.ndarray
    second: np.ndarray
    iou: np.ndarray
    single: np.ndarray
    single_iou: np.ndarray


def formulas(
    key: Array,
    masks: MaskSet,
    categories: tuple[str, ...],
    *,
    beam: int | None = None,
    num_draws: int = 20,
    min_images: int = 10,
    level: float = 0.05,
) -> Formulas:
    """The best formula of two concepts for every unit, with a permuted-label null of the same search.

    The search starts from the `beam` single concepts of highest IoU and joins each with every other concept by "and", "or"
    and "and not"; IoU is that of the unit's mask with the pixels for which the formula is true, over the whole set. A longer
    formula fits any mask better, labels or no labels: the claim is the excess over `draws`, and the gain `iou - single_iou`
    is to be compared with `draws - single_draws`.

    A unit's area is counted on images that carry a label of the category of either concept (our reading), which for one
    category is the rule of Network Dissection. Of equal formulas the first operator and the lowest concepts win.

    Unlike the paper, which goes up to ten concepts with a beam of ten, formulas have two, and the beam may be full: the
    areas of all pairs follow from one count of the concepts that share a pixel, so it costs no more.

    Args:
        key: random key of the permutations.
        masks: masks and label maps, image by image.
        categories: the category of every concept, "none" first.
        beam: single concepts that the search goes on from; None is all of them, an exact search.
        num_draws: permutations of the null.
        min_images: concepts that fewer images carry are left out.
        level: false discovery rate at which units survive.

    Returns:
        Formulas per unit; `formula_texts` writes them out.

    Raises:
        ValueError: a beam below 1, fewer than 5 draws or 2 sources, or a concept number outside the table.

    References:
        Jesse Mu, Jacob Andreas, "Compositional Explanations of Neurons", 2020, section 3.
    """
    if beam is not None and beam < 1:
        raise ValueError(f"expected beam >= 1 or None, got {beam}.")
    _, rows, source = np.unique(masks.source_id, return_index=True, return_inverse=True)
    if num_draws < 5:
        raise ValueError(f"expected num_draws >= 5, got {num_draws}; write 20 or more.")
    if len(rows) < 2:
        raise ValueError(f"expected at least 2 source images to permute, got {len(rows)}; take more images.")
    pairs = MaskPairs(masks, categories)
    found = _search(pairs, np.arange(len(source)), beam, min_images)
    draws = []
    for draw in range(num_draws):
        order = np.asarray(jax.random.permutation(jax.random.fold_in(key, draw), len(rows)))
        draws.append(_search(pairs, rows[order[source]], beam, min_images))
    null = np.stack([one.iou for one in draws])
    p_value = tail_p_values(found.iou, null)
    return Formulas(
        *found,
        draws=null,
        single_draws=np.stack([one.single_iou for one in draws]),
        p_value=p_value,
        survives=benjamini_hochberg(p_value, rate=level).rejected,
        num_images=len(source),
        num_sources=len(rows),
    )


def formula_texts(found: Formulas, names: Sequence[str]) -> tuple[str, ...]:
    """Every unit's formula in words, for example "water and not blue"; "none" where there is none.

    Args:
        found: of `formulas`.
        names: of the concepts.
    """
    triples = zip(found.first, found.operator, found.second, strict=True)
    return tuple(f"{names[a]} {OPERATORS[how]} {names[b]}" if a else "none" for a, how, b in triples)


def _search(pairs: MaskPairs, pairing: np.ndarray, beam: int | None, min_images: int) -> _Found:
    """The best formula of every unit when the masks of image i meet the label map of image `pairing[i]`."""
    tally, count = pairs.tally(pairing), pairs.num_concepts
    together, area_together = _together(pairs, pairing)
    column = {name: number for number, name in enumerate(pairs.names)}
    carries = pairs.in_category[pairing]
    either = (carries[:, :, None] | carries[:, None, :]).reshape(len(carries), -1).astype(np.int64)
    unit_area = (pairs.area.T @ either).reshape(pairs.num_units, len(pairs.names), len(pairs.names))
    eligible = tally.concept_images >= max(min_images, 1)
    eligible[0] = False
    kept = np.flatnonzero(eligible)
    block = np.ix_(kept, kept)
    category = np.asarray([column[pairs.categories[concept]] for concept in kept], np.int64)
    label, both = tally.label_area[kept], area_together[block]
    labels = np.stack([both, label[:, None] + label[None, :] - both, label[:, None] - both])
    rows = []
    for unit in range(pairs.num_units):
        if len(kept) < 2 or not tally.intersection[unit, kept].any():
            rows.append((0, 0, 0, 0.0, 0, 0.0))
            continue
        one, area = tally.intersection[unit, kept], unit_area[unit][np.ix_(category, category)]
        single = one / np.maximum(np.diagonal(area) + label - one, 1)
        shared = together[unit].toarray().reshape(count, count)
        shared = (shared + shared.T)[block]
        inside = np.stack([shared, one[:, None] + one[None, :] - shared, one[:, None] - shared])
        table = inside / np.maximum(area[None] + labels - inside, 1)
        table[:, np.arange(len(kept)), np.arange(len(kept))] = -1
        if beam is not None:
            table[:, np.argsort(-single, kind="stable")[beam:]] = -1
        how, first, second = np.unravel_index(table.argmax(), table.shape)
        best = single.argmax()
        rows.append((kept[first], how, kept[second], table[how, first, second], kept[best], single[best]))
    first, operator, second, iou, alone, single_iou = map(np.asarray, zip(*rows, strict=True))
    return _Found(
        first=first.astype(np.int64),
        operator=operator.astype(np.int64),
        second=second.astype(np.int64),
        iou=iou.astype(np.float64),
        single=alone.astype(np.int64),
        single_iou=single_iou.astype(np.float64),
    )


def _together(pairs: MaskPairs, pairing: np.ndarray) -> tuple[scipy.sparse.csr_matrix, np.ndarray]:
    """Pixels that carry two concepts: inside every unit's mask (lower number first, `[u q*q]`), and at all `[q q]`."""
    count, where = pairs.num_concepts, pairing[pairs.image] * pairs.num_pixels + pairs.pixel
    shape = (pairs.num_units, count * count)
    inside = scipy.sparse.csr_matrix(shape, dtype=np.int64)
    area = np.zeros((count, count), np.int64)
    for index, layer in enumerate(pairs.layers):
        for other in pairs.layers[:index]:
            low, high = np.sort(np.stack([layer.ravel()[where], other.ravel()[where]]), axis=0)
            both = low > 0
            entries = (np.ones(both.sum(), np.int64), (pairs.unit[both], low[both] * count + high[both]))
            inside = inside + scipy.sparse.coo_matrix(entries, shape=shape).tocsr()
            first, second = layer[pairing].ravel(), other[pairing].ravel()
            both = (first > 0) & (second > 0)
            area += np.bincount(first[both] * count + second[both], minlength=count * count).reshape(count, count)
    return inside, area + area.T
