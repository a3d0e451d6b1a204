"""Attacks whose answer on a linear classifier can be written down, and equalities between attacks."""

from typing import Any

import jax
import numpy as np
import optax
import pytest

from jaxinterp import attacks
from tests.attacks import toys

KEY = jax.random.key(3)
EPSILON = 8 / 255


def adversarial(attack: Any, model: Any, batch: Any) -> np.ndarray:
    return np.asarray(attacks.run_batch(attack, model, batch, key=KEY).adversarial)


def numpy_gradient(model: Any, images: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Gradient of `log p(label)` of the linear toy."""
    weight, bias = np.asarray(model.params["weight"]), np.asarray(model.params["bias"])
    logits = images.reshape(len(images), -1) @ weight + bias
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return ((np.eye(toys.CLASSES)[label] - p) @ weight.T).reshape(images.shape)


def test_fgsm_on_a_linear_model() -> None:
    batch, model = toys.make_batch(), toys.linear_model()
    images, label, target = np.asarray(batch.image), np.asarray(batch.label), np.asarray(batch.target)
    away = np.clip(images - EPSILON * np.sign(numpy_gradient(model, images, label)), 0, 1)
    np.testing.assert_allclose(adversarial(attacks.fgsm(EPSILON), model, batch), away, atol=1e-6)
    towards = np.clip(images + EPSILON * np.sign(numpy_gradient(model, images, target)), 0, 1)
    attack = attacks.fgsm(EPSILON, loss=attacks.targeted(attacks.cross_entropy))
    np.testing.assert_allclose(adversarial(attack, model, batch), towards, atol=1e-6)


def test_fgsm_with_the_margin_on_a_linear_model() -> None:
    batch, model = toys.make_batch(), toys.linear_model()
    weight, label = np.asarray(model.params["weight"]), np.asarray(batch.label)
    logits = np.asarray(model(batch.image)[0])
    rival = np.where(np.eye(toys.CLASSES)[label] > 0, -np.inf, logits).argmax(1)
    gradient = (weight.T[label] - weight.T[rival]).reshape(batch.image.shape)
    expected = np.clip(np.asarray(batch.image) - EPSILON * np.sign(gradient), 0, 1)
    np.testing.assert_allclose(adversarial(attacks.fgsm(EPSILON, loss=attacks.margin), model, batch), expected, atol=1e-6)


def test_the_saturated_cross_entropy_stands_still_and_the_margin_moves() -> None:
    batch, model = toys.make_batch(), toys.linear_model(scale=1e4)
    batch = batch._replace(label=model(batch.image)[0].argmax(1).astype(np.int32))
    np.testing.assert_array_equal(adversarial(attacks.fgsm(EPSILON), model, batch), np.asarray(batch.image))
    assert np.abs(adversarial(attacks.fgsm(EPSILON, loss=attacks.margin), model, batch) - np.asarray(batch.image)).max() > 0.03


def test_mi_fgsm_transcribed() -> None:
    with jax.enable_x64(True):
        batch, model = toys.make_batch(dtype=np.float64), toys.linear_model(dtype=np.float64)
        clean, label = np.asarray(batch.image), np.asarray(batch.label)
        x, momentum = clean.copy(), np.zeros_like(clean)
        for _ in range(4):
            gradient = -numpy_gradient(model, x, label)
            momentum = 0.7 * momentum + gradient / np.abs(gradient).sum((1, 2, 3), keepdims=True)
            x = np.clip(np.clip(x + 0.01 * np.sign(momentum), clean - EPSILON, clean + EPSILON), 0, 1)
        attack = attacks.mi_fgsm(EPSILON, decay=0.7, step_size=0.01, num_steps=4)
        np.testing.assert_allclose(adversarial(attack, model, batch), x, atol=1e-12)


def test_pgd_transcribed_from_its_own_start() -> None:
    with jax.enable_x64(True):
        batch, model = toys.make_batch(dtype=np.float64), toys.linear_model(dtype=np.float64)
        attack = attacks.pgd(EPSILON, num_steps=5)
        clean, label = np.asarray(batch.image), np.asarray(batch.label)
        state = jax.jit(attack.init)(jax.random.fold_in(KEY, np.uint32(2**32 - 1)), model, batch)
        x = np.asarray(state.iterate)
        assert 0.9 * EPSILON < np.abs(x - clean).max() <= EPSILON + 1e-12
        for _ in range(5):
            step = x - EPSILON / 4 * np.sign(numpy_gradient(model, x, label))
            x = np.clip(np.clip(step, clean - EPSILON, clean + EPSILON), 0, 1)
        np.testing.assert_allclose(adversarial(attack, model, batch), x, atol=1e-12)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (attacks.bim(EPSILON, num_steps=1), attacks.fgsm(EPSILON)),
        (attacks.mi_fgsm(EPSILON, decay=0, num_steps=4), attacks.bim(EPSILON, num_steps=4)),
        (
            attacks.pgd(EPSILON, random_start=False, step_size=0.01, num_steps=4),
            attacks.bim(EPSILON, step_size=0.01, num_steps=4),
        ),
        (attacks.bim(EPSILON, loss=attacks.ensemble(attacks.cross_entropy)), attacks.bim(EPSILON)),
        (attacks.bim(EPSILON, loss=attacks.with_taps(attacks.cross_entropy, lambda *_: {})), attacks.bim(EPSILON)),
    ],
    ids=["bim(1)=fgsm", "mi_fgsm(0)=bim", "pgd from the image=bim", "ensemble of one=plain", "no taps=plain"],
)
def test_equal_attacks(one: Any, other: Any) -> None:
    batch, model = toys.make_batch(), toys.conv_model()
    np.testing.assert_array_equal(adversarial(one, model, batch), adversarial(other, model, batch))


def test_normalize_l1() -> None:
    rule = attacks.normalize_l1()
    gradient: Any = {"a": np.array([3.0, -1.0], np.float32), "b": np.array([[4.0]], np.float32)}
    update: Any = rule.update(gradient, rule.init(gradient))[0]
    np.testing.assert_allclose(update["a"], [0.375, -0.125])
    np.testing.assert_allclose(update["b"], [[0.5]])
    still: Any = rule.update(jax.tree.map(np.zeros_like, gradient), optax.EmptyState())[0]
    np.testing.assert_array_equal(still["a"], [0, 0])
