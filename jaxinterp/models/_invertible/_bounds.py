"""How much the blocks of an invertible network can stretch a difference, from above and from below, in float64."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxinterp._base import Model
from jaxinterp.models._invertible._iresnet import CONVOLUTIONS, network_of, squeeze
from jaxinterp.models._invertible._spectral import iterated, largest_stretch, norm_above, spectral_norm


class LipschitzBounds(NamedTuple):
    """What is known of the Lipschitz constant of F in every block, in the order of the network.

    Attributes:
        blocks: names.
        stated: `c^3`, what the normalisation aims at.
        layers: `[b 3]`, the norm of every convolution as it is used, by power iteration.
        product: `[b]`, of the norms of a block; the activations have slopes of at most 1.
        above: `[b]`, the product of upper bounds that rest on no iteration: the norms of the convolutions on the whole plane.
    """

    blocks: tuple[str, ...]
    stated: float
    layers: Float[np.ndarray, "b 3"]
    product: Float[np.ndarray, " b"]
    above: Float[np.ndarray, " b"]


def lipschitz_bounds(model: Model, *, num_iterations: int = 300) -> LipschitzBounds:
    """Upper bounds of the Lipschitz constant of F in every block: products of the norms of its convolutions, in float64.

    Power iteration comes to a norm from below. Where the vectors in `stats` are behind the weights, a convolution is scaled
    down too little, and its norm here is above c; `power_iterated` mends that. `above` does not depend on iterations, and
    is larger than the norm, since maps have borders and the plane has none.

    Args:
        model: an `iresnet`.
        num_iterations: of power iteration, for each convolution.

    Returns:
        Bounds of all blocks.

    Raises:
        ValueError: another network.
    """
    network = network_of(model)
    names = tuple(name for _, name in network.names())
    layers, above = [], []
    with jax.enable_x64(True):
        for name in names:
            found = []
            for conv in CONVOLUTIONS:
                kernel = np.asarray(model.params[f"{name}.{conv}"]["kernel"], np.float64)
                left = jnp.asarray(np.asarray(model.stats[f"{name}.{conv}"]["u"], np.float64))
                used = max(1.0, float(spectral_norm(jnp.asarray(kernel), left)[0]) / network.coefficient)
                norm = float(iterated(jnp.asarray(kernel), left, jnp.int32(num_iterations))[0])
                found.append((norm / used, norm_above(kernel) / used))
            norms, uppers = zip(*found, strict=True)
            layers.append(norms)
            above.append(np.prod(uppers))
    return LipschitzBounds(names, network.coefficient**3, np.asarray(layers), np.prod(layers, axis=1), np.asarray(above))


def local_lipschitz(
    model: Model, images: Float[Array, "n h w c"] | Float[np.ndarray, "n h w c"], *, num_iterations: int = 30
) -> Float[np.ndarray, "b n"]:
    """Lower estimates of the Lipschitz constant of F in every block: the norm of its Jacobian at what real images make of it.

    By power iteration with the Jacobian and its transpose, in float64, from a fixed direction.

    Args:
        model: an `iresnet`.
        images: in [0, 1].
        num_iterations: of power iteration.

    Returns:
        One number for each block, in the order of the network, and image.

    Raises:
        ValueError: another network.
    """
    network = network_of(model)
    found = []
    with jax.enable_x64(True):
        maps = network.normalised(jnp.asarray(np.asarray(images, np.float64)))
        params = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float64)), model.params)
        stats = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float64)), model.stats)
        for _, name in network.names():
            maps = squeeze(maps) if name.endswith(".0") else maps
            start = jnp.asarray(np.random.default_rng(0).standard_normal(maps.shape))

            @jax.jit
            def stretch(maps: Array, start: Array, name: str = name) -> tuple[Array, Array]:
                block, _ = network.block(params, stats, name, maps.dtype)
                branch = lambda maps: network.branch(block, maps, first=name == "layer1.0")  # noqa: E731
                value, forward = jax.linearize(branch, maps)
                backward = jax.linear_transpose(forward, maps)
                return maps + value, largest_stretch(forward, lambda v: backward(v)[0], start, num_iterations=num_iterations)

            maps, norms = stretch(maps, start)
            found.append(np.asarray(norms))
    return np.stack(found)
