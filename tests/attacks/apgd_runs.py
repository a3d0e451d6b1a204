"""The runs of Auto-PGD that are compared with the authors' code."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxinterp import Batch
from tests.attacks import toys

NUM_STEPS = 25
RUNS = {
    "linf_ce": ("linf", 0.1, "ce"),
    "linf_targeted": ("linf", 0.2, "dlr-targeted"),
    "l2_ce": ("l2", 0.6, "ce"),
}
"""Name -> norm, radius, the loss as AutoAttack calls it."""


def example() -> tuple[Any, Batch]:
    """A convolutional toy and images that it classifies as they are labelled."""
    model, batch = toys.conv_model(dtype=np.float64, scale=1.5), toys.make_batch(5, dtype=np.float64)
    label = jnp.argmax(model(batch.image)[0], axis=-1).astype(jnp.int32)
    return model, batch._replace(label=label, target=(label + batch.target - batch.label) % toys.CLASSES)


def start(batch: Batch, norm: str, epsilon: float) -> np.ndarray:
    """A random point of the surface of the ball, cut off at [0, 1]."""
    clean = np.asarray(batch.image)
    step = np.random.default_rng(5).normal(size=clean.shape)
    length = np.abs(step).max((1, 2, 3)) if norm == "linf" else np.sqrt((step**2).sum((1, 2, 3)))
    return np.clip(clean + epsilon * step / length[:, None, None, None], 0, 1)
