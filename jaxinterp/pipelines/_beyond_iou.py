"""What a unit answers to, beyond the one concept of highest IoU: formulas of two concepts, and ranking by average precision."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jaxtyping import Float32

from jaxinterp import metrics, report
from jaxinterp.activations import MaskSet

MAX_SHARE = 0.5
"""Of the images: a unit that ranks first what more of them carry ranks last the few that lack it."""

_FORMULA, _PRECISE = "formula", "precise"
_RANKED = ("concept", "average_precision", "prevalence", "survives")


class BeyondIoU(NamedTuple):
    """What the units of a layer answer to besides, on the sample of images on which the null is counted.

    Attributes:
        formulas: the formula of two concepts of highest IoU.
        precise: the concept whose images each unit ranks first.
    """

    formulas: metrics.Formulas
    precise: metrics.PrecisionNull


def beyond_iou(
    key: Array,
    masks: MaskSet,
    pooled: Float32[np.ndarray, "n u"],
    categories: tuple[str, ...],
    *,
    num_draws: int,
    min_images: int,
) -> BeyondIoU:
    """Formulas and average precision of every unit, each beside the same search with permuted labels.

    An image carries a concept where a pixel of its label map in the sample does. By average precision those concepts are
    compared that at most half of the images carry.

    Args:
        key: of the permutations.
        masks: masks and label maps of the sample.
        pooled: maximum of every unit's map on each of its images.
        categories: the category of every concept.
        num_draws: permutations.
        min_images: concepts that fewer images carry are left out.

    Returns:
        Both.
    """
    present = np.zeros((len(masks.id), len(categories)), bool)
    present[np.arange(len(masks.id))[:, None], masks.concepts.reshape(len(masks.id), -1)] = True
    first, second = jax.random.split(key)
    knobs = {"num_draws": num_draws, "min_images": min_images}
    return BeyondIoU(
        metrics.formulas(first, masks, categories, **knobs),
        metrics.precision_null(second, pooled, present, source_id=masks.source_id, max_share=MAX_SHARE, **knobs),
    )


def beyond_counts(found: BeyondIoU) -> dict[str, Any]:
    """Means over the units beside those of the permutations, as JSON has them."""
    pair, precise = found.formulas, found.precise
    gains, lifts = (pair.draws - pair.single_draws).mean(axis=1), precise.draws.mean(axis=1)
    return {
        "num_images": pair.num_images,
        "num_draws": len(pair.draws),
        "formulas": {
            "survivors": int(pair.survives.sum()),
            "iou": float(pair.iou.mean()),
            "single_iou": float(pair.single_iou.mean()),
            "gain": float((pair.iou - pair.single_iou).mean()),
            "null_gain": _band(gains),
        },
        "precise": {
            "survivors": int(precise.survives.sum()),
            "average_precision": float(precise.observed.average_precision.mean()),
            "lift": float(precise.observed.lift.mean()),
            "null_lift": _band(lifts),
            "same_concept": float((precise.observed.concept == pair.single).mean()),
        },
    }


def beyond_arrays(found: BeyondIoU, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The figures of every unit.

    Args:
        found: of a layer.
        names: of the concepts.
    """
    pair, precise = found.formulas, found.precise
    formula = {name: getattr(pair, name) for name in ("first", "operator", "second", "iou", "p_value", "survives")}
    formula["text"] = np.asarray(metrics.formula_texts(pair, names))
    best = {name: getattr(precise.observed, name) for name in ("concept", "average_precision", "prevalence", "lift")}
    best |= {"p_value": precise.p_value, "survives": precise.survives}
    parts = {_FORMULA: formula, _PRECISE: best}
    return {f"{part}/{name}": array for part, arrays in parts.items() for name, array in arrays.items()}


def beyond_columns(arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> tuple[report.Column, ...]:
    """Columns of the gallery; none where the layer was dissected without them.

    Args:
        arrays: of one layer and set, with what `beyond_arrays` gave.
        names: of the concepts.
    """
    if f"{_FORMULA}/text" not in arrays:
        return ()
    formula, best = (
        {name: arrays[f"{part}/{name}"] for name in wanted}
        for part, wanted in ((_FORMULA, ("first", "text", "iou", "survives")), (_PRECISE, _RANKED))
    )
    ranked = best["concept"] > 0
    return (
        report.Column(
            "formula",
            [str(text) if first else None for text, first in zip(formula["text"], formula["first"], strict=True)],
            note="The two concepts, joined by and, or, and not, whose pixels have the highest IoU with the unit's mask.",
        ),
        report.Column("formula IoU", formula["iou"], note="Of the unit's mask with the formula, on the sample.", decimals=3),
        report.Column(
            "formula survives", formula["survives"], note="A higher IoU than the same search finds in permuted label maps."
        ),
        report.Column(
            "ranks first",
            [str(names[number]) if number else None for number in best["concept"]],
            note="The concept, of those that at most half of the images carry, whose images the unit's maximum ranks first.",
        ),
        report.Column(
            "AP", np.where(ranked, best["average_precision"], np.nan), note="Average precision of that ranking.", decimals=3
        ),
        report.Column(
            "AP at random",
            np.where(ranked, best["prevalence"], np.nan),
            note="The share of the images that carry the concept.",
            decimals=3,
        ),
        report.Column("AP survives", best["survives"], note="More lift than with the concepts of the images permuted."),
    )


def _band(draws: np.ndarray) -> dict[str, float]:
    """The mean over the permutations, and what holds 95 % of them."""
    low, high = np.quantile(draws, (0.025, 0.975))
    return {"mean": float(draws.mean()), "low": float(low), "high": float(high)}
