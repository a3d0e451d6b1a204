"""How far units belong to classes: mutual information, gates, groups of units, and detection from their features."""

from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Bool, Float, Int, Num, Shaped

from jaxinterp.metrics._auroc import auroc
from jaxinterp.metrics._intervals import Interval


class MutualInformation(NamedTuple):
    """The mutual information score of a layer.

    Attributes:
        score: MIS in nats, and its 95 % interval over images.
        permuted: MIS with the labels permuted, which is what the maximum over classes finds where nothing is; a row a draw.
        by_class: MI of each unit with each class.
        num_images: images it rests on.
    """

    score: Interval
    permuted: Float[np.ndarray, " d"]
    by_class: Float[np.ndarray, "u k"]
    num_images: int

    @property
    def excess(self) -> float:
        """The score beyond the mean of the permuted ones."""
        return self.score.estimate - float(self.permuted.mean())


def mutual_information(
    rng: np.random.Generator,
    features: Num[np.ndarray, "n u"],
    labels: Int[np.ndarray, " n"],
    *,
    num_classes: int,
    num_permutations: int = 1,
    num_groups: int = 5,
    num_neighbours: int = 3,
) -> MutualInformation:
    """MIS, `mean_k max_c MI(pooled activation of unit k; 1[label = c])`, by scikit-learn's nearest-neighbour estimator.

    The maximum over classes is biased upward, so the score with permuted labels stands beside it. The interval is that of a
    jackknife which leaves out one of `num_groups` random groups of images at a time: a bootstrap would draw images twice, and
    neighbours at distance 0 look like information.

    Args:
        rng: source of groups, permutations, and of the tiny noise that the estimator adds.
        features: pooled activation of every unit on every image.
        labels: class of each image.
        num_classes: number of classes; one without images has no information.
        num_permutations: draws of permuted labels.
        num_groups: of the jackknife; 0 gives an interval of NaN.
        num_neighbours: of the estimator.

    Returns:
        The score with its interval, and what it stands beside.

    Raises:
        ValueError: features that are not finite, another number of labels, labels outside the classes, or one group.

    References:
        Haoyu Liang, Zhihao Ouyang, Yuyuan Zeng, Hang Su, Zihao He, Shu-Tao Xia, Jun Zhu, Bo Zhang, "Training Interpretable
        Convolutional Neural Networks by Differentiating Class-specific Filters", 2020.
        Brian C. Ross, "Mutual Information between Discrete and Continuous Data Sets", 2014.
    """
    if len(features) != len(labels) or not len(labels) or not np.isfinite(features).all():
        raise ValueError(f"expected finite features and a label for each, got {features.shape} and {len(labels)} labels.")
    if not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(f"expected labels from 0 to {num_classes - 1}, got {labels.min()} to {labels.max()}.")
    if num_groups == 1 or num_groups < 0 or num_permutations < 1:
        raise ValueError(
            f"expected num_groups of 0 or at least 2 and num_permutations >= 1, got {num_groups}, {num_permutations}."
        )

    def table(rows: np.ndarray, names: np.ndarray) -> np.ndarray:
        return _information(rng, rows, names, num_classes, num_neighbours)

    def score(found: np.ndarray) -> float:
        return float(found.max(axis=1).mean())

    by_class = table(features, labels)
    permuted = np.asarray([score(table(features, rng.permutation(labels))) for _ in range(num_permutations)])
    interval, estimate = (float("nan"), float("nan")), score(by_class)
    if num_groups:
        groups = np.array_split(rng.permutation(len(labels)), num_groups)
        left = np.asarray([score(table(np.delete(features, g, axis=0), np.delete(labels, g))) for g in groups])
        error = np.sqrt((num_groups - 1) / num_groups * ((left - left.mean()) ** 2).sum())
        reach = float(scipy.stats.t.ppf(0.975, num_groups - 1) * error)
        interval = (estimate - reach, estimate + reach)
    return MutualInformation(Interval(estimate, *interval), permuted, by_class, len(labels))


def gate_density(gate: Num[np.ndarray, "u k"]) -> float:
    """L1 density of a gate, `||G||_1 / (K C)`.

    Args:
        gate: G, as of `models.gate_of`.
    """
    return float(np.abs(np.asarray(gate, np.float64)).mean())


