"""Linear probes: how well classes can be told from the pooled features of a layer by a linear rule."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxinterp.metrics._intervals import Interval, wilson_interval


class Probe(NamedTuple):
    """A linear probe.

    Attributes:
        accuracy: on held-out images, with Wilson's 95 % interval over them.
        training_accuracy: on the images it was fitted to.
        cost: inverse weight of the L2 penalty (C) that cross-validation chose.
        num_training: images it was fitted to.
        num_held_out: images it was tried on.
        chance: share of the most frequent held-out class.
    """

    accuracy: Interval
    training_accuracy: float
    cost: float
    num_training: int
    num_held_out: int
    chance: float


def linear_probe(
    features: Float[np.ndarray, "n u"],
    labels: Int[np.ndarray, "n"],
    held_out_features: Float[np.ndarray, "m u"],
    held_out_labels: Int[np.ndarray, "m"],
    *,
    costs: Sequence[float] = (0.01, 0.1, 1.0, 10.0),
    num_folds: int = 3,
) -> Probe:
    """Multinomial logistic regression on features, tried on images that it has not seen.

    Features are standardised by the training images, dead units are left as zeros. The penalty is chosen among `costs` by
    stratified cross-validation on the training images alone, the strongest penalty among equals. Nothing is drawn.

    Args:
        features: of the training images, such as the mean over the positions of a layer.
        labels: their classes.
        held_out_features: of the held-out images.
        held_out_labels: their classes.
        costs: inverse weights of the penalty that are tried.
        num_folds: of the cross-validation.

    Returns:
        Accuracy with its interval, which is over the held-out images and not over trainings of the network.

    Raises:
        ValueError: features that are not finite, of another length than the labels or of another width, a single class, or
            a class with fewer images than folds.

    References:
        Guillaume Alain, Yoshua Bengio, "Understanding intermediate layers using linear classifier probes", 2016.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    for name, rows, names in (("training", features, labels), ("held-out", held_out_features, held_out_labels)):
        if len(rows) != len(names) or not len(rows):
            raise ValueError(
                f"expected a label for each of the {name} rows and at least one, got {len(rows)} and {len(names)}."
            )
        if not np.isfinite(rows).all():
            raise ValueError(f"expected finite {name} features, got NaN or infinity; look at the network's training.")
    if features.shape[1] != held_out_features.shape[1]:
        raise ValueError(f"expected {features.shape[1]} held-out features, as in training, got {held_out_features.shape[1]}.")
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2:
        raise ValueError("expected at least two classes, got one; take other images.")
    if num_folds < 2 or counts.min() < num_folds:
        raise ValueError(f"expected 2 <= num_folds <= {counts.min()}, the images of the rarest class, got {num_folds}.")
    if not len(costs) or min(costs) <= 0:
        raise ValueError(f"expected costs above 0, got {tuple(costs)}; write (0.01, 0.1, 1.0, 10.0).")

    def fitted(cost: float, rows: np.ndarray, names: np.ndarray) -> "_Fitted":
        mean, deviation = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
        scale = np.where(deviation > 1e-9 * np.maximum(1.0, np.abs(mean)), deviation, np.inf)
        rule = LogisticRegression(C=cost, max_iter=300, tol=1e-3)
        return _Fitted(mean, scale, rule.fit((rows - mean[None]) / scale[None], names))

    folds = list(StratifiedKFold(num_folds).split(features, labels))
    ordered = sorted(costs)
    scores = [
        np.mean([fitted(cost, features[fit], labels[fit]).accuracy(features[rest], labels[rest]) for fit, rest in folds])
        for cost in ordered
    ]
    cost = ordered[int(np.argmax(scores))]
    probe = fitted(cost, features, labels)
    right = round(probe.accuracy(held_out_features, held_out_labels) * len(held_out_labels))
    return Probe(
        accuracy=wilson_interval(right, len(held_out_labels)),
        training_accuracy=probe.accuracy(features, labels),
        cost=cost,
        num_training=len(labels),
        num_held_out=len(held_out_labels),
        chance=float(np.unique(held_out_labels, return_counts=True)[1].max() / len(held_out_labels)),
    )


class _Fitted(NamedTuple):
    mean: np.ndarray
    scale: np.ndarray
    rule: object

    def accuracy(self, rows: np.ndarray, names: np.ndarray) -> float:
        standardised = (rows - self.mean[None]) / self.scale[None]
        return float((self.rule.predict(standardised) == names).mean())  # pyright: ignore[reportAttributeAccessIssue]
