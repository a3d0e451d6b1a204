"""Balls around the clean image: where an attack starts and what its iterates are projected onto."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

Scalar = float | int | Array
"""A number, or an array without axes, which may be traced."""


class Ball(NamedTuple):
    """A set of allowed images around a clean one; both functions are of one image `[h w c]`, the driver maps them.

    Attributes:
        project: `(adversarial, clean) -> adversarial`, into the set and into [0, 1].
        start: `(key, clean) -> adversarial`, the first iterate.
    """

    project: Callable[[Array, Array], Array]
    start: Callable[[Array, Array], Array]


def box() -> Ball:
    """All images in [0, 1]; starts at the clean image."""
    return Ball(project=lambda adversarial, clean: jnp.clip(adversarial, 0.0, 1.0), start=_at_clean)


def linf(epsilon: Scalar, *, random_start: bool = False) -> Ball:
    """The images no pixel of which differs by more than `epsilon`.

    Args:
        epsilon: radius in [0, 1] units. A Python number is checked; an array (traced, say) is taken as it is, 0 included.
        random_start: start at a uniform draw from the ball, cut off at [0, 1], and not at the clean image.

    Returns:
        The ball.

    Raises:
        ValueError: a number outside (0, 1].
    """
    check_radius(epsilon, name="epsilon")

    def project(adversarial: Float[Array, "h w c"], clean: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        radius = jnp.asarray(epsilon, clean.dtype)
        return jnp.clip(adversarial, jnp.maximum(clean - radius, 0.0), jnp.minimum(clean + radius, 1.0))

    def start(key: Array, clean: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        radius = jnp.asarray(epsilon, clean.dtype)
        return project(clean + radius * jax.random.uniform(key, clean.shape, clean.dtype, -1.0, 1.0), clean)

    return Ball(project=project, start=start if random_start else _at_clean)


def l2(epsilon: Scalar, *, random_start: bool = False) -> Ball:
    """The images at a Euclidean distance of at most `epsilon`.

    An image outside is drawn back along the straight line to the clean one, then cut off at [0, 1], which takes it no
    further away; the result is in both sets, though not always the nearest such image.

    Args:
        epsilon: radius, the Euclidean norm over all pixels and channels in [0, 1] units; it may exceed 1. A Python number is
            checked; an array (traced, say) is taken as it is, 0 included.
        random_start: start at a uniform draw from the ball, cut off at [0, 1], and not at the clean image.

    Returns:
        The ball.

    Raises:
        ValueError: a number that is not positive.
    """
    check_radius(epsilon, name="epsilon", largest=float("inf"))

    def project(adversarial: Float[Array, "h w c"], clean: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        perturbation = adversarial - clean
        norm = jnp.sqrt(jnp.sum(jnp.square(perturbation)))
        radius = jnp.asarray(epsilon, clean.dtype)
        drawn_back = clean + perturbation * (radius / jnp.where(norm > 0, norm, 1.0))
        return jnp.clip(jnp.where(norm > radius, drawn_back, adversarial), 0.0, 1.0)

    def start(key: Array, clean: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        direction_key, radius_key = jax.random.split(key)
        direction = jax.random.normal(direction_key, clean.shape, clean.dtype)
        radius = jax.random.uniform(radius_key, (), clean.dtype) ** (1 / clean.size)
        length = jnp.asarray(epsilon, clean.dtype) * radius / jnp.sqrt(jnp.sum(jnp.square(direction)))
        return project(clean + length * direction, clean)

    return Ball(project=project, start=start if random_start else _at_clean)


def l1(epsilon: Scalar, *, random_start: bool = False) -> Ball:
    """The images whose absolute differences from the clean one sum to at most `epsilon`.

    The projection is the exact one onto the intersection with [0, 1], not the one onto the ball followed by a clip, which loses
    much of the radius: each difference is shrunk by one common number, then cut off at 0 and at the box. That number is found
    by bisection to the last bit of the type.

    Args:
        epsilon: radius, the sum over all pixels and channels in [0, 1] units; it may exceed 1. A Python number is checked; an
            array (traced, say) is taken as it is, 0 included.
        random_start: start at a uniform draw from the ball, cut off at [0, 1], and not at the clean image.

    Returns:
        The ball.

    Raises:
        ValueError: a number that is not positive.

    References:
        F. Croce, M. Hein, "Mind the Box: l1-APGD for Sparse Adversarial Attacks on Image Classifiers", ICML 2021,
        proposition 2.1.
    """
    check_radius(epsilon, name="epsilon", largest=float("inf"))

    def project(adversarial: Float[Array, "h w c"], clean: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        radius = jnp.asarray(epsilon, clean.dtype)
        change = adversarial - clean
        size, room = jnp.abs(change), jnp.where(change > 0, 1.0 - clean, clean)

        def shrunk(number: Array) -> Array:
            return jnp.clip(size - number, 0.0, room)

        def halve(_: Any, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bounds
            middle = (low + high) / 2
            outside = jnp.sum(shrunk(middle)) > radius
            return jnp.where(outside, middle, low), jnp.where(outside, high, middle)

        halvings = jnp.finfo(clean.dtype).nmant + 8
        _, number = jax.lax.fori_loop(0, halvings, halve, (jnp.zeros((), clean.dtype), jnp.max(size)))
        length = shrunk(jnp.where(jnp.sum(shrunk(jnp.zeros((), clean.dtype))) > radius, number, 0.0))
        return jnp.clip(clean + jnp.sign(change) * length, 0.0, 1.0)

    def start(key: Array, clean: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        sign_key, size_key = jax.random.split(key)
        # The first of k + 1 shares of a stick that is broken at random are uniform in the ball of k dimensions.
        shares = jax.random.exponential(size_key, (clean.size + 1,), clean.dtype)
        shares = (shares / jnp.sum(shares))[:-1].reshape(clean.shape)
        sign = jax.random.rademacher(sign_key, clean.shape, clean.dtype)
        return project(clean + jnp.asarray(epsilon, clean.dtype) * sign * shares, clean)

    return Ball(project=project, start=start if random_start else _at_clean)


def check_radius(radius: Scalar, *, name: str, largest: float = 1.0) -> None:
    """Raises `ValueError` for a number outside (0, `largest`]; arrays pass, since traced ones have no value to look at."""
    if isinstance(radius, Array) or 0 < float(radius) <= largest:
        return
    remedy = f"{radius} / 255" if 1 < float(radius) <= 255 else "8 / 255"
    bounds = "(0, 1]" if largest == 1 else "(0, inf)"
    raise ValueError(f"expected {name} in {bounds}, got {radius}; write {remedy}.")


def check_num_steps(num_steps: int) -> None:
    """Raises `ValueError` for fewer than one step."""
    if num_steps < 1:
        raise ValueError(f"expected num_steps >= 1, got {num_steps}; write num_steps=1 or more.")


def check_decay(decay: Scalar, *, name: str = "decay") -> None:
    """Raises `ValueError` for a negative number; arrays pass."""
    if not isinstance(decay, Array) and not float(decay) >= 0:
        raise ValueError(f"expected {name} >= 0, got {decay}; write {name}=1.0.")


def _at_clean(key: Array, clean: Array) -> Array:
    return clean
