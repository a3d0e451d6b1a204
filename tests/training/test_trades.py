"""TRADES and MART: what they reduce to, and their losses on a linear classifier written out."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxinterp import attacks, training
from jaxinterp.training._mart import _boosted
from tests.attacks.toys import conv_model, linear_model, make_batch
from tests.training.toys import KEY, gradient, outcome, same

pytestmark = pytest.mark.usefixtures("float64")

EPSILON, SIZE, STEPS, WEIGHT = 8 / 255, 3 / 255, 4, 6.0


def test_weight_zero_is_standard_training():
    model, batch = conv_model(dtype=np.float64), make_batch(6, dtype=np.float64)
    loss, (_, metrics) = outcome(training.trades(16 / 255, num_steps=1, divergence_weight=0.0), model, batch)
    same(loss, outcome(training.standard(), model, batch)[0])
    assert float(metrics["divergence"]) > 1e-6


def log_probabilities(images, w, b):
    logits = images @ w + b
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def flat(model, batch):
    """Weights, bias and images of the linear toy as arrays of NumPy, and the bounds of the ball."""
    w, b = (np.asarray(model.params[name]) for name in ("weight", "bias"))
    clean = np.asarray(batch.image).reshape(len(batch.image), -1)
    return w, b, clean, np.maximum(clean - EPSILON, 0), np.minimum(clean + EPSILON, 1)


def drawn(batch, draw):
    """What the attack's start draws for each row, flat; only the draw itself is not written out."""
    keys = attacks.example_keys(jax.random.split(jax.random.split(KEY)[0])[0], batch)
    noise = jax.vmap(lambda key: draw(key, batch.image.shape[1:], batch.image.dtype))(keys)
    return np.asarray(noise).reshape(len(batch.image), -1)


def test_trades_of_a_linear_classifier():
    """Every step and both terms of the gradient in NumPy."""
    model, batch = linear_model(dtype=np.float64, scale=0.1), make_batch(5, dtype=np.float64)
    objective = training.trades(EPSILON, step_size=SIZE, num_steps=STEPS, divergence_weight=WEIGHT)
    (loss, (_, metrics)), found = gradient(objective, model, batch)

    w, b, clean, low, high = flat(model, batch)
    moved = np.clip(clean + 0.001 * drawn(batch, jax.random.normal), low, high)
    log_p = log_probabilities(clean, w, b)
    p = np.exp(log_p)
    for _ in range(STEPS):
        slope = (np.exp(log_probabilities(moved, w, b)) - p) @ w.T
        moved = np.clip(moved + SIZE * np.sign(slope), low, high)
    log_q = log_probabilities(moved, w, b)
    divergence = (p * (log_p - log_q)).sum(1)
    label = np.eye(5)[np.asarray(batch.label)]
    np.testing.assert_allclose(metrics["divergence"], divergence.mean(), rtol=1e-9)
    np.testing.assert_allclose(loss, -(label * log_p).sum(1).mean() + WEIGHT * divergence.mean(), rtol=1e-9)
    of_clean = p - label + WEIGHT * p * (log_p - log_q - divergence[:, None])
    of_moved = WEIGHT * (np.exp(log_q) - p)
    same(found, {"weight": (clean.T @ of_clean + moved.T @ of_moved) / 5, "bias": (of_clean + of_moved).mean(0)})
    assert divergence.min() > 1e-3


def mart_terms(images, moved, w, b, label):
    """Boosted cross-entropy and weighted divergence of each row, as the paper writes them."""
    p, q = (np.exp(log_probabilities(each, w, b)) for each in (images, moved))
    rows = np.arange(len(p))
    rival = np.where(np.eye(5, dtype=bool)[label], -1, q).max(1)
    boosted = -np.log(q[rows, label]) - np.log(1 - rival)
    return boosted, (p * np.log(p / q)).sum(1) * (1 - p[rows, label])


def test_mart_of_a_linear_classifier():
    """PGD on the cross-entropy and both terms in NumPy; the gradient by differences of these along a direction."""
    model, batch = linear_model(dtype=np.float64, scale=0.1), make_batch(5, dtype=np.float64)
    objective = training.mart(EPSILON, step_size=SIZE, num_steps=STEPS, divergence_weight=WEIGHT)
    (loss, (_, metrics)), found = gradient(objective, model, batch)

    w, b, clean, low, high = flat(model, batch)
    label = np.asarray(batch.label)
    uniform = drawn(batch, lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -1.0, 1.0))
    moved = np.clip(clean + EPSILON * uniform, low, high)
    for _ in range(STEPS):
        slope = (np.exp(log_probabilities(moved, w, b)) - np.eye(5)[label]) @ w.T
        moved = np.clip(moved + SIZE * np.sign(slope), low, high)
    boosted, divergence = (term.mean() for term in mart_terms(clean, moved, w, b, label))
    np.testing.assert_allclose([metrics["boosted"], metrics["divergence"]], [boosted, divergence], rtol=1e-9)
    np.testing.assert_allclose(loss, boosted + WEIGHT * divergence, rtol=1e-9)
    assert divergence > 1e-3

    rng = np.random.default_rng(0)
    along = {"weight": rng.normal(size=w.shape), "bias": rng.normal(size=b.shape)}

    def at(length):
        terms = mart_terms(clean, moved, w + length * along["weight"], b + length * along["bias"], label)
        return terms[0].mean() + WEIGHT * terms[1].mean()

    slope = sum((np.asarray(found[name]) * along[name]).sum() for name in along)
    np.testing.assert_allclose(slope, (at(1e-6) - at(-1e-6)) / 2e-6, rtol=1e-6)


def test_mart_without_divergence_is_boosted_cross_entropy():
    model, batch = conv_model(dtype=np.float64), make_batch(6, dtype=np.float64)
    loss, (_, metrics) = outcome(training.mart(16 / 255, num_steps=1, divergence_weight=0.0), model, batch)
    np.testing.assert_allclose(loss, metrics["boosted"], rtol=1e-12)
    assert float(metrics["divergence"]) > 1e-6


def test_boosted_cross_entropy_of_two_classes_is_twice_the_plain_one():
    """With one rival, `1 - p` of it is the probability of the label."""
    batch = make_batch(6, dtype=np.float64)._replace(label=jnp.array([0, 1, 1, 0, 1, 0]))
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2)) * [[1], [1], [10], [100], [1e3], [1e4]])
    plain = optax.softmax_cross_entropy_with_integer_labels(logits, batch.label)
    same(_boosted(jax.nn.log_softmax(logits), batch), 2 * plain)


@pytest.mark.parametrize("name", ["trades", "mart"])
def test_the_loss_falls(name):
    model, batch = conv_model(dtype=np.float64), make_batch(6, dtype=np.float64)
    optimizer = optax.sgd(0.05)
    step = jax.jit(training.train_step(getattr(training, name)(16 / 255, num_steps=1), optimizer))
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
        ({"divergence_weight": -1.0}, "expected divergence_weight >= 0, got -1.0"),
        ({"statistics": "own"}, "expected statistics 'mixed', 'split' or 'frozen', got 'own'; write 'mixed'"),
    ],
)
def test_errors(change, message):
    arguments: dict[str, Any] = {"epsilon": 8 / 255, **change}
    for make in (training.trades, training.mart):
        with pytest.raises(ValueError, match=message):
            make(**arguments)
    with pytest.raises(ValueError, match=r"expected start_scale > 0, got 0.0"):
        training.trades(8 / 255, start_scale=0.0)
