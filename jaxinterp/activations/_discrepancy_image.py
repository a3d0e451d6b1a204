"""Discrepancy maps as maps of pixels, and the region that a unit's answer rests on."""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from jaxinterp._base import Layer
from jaxinterp.activations._discrepancy import DiscrepancyMaps
from jaxinterp.activations._upsample import upsample

Spread = Literal["footprint", "centre"]
"""How the drop at a place becomes that of pixels: over all that the occluder covers, or interpolated between centres."""


def discrepancy_on_image(
    maps: DiscrepancyMaps, *, spread: Spread = "footprint", size: int | None = None
) -> Float[np.ndarray, "n s s u"]:
    """The drops from places of the occluder to pixels.

    Args:
        maps: of `discrepancy_maps`.
        spread: "footprint" gives a pixel the mean drop of all occluders that cover it, which averages the draws of their
            pixels; "centre" interpolates bilinearly between the centres of the occluders. Pixels beyond the outermost places
            have the value of the nearest pixel or centre. The first is our reading.
        size: side of the result in pixels; None takes that of the images.

    Returns:
        The drop at every pixel.

    Raises:
        ValueError: an unknown `spread`.
    """
    side, units, size = maps.drop.shape[1], maps.drop.shape[3], size or maps.image_size
    if spread == "centre":
        grid = Layer("occluder", (side, side, units), float(maps.stride), maps.offset, maps.occluder)
        return np.asarray(upsample(jnp.asarray(maps.drop), grid, size, image_size=maps.image_size))
    if spread != "footprint":
        raise ValueError(f'expected spread="footprint" or "centre", got {spread!r}.')
    reach = maps.offset + maps.stride * (side - 1) + maps.occluder / 2 - 0.5
    pixel = np.clip((np.arange(size) + 0.5) * maps.image_size / size - 0.5, maps.offset - (maps.occluder - 1) / 2, reach)
    away = np.abs(pixel[:, None] - (maps.offset + maps.stride * np.arange(side))[None, :])
    covers = away <= np.maximum(maps.occluder / 2, away.min(axis=1, keepdims=True))
    share = (covers / covers.sum(axis=1, keepdims=True)).astype(np.float32)
    return np.einsum("ir,nrcu,jc->niju", share, maps.drop, share, optimize=True)


def discrepancy_regions(
    maps: DiscrepancyMaps, *, share: float = 0.5, spread: Spread = "footprint", size: int | None = None
) -> Bool[np.ndarray, "n s s u"]:
    """The pixels that a unit's answer rests on: where the drop exceeds a share of its maximum over the image (our reading).

    Args:
        maps: of `discrepancy_maps`.
        share: of the maximum of the drop on the image; 0.5 is our reading.
        spread: from places to pixels, see `discrepancy_on_image`.
        size: side of the result in pixels; None takes that of the images.

    Returns:
        True inside the region; False everywhere for a unit whose activation no occluder lowers.

    Raises:
        ValueError: a share outside [0, 1), or an unknown `spread`.
    """
    if not 0 <= share < 1:
        raise ValueError(f"expected 0 <= share < 1, got {share}; write 0.5.")
    drops = discrepancy_on_image(maps, spread=spread, size=size)
    return drops > share * np.maximum(drops.max(axis=(1, 2), keepdims=True), 0)
