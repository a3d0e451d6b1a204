"""Layers with weights, under torchvision's names: convolution, linear layer, batch normalisation, dropout.

Each function makes the Linen submodule of that name in the module whose `__call__` runs, so that the tree of
parameters is flat and its keys are torchvision's: `{"layer1.0.conv1": {"kernel": ...}, "layer1.0.bn1": ...}`.
Linen's own initialisers give the shapes only; `_init` draws.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp.models._convolutions import convolution
from jaxinterp.models._flow import Flow, Fold, whole


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
        moved = convolution(maps, kernel.astype(maps.dtype), self.stride, self.pads, groups=self.groups)
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
