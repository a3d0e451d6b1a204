"""Convolutions whose gradients are cheap on CPU; what they compute is the plain one, up to rounding."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero

from jaxinterp.models._flow import Windows

_NHWC = ("NHWC", "HWIO", "NHWC")


def convolution(maps: Array, kernel: Array, stride: int, pads: tuple[int, int], *, groups: int = 1) -> Array:
    """The convolution of maps `[n h w c]` by a kernel `[rows columns c/groups units]`.

    Args:
        maps: what is convolved.
        kernel: weights.
        stride: of rows and columns.
        pads: zeros on both sides of the rows, and of the columns.
        groups: units of a group see the channels of that group alone.
    """
    channels, units = maps.shape[-1], kernel.shape[-1]
    if groups == units == channels > 1:
        return depthwise_convolution(maps, kernel, stride, pads)
    if groups > 1:
        return _plain(maps, kernel, stride, pads, groups=groups)
    return eased_convolution(maps, kernel, stride, pads)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def eased_convolution(maps: Array, kernel: Array, stride: int, pads: tuple[int, int]) -> Array:
    """A convolution whose values and derivatives are cheap on CPU.

    With few units, neighbouring positions of a line are computed from one window, which holds the windows of all of them:
    XLA gathers what a window sees before it multiplies, and to few units the gathering is what costs. The derivative by the
    maps is, at stride 1, the like. By an image it is, at larger strides, that of an equal convolution of stride 1 over blocks
    of stride x stride pixels, which has no holes to multiply: ten times faster (the transpose of a strided convolution is one
    over a map that is mostly zeros). That by the weights of a 1 x 1 window is one matrix product: four to ten times faster
    than XLA's convolution whose window is the map.
    """
    count = _neighbours((maps.shape[2] + 2 * pads[1] - kernel.shape[1]) // stride + 1, kernel.shape)
    if count == 1:
        return _plain(maps, kernel, stride, pads)
    by_lines = functools.partial(_of_neighbours, stride=stride, pads=pads, count=count)
    return jax.lax.platform_dependent(maps, kernel, cpu=by_lines, default=functools.partial(_plain, stride=stride, pads=pads))


def _eased_jvp(
    stride: int, pads: tuple[int, int], primals: tuple[Array, Array], tangents: tuple[Any, Any]
) -> tuple[Array, Any]:
    (maps, kernel), (maps_dot, kernel_dot) = primals, tangents
    value = eased_convolution(maps, kernel, stride, pads)
    moved: list[Array] = []
    if not isinstance(maps_dot, SymbolicZero):
        moved.append(_by_maps(maps_dot, kernel, stride, pads))
    if not isinstance(kernel_dot, SymbolicZero):
        by_weights = functools.partial(_plain, stride=stride, pads=pads)
        if kernel.shape[:2] == (1, 1):
            products = functools.partial(_products, stride=stride, pads=pads)
            by_weights = functools.partial(jax.lax.platform_dependent, cpu=products, default=by_weights)
        moved.append(by_weights(maps, kernel_dot))
    return value, functools.reduce(jnp.add, moved)


eased_convolution.defjvp(_eased_jvp, symbolic_zeros=True)


def _by_maps(maps: Array, kernel: Array, stride: int, pads: tuple[int, int]) -> Array:
    """The convolution, in the form whose transpose by the maps is cheap."""
    rows, columns, channels, units = kernel.shape
    if rows > stride > 1 and channels <= 4:
        return _blocks_convolution(maps, kernel, stride, pads)
    plain = functools.partial(_plain, stride=stride, pads=pads)
    count = _neighbours(maps.shape[2], (rows, columns, units, channels)) if stride == 1 else 1
    if count == 1:
        return plain(maps, kernel)
    return jax.lax.platform_dependent(
        maps, kernel, cpu=functools.partial(_to_neighbours, pads=pads, count=count), default=plain
    )


def _neighbours(positions: int, kernel: tuple[int, ...]) -> int:
    """Of how many neighbouring positions of a line one window is worth it: with so many, a product has 32 columns or 64.

    Args:
        positions: of a line of what is computed, which the answer divides.
        kernel: (rows, columns, channels, units) of what computes it.
    """
    _, columns, channels, units = kernel
    most = (32 if channels >= 8 else 64) // units if columns > 1 else 1
    return max((count for count in range(1, most + 1) if positions % count == 0), default=1)


def _plain(maps: Array, kernel: Array, stride: int, pads: tuple[int, int], *, groups: int = 1) -> Array:
    return jax.lax.conv_general_dilated(
        maps,
        kernel,
        (stride, stride),
        [(pad, pad) for pad in pads],
        dimension_numbers=_NHWC,
        feature_group_count=groups,
    )


def _of_neighbours(maps: Array, kernel: Array, *, stride: int, pads: tuple[int, int], count: int) -> Array:
    """The convolution with `count` neighbouring positions of a line computed from one window, as so many times the units."""
    rows, columns, channels, units = kernel.shape
    spare = stride * (count - 1)
    shifted = [jnp.pad(kernel, ((0, 0), (stride * place, spare - stride * place), (0, 0), (0, 0))) for place in range(count)]
    moved = jax.lax.conv_general_dilated(
        maps,
        jnp.stack(shifted, axis=3).reshape(rows, columns + spare, channels, count * units),
        (stride, stride * count),
        [(pad, pad) for pad in pads],
        dimension_numbers=_NHWC,
    )
    return moved.reshape(*moved.shape[:2], -1, units)


def _to_neighbours(maps: Array, kernel: Array, *, pads: tuple[int, int], count: int) -> Array:
    """The convolution of stride 1 whose transpose by the maps is `_of_neighbours`.

    `count` neighbouring positions of a line are so many times the channels of one, in a map with `count - 1` zeros between
    its columns. Itself it is slow: in reverse mode only its transpose is computed.
    """
    rows, columns, channels, units = kernel.shape
    n, height, width, _ = maps.shape
    shifted = [jnp.pad(kernel, ((0, 0), (count - 1 - place, place), (0, 0), (0, 0))) for place in range(count)]
    side = pads[1] + count - 1
    return jax.lax.conv_general_dilated(
        maps.reshape(n, height, width // count, count * channels),
        jnp.stack(shifted, axis=2).reshape(rows, columns + count - 1, count * channels, units),
        (1, 1),
        [(pads[0], pads[0]), (side, side)],
        lhs_dilation=(1, count),
        dimension_numbers=_NHWC,
    )


def _products(maps: Array, kernel: Array, *, stride: int, pads: tuple[int, int]) -> Array:
    """A convolution with a window of one place, as a product of every position with a matrix.

    Over flat positions, or XLA would transpose the maps for the transpose.
    """
    padded = jnp.pad(maps, ((0, 0), (pads[0], pads[0]), (pads[1], pads[1]), (0, 0)))[:, ::stride, ::stride]
    return (padded.reshape(-1, padded.shape[-1]) @ kernel[0, 0]).reshape(*padded.shape[:-1], -1)


def depthwise_convolution(maps: Array, kernel: Array, stride: int, pads: tuple[int, int]) -> Array:
    """The convolution of every map by itself: a sum over the places of the window.

    XLA's own is ten times slower on CPU, and its strided input gradient a hundred times. Without the barrier XLA would
    compute the padded maps, and in the gradient what flows back, anew for every place.
    """
    height, width = kernel.shape[:2]
    if stride == 1:
        padded = jnp.pad(maps, ((0, 0), (pads[0], pads[0]), (pads[1], pads[1]), (0, 0)))
        padded = jax.lax.optimization_barrier(padded)
        rows, columns = padded.shape[1] - height + 1, padded.shape[2] - width + 1
        cells = [[padded[:, row : row + rows, column : column + columns] for column in range(width)] for row in range(height)]
    else:
        cells = [
            Windows(2, width, stride, pads[1], False).slices(lines, 0.0)
            for lines in Windows(1, height, stride, pads[0], False).slices(maps, 0.0)
        ]
    moved = [cells[row][column] * kernel[row, column, 0][None, None, None] for row in range(height) for column in range(width)]
    return functools.reduce(jnp.add, moved)


def _blocks_convolution(image: Array, kernel: Array, stride: int, pads: tuple[int, int]) -> Array:
    """The convolution of stride `stride` as one of stride 1: every block of stride x stride pixels is one position."""
    pad = pads[0]
    n, size, _, channels = image.shape
    window, units = kernel.shape[0], kernel.shape[-1]
    count = (size + 2 * pad - window) // stride + 1
    low, front = -(-pad // stride), -pad % stride
    if -(-(front + window) // stride) > -(-window // stride):  # blocks from the edge of the padding on are fewer
        image = jax.lax.pad(image, jnp.zeros((), image.dtype), ((0, 0, 0), (pad, 0, 0), (pad, 0, 0), (0, 0, 0)))
        size, low, front = size + pad, 0, 0
    reach, blocks = -(-(front + window) // stride), -(-size // stride)
    spare = (0, blocks * stride - size, 0)
    image = jax.lax.pad(image, jnp.zeros((), image.dtype), ((0, 0, 0), spare, spare, (0, 0, 0)))
    image = image.reshape(n, blocks, stride, blocks, stride, channels).transpose(0, 1, 3, 2, 4, 5)
    edges = (front, reach * stride - front - window)
    kernel = jnp.pad(kernel, (edges, edges, (0, 0), (0, 0)))
    kernel = kernel.reshape(reach, stride, reach, stride, channels, units).transpose(0, 2, 1, 3, 4, 5)
    return jax.lax.conv_general_dilated(
        image.reshape(n, blocks, blocks, -1),
        kernel.reshape(reach, reach, -1, units),
        (1, 1),
        ((low, count - 1 + reach - low - blocks),) * 2,
        dimension_numbers=_NHWC,
    )
