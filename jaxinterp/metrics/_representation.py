"""Representation consistency (r1, r2): is an adversarial image's representation nearer to its own class or to its target?"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

CHUNK = 4_000_000
"""Distances held at once."""


class RepresentationConsistency(NamedTuple):
    """r1 and r2 of every adversarial image, and of its clean source image as control.

    Attributes:
        r1: mean distance to the real images of the original class, over the same to those of the target class.
        r2: distance to the mean of the original class, over that to the mean of the target class.
        clean_r1: r1 of the source image itself, with the same target.
        clean_r2: r2 of the source image itself.
        used: False where original and target class fell into one group, so that r says nothing; all four are NaN there.
    """

    r1: Float[np.ndarray, " m"]
    r2: Float[np.ndarray, " m"]
    clean_r1: Float[np.ndarray, " m"]
    clean_r2: Float[np.ndarray, " m"]
    used: Bool[np.ndarray, " m"]


class RealFeatures(NamedTuple):
    """Representations of the real images.

    Attributes:
        features: one row an image, such as the last convolutional layer after global average pooling.
        label: its class.
        id: its id.
    """

    features: Float[np.ndarray, "n d"]
    label: Int[np.ndarray, " n"]
    id: Int[np.ndarray, " n"]


def representation_consistency(
    real: RealFeatures,
    features: Float[np.ndarray, "m d"],
    source_ids: Int[np.ndarray, " m"],
    targets: Int[np.ndarray, " m"],
    *,
    groups: Int[np.ndarray, " k"] | None = None,
    min_images: int = 10,
) -> RepresentationConsistency:
    """r1 and r2 of adversarial images: below 1, the representation is nearer to the original class than to the target.

    Both ratios are our reading; the distance is Euclidean. The source image is left out of every mean, since it would make
    both trivially small. The clean source images, treated alike, are the control: what r is without any attack.

    Args:
        real: the real images, every source image among them.
        features: representations of the adversarial images.
        source_ids: id of the real image that each was made from.
        targets: class that each was aimed at.
        groups: class -> group, to merge rare classes: `superclasses(taxonomy, counts).superclass`.
        min_images: least number of real images of each class (or group) that occurs.

    Raises:
        ValueError: a class with fewer images, a source that is not among the real images, or other widths.

    References:
        Y. Dong, H. Su, J. Zhu, F. Bao, Towards Interpretable Deep Neural Networks by Leveraging Adversarial Examples,
        arXiv 1708.05493, 2017, Fig. 9.
    """
    if real.features.shape[1] != features.shape[1]:
        raise ValueError(f"expected {real.features.shape[1]} features an image, got {features.shape[1]}; use one layer.")
    source = _rows_of(real.id, source_ids)
    num_classes = int(max(real.label.max(), targets.max())) + 1
    if min(real.label.min(), targets.min()) < 0 or (groups is not None and len(groups) < num_classes):
        raise ValueError("expected classes from 0 and a group for each; write groups=superclasses(...).superclass.")
    grouping = np.arange(num_classes) if groups is None else groups
    label, target = grouping[real.label], grouping[targets]
    own = label[source]
    used = own != target
    counts = np.bincount(label, minlength=int(grouping.max()) + 1)
    needed = np.unique(np.concatenate([own[used], target[used]]))
    short = needed[counts[needed] < max(2, min_images)]
    if len(short):
        raise ValueError(
            f"expected at least {max(2, min_images)} real images of each class, got {counts[short].min()} of class "
            f"{short[counts[short].argmin()]}; merge classes with groups=superclasses(taxonomy, counts).superclass."
        )
    order = np.argsort(label, kind="stable")
    members = dict(zip(range(len(counts)), np.split(order, np.cumsum(counts)[:-1]), strict=True))
    points = real.features.astype(np.float64)
    pairs = np.where(used, own, -1), np.where(used, target, -1)
    r1, r2 = _ratios(features.astype(np.float64), points, source, pairs, members)
    clean_r1, clean_r2 = _ratios(points[source], points, source, pairs, members)
    return RepresentationConsistency(r1, r2, clean_r1, clean_r2, used)


def _ratios(
    rows: np.ndarray, points: np.ndarray, source: np.ndarray, pairs: tuple[np.ndarray, ...], members: dict[int, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """r1 and r2 of each row with its (original, target) pair of groups; NaN where the groups are -1."""
    near = np.full((len(rows), 2), np.nan)
    mean = np.full((len(rows), 2), np.nan)
    for side, groups in enumerate(pairs):
        for group in np.unique(groups[groups >= 0]):
            chosen = np.flatnonzero(groups == group)
            left_out = points[source[chosen]] if side == 0 else None
            near[chosen, side], mean[chosen, side] = _distances(rows[chosen], points[members[int(group)]], left_out)
    with np.errstate(divide="ignore", invalid="ignore"):
        return near[:, 0] / near[:, 1], mean[:, 0] / mean[:, 1]


def _rows_of(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    order = np.argsort(ids, kind="stable")
    rows = order[np.minimum(np.searchsorted(ids[order], wanted), len(ids) - 1)]
    if (ids[rows] != wanted).any():
        missing = wanted[ids[rows] != wanted]
        raise ValueError(f"expected every source image among the real ones, got no image {missing[0]}; add its features.")
    return rows


def _distances(rows: np.ndarray, members: np.ndarray, left_out: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean distance of each row to the members, and distance to their mean, without one member a row where given."""
    near, mean = np.empty(len(rows)), np.empty(len(rows))
    centre = members.mean(axis=0)  # distances are the same, and matmuls exact enough, around any point
    shifted = members - centre
    squares = (shifted**2).sum(axis=1)
    step = max(1, CHUNK // max(len(members), rows.shape[1]))
    for start in range(0, len(rows), step):
        block = rows[start : start + step] - centre
        squared = (block**2).sum(axis=1)[:, None] + squares[None, :] - 2 * block @ shifted.T
        total = np.sqrt(np.maximum(squared, 0)).sum(axis=1)
        if left_out is None:
            near[start : start + step] = total / len(members)
            mean[start : start + step] = np.sqrt((block**2).sum(axis=1))
            continue
        without = left_out[start : start + step] - centre
        own = np.maximum((block**2).sum(axis=1) + (without**2).sum(axis=1) - 2 * (block * without).sum(axis=1), 0)
        near[start : start + step] = (total - np.sqrt(own)) / (len(members) - 1)
        mean[start : start + step] = np.sqrt(((block + without / (len(members) - 1)) ** 2).sum(axis=1))
    return near, mean
