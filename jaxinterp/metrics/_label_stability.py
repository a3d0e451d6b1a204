"""Does a unit keep its concept when the images are drawn again?"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from jaxinterp.activations import MaskSet
from jaxinterp.metrics._dissection import detectors, eligible_ious
from jaxinterp.metrics._dissection_null import MaskPairs
from jaxinterp.metrics._intervals import cluster_weights


class LabelStability(NamedTuple):
    """The concept of every unit, and what becomes of it over bootstrap resamples of the source images.

    Attributes:
        concept: of highest IoU on all images; 0 where no concept overlaps the unit's mask.
        iou: that IoU.
        kept: share of the resamples in which it is the concept of highest IoU again.
        detected: share of the resamples in which it is that and its IoU exceeds the threshold.
        low: lower end of the interval of its IoU.
        high: upper end.
        rival: the other concept that is most often highest; 0 where there is none.
        rival_share: share of the resamples in which it is.
        num_draws: resamples.
        num_sources: source images that are drawn.
    """

    concept: Int64[np.ndarray, " u"]
    iou: Float64[np.ndarray, " u"]
    kept: Float64[np.ndarray, " u"]
    detected: Float64[np.ndarray, " u"]
    low: Float64[np.ndarray, " u"]
    high: Float64[np.ndarray, " u"]
    rival: Int64[np.ndarray, " u"]
    rival_share: Float64[np.ndarray, " u"]
    num_draws: int
    num_sources: int


def label_stability(
    rng: np.random.Generator,
    masks: MaskSet,
    categories: tuple[str, ...],
    *,
    num_draws: int = 200,
    threshold: float = 0.04,
    min_images: int = 10,
    level: float = 0.95,
) -> LabelStability:
    """Resamples the source images with replacement and dissects every resample; the thresholds of the masks stay.

    The pixels of every image are counted once, so a resample is a weighted sum of counts. Which concepts are compared is
    decided on all images. Of concepts of equal IoU the lowest number is the unit's.

    Args:
        rng: source of the draws.
        masks: masks and label maps, image by image.
        categories: the category of every concept, "none" first.
        num_draws: resamples.
        threshold: a unit detects a concept when their IoU exceeds this.
        min_images: concepts that fewer images carry are left out.
        level: coverage of the percentile intervals.

    Returns:
        Stability per unit.

    Raises:
        ValueError: fewer than 2 draws or sources, or a concept number outside the table.

    References:
        A. C. Davison, D. V. Hinkley, Bootstrap Methods and their Application, 1997, section 3.8.
    """
    first, source = np.unique(masks.source_id, return_inverse=True)
    if num_draws < 2 or len(first) < 2:
        raise ValueError(f"expected at least 2 draws and 2 source images, got {num_draws} and {len(first)}.")
    pairs = MaskPairs(masks, categories)
    whole = pairs.tally(np.arange(len(source)))
    found = detectors(whole, threshold=threshold, min_images=min_images)
    units = np.arange(pairs.num_units)
    image, cell, count = pairs.overlaps()
    size = pairs.num_units * pairs.num_concepts
    concepts, own = np.zeros((2, num_draws, pairs.num_units))
    for draw in range(num_draws):
        weight = cluster_weights(rng, len(first))[source]
        shared = np.bincount(cell, weights=weight[image] * count, minlength=size).reshape(whole.intersection.shape)
        again = whole._replace(
            intersection=np.rint(shared).astype(np.int64),
            unit_area=(weight[:, None] * pairs.area).T @ pairs.in_category.astype(np.int64),
            label_area=weight @ pairs.pixels,
        )
        table, _ = eligible_ious(again, min_images)
        concepts[draw] = np.where(table.max(axis=1) > 0, table.argmax(axis=1), 0)
        own[draw] = table[units, found.concept]
    votes = np.stack([np.bincount(column, minlength=pairs.num_concepts) for column in concepts.astype(np.int64).T])
    same = concepts == found.concept[None, :]
    votes[:, 0] = votes[units, found.concept] = 0
    low, high = np.quantile(own, (0.5 - level / 2, 0.5 + level / 2), axis=0)
    return LabelStability(
        concept=found.concept,
        iou=found.iou,
        kept=same.mean(axis=0),
        detected=(same & (own > threshold)).mean(axis=0),
        low=low,
        high=high,
        rival=votes.argmax(axis=1),
        rival_share=votes.max(axis=1) / num_draws,
        num_draws=num_draws,
        num_sources=len(first),
    )
