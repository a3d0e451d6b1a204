"""Level and consistency of a unit's top images (LC), and consistency between real and adversarial ones (CS1, CS2).

The class distribution of a unit is that of its top images. Axes: `t` top images of each of `u` units, `k` classes.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num


class Null(NamedTuple):
    """What a statistic is for units that answer to nothing.

    Attributes:
        mean: its mean over random sets.
        low: lower end of its band.
        high: upper end of its band.
    """

    mean: float
    low: float
    high: float


def similarity(path_lengths: Num[np.ndarray, "k k"], *, sigma: float = 2.0) -> Float[np.ndarray, "k k"]:
    """Similarity of classes, `D_ij = exp(-len(i, j)^2 / (2 sigma^2))`.

    Args:
        path_lengths: shortest hypernym paths, of `jaxinterp.metrics.path_lengths`.
        sigma: width in edges; 2 is our reading, the paper's value is not known to us.

    Raises:
        ValueError: sigma not positive.
    """
    if not sigma > 0:
        raise ValueError(f"expected sigma > 0, got {sigma}; write sigma=2.0.")
    return np.exp(-(path_lengths.astype(np.float64) ** 2) / (2 * sigma**2))


def class_distribution(labels: Int[np.ndarray, "t u"], num_classes: int) -> Float[np.ndarray, "u k"]:
    """Class distribution of the top images of each unit: fractions with sum 1.

    Args:
        labels: class of each top image; -1 where a unit has fewer, which counts nowhere.
        num_classes: number of classes.

    Returns:
        NaN for a unit without any top image.

    Raises:
        ValueError: a label outside the classes.
    """
    if labels.size and not -1 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(f"expected labels from -1 to {num_classes - 1}, got {labels.min()} to {labels.max()}.")
    num_units = labels.shape[1]
    keys = np.where(labels < 0, num_units * num_classes, np.arange(num_units)[None, :] * num_classes + labels)
    counts = np.bincount(keys.ravel(), minlength=num_units * num_classes)[: num_units * num_classes]
    return normalized(counts.reshape(num_units, num_classes))


def normalized(counts: Num[np.ndarray, "*b k"]) -> Float[np.ndarray, "*b k"]:
    """Counts divided by their sum over the last axis; NaN where there are none."""
    totals = counts.sum(axis=-1, keepdims=True, dtype=np.float64)
    return counts / np.where(totals > 0, totals, np.nan)


def level_consistency(distribution: Float[np.ndarray, "*b k"], similarity: Float[np.ndarray, "k k"]) -> Float[np.ndarray, "*b"]:
    """Level and consistency of a feature, `LC = p^T D p`, between the sum of the squared `p` and 1.

    With `n` top images it cannot fall below `1 / n` (`level_floor`), whatever the unit answers to: see
    `unbiased_level_consistency`.

    Args:
        distribution: `p`, class distribution of the top images.
        similarity: `D`, of `similarity`, `taxonomy_similarity`, or any other matrix.

    Returns:
        LC of each distribution: the squared norm and not its root, our reading (a root could not reach the printed .018
        with 1 000 classes).

    Raises:
        ValueError: a similarity of another size than the distribution.

    References:
        Y. Dong, H. Su, J. Zhu, F. Bao, Towards Interpretable Deep Neural Networks by Leveraging Adversarial Examples,
        arXiv 1708.05493, 2017, Fig. 8.
    """
    if similarity.shape != (distribution.shape[-1],) * 2:
        raise ValueError(
            f"expected a similarity of {distribution.shape[-1]} x {distribution.shape[-1]} classes, got {similarity.shape}; "
            "write a row and a column for each class of the distribution."
        )
    return np.asarray(np.einsum("...i,...i->...", distribution @ similarity, distribution))


def unbiased_level_consistency(
    distribution: Float[np.ndarray, "*b k"], similarity: Float[np.ndarray, "k k"], n: int | Num[np.ndarray, "*b"]
) -> Float[np.ndarray, "*b"]:
    """LC without the bias of few images, `LC_U = (n p^T D p - 1) / (n - 1)`: the mean of D over distinct pairs.

    Its expectation does not depend on `n`, unlike that of `level_consistency`. Ours, not the paper's. Where D is not 1 on its
    diagonal, the 1 is `sum_i p_i D_ii`.

    Args:
        distribution: `p`.
        similarity: `D`.
        n: number of top images; for weighted images the effective number, one over the sum of squared weights.

    Returns:
        LC_U; NaN where `n` is 1 or less.
    """
    pairs = np.asarray(n, dtype=np.float64) - 1
    diagonal = np.diagonal(similarity)
    own = 1.0 if (diagonal == 1).all() else distribution @ diagonal
    return np.asarray((n * level_consistency(distribution, similarity) - own) / np.where(pairs > 1e-9, pairs, np.nan))


def level_floor(n: int) -> float:
    """The least LC that `n` top images of `n` unlike classes can give, `1 / n`: each image is like itself."""
    return 1.0 / n


def consistency(
    first: Float[np.ndarray, "*b k"],
    second: Float[np.ndarray, "*#b k"],
    *,
    similarity: Float[np.ndarray, "k k"] | None = None,
) -> Float[np.ndarray, "*b"]:
    """Cosine between two class distributions: CS1 and CS2.

    CS1 is that of the real top images and the *original* classes of the adversarial ones, CS2 that of the real top images
    and the *target* classes of the adversarial ones. The cosine is our reading of "cosine similarity between the classes of
    real and adversarial images".

    Args:
        first: `p`.
        second: `q`.
        similarity: `D`, for the taxonomy-smoothed cosine `p^T D q / sqrt(p^T D p  q^T D q)`, our second reading, by which
            neighbouring classes agree in part; without it `D` is the identity.

    References:
        Y. Dong, H. Su, J. Zhu, F. Bao, arXiv 1708.05493, 2017, Fig. 8.
    """
    smoothed = second if similarity is None else second @ similarity
    own = first if similarity is None else first @ similarity
    product = np.einsum("...i,...i->...", first, smoothed)
    squares = np.einsum("...i,...i->...", own, first) * np.einsum("...i,...i->...", smoothed, second)
    return np.asarray(product / np.sqrt(squares))


def level_null(
    rng: np.random.Generator,
    labels: Int[np.ndarray, " n"],
    similarity: Float[np.ndarray, "k k"],
    set_size: int,
    *,
    num_draws: int = 1000,
    level: float = 0.95,
) -> Null:
    """LC_U of random sets of images: what a unit scores that answers to no class.

    Args:
        rng: source of the draws.
        labels: class of every image that could be a top image.
        similarity: `D`.
        set_size: number of top images of a unit; sets are drawn without replacement.
        num_draws: random sets.
        level: part of them inside the band.

    Raises:
        ValueError: a set larger than the pool, or of fewer than two images.
    """
    if not 2 <= set_size <= len(labels):
        raise ValueError(f"expected sets of 2 to {len(labels)} images (the whole pool), got {set_size}.")
    drawn = labels[random_sets(rng, len(labels), set_size, num_draws)]
    values = unbiased_level_consistency(class_distribution(drawn, len(similarity)), similarity, set_size)
    return null_of(values, level=level)


def random_sets(rng: np.random.Generator, pool: int, size: int, count: int) -> Int[np.ndarray, "size count"]:
    """Indices of `count` random sets, each drawn without replacement, one a column."""
    return np.stack([rng.choice(pool, size, replace=False) for _ in range(count)], axis=1)


def null_of(values: Float[np.ndarray, " n"], *, level: float = 0.95) -> Null:
    """Mean and central band of values drawn under a null."""
    low, high = np.quantile(values, [0.5 - level / 2, 0.5 + level / 2])
    return Null(float(values.mean()), float(low), float(high))


def split_half_reliability(first: Float[np.ndarray, " u"], second: Float[np.ndarray, " u"]) -> float:
    """Reliability of a score from its values on two halves of the images: Spearman and Brown's `2 r / (1 + r)`.

    Args:
        first: score of each unit on one half.
        second: score of each unit on the other.

    Returns:
        1 where the whole tells units apart without error, 0 where it tells nothing, less where the halves disagree; NaN with
        fewer than three units that have both scores, or where all units score the same.

    References:
        C. Spearman, Correlation calculated from faulty data; W. Brown, Some experimental results in the correlation of mental
        abilities, British Journal of Psychology 3, 1910.
    """
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 3 or np.ptp(first[both]) == 0 or np.ptp(second[both]) == 0:
        return float("nan")
    r = float(np.corrcoef(first[both], second[both])[0, 1])
    return 2 * r / (1 + r) if r > -1 else float("-inf")
