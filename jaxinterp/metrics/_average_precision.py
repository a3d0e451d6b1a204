"""Average precision: how well a unit's activation ranks the images that carry a concept first."""

from typing import NamedTuple

import jax
import numpy as np
from jax import Array
from jaxtyping import Bool, Float64, Int, Int64, Num

from jaxinterp.activations import ConceptHistogram
from jaxinterp.metrics._dissection_null import tail_p_values
from jaxinterp.metrics._intervals import benjamini_hochberg


class PreciseConcepts(NamedTuple):
    """The concept that each unit ranks best.

    Attributes:
        concept: of highest lift; 0 where no concept is eligible or none has a positive lift.
        average_precision: of that concept.
        prevalence: share of the images that carry it, which is what a unit that ranks at random has.
        lift: `(average precision - prevalence) / (1 - prevalence)`: 0 at random, 1 for a perfect ranking.
        eligible: concepts that were compared.
    """

    concept: Int64[np.ndarray, " u"]
    average_precision: Float64[np.ndarray, " u"]
    prevalence: Float64[np.ndarray, " u"]
    lift: Float64[np.ndarray, " u"]
    eligible: int


class PrecisionNull(NamedTuple):
    """The best concepts beside what permuted labels give.

    Attributes:
        observed: with every image's own concepts, on the same images.
        draws: the best lift of every unit in every draw.
        p_value: the chance of so high a best lift under the null.
        survives: units with more than chance, Benjamini-Hochberg over the layer.
        num_images: images that this rests on.
        num_sources: source images among them, which are what is permuted.
    """

    observed: PreciseConcepts
    draws: Float64[np.ndarray, "d u"]
    p_value: Float64[np.ndarray, " u"]
    survives: Bool[np.ndarray, " u"]
    num_images: int
    num_sources: int


def average_precision(histogram: ConceptHistogram) -> Float64[np.ndarray, "u q"]:
    """Average precision of every unit as a detector of images that carry a concept (image-level, our reading).

    Images are ranked by the unit's pooled activation; `AP = sum_b (R_b - R_{b-1}) P_b` over the bins from the top, images of
    one bin being ties. It is exact where every distinct activation has its own bin.

    Args:
        histogram: of `concept_histogram`.

    Returns:
        The table; NaN where no image carries the concept, and for concept 0.

    References:
        Mu Zhu, "Recall, Precision and Average Precision", University of Waterloo, 2004.
    """
    hits = histogram.counts[:, :, ::-1].cumsum(axis=2).transpose(1, 0, 2)
    return _areas(hits, hits[:, :1])


def precise_concepts(histogram: ConceptHistogram, *, min_images: int = 10, max_share: float = 1.0) -> PreciseConcepts:
    """The concept that each unit ranks best, by lift over its prevalence.

    Average precision alone would choose what most images carry, and lift may choose it still: where nearly all images carry a
    concept, a high lift says that the few others come last. `max_share` leaves such concepts out. The maximum over concepts
    lies above 0 by chance: set it beside its null (`precision_null`).

    Args:
        histogram: of `concept_histogram`.
        min_images: concepts that fewer images carry, or fewer lack, are left out.
        max_share: concepts that a larger share of the images carries are left out.

    Returns:
        Concepts per unit.
    """
    totals = histogram.counts[:, 0].sum(axis=1)
    return _best(average_precision(histogram), totals, int(totals[0]), min_images, max_share)


def precision_null(
    key: Array,
    values: Num[np.ndarray, "n u"],
    present: Bool[np.ndarray, "n q"],
    *,
    source_id: Int[np.ndarray, " i"] | None = None,
    num_draws: int = 20,
    min_images: int = 10,
    max_share: float = 1.0,
    level: float = 0.05,
) -> PrecisionNull:
    """Best concepts by average precision beside the same with the images' concepts permuted, on images that fit into memory.

    As in `permuted_null` it is sources that are permuted, the statistic is the maximum over all concepts, and the tail of
    the standardised draws is continued.

    Args:
        key: random key of the permutations.
        values: pooled activations, of `pooled`; ranked exactly, without bins.
        present: which image carries which concept; column 0 is not looked at.
        source_id: the clean image that each was made from; every image is its own by default.
        num_draws: permutations.
        min_images: as in `precise_concepts`.
        max_share: as in `precise_concepts`.
        level: false discovery rate at which units survive.

    Returns:
        Observed and null.

    Raises:
        ValueError: fewer than 5 draws or 2 sources, or another number of rows.
    """
    if num_draws < 5:
        raise ValueError(f"expected num_draws >= 5, got {num_draws}; write 20 or more.")
    ids = np.arange(len(values)) if source_id is None else source_id
    if len(ids) != len(values):
        raise ValueError(f"expected a source for each of {len(values)} images, got {len(ids)}.")
    _, first, source = np.unique(ids, return_index=True, return_inverse=True)
    if len(first) < 2:
        raise ValueError(f"expected at least 2 source images to permute, got {len(first)}; take more images.")

    def best(present: np.ndarray) -> PreciseConcepts:
        counted = np.concatenate([np.ones((len(present), 1), bool), present[:, 1:]], axis=1)
        table = np.stack([_exact(column, counted) for column in values.T])
        return _best(table, counted.sum(axis=0), len(values), min_images, max_share)

    observed = best(present)
    draws = []
    for draw in range(num_draws):
        order = np.asarray(jax.random.permutation(jax.random.fold_in(key, draw), len(first)))
        draws.append(best(present[first[order[source]]]).lift)
    p_value = tail_p_values(observed.lift, np.stack(draws))
    survives = benjamini_hochberg(p_value, rate=level).rejected
    return PrecisionNull(observed, np.stack(draws), p_value, survives, len(values), len(first))


def _areas(hits: np.ndarray, seen: np.ndarray) -> Float64[np.ndarray, "*u q"]:
    """Average precision from images that carry a concept and images at all, cumulated from the top `[... q b]`."""
    gained = np.diff(hits, axis=-1, prepend=0)
    total = hits[..., -1]
    area = (gained * (hits / np.maximum(seen, 1))).sum(axis=-1)
    area = area / np.where(total > 0, total, np.nan)
    area[..., 0] = np.nan
    return area


def _exact(values: np.ndarray, present: np.ndarray) -> Float64[np.ndarray, " q"]:
    """Average precision of one unit, ties in one step."""
    order = np.argsort(-values, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    hits = present[order].cumsum(axis=0)[ends].T
    return _areas(hits, hits[:1])


def _best(table: np.ndarray, images: np.ndarray, num_images: int, min_images: int, max_share: float) -> PreciseConcepts:
    eligible = (images >= max(min_images, 1)) & (num_images - images >= max(min_images, 1))
    eligible &= images <= max_share * num_images
    eligible[0] = False
    prevalence = images / num_images
    with np.errstate(invalid="ignore", divide="ignore"):
        lift = np.where(eligible[None, :], (table - prevalence[None, :]) / (1 - prevalence[None, :]), 0.0)
    lift[:, 0] = 0.0
    concept = lift.argmax(axis=1)
    found = lift[np.arange(len(table)), concept]
    best = np.where(concept > 0, table[np.arange(len(table)), concept], 0.0)
    return PreciseConcepts(concept, best, np.where(concept > 0, prevalence[concept], 0.0), found, int(eligible.sum()))
