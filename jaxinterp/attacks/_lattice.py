"""The 8-bit lattice: what a stored image can be."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxinterp.attacks._ball import Scalar

SLACK = 1e-3
"""Part of a grey level by which float32 arithmetic may miss a lattice point on the boundary of the ball."""


def round_to_lattice(
    adversarial: Float[Array, "*shape"], clean: Float[Array, "*shape"], *, epsilon: Scalar | None = None
) -> Float[Array, "*shape"]:
    """The nearest 8-bit image: values `i / 255`, the same numbers that are read back from a PNG file.

    With `epsilon` the nearest one in the Linf ball around the clean image; where a pixel's interval holds no grey level
    (the clean image off the lattice, and a radius below half a level), the level nearest to the clean value.

    The derivative with respect to `adversarial` is that of the identity (straight-through), so an attack that is given this
    function as `decode` optimises exactly what is stored.

    Args:
        adversarial: in [0, 1].
        clean: the clean image, in [0, 1].
        epsilon: Linf radius in [0, 1] units; no ball by default.

    Returns:
        The rounded image.
    """
    if epsilon is None:
        return _round(adversarial, jnp.zeros_like(clean), jnp.full_like(clean, 255.0))
    radius = 255.0 * jnp.asarray(epsilon, clean.dtype)
    low = jnp.maximum(jnp.ceil(255.0 * clean - radius - SLACK), 0.0)
    high = jnp.minimum(jnp.floor(255.0 * clean + radius + SLACK), 255.0)
    nearest = jnp.round(255.0 * clean)
    empty = low > high
    return _round(adversarial, jnp.where(empty, nearest, low), jnp.where(empty, nearest, high))


@jax.custom_jvp
def _round(image: Array, low: Array, high: Array) -> Array:
    return _over_255(jnp.clip(jnp.round(255.0 * image), low, high))


@_round.defjvp
def _round_jvp(primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    return _round(*primals), tangents[0]


def _over_255(levels: Array) -> Array:
    """`levels / 255`, correctly rounded for 0, 1, ..., 255.

    A compiled division by 255 is a product with the rounded 1/255, and off by one unit in the last place for a third of the
    levels. `i / 255` is `0.iii...` to the base 256: the leading digits are exact, and adding the next ones rounds once.
    """
    wide = levels.dtype == jnp.float64
    digits, next_digits = (257 * 65537 / 2**32, 2.0**-32 + 2.0**-64) if wide else (257 / 2**16, 2.0**-16 + 2.0**-32)
    leading = levels.astype(jnp.float64 if wide else jnp.float32) * digits
    return (leading + leading * next_digits).astype(levels.dtype)
