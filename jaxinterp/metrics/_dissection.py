"""Network dissection: which concept each unit's mask overlaps most, and how many units detect one."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from jaxinterp.activations import Tally


class Detectors(NamedTuple):
    """What the units of a layer detect.

    Attributes:
        concept: the concept of highest IoU; 0 where no concept overlaps the unit's mask.
        iou: that IoU.
        detects: whether it exceeds the threshold.
        attainable: the highest IoU that a mask of the unit's area could have with any concept.
        number: units that detect.
        ratio: their share of all units.
        unique: distinct concepts detected.
        by_best: per category, units whose concept of highest IoU lies in it and is detected; each unit counts once.
        by_category: per category, units whose highest IoU *in that category* exceeds the threshold; a unit can count in
            several categories. This is the rule of the paper's table.
        unique_by_best: distinct concepts behind `by_best`.
        unique_by_category: distinct concepts behind `by_category`.
        eligible: concepts that were compared.
        excluded: concepts left out because too few images carry them.
    """

    concept: Int64[np.ndarray, "u"]
    iou: Float64[np.ndarray, "u"]
    detects: Bool[np.ndarray, "u"]
    attainable: Float64[np.ndarray, "u"]
    number: int
    ratio: float
    unique: int
    by_best: dict[str, int]
    by_category: dict[str, int]
    unique_by_best: dict[str, int]
    unique_by_category: dict[str, int]
    eligible: int
    excluded: int


def iou_table(tally: Tally) -> Float64[np.ndarray, "u q"]:
    """IoU of every unit's mask with every concept, over the whole data set.

    IoU(k, c) = sum|M_k & L_c| / sum|M_k | L_c|, where |M_k| is counted only on images that carry some concept of c's
    category. 0 where the union is empty, and for concept 0.

    Args:
        tally: the pixel counts.

    Returns:
        The table in float64.

    References:
        David Bau, Bolei Zhou, Aditya Khosla, Aude Oliva, Antonio Torralba, "Network Dissection: Quantifying
        Interpretability of Deep Visual Representations", 2017, equation 1.
    """
    union = _areas(tally) + tally.label_area[None, :] - tally.intersection
    table = tally.intersection / np.maximum(union, 1)
    table[:, 0] = 0.0
    return table


def detectors(tally: Tally, *, threshold: float = 0.04, min_images: int = 10) -> Detectors:
    """The concept that each unit detects, and the counts per category by both rules in use.

    With few images an IoU of 0.04 is near chance: set every count beside its `permuted_null`.

    Args:
        tally: the pixel counts.
        threshold: a unit detects a concept when their IoU exceeds this; 0.04 is the paper's choice.
        min_images: concepts that fewer images carry are left out (and counted in `excluded`); our reading.

    Returns:
        Detectors per unit and per category; the categories are `tally.category_names`, in that order.

    Raises:
        ValueError: `threshold` outside [0, 1).

    References:
        David Bau, Bolei Zhou, Aditya Khosla, Aude Oliva, Antonio Torralba, "Network Dissection: Quantifying
        Interpretability of Deep Visual Representations", 2017, section 2.3.
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"expected 0 <= threshold < 1, got {threshold}; write 0.04.")
    table, eligible = eligible_ious(tally, min_images)
    concept, iou = table.argmax(axis=1), table.max(axis=1)
    detects = iou > threshold
    categories = np.asarray(tally.categories)
    counts: dict[str, dict[str, int]] = {"by_best": {}, "by_category": {}, "unique_by_best": {}, "unique_by_category": {}}
    for name in tally.category_names:
        best = detects & (categories[concept] == name)
        within = np.where((categories == name)[None, :], table, 0.0)
        reaches = within.max(axis=1) > threshold
        counts["by_best"][name] = int(best.sum())
        counts["by_category"][name] = int(reaches.sum())
        counts["unique_by_best"][name] = len(np.unique(concept[best]))
        counts["unique_by_category"][name] = len(np.unique(within.argmax(axis=1)[reaches]))
    areas, labels = _areas(tally), tally.label_area[None, :]
    attainable = np.minimum(areas, labels) / np.maximum(np.maximum(areas, labels), 1)
    return Detectors(
        concept=np.where(iou > 0, concept, 0),
        iou=iou,
        detects=detects,
        attainable=np.where(eligible[None, :], attainable, 0.0).max(axis=1),
        number=int(detects.sum()),
        ratio=float(detects.mean()),
        unique=len(np.unique(concept[detects])),
        eligible=int(eligible.sum()),
        excluded=int((~eligible[1:]).sum()),
        **counts,
    )


def eligible_ious(tally: Tally, min_images: int) -> tuple[Float64[np.ndarray, "u q"], Bool[np.ndarray, "q"]]:
    """The IoU table with 0 for concepts that fewer than `min_images` images carry, and which concepts those are not."""
    eligible = tally.concept_images >= max(min_images, 1)
    eligible[0] = False
    return np.where(eligible[None, :], iou_table(tally), 0.0), eligible


def _areas(tally: Tally) -> Int64[np.ndarray, "u q"]:
    """|M_k| over the images that carry some concept of each concept's category."""
    column = {name: number for number, name in enumerate(tally.category_names)}
    areas = tally.unit_area[:, [column.get(name, 0) for name in tally.categories]]
    areas[:, 0] = 0
    return areas
