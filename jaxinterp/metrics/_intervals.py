"""Intervals and tests for results that rest on clusters of examples (ten adversarial images share one source image)."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.special
import scipy.stats
from jaxtyping import Bool, Float, Int, Num, Shaped


class Interval(NamedTuple):
    """An estimate with its interval.

    Attributes:
        estimate: the statistic on the data.
        low: lower end.
        high: upper end.
    """

    estimate: float
    low: float
    high: float


class Discoveries(NamedTuple):
    """Which of many hypotheses are rejected.

    Attributes:
        rejected: True where the hypothesis is rejected.
        adjusted: the smallest false discovery rate at which it would be.
    """

    rejected: Bool[np.ndarray, " n"]
    adjusted: Float[np.ndarray, " n"]


def cluster_weights(rng: np.random.Generator, num_clusters: int) -> Int[np.ndarray, " c"]:
    """How often each of `num_clusters` clusters is drawn when as many are drawn with replacement."""
    return np.bincount(rng.integers(0, num_clusters, num_clusters), minlength=num_clusters)


def bootstrap_interval(
    rng: np.random.Generator,
    values: Num[np.ndarray, " n"],
    clusters: Shaped[np.ndarray, " n"],
    *,
    level: float = 0.95,
    num_draws: int = 2000,
) -> Interval:
    """Mean with a percentile interval of the cluster bootstrap: whole clusters are drawn with replacement.

    Args:
        rng: source of the draws.
        values: finite numbers.
        clusters: cluster of each value, such as its source image.
        level: coverage aimed at.
        num_draws: bootstrap draws.

    Returns:
        The mean of the values and its interval. With a single cluster both ends are NaN: one cluster says nothing.

    Raises:
        ValueError: no values, other lengths, values that are not finite, or a level outside (0, 1).

    References:
        A. C. Davison, D. V. Hinkley, Bootstrap Methods and their Application, 1997, section 3.8.
    """
    (sums,), (counts,) = _cluster_sums([values], [clusters], level)
    return resampled_interval(rng, lambda w: (w @ sums) / (w @ counts), len(counts), level, num_draws)


def bootstrap_difference(
    rng: np.random.Generator,
    first: Num[np.ndarray, " n"],
    first_clusters: Shaped[np.ndarray, " n"],
    second: Num[np.ndarray, " m"],
    second_clusters: Shaped[np.ndarray, " m"],
    *,
    level: float = 0.95,
    num_draws: int = 2000,
) -> Interval:
    """Difference of two means (first minus second) with a cluster-bootstrap interval.

    A cluster that occurs on both sides is drawn for both at once, so paired data keep their pairing.

    Args:
        rng: source of the draws.
        first: finite numbers.
        first_clusters: cluster of each.
        second: finite numbers.
        second_clusters: cluster of each.
        level: coverage aimed at.
        num_draws: bootstrap draws.

    Raises:
        ValueError: as `bootstrap_interval`.
    """
    sums, counts = _cluster_sums([first, second], [first_clusters, second_clusters], level)

    def difference(weights: np.ndarray) -> np.ndarray:
        return (weights @ sums[0]) / (weights @ counts[0]) - (weights @ sums[1]) / (weights @ counts[1])

    return resampled_interval(rng, difference, len(counts[0]), level, num_draws)


def wilson_interval(successes: float | int, trials: float | int, *, level: float = 0.95) -> Interval:
    """Proportion with Wilson's score interval.

    Args:
        successes: number of successes.
        trials: number of independent trials; an effective number need not be whole.
        level: coverage aimed at.

    Raises:
        ValueError: no trials, or more successes than trials.

    References:
        E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22, 1927.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"expected 0 <= successes <= trials and trials > 0, got {successes} of {trials}.")
    z = float(scipy.special.ndtri(0.5 + level / 2))
    p = successes / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * np.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    return Interval(float(p), float(max(0.0, min(p, centre - half))), float(min(1.0, max(p, centre + half))))


def proportion_interval(
    successes: Bool[np.ndarray, " n"], clusters: Shaped[np.ndarray, " n"], *, level: float = 0.95
) -> Interval:
    """Proportion of clustered trials: Wilson's interval with the effective number of trials.

    The effective number is that of independent trials with the variance that the clusters show, at most `n`; where all
    trials agree, so that no variance shows, it is the number of clusters.

    Args:
        successes: the outcome of each trial.
        clusters: cluster of each, such as its source image.
        level: coverage aimed at.

    References:
        E. L. Korn, B. I. Graubard, Confidence intervals for proportions with small expected number of positive counts
        estimated from survey data, Survey Methodology 24, 1998 (its effective sample size, with Wilson's interval).
    """
    (sums,), (counts,) = _cluster_sums([successes], [clusters], level)
    total, num_clusters = counts.sum(), len(counts)
    p = sums.sum() / total
    effective = float(num_clusters)
    if num_clusters > 1:
        variance = num_clusters / (num_clusters - 1) * ((sums - p * counts) ** 2).sum() / total**2
        if variance > 0:
            effective = float(min(total, p * (1 - p) / variance))
    return wilson_interval(p * effective, effective, level=level)


