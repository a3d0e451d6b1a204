"""What silencing some units does to the accuracy of each class, beside silencing others."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64, Shaped

from jaxinterp.metrics._intervals import Interval, benjamini_hochberg, cluster_weights


class AblationEffect(NamedTuple):
    """The loss of accuracy by class; NaN for classes without images.

    Attributes:
        accuracy: of the whole network.
        drop: accuracy that is lost with the units.
        control_drop: accuracy that is lost with control units, the mean over their sets.
        excess: `drop - control_drop`, the effect.
        low: lower end of the interval of the excess.
        high: upper end.
        p_value: the chance that control units cost a class as much, `(1 + sets that do) / (1 + sets)`.
        survives: classes that lose more than with control units: Benjamini-Hochberg over the classes, and an interval above 0,
            since the p-value knows of other units but not of other images.
        overall: the excess over all images, with its interval.
        num_images: images of each class.
        num_sets: control sets.
    """

    accuracy: Float64[np.ndarray, " k"]
    drop: Float64[np.ndarray, " k"]
    control_drop: Float64[np.ndarray, " k"]
    excess: Float64[np.ndarray, " k"]
    low: Float64[np.ndarray, " k"]
    high: Float64[np.ndarray, " k"]
    p_value: Float64[np.ndarray, " k"]
    survives: Bool[np.ndarray, " k"]
    overall: Interval
    num_images: Int64[np.ndarray, " k"]
    num_sets: int


def ablation_effect(
    rng: np.random.Generator,
    labels: Int[np.ndarray, " n"],
    whole: Int[np.ndarray, " n"],
    ablated: Int[np.ndarray, " n"],
    controls: Int[np.ndarray, "d n"],
    *,
    num_classes: int,
    clusters: Shaped[np.ndarray, " n"] | None = None,
    level: float = 0.95,
    rate: float = 0.05,
    num_draws: int = 1000,
) -> AblationEffect:
    """Compares predictions without some units to predictions without control units, class by class (our reading).

    The interval of the excess is that of a bootstrap which draws images (or their clusters) and control sets anew. A p-value
    cannot be below `1 / (1 + sets)`: for one class of k to survive it takes about `k / rate` control sets.

    Args:
        rng: source of the draws.
        labels: the true classes.
        whole: what the whole network predicts.
        ablated: what it predicts without the units.
        controls: what it predicts without each control set, such as those of `tracing.matched_sets`.
        num_classes: number of classes.
        clusters: cluster of each image, such as its source image; every image is its own by default.
        level: coverage of the intervals.
        rate: false discovery rate over the classes.
        num_draws: bootstrap draws.

    Returns:
        The effect on every class.

    Raises:
        ValueError: no control set, no image, or a label outside the classes.

    References:
        David Bau, Jun-Yan Zhu, Hendrik Strobelt, Agata Lapedriza, Bolei Zhou, Antonio Torralba, "Understanding the Role of
        Individual Units in a Deep Neural Network", 2020, the section on units that matter for a class.
    """
    if len(controls) == 0 or len(labels) == 0 or not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(
            f"expected images with labels from 0 to {num_classes - 1} and at least one control set, got {len(labels)} images "
            f"and {len(controls)} sets; write num_classes=model.num_classes and controls of tracing.matched_sets."
        )
    _, cluster = np.unique(np.arange(len(labels)) if clusters is None else clusters, return_inverse=True)
    right, without, other = (one == labels for one in (whole, ablated, controls))

    def by_class(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
        sums = np.bincount(labels, weights=weight * values, minlength=num_classes)
        counts = np.bincount(labels, weights=weight, minlength=num_classes)
        return np.divide(sums, counts, out=np.full(num_classes, np.nan), where=counts > 0)

    ones = np.ones(len(labels))
    accuracy, left = by_class(right, ones), by_class(without, ones)
    each = np.stack([accuracy - by_class(one, ones) for one in other])
    drop, sets = accuracy - left, len(other)
    draws, overall = np.zeros((num_draws, num_classes)), np.zeros(num_draws)
    for draw in range(num_draws):
        weight = cluster_weights(rng, int(cluster.max()) + 1)[cluster].astype(np.float64)
        gained = np.average(other, axis=0, weights=cluster_weights(rng, sets)) - without
        draws[draw], overall[draw] = by_class(gained, weight), np.average(gained, weights=weight)
    ends = (0.5 - level / 2, 0.5 + level / 2)
    seen = np.isfinite(accuracy)
    low, high = np.full((2, num_classes), np.nan)
    low[seen], high[seen] = np.nanquantile(draws[:, seen], ends, axis=0)
    p_value = np.where(seen, (1 + (each >= drop[None, :] - 1e-12).sum(axis=0)) / (1 + sets), np.nan)
    survives = np.zeros(num_classes, bool)
    survives[seen] = benjamini_hochberg(p_value[seen], rate=rate).rejected & (low[seen] > 0)
    return AblationEffect(
        accuracy=accuracy,
        drop=drop,
        control_drop=each.mean(axis=0),
        excess=drop - each.mean(axis=0),
        low=low,
        high=high,
        p_value=p_value,
        survives=survives,
        overall=Interval(float(other.mean() - without.mean()), *(float(end) for end in np.quantile(overall, ends))),
        num_images=np.bincount(labels, minlength=num_classes),
        num_sets=sets,
    )
