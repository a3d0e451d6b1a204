"""Attacks of a fixed radius beside the papers' algorithms in NumPy, with a gradient of the convolutional toy by hand."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from jaxinterp import Batch, Model, attacks
from tests.attacks import toys

NUM_STEPS, EPSILON, STEP_SIZE = 5, 12 / 255, 4 / 255


def windows(maps: np.ndarray) -> np.ndarray:
    """The 3 x 3 surroundings of every position, with zeros outside: `[n h w 3 3 c]`."""
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2)).transpose(0, 1, 2, 4, 5, 3)


def logits_and_gradient(model: Model, images: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits of the toy, and the gradient of the cross-entropy of the classes at the images."""
    first, second, head = (np.asarray(model.params[name]) for name in ("conv1", "conv2", "head"))
    hidden = np.einsum("nhwijc,ijcu->nhwu", windows((images - 0.5) / 0.25), first)
    outer = np.einsum("nhwijc,ijcu->nhwu", windows(np.maximum(hidden, 0)), second)
    logits = np.maximum(outer, 0).mean((1, 2)) @ head
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    back = (p - np.eye(toys.CLASSES)[classes]) @ head.T / toys.SIZE**2
    back = back[:, None, None] * (outer > 0)
    # A position is reached from its surroundings by the kernel turned by half a turn.
    back = np.einsum("nhwiju,ijcu->nhwc", windows(back), second[::-1, ::-1]) * (hidden > 0)
    return logits, np.einsum("nhwiju,ijcu->nhwc", windows(back), first[::-1, ::-1]) / 0.25


def in_linf(image: np.ndarray, clean: np.ndarray, epsilon: float) -> np.ndarray:
    return np.clip(np.clip(image, clean - epsilon, clean + epsilon), 0, 1)


def in_l2(image: np.ndarray, clean: np.ndarray, epsilon: float) -> np.ndarray:
    change = image - clean
    norm = np.sqrt((change**2).sum((1, 2, 3), keepdims=True))
    return np.clip(clean + change * np.minimum(1, epsilon / norm), 0, 1)


def in_l1_and_box(image: np.ndarray, clean: np.ndarray, epsilon: float) -> np.ndarray:
    """Proposition 2.1 of "Mind the Box": the norm is piecewise linear in the threshold, with known corners."""
    found = []
    for row, here in zip(image - clean, clean, strict=True):
        size, room = np.abs(row), np.where(row > 0, 1 - here, here)
        corners = np.unique(np.concatenate([[0], size.ravel(), np.maximum(size - room, 0).ravel()]))
        norms = np.array([np.clip(size - corner, 0, room).sum() for corner in corners])
        threshold = np.interp(-epsilon, -norms, corners) if norms[0] > epsilon else 0.0
        found.append(here + np.sign(row) * np.clip(size - threshold, 0, room))
    return np.clip(np.stack(found), 0, 1)


def unit(gradient: np.ndarray) -> np.ndarray:
    return gradient / np.sqrt((gradient**2).sum((1, 2, 3), keepdims=True))


def largest_signs(gradient: np.ndarray) -> np.ndarray:
    """The signs of the two largest of the 108 entries, a hundredth rounded up, with an L1 norm of 1."""
    size = np.abs(gradient).reshape(len(gradient), -1)
    least = np.partition(size, -2, axis=1)[:, -2][:, None, None, None]
    return np.where(np.abs(gradient) >= least, np.sign(gradient), 0) / 2


def descend(
    model: Model, batch: Batch, *, epsilon: float, step_size: float, num_steps: int, direction: Any, project: Any, decay: Any
) -> np.ndarray:
    """Steps up the cross-entropy of the label; with `decay` along gradients over their L1 norms, accumulated."""
    clean, label = np.asarray(batch.image), np.asarray(batch.label)
    image, momentum = clean.copy(), np.zeros_like(clean)
    for _ in range(num_steps):
        gradient = logits_and_gradient(model, image, label)[1]
        momentum = gradient if decay is None else decay * momentum + gradient / np.abs(gradient).sum((1, 2, 3), keepdims=True)
        image = project(image + step_size * direction(momentum), clean, epsilon)
    return image


LINF = {"epsilon": EPSILON, "step_size": STEP_SIZE, "num_steps": NUM_STEPS}
L2 = {"epsilon": 0.5, "step_size": 0.2, "num_steps": NUM_STEPS}
L1 = {"epsilon": 2.0, "step_size": 0.7, "num_steps": NUM_STEPS}
CASES: dict[str, tuple[Any, dict[str, Any], Callable[..., Any], Callable[..., Any], Any]] = {
    "fgsm": (attacks.fgsm(EPSILON), {"epsilon": EPSILON, "step_size": EPSILON, "num_steps": 1}, np.sign, in_linf, None),
    "bim": (attacks.bim(**LINF), LINF, np.sign, in_linf, None),
    "mi_fgsm": (attacks.mi_fgsm(**LINF, decay=0.8), LINF, np.sign, in_linf, 0.8),
    "pgd": (attacks.pgd(**LINF, random_start=False), LINF, np.sign, in_linf, None),
    "pgd l2": (attacks.pgd(**L2, norm="l2", random_start=False), L2, unit, in_l2, None),
    "pgd l1": (attacks.pgd(**L1, norm="l1", random_start=False), L1, largest_signs, in_l1_and_box, None),
}


@pytest.mark.parametrize("name", CASES)
def test_transcribed(name: str) -> None:
    attack, knobs, direction, project, decay = CASES[name]
    with jax.enable_x64(True):
        model, batch = toys.conv_model(dtype=np.float64, scale=1.5), toys.make_batch(dtype=np.float64)
        ours = attacks.run_batch(attack, model, batch, key=jax.random.key(0), unroll=False).adversarial
        expected = descend(model, batch, **knobs, direction=direction, project=project, decay=decay)
        assert np.abs(expected - np.asarray(batch.image)).max((1, 2, 3)).min() > 0.01
        np.testing.assert_allclose(ours, expected, atol=1e-9, rtol=0)


def test_gradient_by_hand() -> None:
    with jax.enable_x64(True):
        model, batch = toys.conv_model(dtype=np.float64, scale=1.5), toys.make_batch(dtype=np.float64)
        images, label = np.asarray(batch.image), np.asarray(batch.label)
        logits, gradient = logits_and_gradient(model, images, label)
        np.testing.assert_allclose(logits, model(batch.image)[0], atol=1e-12)
        total = jax.grad(lambda image: -attacks.cross_entropy(None, model, image, batch).sum())(batch.image)
        np.testing.assert_allclose(gradient, total, atol=1e-12)
