"""Layers with weights, under torchvision's names: convolution, linear layer, batch normalisation, dropout.

Each function makes the Linen submodule of that name in the module whose `__call__` runs, so that the tree of
parameters is flat and its keys are torchvision's: `{"layer1.0.conv1": {"kernel": ...}, "layer1.0.bn1": ...}`.
Linen's own initialisers give the shapes only; `_init` draws.
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero

from jaxinterp.models._flow import Flow, Fold, Windows, whole

_NHWC = ("NHWC", "HWIO", "NHWC")


class Norms(NamedTuple):
    """How a network normalises its batches.

    Attributes:
        train: by the batch's own statistics; by the running ones otherwise.
        folds: where each convolution and its normalisation are written down.
        folded: the normalisation after a convolution is part of the convolution already.
        axis_name: a mapped axis over which statistics are taken too.
        epsilon: added to the variance before its root is taken.
    """

    train: bool
    folds: list[Fold]
    folded: bool = False
    axis_name: str | None = None
    epsilon: float = 1e-5


class Affine(NamedTuple):
    """What a normalisation does to a map `a`: `gain a + shift`, per unit."""

    gain: Array
    shift: Array


def conv(
    flow: Flow,
    name: str,
    units: int,
    kernel: int | tuple[int, int],
    *,
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    bias: bool = True,
    groups: int = 1,
    affine: Affine | None = None,
) -> Flow:
    """Convolution; `kernel` and `padding` are (rows, columns) where they differ.

    `affine` is applied to what it puts out, by scaling its weights.

    The field follows the rows. That is exact wherever a network names a site: what is 1 x 7 in one place is 7 x 1 in
    another, so rows and columns have seen the same.
    """
    window, pads = _pair(kernel), _pair(padding)
    layer = _Conv(units, window, stride, pads, bias, groups, name=name)
    return Flow(layer(flow.value, affine), flow.field.through(window[0], stride, pads[0]))


def conv_bn(
    flow: Flow,
    names: tuple[str, str],
    units: int,
    kernel: int | tuple[int, int],
    *,
    norms: Norms,
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    bias: bool = False,
    groups: int = 1,
) -> Flow:
    """Convolution and the batch normalisation of what it puts out, of those names; folded, one convolution with a bias.

    In evaluation the normalisation is applied to the weights, of which there are fewer than values in a batch of maps.
    """
    norms.folds.append(Fold(*names, bias, norms.epsilon))
    convolve = functools.partial(
        conv, flow, names[0], units, kernel, stride=stride, padding=padding, bias=bias or norms.folded, groups=groups
    )
    if norms.folded:
        return convolve()
    if norms.train:
        return batch_norm(convolve(), names[1], norms)
    return convolve(affine=_BatchNorm(norms.axis_name, norms.epsilon, name=names[1])(units, None))


def dense(flow: Flow, name: str, units: int, *, image_size: int) -> Flow:
    """Linear layer over everything; a map is flattened channels first, as PyTorch does."""
    value = flow.value
    if value.ndim == 4:
        value = value.transpose(0, 3, 1, 2).reshape(value.shape[0], -1)
    return Flow(nn.Dense(units, dtype=value.dtype, name=name)(value), whole(image_size))


def relu(flow: Flow) -> Flow:
    """max(0, a)."""
    return flow.map(nn.relu(flow.value))


def relu6(flow: Flow) -> Flow:
    """min(max(0, a), 6)."""
    return flow.map(nn.relu6(flow.value))


def dropout(flow: Flow, rate: float, name: str, *, train: bool, module: nn.Module) -> Flow:
    """Zeroes units with probability `rate` and scales the rest up; only in training, and only where there is a key."""
    idle = not train or rate == 0 or not module.has_rng("dropout")
    return flow.map(nn.Dropout(rate, deterministic=idle, name=name)(flow.value))


def batch_norm(flow: Flow, name: str, norms: Norms) -> Flow:
    """Batch normalisation."""
    value = flow.value.astype(jnp.promote_types(flow.value.dtype, jnp.float32))
    layer = _BatchNorm(norms.axis_name, norms.epsilon, name=name)
    gain, shift = layer(value.shape[-1], value if norms.train else None)
    return flow.map((value * gain[None, None, None] + shift[None, None, None]).astype(flow.value.dtype))


class _Conv(nn.Module):
    """A convolution with the weights `kernel` and, where it has one, `bias`; computes in the type of its maps."""

    units: int
    window: tuple[int, int]
    stride: int
    pads: tuple[int, int]
    has_bias: bool
    groups: int

    @nn.compact
    def __call__(self, maps: Array, affine: Affine | None) -> Array:
        channels = maps.shape[-1]
        kernel = self.param("kernel", nn.initializers.zeros, (*self.window, channels // self.groups, self.units))
        bias = self.param("bias", nn.initializers.zeros, (self.units,)) if self.has_bias else None
        if affine is not None:
            kernel = kernel * affine.gain[None, None, None]
            bias = affine.shift if bias is None else affine.shift + affine.gain * bias
        kernel = kernel.astype(maps.dtype)
        if self.groups == self.units == channels > 1:
            moved = _depthwise_convolution(maps, kernel, self.stride, self.pads)
        elif self.groups == 1 and (self.window == (1, 1) or _is_of_blocks(channels, self.window, self.stride)):
            moved = _eased_convolution(maps, kernel, self.stride, self.pads)
        else:
            moved = _convolution(maps, kernel, self.stride, self.pads, groups=self.groups)
        return moved if bias is None else moved + bias.astype(maps.dtype)[None, None, None]


class _BatchNorm(nn.Module):
    """The weights and statistics of a batch normalisation as PyTorch has it: momentum 0.1, running variance unbiased."""

    axis_name: str | None
    epsilon: float

    @nn.compact
    def __call__(self, units: int, value: Array | None) -> Affine:
        """What it does to its maps.

        Args:
            units: of the maps.
            value: in training, the maps whose own statistics are taken; None: the running ones.
        """
        scale = self.param("scale", nn.initializers.ones, (units,))
        bias = self.param("bias", nn.initializers.zeros, (units,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (units,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (units,))
        mean, var = running_mean.value, running_var.value
        if value is not None:
            count = value.size // units
            mean = jnp.mean(value, axis=(0, 1, 2))
            if self.axis_name is not None:
                mean = jax.lax.pmean(mean, self.axis_name)
                count = count * jax.lax.axis_size(self.axis_name)
            var = jnp.mean(jnp.square(value - mean[None, None, None]), axis=(0, 1, 2))
            if self.axis_name is not None:
                var = jax.lax.pmean(var, self.axis_name)
            running_mean.value = 0.9 * running_mean.value + 0.1 * mean
            running_var.value = 0.9 * running_var.value + 0.1 * var * (count / max(count - 1, 1))
        gain = scale * jax.lax.rsqrt(var + self.epsilon)
        return Affine(gain, bias - mean * gain)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _convolution(maps: Array, kernel: Array, stride: int, pads: tuple[int, int], *, groups: int = 1) -> Array:
    return jax.lax.conv_general_dilated(
        maps,
        kernel,
        (stride, stride),
        [(pad, pad) for pad in pads],
        dimension_numbers=_NHWC,
        feature_group_count=groups,
    )


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _eased_convolution(maps: Array, kernel: Array, stride: int, pads: tuple[int, int]) -> Array:
    """A convolution whose derivatives are cheap on CPU.

    The values are those of the plain one. The derivative by an image is that of an equal convolution of stride 1 over blocks
    of stride x stride pixels, which has no holes to multiply: ten times faster (the transpose of a strided convolution is
    one over a map that is mostly zeros). That by the weights of a 1 x 1 window is one matrix product: four to ten times faster
    than XLA's convolution whose window is the map.
    """
    return _convolution(maps, kernel, stride, pads)


def _eased_convolution_jvp(
    stride: int, pads: tuple[int, int], primals: tuple[Array, Array], tangents: tuple[Any, Any]
) -> tuple[Array, Any]:
    (maps, kernel), (maps_dot, kernel_dot) = primals, tangents
    value = _eased_convolution(maps, kernel, stride, pads)
    moved: list[Array] = []
    if not isinstance(maps_dot, SymbolicZero):
        by_maps = _blocks_convolution if _is_of_blocks(maps.shape[-1], kernel.shape[:2], stride) else _convolution
        moved.append(by_maps(maps_dot, kernel, stride, pads))
    if not isinstance(kernel_dot, SymbolicZero):
        by_weights = functools.partial(_convolution, stride=stride, pads=pads)
        if kernel.shape[:2] == (1, 1):
            products = functools.partial(_products, stride=stride, pads=pads)
            by_weights = functools.partial(jax.lax.platform_dependent, cpu=products, default=by_weights)
        moved.append(by_weights(maps, kernel_dot))
    return value, functools.reduce(jnp.add, moved)


_eased_convolution.defjvp(_eased_convolution_jvp, symbolic_zeros=True)


def _is_of_blocks(channels: int, window: tuple[int, ...], stride: int) -> bool:
    """Whether the derivative by an image is that of a convolution over blocks of pixels."""
    return window[0] > stride > 1 and channels <= 4


def _products(maps: Array, kernel: Array, *, stride: int, pads: tuple[int, int]) -> Array:
    """A convolution with a window of one place, as a product of every position with a matrix.

    Over flat positions, or XLA would transpose the maps for the transpose.
    """
    padded = jnp.pad(maps, ((0, 0), (pads[0], pads[0]), (pads[1], pads[1]), (0, 0)))[:, ::stride, ::stride]
    return (padded.reshape(-1, padded.shape[-1]) @ kernel[0, 0]).reshape(*padded.shape[:-1], -1)


def _depthwise_convolution(maps: Array, kernel: Array, stride: int, pads: tuple[int, int]) -> Array:
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
