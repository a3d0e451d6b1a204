"""Models without their weights."""

import contextvars
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxinterp._base import Model

_WITHOUT_WEIGHTS = contextvars.ContextVar("without_weights", default=False)


def abstract(build: Callable[[], Model]) -> Model:
    """What `build` would make, with `jax.ShapeDtypeStruct` for every weight: layers and sizes, of which nothing is computed.

    No file of weights is read, and none is fetched.

    Args:
        build: makes the model.

    Example:
        >>> from jaxinterp import models
        >>> model = models.abstract(lambda: models.vgg16(weights="not-there.safetensors"))
        >>> model.layer("conv5_3").shape
        (14, 14, 512)
    """
    token = _WITHOUT_WEIGHTS.set(True)
    try:
        return jax.eval_shape(build)
    finally:
        _WITHOUT_WEIGHTS.reset(token)


def without_weights(shapes: tuple[Any, Any]) -> tuple[Any, Any] | None:
    """Stand-ins of those shapes for weights that would be read from a file, where `abstract` wants no more."""
    return jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), shapes) if _WITHOUT_WEIGHTS.get() else None
