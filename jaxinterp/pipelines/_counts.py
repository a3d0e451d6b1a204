"""Counts of detectors and of their null as JSON has them."""

from typing import Any

from jaxinterp import metrics


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
