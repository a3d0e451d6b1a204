"""Areas under ROC curves, with intervals that resample whole clusters."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Num, Shaped

from jaxinterp.metrics._intervals import Interval, check_values, resampled_interval


def auroc(
    rng: np.random.Generator,
    scores: Num[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"],
    clusters: Shaped[np.ndarray, " n"],
    *,
    level: float = 0.95,
    num_draws: int = 500,
) -> Interval:
    """Area under the ROC curve: the probability that a positive example scores above a negative one, ties one half.

    Args:
        rng: source of the bootstrap draws.
        scores: higher means more likely positive.
        positive: the truth.
        clusters: cluster of each example.
        level: coverage aimed at.
        num_draws: bootstrap draws; those without both kinds are left out.

    Raises:
        ValueError: as `bootstrap_interval`, or only one kind of example.
    """
    check_values(scores, clusters, level)
    return _interval(rng, lambda weights: _area(scores, positive, weights), positive, clusters, level, num_draws)


def auroc_difference(
    rng: np.random.Generator,
    first: Num[np.ndarray, " n"],
    second: Num[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"],
    clusters: Shaped[np.ndarray, " n"],
    *,
    level: float = 0.95,
    num_draws: int = 500,
) -> Interval:
    """Difference of the areas of two scores of the same examples (first minus second), clusters resampled for both at once.

    Args:
        rng: source of the bootstrap draws.
        first: a score; higher means more likely positive.
        second: another.
        positive: the truth.
        clusters: cluster of each example.
        level: coverage aimed at.
        num_draws: bootstrap draws; those without both kinds are left out.

    Raises:
        ValueError: as `auroc`.
    """
    for scores in (first, second):
        check_values(scores, clusters, level)

    def difference(weights: np.ndarray) -> np.ndarray:
        return _area(first, positive, weights) - _area(second, positive, weights)

    return _interval(rng, difference, positive, clusters, level, num_draws)


def _interval(
    rng: np.random.Generator,
    statistic: Callable[[np.ndarray], np.ndarray],
    positive: np.ndarray,
    clusters: np.ndarray,
    level: float,
    num_draws: int,
) -> Interval:
    """A statistic of rows of weights, how often each example counts, with clusters resampled."""
    if positive.all() or not positive.any():
        raise ValueError(f"expected positive and negative examples, got {positive.sum()} positive of {len(positive)}.")
    names, index = np.unique(clusters, return_inverse=True)
    return resampled_interval(rng, lambda drawn: statistic(drawn[:, index]), len(names), level, num_draws, row_size=len(index))


def _area(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> Float[np.ndarray, " d"]:
    """The area for every row of weights, NaN in rows without both kinds; equal scores stand together: a tie counts one half.

    scikit-learn's `roc_auc_score` gives the same, one row a call, where checking its arguments takes most of the time.
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)
    above, below = (
        np.add.reduceat(np.where(kind[order], weights[:, order], 0.0), starts, axis=1) for kind in (positive, ~positive)
    )
    under = np.cumsum(below, axis=1) - below / 2
    return (above * under).sum(axis=1) / (above.sum(axis=1) * below.sum(axis=1))
