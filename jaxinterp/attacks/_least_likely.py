"""Targets that an ensemble finds least likely."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int32

from jaxinterp.attacks._loss import members


def least_likely(models: Any, images: Float[Array, "n h w c"], *, num_targets: int) -> Int32[Array, "n t"]:
    """The classes of least mean probability over an ensemble, least likely first; of equal ones the smaller number first.

    Args:
        models: a model or a tuple of models.
        images: in [0, 1].
        num_targets: how many classes for each image.

    Returns:
        Class numbers.

    Raises:
        ValueError: `num_targets` below 1 or above the number of classes.

    References:
        A. Kurakin, I. Goodfellow, S. Bengio, "Adversarial Examples in the Physical World", ICLR workshop 2017, section 2.3,
        for one model and one class; the mean over the ensemble and several targets are our reading.
    """
    num_classes = members(models)[0].num_classes
    if not 1 <= num_targets <= num_classes:
        raise ValueError(f"expected num_targets in 1 to {num_classes}, got {num_targets}; this is the number of classes.")
    return _least_likely(members(models), images, num_targets)


@functools.partial(jax.jit, static_argnums=2)
def _least_likely(models: tuple[Any, ...], images: Array, num_targets: int) -> Array:
    total = sum(jax.nn.softmax(model(images)[0]) for model in models)
    return jnp.argsort(total, axis=-1, stable=True)[:, :num_targets].astype(jnp.int32)
