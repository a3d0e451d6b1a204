"""The mean of a loss over samples: draws of a network, copies of an image, images nearby."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp.attacks._loss import gradient_of


def mean_gradient(values_at: Callable[[Array, Array], Array], images: Array, *, num_samples: int) -> tuple[Array, Array]:
    """The mean over `i` of `values_at(i, images)` `[n]`, and of its gradients.

    One sample after the other, so the memory is that of one. On CPU, where convolutions in a compiled loop are several times
    slower, the program is written out sample by sample; elsewhere it is a loop.

    Args:
        values_at: `(index, images) -> [n]`.
        images: `[n h w c]`, where the gradients are taken.
        num_samples: how many indices.

    Returns:
        Gradient of each image's mean `[n h w c]`, and the means `[n]`.
    """

    def add(gradient: Array, index: Array) -> tuple[Array, Array]:
        more, values = gradient_of(functools.partial(values_at, index), images)
        return gradient + more, values

    gradient, values = over_samples(add, jnp.zeros_like(images), num_samples)
    return gradient / num_samples, jnp.mean(values, axis=0)


def over_samples(add: Callable[[Any, Array], tuple[Any, Array]], start: Any, num_samples: int) -> tuple[Any, Array]:
    """`lax.scan` over indices, which on CPU has no loop in its program.

    Args:
        add: `(carried, index) -> (carried, found)`.
        start: what is carried into the first one.
        num_samples: how many indices.

    Returns:
        What is carried out of the last one, and what was found, stacked.
    """
    scan = functools.partial(jax.lax.scan, add, start, jnp.arange(num_samples))
    return jax.lax.platform_dependent(cpu=functools.partial(scan, unroll=True), default=scan)


def mean_loss(values_at: Callable[[Array, Array], Array], images: Array, *, num_samples: int) -> Array:
    """The mean over `i` of `values_at(i, images)`, whose derivative by the images is found sample by sample.

    Differentiated as it stands, the mean would hold what every sample needs for its gradient until all of them are evaluated.
    Here value and gradient of a sample are had together, and the result is the value plus a term that is zero and has that
    gradient. First derivatives are exact; there are no second ones by the images.

    Args:
        values_at: as for `mean_gradient`.
        images: `[n h w c]`.
        num_samples: how many indices.

    Returns:
        One value per image.
    """
    here = jax.lax.stop_gradient(images)
    gradient, values = mean_gradient(values_at, here, num_samples=num_samples)
    slope = jax.lax.stop_gradient(gradient)
    return values + jnp.sum(slope * (images - here), axis=(1, 2, 3)).astype(values.dtype)


def check_samples(num_samples: int, *, name: str = "num_samples") -> None:
    """Raises `ValueError` for fewer than one sample."""
    if num_samples < 1:
        raise ValueError(f"expected {name} >= 1, got {num_samples}; write {name}=5.")
