"""What adversarial perturbations do to what units detect, beside what noise of the same size does."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from jaxinterp.activations import MaskSet
from jaxinterp.metrics._dissection_null import MaskPairs
from jaxinterp.metrics._intervals import Interval, cluster_weights


class DissectionEffect(NamedTuple):
    """Differences between sets of images that share their label maps, each with an interval over the source images.

    Attributes:
        number: units that detect, one set minus another.
        unique: distinct concepts detected, the same.
        by_category: units per category by the rule of the paper's table, the same.
        kept: share of the units that detect on the reference set which detect the same concept on each set.
        kept_difference: the first set's share minus the second's.
        num_reference: units that detect on the reference set.
        num_images: images that this rests on.
        num_sources: source images among them, which are what is resampled.
        num_draws: resamples.
    """

    number: Interval
    unique: Interval
    by_category: dict[str, Interval]
    kept: dict[str, Interval]
    kept_difference: Interval
    num_reference: int
    num_images: int
    num_sources: int
    num_draws: int


def dissection_effect(
    rng: np.random.Generator,
    sets: Mapping[str, MaskSet],
    categories: tuple[str, ...],
    *,
    reference: str = "real",
    first: str = "adversarial",
    second: str = "noise",
    threshold: float = 0.04,
    min_images: int = 10,
    level: float = 0.95,
    num_draws: int = 200,
) -> DissectionEffect:
    """How many more units detect a concept on one set of images than on another, and how many keep their concept.

    The sets are versions of the same images with the same label maps: real, adversarial, and with noise of the adversarial
    perturbation's size. What an attack does is the difference between adversarial and noise; the difference between
    adversarial and real alone also counts what any perturbation does (our reading).

    Source images are resampled, in all sets alike. A count of units whose highest IoU passes a threshold is biased upwards in
    a resample, so the interval is that of the draws about their own mean, moved to the estimate. Concepts that fewer than
    `min_images` images carry are left out by the count over all images, in every resample.

    Args:
        rng: source of the resamples.
        sets: name -> masks and label maps, with the same images in the same rows.
        categories: the category of every concept, "none" first.
        reference: the set whose detectors may keep their concept.
        first: the set that is compared.
        second: the set that it is compared with.
        threshold: a unit detects a concept when their IoU exceeds this.
        min_images: concepts that fewer images carry are left out.
        level: coverage aimed at.
        num_draws: resamples.

    Returns:
        The differences and their intervals. The shares are NaN where no unit detects anything on the reference set.

    Raises:
        ValueError: a set that is not there, sets of different images, or fewer than 2 source images.
    """
    for name in (reference, first, second):
        if name not in sets:
            raise ValueError(f"expected a set {name!r}, got: {', '.join(sets)}; name one of them.")
    source = sets[reference].source_id
    for name in (first, second):
        if not np.array_equal(sets[name].source_id, source):
            raise ValueError(f"expected the images of {reference!r} in {name!r}, row by row, got others; count both alike.")
    names, index = np.unique(source, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"expected at least 2 source images to resample, got {len(names)}; take more images.")
    counts = {name: _Counts(sets[name], categories, threshold, min_images) for name in (reference, first, second)}

    def measured(weight: np.ndarray) -> dict[str, float]:
        found = {name: one.detected(weight) for name, one in counts.items()}
        left, right, own = found[first], found[second], found[reference]
        values: dict[str, float] = {
            "number": float(left.number - right.number),
            "unique": float(left.unique - right.unique),
            **{f"category {name}": float(left.by_category[name] - right.by_category[name]) for name in left.by_category},
        }
        detects = own.concept > 0
        for name in (first, second):
            same = found[name].concept[detects] == own.concept[detects]
            values[f"kept {name}"] = float(same.mean()) if detects.any() else np.nan
        values["kept"] = values[f"kept {first}"] - values[f"kept {second}"]
        return values

    everything = measured(np.ones(len(index)))
    draws = [measured(cluster_weights(rng, len(names))[index].astype(np.float64)) for _ in range(num_draws)]
    ends = {name: _about(value, np.asarray([draw[name] for draw in draws]), level) for name, value in everything.items()}
    return DissectionEffect(
        number=ends["number"],
        unique=ends["unique"],
        by_category={name[9:]: interval for name, interval in ends.items() if name.startswith("category ")},
        kept={name: ends[f"kept {name}"] for name in (first, second)},
        kept_difference=ends["kept"],
        num_reference=int((counts[reference].detected(np.ones(len(index))).concept > 0).sum()),
        num_images=len(source),
        num_sources=len(names),
        num_draws=num_draws,
    )


class _Detected(NamedTuple):
    concept: Int64[np.ndarray, " u"]  # 0 where the unit detects nothing
    number: int
    unique: int
    by_category: dict[str, int]


class _Counts:
    """The overlaps of a set image by image, so that any weighting of the images is one weighted sum."""

    def __init__(self, masks: MaskSet, categories: tuple[str, ...], threshold: float, min_images: int) -> None:
        pairs = MaskPairs(masks, categories)
        self.num_units, self.num_concepts, self.threshold = pairs.num_units, pairs.num_concepts, threshold
        self.categories, self.names = np.asarray(categories), pairs.names
        self.eligible = pairs.carries.sum(axis=0) >= max(min_images, 1)
        self.column = np.asarray([pairs.names.index(name) if name in pairs.names else 0 for name in categories])
        self.pixels, self.area, self.in_category = pairs.pixels, pairs.area, pairs.in_category
        self.image, self.cell, self.shared = pairs.overlaps()

    def detected(self, weight: Float64[np.ndarray, " n"]) -> _Detected:
        """What each unit detects when every image counts as often as its weight says."""
        size = self.num_units * self.num_concepts
        shared = np.bincount(self.cell, weights=self.shared * weight[self.image], minlength=size)
        shared = shared.reshape(self.num_units, self.num_concepts)
        area = (self.area.T @ (self.in_category * weight[:, None]))[:, self.column]
        union = area + (weight @ self.pixels)[None, :] - shared
        iou = np.where(self.eligible[None, :], shared / np.maximum(union, 1), 0.0)
        best, detects = iou.argmax(axis=1), iou.max(axis=1) > self.threshold
        within = {name: iou[:, self.categories == name].max(axis=1, initial=0.0) > self.threshold for name in self.names}
        return _Detected(
            concept=np.where(detects, best, 0),
            number=int(detects.sum()),
            unique=len(np.unique(best[detects])),
            by_category={name: int(reaches.sum()) for name, reaches in within.items()},
        )


def _about(estimate: float, draws: np.ndarray, level: float) -> Interval:
    """The quantiles of the draws about their mean, moved to the estimate."""
    if not np.isfinite(estimate):
        return Interval(estimate, np.nan, np.nan)
    draws = draws[np.isfinite(draws)]
    low, high = np.quantile(draws - draws.mean(), ((1 - level) / 2, (1 + level) / 2))
    return Interval(float(estimate), float(estimate + low), float(estimate + high))
