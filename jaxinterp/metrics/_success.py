"""Success rates of an attack on several models: joint and per model, with the denominator of each named."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from jaxinterp.metrics._intervals import Interval, proportion_interval

ALL_IMAGES = "all images"
CORRECT_IMAGES = "images that every member classifies correctly"


class SuccessRate(NamedTuple):
    """One rate.

    Attributes:
        name: "joint" (every member at once) or the name of a member.
        kind: "targeted" (the prediction is the target) or "untargeted" (it is not the true class).
        denominator: the images that were counted, in words.
        successes: how many succeeded.
        trials: how many there were.
        interval: the rate and its interval, clustered on the source image; NaN without any trial.
    """

    name: str
    kind: str
    denominator: str
    successes: int
    trials: int
    interval: Interval


class SuccessTable(NamedTuple):
    """Rates of an attack, and success against distortion.

    Attributes:
        rates: joint first, then each member; over all images, then over those that every member classifies correctly.
        joint: which adversarial images every member takes for the target.
        thresholds: RMS distortions, rising.
        curve: fraction of all images with joint success at an RMS distortion of at most the threshold.
    """

    rates: tuple[SuccessRate, ...]
    joint: Bool[np.ndarray, " n"]
    thresholds: Float[np.ndarray, " q"]
    curve: Float[np.ndarray, " q"]


class Scored(NamedTuple):
    """Adversarial images as they were read back from storage, scored by the members of an ensemble.

    Attributes:
        predictions: class that each member gives each image.
        targets: class aimed at; -1 where an attack aims at none.
        labels: true class.
        clean_correct: whether each member classifies the clean image correctly.
        source_ids: the clean image of each.
        rms: root mean square of the perturbation, in [0, 1] units.
    """

    predictions: Int[np.ndarray, "n m"]
    targets: Int[np.ndarray, " n"]
    labels: Int[np.ndarray, " n"]
    clean_correct: Bool[np.ndarray, "n m"]
    source_ids: Shaped[np.ndarray, " n"]
    rms: Float[np.ndarray, " n"]


def success_table(
    scored: Scored,
    *,
    names: Sequence[str] = (),
    thresholds: Float[np.ndarray, " q"] | None = None,
    level: float = 0.95,
) -> SuccessTable:
    """Joint and per-model success rates with their denominators, and the curve of success against RMS distortion.

    Args:
        scored: predictions on the stored images.
        names: name of each member; numbers by default.
        thresholds: RMS distortions of the curve; 0 to 8/255 in steps of a quarter by default.
        level: coverage of the intervals.

    Raises:
        ValueError: no image, or another number of names than of members.
    """
    n, num_models = scored.predictions.shape
    if n == 0:
        raise ValueError("expected at least one adversarial image, got none.")
    names = tuple(names) or tuple(f"model {i}" for i in range(num_models))
    if len(names) != num_models:
        raise ValueError(f"expected {num_models} names, one for each member, got {len(names)}.")
    targeted = (scored.predictions == scored.targets[:, None]) & (scored.targets >= 0)[:, None]
    untargeted = scored.predictions != scored.labels[:, None]
    correct = scored.clean_correct.all(axis=1)
    rates = []
    for denominator, rows in ((ALL_IMAGES, np.ones(n, dtype=bool)), (CORRECT_IMAGES, correct)):
        for kind, hits in (("targeted", targeted), ("untargeted", untargeted)):
            columns = {"joint": hits.all(axis=1)} | {name: hits[:, i] for i, name in enumerate(names)}
            for name, column in columns.items():
                successes, trials = int(column[rows].sum()), int(rows.sum())
                interval = Interval(float("nan"), float("nan"), float("nan"))
                if trials:
                    interval = proportion_interval(column[rows], scored.source_ids[rows], level=level)
                rates.append(SuccessRate(name, kind, denominator, successes, trials, interval))
    joint = targeted.all(axis=1)
    if thresholds is None:
        thresholds = np.arange(33) / 4 / 255
    return SuccessTable(tuple(rates), joint, thresholds, success_curve(joint, scored.rms, thresholds))


def success_curve(
    success: Bool[np.ndarray, " n"], rms: Float[np.ndarray, " n"], thresholds: Float[np.ndarray, " q"]
) -> Float[np.ndarray, " q"]:
    """Fraction of all images with success at an RMS distortion of at most each threshold.

    Args:
        success: outcome of each image.
        rms: distortion of each image.
        thresholds: in the same unit as `rms`.
    """
    return np.searchsorted(np.sort(rms[success]), thresholds, side="right") / len(success)