def class_filters(gate: Num[np.ndarray, "u k"], *, threshold: float = 0.5) -> Bool[np.ndarray, "u k"]:
    """Which units are filters of which class: those whose gate is above a threshold.

    `tracing.ablated_predictions` with the columns as sets masks a class's filters, with their complements it keeps them alone.

    Args:
        gate: G, as of `models.gate_of`.
        threshold: in [0, 1).

    Raises:
        ValueError: another threshold.
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"expected a threshold in [0, 1), got {threshold}; write 0.5.")
    return np.asarray(gate) > threshold


def confusion(labels: Int[np.ndarray, " n"], predictions: Int[np.ndarray, " n"], *, num_classes: int) -> Int[np.ndarray, "k k"]:
    """How many images of each class (row) are taken for each class (column).

    Args:
        labels: the true classes.
        predictions: the predicted ones.
        num_classes: number of classes.
    """
    return np.bincount(labels * num_classes + predictions, minlength=num_classes**2).reshape(num_classes, num_classes)


def filter_similarity(features: Num[np.ndarray, "n u"]) -> Float[np.ndarray, "u u"]:
    """Correlation of the units' pooled activations over images (our reading); a unit that never changes is like no other.

    Args:
        features: pooled activation of every unit on every image.
    """
    centred = np.asarray(features, np.float64) - np.mean(features, axis=0, dtype=np.float64, keepdims=True)
    norm = np.linalg.norm(centred, axis=0)
    unit = centred / np.where(norm > 0, norm, 1.0)[None]
    return unit.T @ unit


def block_order(gate: Num[np.ndarray, "u k"]) -> Int[np.ndarray, " u"]:
    """The units in an order that shows blocks: by the class of the largest gate, within it the most exclusive first.

    Args:
        gate: G, or any other table of units by classes.
    """
    table = np.asarray(gate, np.float64)
    return np.lexsort((table.sum(axis=1), table.argmax(axis=1)))


def block_score(similarity: Float[np.ndarray, "u u"], groups: Int[np.ndarray, " u"]) -> float:
    """Mean similarity of units of one group minus that of units of different groups; a unit is not compared with itself.

    Args:
        similarity: as of `filter_similarity`.
        groups: group of each unit, such as the class of its largest gate; permuted ones give the null.

    Returns:
        NaN where all units are in one group, or none shares its group.
    """
    same, others = groups[:, None] == groups[None], ~np.eye(len(groups), dtype=bool)
    if not (same & others).any() or same.all():
        return float("nan")
    return float(similarity[same & others].mean() - similarity[~same].mean())


class FeatureDetection(NamedTuple):
    """How well a linear rule on features tells adversarial images from clean ones.

    Attributes:
        auroc: on images that the rule has not seen, with its interval.
        scores: of the clean, then of the adversarial images, each by a rule that saw no image of its source.
    """

    auroc: Interval
    scores: Float[np.ndarray, " n"]


def feature_detection(
    rng: np.random.Generator,
    clean: Num[np.ndarray, "n u"],
    adversarial: Num[np.ndarray, "m u"],
    *,
    clean_ids: Shaped[np.ndarray, " n"],
    adversarial_ids: Shaped[np.ndarray, " m"],
    num_folds: int = 5,
) -> FeatureDetection:
    """Detection of adversarial images by logistic regression on pooled features, cross-validated over source images.

    Args:
        rng: source of the bootstrap draws of the interval.
        clean: features of clean images.
        adversarial: features of adversarial images.
        clean_ids: name of each clean image.
        adversarial_ids: the clean image that each adversarial one was made from; images of one name are in one fold, and are
            one cluster of the interval.
        num_folds: of the cross-validation.

    Raises:
        ValueError: fewer names than folds, or features that are not finite.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = np.concatenate([clean, adversarial]).astype(np.float64)
    names, positive = np.concatenate([clean_ids, adversarial_ids]), np.repeat([False, True], [len(clean), len(adversarial)])
    if not np.isfinite(rows).all() or not 2 <= num_folds <= len(np.unique(names)):
        raise ValueError(f"expected finite features and 2 to {len(np.unique(names))} folds, got {num_folds}.")
    scores = np.zeros(len(rows))
    for fit, rest in GroupKFold(num_folds).split(rows, positive, names):
        rule = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(rows[fit], positive[fit])
        scores[rest] = rule.decision_function(rows[rest])
    return FeatureDetection(auroc(rng, scores, positive, names), scores)


def _information(rng: np.random.Generator, rows: np.ndarray, names: np.ndarray, count: int, neighbours: int) -> np.ndarray:
    from sklearn.feature_selection import mutual_info_classif

    found = np.zeros((rows.shape[1], count))
    for number in range(count):
        own = names == number
        if own.any() and not own.all():
            seed = int(rng.integers(2**31))
            found[:, number] = mutual_info_classif(rows, own, n_neighbors=neighbours, random_state=seed)
    return found
