"""Weights and images that two programs draw alike, and the few numbers that stand for a map; NumPy only.

Every number comes from the raw bits of a Philox generator that is keyed by a name, and bits do not change between
versions of NumPy. Weights are float32, images are multiples of 2^-17, so float64 holds both without rounding.
"""

import hashlib
import math

import numpy as np

MEAN = (0.5, 0.4, 0.3)
STD = (0.25, 0.2, 0.3)
"""Of the normalisation that all networks are compared with; the channels differ, so that swapped ones are found."""

NUM_SAMPLES = 24
"""Values kept of a layer's map."""

NUM_STATISTICS = 6
"""Values kept of a running mean or variance."""


def weight(name: str, shape: tuple[int, ...], *, gain: float) -> np.ndarray:
    """The weight of that name in a PyTorch state dict.

    Args:
        name: its last part decides on the range: `running_var` lies in [0.5, 1.5), `running_mean` and `bias` in
            [-0.2, 0.2), the `weight` of a normalisation in [0.75, 1.25).
        shape: as PyTorch has it, outputs first.
        gain: variance of kernels times their fan-in; 2 keeps the size of a map through convolutions and ReLUs.
    """
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "weight" and len(shape) > 1:
        spread, centre = math.sqrt(3 * gain / math.prod(shape[1:])), 0.0
    else:
        spread, centre = {"running_var": (0.5, 1.0), "weight": (0.25, 1.0)}.get(leaf, (0.2, 0.0))
    return (_bits(name, math.prod(shape)) * np.float32(spread / 2**15) + np.float32(centre)).reshape(shape)


def images(count: int, size: int) -> np.ndarray:
    """`[n h w c]` float64 in [0, 1): coarse blocks and fine noise, so that pooled features differ between images."""
    fine = _uniform(f"fine {size}", (count, size, size, 3))
    side = -(-size // 5)
    coarse = _uniform(f"coarse {size}", (count, 5, 5, 3)).repeat(side, 1).repeat(side, 2)
    return (fine + coarse[:, :size, :size]) / 2


def normalised(batch: np.ndarray) -> np.ndarray:
    """The images less the mean, divided by the standard deviation."""
    return (batch - np.array(MEAN)) / np.array(STD)


def summary(name: str, value: np.ndarray, *, samples: int = NUM_SAMPLES) -> np.ndarray:
    """What a fixture keeps of an array: largest magnitude, norm, projection, then values at positions that `name` draws.

    The projection is the inner product with fixed weights in [-1/2, 1/2), no two neighbours alike: it moves when
    values change places.
    """
    flat = np.asarray(value, np.float64).ravel()
    positions = np.random.Philox(key=_key(f"{name} positions")).random_raw(samples) % flat.size
    return np.array([np.abs(flat).max(), np.linalg.norm(flat), flat @ _ramp(flat.size), *flat[positions]])


def deviation(got: np.ndarray, want: np.ndarray) -> float:
    """The largest relative deviation between two summaries.

    Maximum and samples are measured by the maximum, the norm by itself, the projection by the norm (as if the errors of
    the values were independent).
    """
    scale = np.full(want.size, want[0])
    scale[1:3] = want[1]
    return float((np.abs(got - want) / scale).max())


def _key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")


def _bits(name: str, count: int) -> np.ndarray:
    """Integers in [-2^15, 2^15), four to a draw."""
    raw = np.random.Philox(key=_key(name)).random_raw(-(-count // 4))
    return raw.astype("<u8", copy=False).view("<i2")[:count]


def _uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    return (_bits(name, math.prod(shape)).reshape(shape).astype(np.float64) + 2**15) * 2.0**-16


def _ramp(size: int) -> np.ndarray:
    """Multiples of the golden ratio, modulo 1, less a half; in integers, hence the same everywhere."""
    steps = np.arange(size, dtype=np.uint64) * np.uint64(2654435769) % np.uint64(2**32)
    return steps.astype(np.float64) * 2.0**-32 - 0.5
