"""Depth in bins that widen with distance."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Float32, Int32


@dataclasses.dataclass(frozen=True)
class DepthBins:
    """Spacing-increasing discretisation: K bins of equal width in log depth, `t_i = a (b / a)^(i / K)`.

    Attributes:
        smallest: a, the near edge of bin 0, in metres.
        largest: b, the far edge of the last bin, which holds it too, in metres.
        num_bins: K; the paper takes 64.

    Raises:
        ValueError: fewer than two bins, or a range that is not 0 < smallest < largest.

    Example:
        >>> bins = DepthBins(smallest=1.0, largest=16.0, num_bins=4)
        >>> bins.edges.tolist()
        [1.0, 2.0, 4.0, 8.0, 16.0]
        >>> bins.bin_of(np.asarray([0.0, 1.0, 3.0, 16.0, 17.0])).tolist()
        [-1, 0, 1, 3, -1]

    References:
        Huan Fu, Mingming Gong, Chaohui Wang, Kayhan Batmanghelich, Dacheng Tao, "Deep Ordinal Regression Network for Monocular
        Depth Estimation", CVPR 2018, section 3.2. Unlike the paper, no shift is added to the depth.
        Zunzhi You, Yi-Hsuan Tsai, Wei-Chen Chiu, Guanbin Li, "Towards Interpretable Deep Networks for Monocular Depth
        Estimation", ICCV 2021.
    """

    smallest: float
    largest: float
    num_bins: int = 64

    def __post_init__(self) -> None:
        if self.num_bins < 2:
            raise ValueError(f"expected num_bins >= 2, got {self.num_bins}; write 64.")
        if not 0 < self.smallest < self.largest < np.inf:
            raise ValueError(
                f"expected 0 < smallest < largest metres, got {self.smallest} and {self.largest}; write 0.75 and 10.0."
            )

    @property
    def edges(self) -> Float32[np.ndarray, " e"]:
        """The `num_bins + 1` edges in metres; a bin holds its near edge."""
        edges = np.geomspace(self.smallest, self.largest, self.num_bins + 1)
        return edges.astype(np.float32)

    def bin_of(self, depth: Float[Array, "*n"] | Float[np.ndarray, "*n"]) -> Int32[Array, "*n"]:
        """The bin of every depth; -1 where there is none: no value (0, NaN) or a value outside of the range.

        That depths outside of the range count nowhere is our reading.

        Args:
            depth: metres.
        """
        depth = jnp.asarray(depth).astype(jnp.float32)
        edges = self.edges
        place = jnp.searchsorted(jnp.asarray(edges), depth.reshape(-1), side="right").reshape(depth.shape) - 1
        place = jnp.where(depth == edges[-1], self.num_bins - 1, place)
        inside = (depth >= edges[0]) & (depth <= edges[-1])
        return jnp.where(inside, place, -1).astype(jnp.int32)


def nyu_bins(*, num_bins: int = 64) -> DepthBins:
    """The bins of NYU-v2, .75 to 10 m.

    Args:
        num_bins: how many.
    """
    return DepthBins(0.75, 10.0, num_bins)


def kitti_bins(*, num_bins: int = 64) -> DepthBins:
    """The bins of KITTI, 3 to 80 m.

    Args:
        num_bins: how many.
    """
    return DepthBins(3.0, 80.0, num_bins)