def mean_interval(values: Num[np.ndarray, " n"], *, level: float = 0.95) -> Interval:
    """Mean of a few independent values, such as one a training, with Student's t interval.

    Of paired differences it is the paired t interval. It holds for values that scatter normally; with three of them it is
    2.5 standard deviations to each side.

    Args:
        values: finite numbers.
        level: coverage aimed at.

    Returns:
        The mean and its interval. Of a single value both ends are NaN: one training says nothing of others.

    Raises:
        ValueError: no values, values that are not finite, or a level outside (0, 1).

    References:
        Student, The probable error of a mean, Biometrika 6, 1908.
    """
    check_values(values, values, level)
    mean = float(np.mean(values))
    if len(values) == 1:
        return Interval(mean, float("nan"), float("nan"))
    error = float(np.std(values, ddof=1)) / np.sqrt(len(values))
    half = float(scipy.special.stdtrit(len(values) - 1, 0.5 + level / 2)) * error
    return Interval(mean, mean - half, mean + half)


def prediction_interval(values: Num[np.ndarray, " n"], *, level: float = 0.95) -> Interval:
    """Where one more value of the kind would lie, such as that of one more training from another start.

    A single value outside of it differs from its like. It holds for values that scatter normally; with three of them it is five
    standard deviations to each side.

    Args:
        values: finite numbers.
        level: share of further values that it holds.

    Returns:
        The mean and the interval. Of a single value both ends are NaN.

    Raises:
        ValueError: no values, values that are not finite, or a level outside (0, 1).

    References:
        Gerald J. Hahn, William Q. Meeker, "Statistical Intervals: A Guide for Practitioners", 1991, section 4.7.
    """
    mean, low, high = mean_interval(values, level=level)
    wider = float(np.sqrt(len(values) + 1))  # the error of a mean is s / sqrt(n); that of one more value beside it has 1 + 1/n
    return Interval(mean, mean - (mean - low) * wider, mean + (high - mean) * wider)


def benjamini_hochberg(p_values: Float[np.ndarray, " n"], *, rate: float = 0.05) -> Discoveries:
    """Benjamini and Hochberg's step-up test of many hypotheses at a false discovery rate.

    Args:
        p_values: one for each hypothesis.
        rate: false discovery rate allowed.

    References:
        Y. Benjamini, Y. Hochberg, Controlling the false discovery rate, JRSS B 57, 1995, equation 1.
    """
    adjusted = scipy.stats.false_discovery_control(p_values, method="bh") if len(p_values) else np.zeros(0)
    return Discoveries(adjusted <= rate, adjusted)


def check_values(values: np.ndarray, clusters: np.ndarray, level: float) -> None:
    """Raises `ValueError` for no values, other lengths, values that are not finite, or a level outside (0, 1)."""
    if len(values) == 0 or len(values) != len(clusters):
        raise ValueError(f"expected as many clusters as values and at least one, got {len(clusters)} and {len(values)}.")
    if not np.isfinite(values).all():
        raise ValueError("expected finite values, got NaN or infinity; leave those out and say how many they were.")
    if not 0 < level < 1:
        raise ValueError(f"expected a level between 0 and 1, got {level}; write level=0.95.")


def _cluster_sums(
    values: list[np.ndarray], clusters: list[np.ndarray], level: float
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Sum and number of the values of each cluster, over the clusters of all sides."""
    for side, names in zip(values, clusters, strict=True):
        check_values(side, names, level)
    unique, index = np.unique(np.concatenate(clusters), return_inverse=True)
    sides = np.split(index, np.cumsum([len(side) for side in values])[:-1])
    sums = [np.bincount(i, weights=v, minlength=len(unique)) for i, v in zip(sides, values, strict=True)]
    return sums, [np.bincount(i, minlength=len(unique)).astype(np.float64) for i in sides]


def resampled_interval(
    rng: np.random.Generator,
    statistic: Callable[[np.ndarray], np.ndarray],
    num_clusters: int,
    level: float,
    num_draws: int,
    *,
    row_size: int | None = None,
) -> Interval:
    """A statistic of rows of weights, how often each cluster is drawn: of one each, and its percentile interval.

    Args:
        rng: source of the draws.
        statistic: `[d c]` weights -> `[d]`; draws in which it is not finite are left out.
        num_clusters: how many there are; with a single one both ends are NaN.
        level: coverage aimed at.
        num_draws: bootstrap draws.
        row_size: numbers that the statistic makes of a row, which bound the draws taken at once; the clusters by default.
    """
    estimate = float(statistic(np.ones((1, num_clusters)))[0])
    if num_clusters == 1:
        return Interval(estimate, float("nan"), float("nan"))
    chunk = max(1, 4_000_000 // (row_size or num_clusters))
    draws = []
    for start in range(0, num_draws, chunk):
        weights = [cluster_weights(rng, num_clusters) for _ in range(min(chunk, num_draws - start))]
        with np.errstate(invalid="ignore", divide="ignore"):
            draws.append(statistic(np.asarray(weights, dtype=np.float64)))
    return Interval(estimate, *_percentiles(np.concatenate(draws), level))


def _percentiles(draws: np.ndarray, level: float) -> tuple[float, float]:
    draws = draws[np.isfinite(draws)]
    if len(draws) < 2:
        return float("nan"), float("nan")
    low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)
