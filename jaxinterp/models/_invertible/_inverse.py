"""An invertible network taken apart: image to latent code, code to image, the readout, and how exact the inverse is."""

import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxinterp._base import Model
from jaxinterp.models._invertible._iresnet import Block, InvertibleResNet, network_of, squeeze, unsqueeze
from jaxinterp.models._invertible._spectral import lengths

NUM_ITERATIONS = 20
"""Of the inverse of a block. With c = 0.9 the bound is then 0.73^20 / 0.27, seven thousandths of the first step; blocks stretch
real images by less than their bound, so that the error is smaller still."""


class InversionErrors(NamedTuple):
    """How far an inverse of so many iterations is from exact, on some images.

    Attributes:
        bound: `[b n]`, of each block: `L^N / (1 - L) |z_1 - z_0|` with `L = c^3`.
        measured: `[b n]`, distance between what went into the block and what its inverse makes of what came out.
        image: `[n]`, the largest difference of a pixel between an image and `decode(encode(image))`, in [0, 1] units.
    """

    bound: Float[np.ndarray, "b n"]
    measured: Float[np.ndarray, "b n"]
    image: Float[np.ndarray, " n"]


def encode(model: Model, images: Float[Array, "n h w c"]) -> Float[Array, "n d"]:
    """The latent code: what the last block puts out, flattened by rows, columns, channels.

    Args:
        model: an `iresnet`.
        images: in [0, 1]; of another range they are encoded too.

    Returns:
        Codes, of as many dimensions as an image has values, and more with `padding`.

    Raises:
        ValueError: another network.
    """
    _, activations = model(images)
    return activations[network_of(model).last_conv].reshape(len(images), -1)


def decode(model: Model, latent: Float[Array, "n d"], *, num_iterations: int = NUM_ITERATIONS) -> Float[Array, "n h w c"]:
    """The image of a latent code: every block `z = x + F(x)` is solved for x by `x <- z - F(x)` from `x = z`.

    F has a Lipschitz constant of at most `L = c^3 < 1`, so that after N iterations the distance to the solution is at most
    `L^N / (1 - L)` times the length of the first step: `inversion_errors` tells both. Differentiated by the implicit
    function, forwards and backwards: the derivative is the solution of a linear system by as many iterations, and the memory
    is that of one of them.

    Args:
        model: an `iresnet`.
        latent: codes, of whatever origin.
        num_iterations: N, for each block.

    Returns:
        Images. Only the images of codes near those of images lie in [0, 1]; nothing is cut off.

    Raises:
        ValueError: another network, codes of another size, or num_iterations below 1.

    References:
        J. Behrmann, W. Grathwohl, R. T. Q. Chen, D. Duvenaud, J.-H. Jacobsen, "Invertible Residual Networks", ICML 2019:
        algorithm 1, and the error bound in section 2.
    """
    network = network_of(model)
    if num_iterations < 1:
        raise ValueError(f"expected num_iterations >= 1, got {num_iterations}; write num_iterations={NUM_ITERATIONS}.")
    shape = network.latent_shape
    if latent.ndim != 2 or latent.shape[1] != np.prod(shape):
        raise ValueError(f"expected latent [n {np.prod(shape)}] for this network, got {latent.shape}; write models.encode.")
    maps = latent.reshape(-1, *shape)
    for first, run in reversed(_runs(network)):
        blocks = [network.block(model.params, model.stats, name, latent.dtype)[0] for name in run]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)
        undo = functools.partial(_undone, network, first=first, num_iterations=num_iterations)
        # One program for all blocks of a shape: compiling each by itself takes as many times as long.
        maps, _ = jax.lax.scan(lambda maps, block, undo=undo: (undo(block, maps), None), maps, stacked, reverse=True)
        if run[0].endswith(".0"):
            maps = unsqueeze(maps)
    return network.restored(maps)


def readout(model: Model) -> tuple[Float[Array, "d k"], Float[Array, " k"]]:
    """Weight and bias of the linear map from latent codes to logits: `logits = encode(images) @ weight + bias`.

    Args:
        model: an `iresnet`; a pooled readout is written out, every position of a channel having the same weight.

    Raises:
        ValueError: another network.
    """
    network = network_of(model)
    weight, bias = model.params["linear"]["kernel"], model.params["linear"]["bias"]
    if network.readout == "pooled":
        height, width, _ = network.latent_shape
        weight = jnp.tile(weight / (height * width), (height * width, 1))
    return weight, bias


def inversion_errors(
    model: Model, images: Float[Array, "n h w c"] | Float[np.ndarray, "n h w c"], *, num_iterations: int = NUM_ITERATIONS
) -> InversionErrors:
    """The error of the inverse on some images: of every block by itself beside its bound, and of the whole.

    The bound holds in exact arithmetic; where it is below what rounding does, the measured error stays at that.

    Args:
        model: an `iresnet`.
        images: in [0, 1].
        num_iterations: N, for each block.

    Raises:
        ValueError: another network.
    """
    network = network_of(model)
    found = _errors(network, num_iterations, model, jnp.asarray(images))
    return InversionErrors(*(np.asarray(part) for part in found))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _errors(network: InvertibleResNet, num_iterations: int, model: Model, images: Array) -> tuple[Array, Array, Array]:
    limit = network.coefficient**3
    bounds, measured = [], []
    maps = network.normalised(images)
    for _, name in network.names():
        maps = squeeze(maps) if name.endswith(".0") else maps
        first = name == "layer1.0"
        block, _ = network.block(model.params, model.stats, name, maps.dtype)
        after = maps + network.branch(block, maps, first=first)
        back = _undone(network, block, after, first=first, num_iterations=num_iterations)
        step = lengths(network.branch(block, after, first=first))
        bounds.append(limit**num_iterations / (1 - limit) * step)
        measured.append(lengths(back - maps))
        maps = after
    again = decode(model, maps.reshape(len(images), -1), num_iterations=num_iterations)
    return jnp.stack(bounds), jnp.stack(measured), jnp.max(jnp.abs(again - images), axis=(1, 2, 3))


def _runs(network: InvertibleResNet) -> list[tuple[bool, list[str]]]:
    """Neighbouring blocks that are alike: of one stage, the very first block, where the flag is True, by itself."""
    runs = itertools.groupby(network.names(), key=lambda pair: (pair[0], pair[1] == "layer1.0"))
    return [(kind[1], [name for _, name in run]) for kind, run in runs]


def _undone(network: InvertibleResNet, block: Block, after: Array, *, first: bool, num_iterations: int) -> Array:
    """The x with `x + F(x)` equal to `after`."""

    def forward(before: Array) -> Array:
        return before + network.branch(block, before, first=first) - after

    def solve(residual: Any, start: Array) -> Array:
        return _repeated(lambda before: before - residual(before), start, num_iterations)

    def tangent_solve(linear: Any, right: Array) -> Array:
        def neumann(linear: Any, right: Array) -> Array:
            return _repeated(lambda value: value + right - linear(value), right, num_iterations)

        return jax.lax.custom_linear_solve(linear, right, neumann, transpose_solve=neumann)

    return jax.lax.custom_root(forward, after, solve, tangent_solve)


def _repeated(step: Any, start: Array, count: int) -> Array:
    return jax.lax.scan(lambda value, _: (step(value), None), start, None, length=count)[0]
