"""Depth selectivity: how much more a unit answers at one depth than at all others."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Float64, Int

from jaxinterp.activations._depth_response import DepthResponse


def depth_selectivity(
    response: Float[Array, "u d"] | Float[np.ndarray, "u d"],
    *,
    present: Bool[Array, " d"] | Bool[np.ndarray, " d"] | None = None,
    chosen: Int[Array, " u"] | Int[np.ndarray, " u"] | None = None,
) -> Float[Array, " u"]:
    """Depth selectivity DS_k of every unit; differentiable in the response.

    DS_k = (|R_k,max| - mean |R_k,others|) / (|R_k,max| + mean |R_k,others|), from -1 to 1. Without `chosen` the bin is the one
    of the largest |R_kd|, and DS_k is at least 0. Bins without a pixel are neither the largest nor among the others. Our
    reading: a unit that answers nowhere has 0, and one whose chosen bin has no pixel, or no other bin, has NaN.

    Args:
        response: R_kd; what it says of bins that are not present is not looked at.
        present: which bins have pixels; by default those whose responses are finite.
        chosen: the bin of every unit, such as `assigned_bins` gives or what another half of the images chose.

    Returns:
        DS_k.

    Example:
        >>> round(float(depth_selectivity(np.asarray([[3.0, 1.0, 1.0]]))[0]), 6)
        0.5

    References:
        Zunzhi You, Yi-Hsuan Tsai, Wei-Chen Chiu, Guanbin Li, "Towards Interpretable Deep Networks for Monocular Depth
        Estimation", ICCV 2021.
    """
    response = jnp.asarray(response)
    present = jnp.isfinite(response).all(axis=0) if present is None else jnp.asarray(present)
    size = jnp.abs(jnp.where(present[None], response, 0))
    if chosen is None:
        chosen = jnp.where(present[None], size, -1).argmax(axis=1)
    picked = jnp.asarray(chosen)[:, None] == jnp.arange(size.shape[1])[None]
    largest = jnp.where(picked, size, 0).sum(axis=1)
    number = present.sum() - 1
    others = jnp.where(picked, 0, size).sum(axis=1) / jnp.maximum(number, 1)
    total = largest + others
    selectivity = jnp.where(total > 0, (largest - others) / jnp.where(total > 0, total, 1), 0)
    defined = (picked & present[None]).any(axis=1) & (number > 0)
    return jnp.where(defined, selectivity, jnp.nan)


def assigned_bins(num_units: int, num_bins: int) -> Int[np.ndarray, " u"]:
    """The bin that training assigns to every unit, floor(k / (units / bins)).

    Args:
        num_units: units of the layer.
        num_bins: bins; with fewer units than bins, some bins have no unit.
    """
    return np.arange(num_units) * num_bins // num_units


def selective_bins(response: Float[np.ndarray, "u d"]) -> Int[np.ndarray, " u"]:
    """The bin of the largest |R_kd| of every unit; -1 where no bin has a pixel.

    Args:
        response: R_kd, NaN in bins without a pixel.
    """
    size = np.where(np.isfinite(response), np.abs(response), -1)
    return np.where(size.max(axis=1) < 0, -1, size.argmax(axis=1))


def cross_validated_selectivity(found: DepthResponse) -> Float64[np.ndarray, " u"]:
    """DS_k with the bin chosen on one half of the images and scored on the other, the mean of both ways; our reading.

    A maximum over noisy bins is biased upward; here noise in the choice cannot raise the score.

    Args:
        found: the responses of both halves.

    Returns:
        DS_k in float64; NaN where a half has no pixel of the bin that the other chose, both ways.
    """
    ways = [_scored(found.halves[1 - half], selective_bins(found.halves[half])) for half in range(2)]
    number = np.isfinite(ways).sum(axis=0)
    return np.where(number > 0, np.nansum(ways, axis=0) / np.maximum(number, 1), np.nan)


def _scored(response: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """`depth_selectivity` with a chosen bin, on the host in float64."""
    present = np.asarray(np.isfinite(response).all(axis=0))
    size = np.where(present[None], np.abs(response), 0)
    picked = chosen[:, None] == np.arange(size.shape[1])[None]
    largest, number = (size * picked).sum(axis=1), present.sum() - 1
    others = (size * ~picked).sum(axis=1) / max(number, 1)
    total = largest + others
    value = np.where(total > 0, (largest - others) / np.where(total > 0, total, 1), 0)
    return np.where((picked & present[None]).any(axis=1) & (number > 0), value, np.nan)
