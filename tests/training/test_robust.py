"""Adversarial training and TRADES: what they reduce to, and the gradient of a linear classifier written out."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxinterp import attacks, training
from tests.attacks.toys import conv_model, linear_model, make_batch

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def gradient(objective, model, batch):
    def loss_of(params):
        return objective(KEY, type(model)(params, model.stats, model.network), batch)

    return jax.jit(jax.value_and_grad(loss_of, has_aux=True))(model.params)


def same(first, second):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), first, second)


def test_epsilon_zero_is_standard_training():
    model, batch, nothing = conv_model(dtype=np.float64), make_batch(6, dtype=np.float64), jnp.zeros(())
    _, expected = gradient(training.standard(), model, batch)
    for objective in (training.adversarial(attacks.bim(nothing, num_steps=1)), training.trades(nothing, num_steps=1)):
        (loss, (stats, metrics)), found = gradient(objective, model, batch)
        same(found, expected)
        assert stats == {}
        np.testing.assert_allclose(metrics["loss"], loss)
    assert abs(float(metrics["divergence"])) < 1e-12


def test_weight_zero_is_standard_training():
    model, batch = conv_model(dtype=np.float64), make_batch(6, dtype=np.float64)
    (_, (_, metrics)), found = gradient(training.trades(16 / 255, num_steps=1, divergence_weight=0.0), model, batch)
    same(found, gradient(training.standard(), model, batch)[1])
    assert float(metrics["divergence"]) > 1e-6


def test_padding_rows_change_nothing():
    model, batch = conv_model(dtype=np.float64), make_batch(6, dtype=np.float64)
    padded = batch._replace(mask=jnp.arange(6) < 4, image=batch.image.at[4:].set(0.5))
    short = jax.tree.map(lambda leaf: leaf[:4], batch)
    objective = training.trades(8 / 255, num_steps=1)
    same(gradient(objective, model, padded)[1], gradient(objective, model, short)[1])


def test_adversarial_training_of_a_linear_classifier():
    """The images are those of the attack, and the gradient is that of softmax regression on them."""
    model, batch = linear_model(dtype=np.float64), make_batch(5, dtype=np.float64)
    attack = attacks.fgsm(8 / 255)
    (loss, _), found = gradient(training.adversarial(attack), model, batch)
    state, _ = attack.step(KEY, attack.init(KEY, model, batch), model, batch)
    images = np.asarray(state.adversarial).reshape(5, -1)
    log_p = np.asarray(jax.nn.log_softmax(images @ model.params["weight"] + model.params["bias"][None]))
    error = np.exp(log_p) - np.eye(5)[np.asarray(batch.label)]
    np.testing.assert_allclose(loss, -log_p[np.arange(5), np.asarray(batch.label)].mean(), rtol=1e-9)
    same(found, {"weight": images.T @ error / 5, "bias": error.mean(0)})


def test_trades_of_a_linear_classifier():
    """Every step and both terms of the gradient in NumPy; only the start is drawn as the objective draws it."""
    model, batch = linear_model(dtype=np.float64, scale=0.1), make_batch(5, dtype=np.float64)
    epsilon, size, num_steps, weight = 8 / 255, 3 / 255, 4, 6.0
    objective = training.trades(epsilon, step_size=size, num_steps=num_steps, divergence_weight=weight)
    (loss, (_, metrics)), found = gradient(objective, model, batch)

    w, b = (np.asarray(model.params[name]) for name in ("weight", "bias"))
    clean = np.asarray(batch.image).reshape(5, -1)

    def log_probabilities(images):
        logits = images @ w + b
        return logits - np.log(np.exp(logits).sum(1, keepdims=True))

    init_key = jax.random.split(jax.random.split(KEY)[0])[0]
    keys = attacks.example_keys(init_key, batch)
    noise = jax.vmap(lambda key: jax.random.normal(key, batch.image.shape[1:], batch.image.dtype))(keys)
    low, high = np.maximum(clean - epsilon, 0), np.minimum(clean + epsilon, 1)
    moved = np.clip(clean + 0.001 * np.asarray(noise).reshape(5, -1), low, high)
    log_p = log_probabilities(clean)
    p = np.exp(log_p)
    for _ in range(num_steps):
        slope = (np.exp(log_probabilities(moved)) - p) @ w.T
        moved = np.clip(moved + size * np.sign(slope), low, high)
    log_q = log_probabilities(moved)
    divergence = (p * (log_p - log_q)).sum(1)
    label = np.eye(5)[np.asarray(batch.label)]
    np.testing.assert_allclose(metrics["divergence"], divergence.mean(), rtol=1e-9)
    np.testing.assert_allclose(loss, -(label * log_p).sum(1).mean() + weight * divergence.mean(), rtol=1e-9)
    of_clean = p - label + weight * p * (log_p - log_q - divergence[:, None])
    of_moved = weight * (np.exp(log_q) - p)
    same(found, {"weight": (clean.T @ of_clean + moved.T @ of_moved) / 5, "bias": (of_clean + of_moved).mean(0)})
    assert divergence.min() > 1e-3


def test_trades_lowers_the_divergence():
    model, batch = conv_model(dtype=np.float64), make_batch(6, dtype=np.float64)
    optimizer = optax.sgd(0.05)
    step = jax.jit(training.train_step(training.trades(16 / 255, num_steps=2), optimizer))
    state = training.init_state(optimizer, model)
    seen = []
    for _ in range(25):
        state, metrics = step(KEY, state, batch)
        seen.append(float(metrics["loss"]))
    assert np.mean(seen[-3:]) < np.mean(seen[:3])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"epsilon": 8}, r"expected epsilon in \(0, 1\], got 8; write 8 / 255"),
        ({"step_size": 0.0}, r"expected step_size in \(0, 1\], got 0.0"),
        ({"num_steps": 0}, "expected num_steps >= 1, got 0"),
        ({"start_scale": 0.0}, "expected start_scale > 0, got 0.0"),
        ({"divergence_weight": -1.0}, "expected divergence_weight >= 0, got -1.0"),
    ],
)
def test_errors(change, message):
    arguments: dict[str, Any] = {"epsilon": 8 / 255, **change}
    with pytest.raises(ValueError, match=message):
        training.trades(**arguments)
