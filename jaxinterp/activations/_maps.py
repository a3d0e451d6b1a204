"""What every statistic does first: fetch one layer's maps and check them."""

from typing import Literal

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int32

from jaxinterp._base import Activations, did_you_mean

Reduce = Literal["max", "mean"]
"""How the positions of a map become one number per unit."""


def layer_maps(activations: Activations, layer: str, num_units: int) -> Float[Array, "n h w u"]:
    """The maps of one layer in float32; a layer without positions `[n u]` gets one position.

    Raises:
        ValueError: unknown layer, or not that many units.
    """
    if layer not in activations:
        names = list(activations)
        raise ValueError(f"unknown layer {layer!r}; the activations have: {', '.join(names)}{did_you_mean(layer, names)}")
    maps = activations[layer]
    if maps.ndim == 2:
        maps = maps[:, None, None, :]
    if maps.ndim != 4 or maps.shape[-1] != num_units:
        raise ValueError(
            f"expected activations [n h w {num_units}] of layer {layer!r}, got shape {activations[layer].shape}; "
            "write num_units=model.layer(name).shape[2]."
        )
    return maps.astype(jnp.float32)


def broken(maps: Float[Array, "n h w u"], mask: Bool[Array, "n"]) -> Int32[Array, ""]:
    """How many activations of the rows of `mask` are NaN or infinite."""
    return (~jnp.isfinite(maps) & mask[:, None, None, None]).sum(dtype=jnp.int32)


def check_finite(count: int, layer: str) -> None:
    """Raises `ValueError` when `count` activations of a layer were NaN or infinite."""
    if count:
        raise ValueError(
            f"expected finite activations, got NaN or infinity {count} time(s) in layer {layer!r}; look at the network's "
            "weights, or evaluate it in float32."
        )


def pool(maps: Float[Array, "n h w u"], reduce: Reduce) -> Float[Array, "n u"]:
    """One number per image and unit; -0.0 becomes 0.0, so that equal values are equal bits."""
    pooled = maps.max(axis=(1, 2)) if reduce == "max" else maps.mean(axis=(1, 2))
    return jnp.where(pooled == 0, 0.0, pooled)


def check_reduce(reduce: str) -> None:
    """Raises `ValueError` unless `reduce` is known."""
    if reduce not in ("max", "mean"):
        raise ValueError(f'expected reduce="max" or "mean", got {reduce!r}.')


def check_positive(**numbers: int) -> None:
    """Raises `ValueError` for the first of `numbers` that is below 1."""
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"expected {name} >= 1, got {number}.")
