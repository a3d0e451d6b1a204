"""The norms of convolutions as linear maps, and kernels scaled so that their norm stays below a bound."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

_NHWC = ("NHWC", "HWIO", "NHWC")


def convolve(maps: Float[Array, "n h w i"], kernel: Float[Array, "r s i o"]) -> Float[Array, "n h w o"]:
    """The convolution of stride 1, zeros beyond the border, that keeps the size of its maps; windows are odd."""
    return jax.lax.conv_general_dilated(maps, kernel, (1, 1), "SAME", dimension_numbers=_NHWC)


def transposed(maps: Float[Array, "n h w o"], kernel: Float[Array, "r s i o"]) -> Float[Array, "n h w i"]:
    """The transpose of `convolve` as a linear map: the convolution with the kernel turned around."""
    return convolve(maps, kernel[::-1, ::-1].transpose(0, 1, 3, 2))


def spectral_norm(
    kernel: Float[Array, "r s i o"], left: Float[Array, "h w o"]
) -> tuple[Float[Array, ""], Float[Array, "h w o"]]:
    """The norm of the convolution on maps of the size of u, after one step of power iteration; and the next u.

    With `v = W^T u / |W^T u|` it is `|W v|`, never above the norm, and the next u is `W v / |W v|`. Its derivative by the
    kernel is that of `u^T W v` with both vectors held still.

    Args:
        kernel: W.
        left: u, of any length above 0.
    """
    frozen = jax.lax.stop_gradient(kernel)
    right = _unit(transposed(jax.lax.stop_gradient(left)[None].astype(kernel.dtype), frozen))
    moved = convolve(right, kernel)
    after = jax.lax.stop_gradient(_unit(moved))
    return jnp.sum(after * moved), after[0].astype(left.dtype)


def bounded(
    kernel: Float[Array, "r s i o"], left: Float[Array, "h w o"], coefficient: float
) -> tuple[Float[Array, "r s i o"], Float[Array, "h w o"]]:
    """`W / max(1, sigma / c)`: scaled down where its norm exceeds c, otherwise left alone; and the next u."""
    sigma, after = spectral_norm(kernel, left)
    return kernel / jnp.maximum(sigma / coefficient, 1.0), after


@jax.jit
def iterated(kernel: Array, left: Array, num_iterations: Array) -> tuple[Array, Array]:
    """The norm after so many steps of power iteration, and u."""
    start = (jnp.zeros((), kernel.dtype), left)
    return jax.lax.fori_loop(0, num_iterations, lambda _, found: spectral_norm(kernel, found[1]), start)


def norm_above(kernel: np.ndarray, *, grid: int = 32) -> float:
    """An upper bound of the norm of `convolve` on maps of any size, in float64.

    Maps with zeros around them are part of the unbounded plane, where the norm is the largest singular value of the matrix
    `sum_p W_p exp(i w . p)` over all frequencies w. It is taken on a grid; between its points a trigonometric polynomial of
    degree m is at most `1 / cos(pi m / grid)` times as large, along each axis.

    Args:
        kernel: W `[r s i o]`.
        grid: frequencies along an axis.

    References:
        H. Sedghi, V. Gupta, P. M. Long, "The Singular Values of Convolutional Layers", ICLR 2019 (circular maps).
        H. Ehlich, K. Zeller, "Schwankung von Polynomen zwischen Gitterpunkten", Mathematische Zeitschrift 86, 1964.
    """
    rows, columns = kernel.shape[:2]
    points = grid if rows * columns > 1 else 1
    symbol = np.fft.rfft2(kernel.astype(np.float64), (points, points), axes=(0, 1))  # the other half are conjugates
    adjoint = symbol.conj().swapaxes(-1, -2)
    gram = symbol @ adjoint if kernel.shape[2] < kernel.shape[3] else adjoint @ symbol
    slack = [1 / np.cos(np.pi * (side // 2) / points) for side in (rows, columns)]
    return float(np.sqrt(np.linalg.eigvalsh(gram)[..., -1].max()) * np.prod(slack))


def largest_stretch(
    forward: Callable[[Array], Array], backward: Callable[[Array], Array], start: Array, *, num_iterations: int
) -> Float[Array, " n"]:
    """For each row the norm of a linear map by power iteration, from below; `backward` is the transpose."""

    def iterate(_: Any, right: Array) -> Array:
        return _unit_rows(backward(forward(right)))

    return lengths(forward(jax.lax.fori_loop(0, num_iterations, iterate, _unit_rows(start))))


def lengths(value: Array) -> Float[Array, " n"]:
    """The Euclidean norm of each row."""
    return jnp.sqrt(jnp.sum(jnp.square(value), axis=tuple(range(1, value.ndim))))


def _unit(value: Array) -> Array:
    length = jnp.sqrt(jnp.sum(jnp.square(value)))
    return value / jnp.where(length > 0, length, 1.0)


def _unit_rows(value: Array) -> Array:
    length = lengths(value).reshape((-1,) + (1,) * (value.ndim - 1))
    return value / jnp.where(length > 0, length, 1.0)
