"""What flows through a network: a map together with where its positions lie on the image, and the named sites it passes."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.ad_checkpoint import checkpoint_name

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

        Taps and records see at least float32, whatever the network computes in. `jax.checkpoint` knows the map by that name.

        Raises:
            ValueError: when the tap changed the shape.
        """
        flow = flow.map(checkpoint_name(flow.value, name))
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
    """Max-pooling; `ceil` keeps the window that hangs over the far edge. Of equal values the first has the gradient."""
    value = flow.value
    for axis in (2, 1):
        value = _max_along(value, Windows(axis, kernel, stride, padding, ceil))
    return Flow(value, flow.field.through(kernel, stride, padding))


def average_pool(flow: Flow, kernel: int, stride: int, *, padding: int = 0, count_padding: bool = True) -> Flow:
    """Average-pooling; the padding counts as zeros, or not at all."""
    total, inside = flow.value, jnp.ones((1, *flow.value.shape[1:3], 1), flow.value.dtype)
    for axis in (2, 1):
        windows = Windows(axis, kernel, stride, padding, False)
        total, inside = (functools.reduce(jnp.add, windows.slices(value, 0.0)) for value in (total, inside))
    return Flow(total / (kernel**2 if count_padding else inside), flow.field.through(kernel, stride, padding))


class Windows(NamedTuple):
    """Windows of `kernel` positions along an axis, which move by `stride` over a map padded by `padding`."""

    axis: int
    kernel: int
    stride: int
    padding: int
    ceil: bool

    def slices(self, value: Array, empty: float) -> list[Array]:
        """The first position of every window, the second, ...; `empty` outside of the map.

        The axis is split into blocks of `stride` positions, so that the transpose of a slice is no scatter but an
        interleaving: differentiated, several times faster on CPU than strided slices or a window reduction.
        """
        axis, stride, size = self.axis, self.stride, value.shape[self.axis]
        count = self._count(size)
        blocks = -(-size // stride)
        whole = _pad(value, axis, 0, blocks * stride - size, empty)
        whole = whole.reshape(*value.shape[:axis], blocks, stride, *value.shape[axis + 1 :])
        places = [divmod(place - self.padding, stride) for place in range(self.kernel)]
        every = {phase: jax.lax.index_in_dim(whole, phase, axis + 1, keepdims=False) for _, phase in places}
        return [_pad(every[phase], axis, -block, count + block - blocks, empty) for block, phase in places]

    def _count(self, size: int) -> int:
        spare = size + 2 * self.padding - self.kernel
        if not self.ceil:
            return spare // self.stride + 1
        count = -(-spare // self.stride) + 1
        return count - ((count - 1) * self.stride >= size + self.padding)  # none begins in the padding behind the map


def _pad(value: Array, axis: int, low: int, high: int, empty: float) -> Array:
    """Pads an axis, or crops it where a width is negative."""
    widths = [(0, 0, 0)] * value.ndim
    widths[axis] = (low, high, 0)
    return jax.lax.pad(value, np.asarray(empty, value.dtype), widths)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _max_along(value: Array, windows: Windows) -> Array:
    """The maximum of every window along an axis."""
    return functools.reduce(jnp.maximum, windows.slices(value, -np.inf))


@_max_along.defjvp
def _max_along_jvp(windows: Windows, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    places = windows.slices(primals[0], -np.inf)
    best = functools.reduce(jnp.maximum, places)
    *firsts, moved = windows.slices(tangents[0], 0.0)
    for place, first in zip(places[-2::-1], firsts[::-1], strict=True):
        moved = jnp.where(place == best, first, moved)
    return best, moved


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
