"""Means over bins of units, with intervals from bootstrap draws."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxinterp.metrics._intervals import Interval


class Curve(NamedTuple):
    """A score over the bins of LC.

    Attributes:
        mean: mean over the units of each bin.
        low: lower end of its interval.
        high: upper end.
    """

    mean: Float[np.ndarray, " b"]
    low: Float[np.ndarray, " b"]
    high: Float[np.ndarray, " b"]


def equal_bins(values: Float[np.ndarray, " u"], num_bins: int) -> Int[np.ndarray, " u"]:
    """Bin of each unit when they are sorted by value into bins of equal count."""
    bins = np.empty(len(values), dtype=np.int64)
    for number, members in enumerate(np.array_split(np.argsort(values, kind="stable"), num_bins)):
        bins[members] = number
    return bins


def bin_means(values: Float[np.ndarray, " u"], bins: Int[np.ndarray, " u"]) -> Float[np.ndarray, " b"]:
    """Mean over the finite values of each bin."""
    finite = np.isfinite(values)
    counts = np.bincount(bins[finite], minlength=int(bins.max()) + 1)
    return np.bincount(bins[finite], weights=values[finite], minlength=len(counts)) / np.where(counts > 0, counts, np.nan)


def curve_over_bins(
    values: Float[np.ndarray, " u"], draws: Float[np.ndarray, "d u"], bins: Int[np.ndarray, " u"], level: float
) -> Curve:
    """Bin means of a score, with intervals from its values in bootstrap draws."""
    mean = bin_means(values, bins)
    drawn = np.asarray([bin_means(draw, bins) for draw in draws]).reshape(-1, len(mean))
    ends = [centred_interval(float(mean[i]), drawn[:, i], level) for i in range(len(mean))]
    return Curve(mean, np.asarray([end.low for end in ends]), np.asarray([end.high for end in ends]))


def centred_interval(estimate: float, draws: Float[np.ndarray, " d"], level: float) -> Interval:
    """Percentile interval of bootstrap draws, moved so that their mean is the estimate; NaN with fewer than two draws."""
    draws = draws[np.isfinite(draws)]
    if len(draws) < 2:
        return Interval(estimate, float("nan"), float("nan"))
    low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2]) - draws.mean() + estimate
    return Interval(estimate, float(low), float(high))


def finite_mean(values: Float[np.ndarray, " n"]) -> float:
    """Mean over the finite values; NaN where there are none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def finite_column_means(values: Float[np.ndarray, "d u"]) -> Float[np.ndarray, " u"]:
    """Mean over the finite values of each column."""
    finite = np.isfinite(values)
    counts = finite.sum(axis=0)
    return np.where(finite, values, 0.0).sum(axis=0) / np.where(counts > 0, counts, np.nan)
