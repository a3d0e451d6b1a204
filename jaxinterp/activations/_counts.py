"""Counters that never overflow: two int32 words on the device, int64 on the host.

JAX has no int64 unless asked for it, and int32 pixel counts overflow at 42 799 images of 224 x 224. A wide count is
`high * 2**30 + low` with `0 <= low < 2**30`; one addend may be anything below 2**30.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Int64

_BITS = 30


class WideCount(NamedTuple):
    """An array of counts, each `high * 2**30 + low`.

    Attributes:
        high: int32.
        low: int32, in [0, 2**30).
    """

    high: Array
    low: Array


def wide_zeros(*shape: int) -> WideCount:
    """Zero counts of that shape."""
    return WideCount(jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.int32))


def wide_add(count: WideCount, addend: Array) -> WideCount:
    """`count + addend`, the addend an integer array in [0, 2**30)."""
    low = count.low + addend.astype(jnp.int32)
    return WideCount(count.high + (low >> _BITS), low & (2**_BITS - 1))


def wide_merge(left: WideCount, right: WideCount) -> WideCount:
    """`left + right`."""
    low = left.low + right.low
    return WideCount(left.high + right.high + (low >> _BITS), low & (2**_BITS - 1))


def wide_int64(count: WideCount) -> Int64[np.ndarray, "..."]:
    """The counts on the host."""
    return np.asarray((np.asarray(count.high).astype(np.int64) << _BITS) + np.asarray(count.low))
