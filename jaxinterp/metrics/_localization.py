"""How well a map finds pixels that are known."""

from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Bool, Float, Float64, Num


class Localization(NamedTuple):
    """Agreement of maps with known pixels, one number a row.

    Attributes:
        auroc: probability that a known pixel scores above another one, ties one half.
        iou: of the known pixels with those above a share of the map's maximum.
        best_iou: the highest IoU that any threshold on this map gives.
        pointing: whether the map's maximum is a known pixel (the first of equals, in reading order).
        area: share of the pixels that are known, which is what chance points at.
    """

    auroc: Float64[np.ndarray, " m"]
    iou: Float64[np.ndarray, " m"]
    best_iou: Float64[np.ndarray, " m"]
    pointing: Bool[np.ndarray, " m"]
    area: Float64[np.ndarray, " m"]


def localization(maps: Num[np.ndarray, "m h w"], known: Bool[np.ndarray, "i j k"], *, share: float = 0.5) -> Localization:
    """Compares maps with known pixels, row by row; intervals come from `bootstrap_interval` over the rows.

    Args:
        maps: higher where a map says that something is.
        known: where it is.
        share: the region whose IoU is taken is where the map exceeds this share of its maximum, nothing where that is
            not positive.

    Returns:
        The figures of every row.

    Raises:
        ValueError: other shapes, or a row whose pixels are all known or all not.

    References:
        Jianming Zhang, Zhe Lin, Jonathan Brandt, Xiaohui Shen, Stan Sclaroff, "Top-down Neural Attention by Excitation
        Backprop", 2016, section 4.2 (the pointing game).
    """
    if maps.shape != known.shape:
        raise ValueError(f"expected known pixels of the maps' shape {maps.shape}, got {known.shape}.")
    rows = len(maps)
    score, truth = maps.reshape(rows, -1).astype(np.float64), known.reshape(rows, -1)
    inside = truth.sum(axis=1)
    if ((inside == 0) | (inside == truth.shape[1])).any():
        row = int(np.flatnonzero((inside == 0) | (inside == truth.shape[1]))[0])
        raise ValueError(f"expected known and other pixels in every row, got {inside[row]} known in row {row}; leave it out.")
    outside = truth.shape[1] - inside
    ranks = scipy.stats.rankdata(score, axis=1)
    auroc = ((ranks * truth).sum(axis=1) - inside * (inside + 1) / 2) / (inside * outside)
    region = score > share * np.maximum(score.max(axis=1, keepdims=True), 0)
    iou = (region & truth).sum(axis=1) / (region | truth).sum(axis=1)
    return Localization(
        auroc=auroc,
        iou=iou,
        best_iou=np.asarray([_best_iou(*pair) for pair in zip(score, truth, strict=True)]),
        pointing=truth[np.arange(rows), score.argmax(axis=1)],
        area=inside / truth.shape[1],
    )


def _best_iou(score: Float[np.ndarray, " p"], truth: Bool[np.ndarray, " p"]) -> float:
    """The highest IoU over the regions `score >= t`, one for every distinct value."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(truth[order])
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    return float((hits[ends] / (ends + 1 + truth.sum() - hits[ends])).max())
