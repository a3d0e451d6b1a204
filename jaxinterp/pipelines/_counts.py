"""Counts of detectors and of their null as JSON has them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxinterp import metrics
from jaxinterp.data import CATEGORIES


def detector_counts(found: metrics.Detectors) -> dict[str, Any]:
    """How many units detect a concept, by both rules, and how many concepts were compared."""
    names = ("number", "ratio", "unique", "eligible", "excluded", "by_best", "by_category", "unique_by_best")
    return {name: getattr(found, name) for name in (*names, "unique_by_category")}


def null_counts(null: metrics.PermutedNull) -> dict[str, Any]:
    """The same counts on the sample of the null, each beside what permuted label maps give."""
    return {
        "num_images": null.num_images,
        "num_draws": len(null.draws),
        "survivors": int(null.survives.sum()),
        "number": null.number._asdict(),
        "unique": null.unique._asdict(),
        "by_category": {name: one._asdict() for name, one in null.by_category.items()},
        "by_best": {name: one._asdict() for name, one in null.by_best.items()},
    }


def observed_by_category(counts: Mapping[str, Any]) -> np.ndarray:
    """Units that detect a concept of each of `CATEGORIES`, on the sample of the null; 0 where the images have none."""
    null = counts["null"]["by_category"]
    return np.asarray([null[name]["observed"] if name in null else 0 for name in CATEGORIES], np.float64)


def band_by_category(counts: Mapping[str, Any]) -> np.ndarray:
    """The ends of the band that permuted label maps give for each of `CATEGORIES`, `[c 2]`."""
    null = counts["null"]["by_category"]
    ends = [[null[name]["low"], null[name]["high"]] if name in null else [0.0, 0.0] for name in CATEGORIES]
    return np.asarray(ends, np.float64)
