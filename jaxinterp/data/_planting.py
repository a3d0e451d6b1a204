"""Units whose meaning is known: activation maps made from label maps, without any network."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Int64


class Plant(NamedTuple):
    """What a planted unit answers to.

    Attributes:
        concept: number of the concept.
        second: number of another concept, for an ambiguous unit.
        strength: share of the images on which the unit sees that image; on the others it sees the label map of another
            image. 1 is a perfect detector, 0 a null unit, whose regions have the same shapes, areas and frequencies.
        ambiguity: share of the images on which the unit answers to `second` too.
        drift: share of the adversarial images on which the unit sees an image of the target class.
    """

    concept: int
    second: int = 0
    strength: float = 1.0
    ambiguity: float = 0.0
    drift: float = 0.0


class Sight(NamedTuple):
    """What planted units see on each image.

    Attributes:
        row: the image whose label map the unit sees; over all images it is a permutation, unless units drift.
        second: whether the unit answers to its second concept there.
        drifted: whether an attack made the unit see the target.
    """

    row: Int64[np.ndarray, "n u"]
    second: Bool[np.ndarray, "n u"]
    drifted: Bool[np.ndarray, "n u"]


def planted_sight(
    rng: np.random.Generator, num_images: int, plants: Sequence[Plant], *, targets: Int[np.ndarray, " n"] | None = None
) -> Sight:
    """Draws which label map each planted unit sees on each image.

    With the same seed, the sight of the real and of the adversarial images agrees but for the drift, and a unit's draws do not
    depend on the units after it.

    Args:
        rng: source of the draws.
        num_images: how many images.
        plants: the units.
        targets: for adversarial images, a row of an image of the target class each; None for real images.

    Returns:
        One column a unit.

    Raises:
        ValueError: a share outside [0, 1], or another number of targets.
    """
    for plant in plants:
        if not all(0 <= share <= 1 for share in plant[2:]):
            raise ValueError(f"expected strength, ambiguity and drift in [0, 1], got {plant}; write shares of the images.")
    if targets is not None and len(targets) != num_images:
        raise ValueError(f"expected {num_images} targets, got {len(targets)}; write a row for each adversarial image.")
    own = np.arange(num_images)
    columns = []
    for plant, child in zip(plants, rng.spawn(len(plants)), strict=True):
        coins = child.random((3, num_images))
        astray = np.flatnonzero(coins[0] >= plant.strength)
        row = own.copy()
        row[astray] = child.permutation(astray)
        drifted = (coins[2] < plant.drift) & (targets is not None)
        if targets is not None:
            row = np.where(drifted, targets, row)
        columns.append((row, coins[1] < plant.ambiguity, drifted))
    row, second, drifted = (np.stack(column, axis=1) for column in zip(*columns, strict=True))
    return Sight(row, second, drifted)


def planted_maps(
    rng: np.random.Generator,
    concepts: Int[np.ndarray, "n s s l"],
    plants: Sequence[Plant],
    sight: Sight,
    *,
    cell: int = 8,
    noise: float = 0.1,
) -> Float32[np.ndarray, "n r r u"]:
    """The activation maps of planted units.

    An activation is the share of the pixels of its cell that carry the concept, which is the blur of a receptive field, plus
    normal noise.

    Args:
        rng: source of the noise.
        concepts: label maps, as of a source's examples.
        plants: the units.
        sight: of `planted_sight`.
        cell: side of a cell in pixels.
        noise: standard deviation of the noise.

    Returns:
        Maps with `s / cell` rows and columns; a `Layer` of stride `cell` and offset `(cell - 1) / 2`.

    Raises:
        ValueError: cells that do not fill the label maps, or a sight of other images or units.
    """
    count, size = concepts.shape[:2]
    if size % cell:
        raise ValueError(f"expected a cell that divides {size} pixels, got {cell}; write cell=8.")
    if sight.row.shape != (count, len(plants)):
        raise ValueError(f"expected a sight of {count} images and {len(plants)} units, got {sight.row.shape}.")
    side = size // cell
    maps = np.empty((count, side, side, len(plants)), np.float32)
    for unit, (plant, child) in enumerate(zip(plants, rng.spawn(len(plants)), strict=True)):
        first = (concepts == plant.concept).any(axis=3)
        seen = first[sight.row[:, unit]]
        if plant.ambiguity > 0:
            also = (concepts == plant.second).any(axis=3)[sight.row[:, unit]]
            seen = seen | (also & sight.second[:, unit, None, None])
        share = seen.reshape(count, side, cell, side, cell).mean(axis=(2, 4), dtype=np.float32)
        maps[..., unit] = share + noise * child.standard_normal(share.shape, dtype=np.float32)
    return maps
