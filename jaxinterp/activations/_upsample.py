"""From the positions of a layer's map to the pixels of a label map."""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from jaxinterp._base import Layer

Anchor = Literal["receptive_field", "plain"]
"""Where the positions of a map lie in the image: at their receptive fields' centres, or evenly over the whole image."""


def upsample(
    maps: Float[Array, "*n h w u"], layer: Layer, size: int, *, image_size: int, anchor: Anchor = "receptive_field"
) -> Float[Array, "*n size size u"]:
    """A layer's maps, bilinearly interpolated at the pixel centres of a square label map.

    With `anchor="receptive_field"`, position `i` of the map lies at input pixel `layer.offset + i * layer.stride`, and
    label pixel `j` at input pixel `(j + 1/2) * image_size / size - 1/2`. With `anchor="plain"` the map is resized as an
    image is, half-pixel centres on both sides, as the "Lite" release of Network Dissection does. Outside the outermost
    positions the value of the nearest one is kept, as both releases do. At a position's own centre, and between equal
    values, the result is exactly the map's value.

    Unlike the paper's code, which rounds the centres down to whole label pixels, nothing is rounded.

    Args:
        maps: post-activation maps, any leading axes.
        layer: the geometry of the layer.
        size: side of the label map in pixels.
        image_size: side of the network's input in pixels.
        anchor: where the positions lie.

    Returns:
        The interpolated maps.

    Raises:
        ValueError: an unknown `anchor`, or a size below 1.

    References:
        David Bau, Bolei Zhou, Aditya Khosla, Aude Oliva, Antonio Torralba, "Network Dissection: Quantifying
        Interpretability of Deep Visual Representations", 2017, section 2.2.
    """
    for axis in (-3, -2):
        low, high, weight = _neighbours(maps.shape[axis], layer, size, image_size, anchor)
        below, beyond = jnp.take(maps, low, axis=axis), jnp.take(maps, high, axis=axis)
        shape = [1] * maps.ndim
        shape[axis] = size
        maps = below + jnp.asarray(weight, maps.dtype).reshape(shape) * (beyond - below)
    return maps


def unit_masks(
    maps: Float[Array, "*n h w u"],
    thresholds: Float[np.ndarray, "u"] | Float[Array, "u"],
    layer: Layer,
    size: int,
    *,
    image_size: int,
    anchor: Anchor = "receptive_field",
) -> Bool[Array, "*n size size u"]:
    """Where each unit answers: the upsampled map exceeds the unit's threshold, M_k = S_k > T_k.

    Args:
        maps: post-activation maps, any leading axes.
        thresholds: T_k, what `quantile_fine` computes.
        layer: the geometry of the layer.
        size: side of the label map in pixels.
        image_size: side of the network's input in pixels.
        anchor: where the positions lie, see `upsample`.

    Returns:
        The masks.
    """
    upsampled = upsample(maps, layer, size, image_size=image_size, anchor=anchor)
    return upsampled > jnp.asarray(thresholds, maps.dtype).reshape((1,) * (maps.ndim - 1) + (-1,))


def interpolation(
    length: int, layer: Layer, size: int, *, image_size: int, anchor: Anchor = "receptive_field"
) -> Float[np.ndarray, "s p"]:
    """The matrix by which `upsample` turns `length` positions along one axis into `size` pixels, in float64.

    Args:
        length: positions.
        layer: the geometry of the layer.
        size: pixels.
        image_size: side of the network's input in pixels.
        anchor: where the positions lie.
    """
    low, high, weight = _neighbours(length, layer, size, image_size, anchor)
    matrix, rows = np.zeros((size, length)), np.arange(size)
    np.add.at(matrix, (rows, low), 1 - weight)
    np.add.at(matrix, (rows, high), weight)
    return matrix


def _neighbours(
    length: int, layer: Layer, size: int, image_size: int, anchor: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each label pixel along one axis: the positions before and after it, and how far it lies between them."""
    if min(size, image_size) < 1:
        raise ValueError(f"expected sizes >= 1, got size={size} and image_size={image_size}.")
    pixel = np.arange(size) + 0.5
    if anchor == "receptive_field":
        place = (pixel * image_size / size - 0.5 - layer.offset) / layer.stride
    elif anchor == "plain":
        place = pixel * length / size - 0.5
    else:
        raise ValueError(f'expected anchor="receptive_field" or "plain", got {anchor!r}.')
    place = np.clip(np.round(place, 9), 0, length - 1)  # the weight at a centre is 0, not 1 - 1e-16: its value is exact
    low = np.floor(place).astype(np.int32)
    return low, np.minimum(low + 1, length - 1), place - low
