"""Gradients and projections in NumPy, of which transcriptions of the papers are made."""

from typing import Any

import numpy as np

from tests.attacks import toys


def numpy_gradient(images: np.ndarray, label: np.ndarray, *members: Any) -> np.ndarray:
    """Gradient of `log p(label)` of linear toys whose logits are averaged."""
    weight = np.mean([np.asarray(model.params["weight"]) for model in members], axis=0)
    bias = np.mean([np.asarray(model.params["bias"]) for model in members], axis=0)
    logits = images.reshape(len(images), -1) @ weight + bias
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return ((np.eye(toys.CLASSES)[label] - p) @ weight.T).reshape(images.shape)


def norm_of(images: np.ndarray, order: int) -> np.ndarray:
    """Of each image, beside `[n h w c]`."""
    return np.linalg.norm(images.reshape(len(images), -1), ord=order, axis=1)[:, None, None, None]


def into_ball(epsilon: float, images: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """Cut off at the Linf ball and at [0, 1]."""
    return np.clip(np.clip(images, clean - epsilon, clean + epsilon), 0, 1)
