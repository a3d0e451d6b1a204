"""What flows through a network: a map together with where its positions lie on the image, and the named sites it passes."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinterp._base import Activations, Layer, Taps


class Field(NamedTuple):
    """Where the positions of a map lie on the image: position `i` sees `side` pixels around `offset + i * stride`.

    Attributes:
        stride: pixels between neighbouring positions.
        offset: pixel coordinate of the centre of what position 0 sees; pixel centres are integers.
        side: pixels that one position sees along one axis, those of the padding included.
    """

    stride: int
    offset: float
    side: int

    def through(self, kernel: int, stride: int, padding: int) -> "Field":
        """The field after a window of `kernel` positions that moves by `stride` over a map padded by `padding`."""
        return Field(
            stride=self.stride * stride,
            offset=self.offset + ((kernel - 1) / 2 - padding) * self.stride,
            side=self.side + (kernel - 1) * self.stride,
        )

    def union(self, other: "Field") -> "Field":
        """The field of a sum of two maps of equal stride."""
        low = min(self.offset - (self.side - 1) / 2, other.offset - (other.side - 1) / 2)
        high = max(self.offset + (self.side - 1) / 2, other.offset + (other.side - 1) / 2)
        return Field(self.stride, (low + high) / 2, round(high - low) + 1)


def whole(image_size: int) -> Field:
    """The field of what has seen every pixel."""
    return Field(image_size, (image_size - 1) / 2, image_size)


class Fold(NamedTuple):
    """A convolution and the batch normalisation right after it, by the names of their weights.

    Attributes:
        conv: the convolution.
        norm: the normalisation.
        bias: whether the convolution has a bias of its own besides.
        epsilon: what the normalisation adds to the variance.
    """

    conv: str
    norm: str
    bias: bool
    epsilon: float


class Flow(NamedTuple):
    """A map on its way through a network.

    Attributes:
        value: `[n h w u]`, or `[n u]` once the positions are gone.
        field: where its positions lie on the image.
    """

    value: Array
    field: Field

    def map(self, value: Array) -> "Flow":
        """Other numbers at the same positions."""
        return Flow(value, self.field)


def image_flow(images: Array) -> Flow:
    """The image itself: every pixel sees itself."""
    return Flow(images, Field(1, 0.0, 1))


class Sites:
    """The named sites that one evaluation passes; it lives as long as that evaluation.

    Attributes:
        taps: what replaces the activation of a site.
        activations: the activation of every site passed so far, after its tap.
        layers: the description of every site passed so far.
        folds: every convolution with a normalisation right after it, passed so far.
    """

    def __init__(self, taps: Taps) -> None:
        self.taps = taps
        self.activations: Activations = {}
        self.layers: list[Layer] = []
        self.folds: list[Fold] = []

    def site(self, name: str, flow: Flow) -> Flow:
        """Names a site: taps it, records it, and lets it flow on.

        Taps and records see at least float32, whatever the network computes in.

        Raises:
            ValueError: when the tap changed the shape.
        """
        value = flow.value.astype(jnp.promote_types(flow.value.dtype, jnp.float32))
        if name in self.taps:
            value = self.taps[name](value)
            if value.shape != flow.value.shape:
                raise ValueError(f"expected the tap on {name!r} to return shape {flow.value.shape}, got {value.shape}.")
            flow = flow.map(value.astype(flow.value.dtype))
        height, width = value.shape[1:3] if value.ndim == 4 else (1, 1)
        self.activations[name] = value
        stride, offset, side = flow.field
        self.layers.append(Layer(name, (height, width, value.shape[-1]), float(stride), float(offset), side))
        return flow


def concat(flows: list[Flow]) -> Flow:
    """Maps of equal size, one behind the other."""
    field = functools.reduce(Field.union, (flow.field for flow in flows))
    return Flow(jnp.concatenate([flow.value for flow in flows], axis=-1), field)


def add(main: Flow, shortcut: Flow) -> Flow:
    """The sum of two maps of equal size."""
    return Flow(main.value + shortcut.value, main.field.union(shortcut.field))


def global_average(flow: Flow, *, image_size: int) -> Flow:
    """The average over all positions."""
    return Flow(jnp.mean(flow.value, axis=(1, 2)), whole(image_size))


def max_pool(flow: Flow, kernel: int, stride: int, *, padding: int = 0, ceil: bool = False) -> Flow:
    """Max-pooling; `ceil` keeps the window that hangs over the far edge.

    A tie shares the gradient (PyTorch gives it to the first); after a ReLU ties are zeros, which pass none on.
    """
    return _pool(flow, kernel, stride, padding, ceil, jnp.maximum, -np.inf)


def average_pool(flow: Flow, kernel: int, stride: int, *, padding: int = 0, count_padding: bool = True) -> Flow:
    """Average-pooling; the padding counts as zeros, or not at all."""
    total = _pool(flow, kernel, stride, padding, False, jnp.add, 0.0)
    if count_padding or padding == 0:
        return total.map(total.value / kernel**2)
    inside = flow.map(jnp.ones((1, *flow.value.shape[1:3], 1), flow.value.dtype))
    return total.map(total.value / _pool(inside, kernel, stride, padding, False, jnp.add, 0.0).value)


def _pool(
    flow: Flow, kernel: int, stride: int, padding: int, ceil: bool, combine: Callable[[Array, Array], Array], empty: float
) -> Flow:
    value = flow.value
    for axis in (1, 2):
        size = value.shape[axis]
        steps = -(-(size + 2 * padding - kernel) // stride) if ceil else (size + 2 * padding - kernel) // stride
        if ceil and steps * stride >= size + padding:
            steps -= 1  # a window must not begin in the padding behind the map
        high = steps * stride + kernel - size - padding
        value = _combine_along(value, axis, kernel, stride, padding, high, combine, empty)
    return Flow(value, flow.field.through(kernel, stride, padding))


def _combine_along(
    value: Array,
    axis: int,
    kernel: int,
    stride: int,
    low: int,
    high: int,
    combine: Callable[[Array, Array], Array],
    empty: float,
) -> Array:
    """Combines `kernel` strided slices: differentiated, several times faster on CPU than a window reduction."""
    pads = [(0, 0, 0)] * value.ndim
    pads[axis] = (low, high, 0)
    padded = jax.lax.pad(value, np.asarray(empty, value.dtype), pads)
    span = (padded.shape[axis] - kernel) // stride * stride + 1
    best = jax.lax.slice_in_dim(padded, 0, span, stride, axis)
    for start in range(1, kernel):
        best = combine(best, jax.lax.slice_in_dim(padded, start, start + span, stride, axis))
    return best


def adaptive_average_pool(value: Array, size: int) -> Array:
    """Averages `[n h w u]` to `[n size size u]`: cell `i` covers positions floor(i h / size) to ceil((i + 1) h / size)."""
    for axis in (1, 2):
        positions = value.shape[axis]
        if positions != size:
            cells = jnp.tensordot(value, _cells(positions, size, value.dtype), axes=((axis,), (1,)))
            value = jnp.moveaxis(cells, -1, axis)
    return value


def _cells(positions: int, size: int, dtype: np.dtype) -> np.ndarray:
    weights = np.zeros((size, positions))
    for cell in range(size):
        start, stop = cell * positions // size, -(-(cell + 1) * positions // size)
        weights[cell, start:stop] = 1 / (stop - start)
    return weights.astype(dtype)
