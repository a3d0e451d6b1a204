"""The mean of a loss over samples: draws of a network, copies of an image, images nearby."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array


def mean_gradient(
    values_at: Callable[[Array, Array], Array], images: Array, *, num_samples: int, chunk_size: int | None
) -> tuple[Array, Array]:
    """The mean over `i` of `values_at(i, images)` `[n]`, and of its gradients.

    Args:
        values_at: `(index, images) -> [n]`.
        images: `[n h w c]`, where the gradients are taken.
        num_samples: how many indices.
        chunk_size: how many samples are evaluated at once, as so many more rows; None for all.

    Returns:
        Gradient of each image's mean `[n h w c]`, and the means `[n]`.
    """
    size = chunk_size or num_samples

    def of_sample(index: Array) -> tuple[Array, Array]:
        def total(images: Array) -> tuple[Array, Array]:
            values = values_at(index, images)
            return jnp.sum(values), values

        return jax.grad(total, has_aux=True)(images)

    def of_chunk(indices: Array) -> tuple[Array, Array]:
        gradients, values = jax.vmap(of_sample)(indices)
        return jnp.sum(gradients, axis=0), jnp.sum(values, axis=0)

    indices = jnp.arange(num_samples).reshape(-1, size)
    if size == num_samples:
        gradient, values = of_chunk(indices[0])
    else:

        def add(gradient: Array, indices: Array) -> tuple[Array, Array]:
            more, values = of_chunk(indices)
            return gradient + more, values

        gradient, parts = jax.lax.scan(add, jnp.zeros_like(images), indices)
        values = jnp.sum(parts, axis=0)
    return gradient / num_samples, values / num_samples


def mean_loss(values_at: Callable[[Array, Array], Array], images: Array, *, num_samples: int, chunk_size: int | None) -> Array:
    """The mean over `i` of `values_at(i, images)`, whose derivative by the images is found sample by sample.

    Differentiated as it stands, the mean would hold what every sample needs for its gradient until all of them are evaluated.
    Here value and gradient of a chunk are had together, and the result is the value plus a term that is zero and has that
    gradient. First derivatives are exact; there are no second ones by the images.

    Args:
        values_at: as for `mean_gradient`, and so are the others.
        images: `[n h w c]`.
        num_samples: how many indices.
        chunk_size: how many samples are evaluated at once; None for all.

    Returns:
        One value per image.
    """
    here = jax.lax.stop_gradient(images)
    gradient, values = mean_gradient(values_at, here, num_samples=num_samples, chunk_size=chunk_size)
    slope = jax.lax.stop_gradient(gradient)
    return values + jnp.sum(slope * (images - here), axis=(1, 2, 3)).astype(values.dtype)


def check_samples(num_samples: int, chunk_size: int | None, *, name: str = "num_samples") -> None:
    """Raises `ValueError` for fewer than one sample, and for chunks that do not make up the samples."""
    if num_samples < 1:
        raise ValueError(f"expected {name} >= 1, got {num_samples}; write {name}=5.")
    if chunk_size is not None and (chunk_size < 1 or num_samples % chunk_size):
        raise ValueError(f"expected a chunk_size that divides {name}={num_samples}, got {chunk_size}; write chunk_size=1.")
