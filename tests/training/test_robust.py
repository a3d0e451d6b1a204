"""Adversarial training, fast and free: the mixes, and each written out for a linear classifier."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxinterp import attacks, training
from tests.attacks.toys import conv_model, linear_model, make_batch
from tests.training.toys import KEY, gradient, moved_by, normalised_model, outcome, same

pytestmark = pytest.mark.usefixtures("float64")

EPSILON = 8 / 255


def softmax(values):
    powers = np.exp(values - values.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def test_adversarial_training_of_a_linear_classifier():
    """The images are those of the attack, and the gradient is that of softmax regression on them."""
    model, batch = linear_model(dtype=np.float64), make_batch(5, dtype=np.float64)
    attack = attacks.fgsm(EPSILON)
    (loss, (stats, metrics)), found = gradient(training.adversarial(attack), model, batch)
    images = np.asarray(moved_by(attack, model, batch)).reshape(5, -1)
    p = softmax(images @ np.asarray(model.params["weight"]) + np.asarray(model.params["bias"]))
    error = p - np.eye(5)[np.asarray(batch.label)]
    np.testing.assert_allclose(loss, -np.log(p[np.arange(5), np.asarray(batch.label)]).mean(), rtol=1e-9)
    same(found, {"weight": images.T @ error / 5, "bias": error.mean(0)})
    assert stats == {}
    assert set(metrics) == {"loss", "adversarial_accuracy"}


def test_the_mix_is_a_weighted_mean_of_both_losses():
    model, batch = conv_model(dtype=np.float64), make_batch(6, dtype=np.float64)
    attack = attacks.fgsm(EPSILON)
    clean = outcome(training.standard(), model, batch)[0]
    moved = outcome(training.standard(), model, batch._replace(image=moved_by(attack, model, batch)))[0]
    for weight in (0.3, optax.constant_schedule(0.3)):
        loss, (_, metrics) = outcome(training.adversarial(attack, clean_weight=weight), model, batch)
        same(loss, 0.3 * clean + 0.7 * moved)
        assert set(metrics) == {"loss", "accuracy", "adversarial_accuracy"}


def test_alone_the_statistics_are_those_of_the_adversarial_images():
    model, batch = normalised_model(), make_batch(6, dtype=np.float64)
    attack = attacks.fgsm(EPSILON)
    images = moved_by(attack, model, batch)
    _, (stats, _) = outcome(training.adversarial(attack), model, batch)
    same(stats, outcome(training.standard(), model, batch._replace(image=images))[1][0])
    _, (stats, _) = outcome(training.adversarial(attack, statistics="frozen"), model, batch)
    same(stats, model.stats)


def test_fast_is_one_step_from_a_draw():
    """Start, step and projection in NumPy; the draws are those of PGD."""
    model, batch = linear_model(dtype=np.float64), make_batch(5, dtype=np.float64)
    loss, _ = outcome(training.fast(EPSILON), model, batch)
    keys = attacks.example_keys(jax.random.split(jax.random.split(KEY)[0])[0], batch)
    noise = jax.vmap(lambda key: jax.random.uniform(key, batch.image.shape[1:], batch.image.dtype, -1.0, 1.0))(keys)
    w, b = (np.asarray(model.params[name]) for name in ("weight", "bias"))
    clean, noise = (np.asarray(images).reshape(5, -1) for images in (batch.image, noise))
    low, high = np.maximum(clean - EPSILON, 0), np.minimum(clean + EPSILON, 1)
    label = np.asarray(batch.label)
    start = np.clip(clean + EPSILON * noise, low, high)
    slope = (softmax(start @ w + b) - np.eye(5)[label]) @ w.T
    images = np.clip(start + 1.25 * EPSILON * np.sign(slope), low, high)
    np.testing.assert_allclose(loss, -np.log(softmax(images @ w + b)[np.arange(5), label]).mean(), rtol=1e-9)


def test_free_is_the_algorithm_of_the_paper():
    """Two batches of three replays on a linear classifier: weights, perturbation and losses after each step."""
    model, rate, num_replays = linear_model(dtype=np.float64), 0.5, 3
    objective, optimizer = training.free(EPSILON, num_replays=num_replays), optax.sgd(rate)
    batches = [make_batch(5, seed=seed, dtype=np.float64) for seed in (0, 1)]
    step = jax.jit(training.train_step(objective, optimizer))
    state = training.init_state(optimizer, model, memory=objective.remember(batches[0]))

    w, b = (np.asarray(model.params[name]) for name in ("weight", "bias"))
    perturbation = np.zeros((5, w.shape[0]))
    for batch in batches:
        clean, label = np.asarray(batch.image).reshape(5, -1), np.asarray(batch.label)
        for _ in range(objective.num_replays):
            images = np.clip(clean + perturbation, 0, 1)
            perturbation = images - clean
            p = softmax(images @ w + b)
            error = (p - np.eye(5)[label]) / 5
            of_weight, of_bias, of_images = images.T @ error, error.sum(0), error @ w.T
            w, b = w - rate * of_weight, b - rate * of_bias
            perturbation = np.clip(perturbation + EPSILON * np.sign(of_images), -EPSILON, EPSILON)
            perturbation = np.clip(clean + perturbation, 0, 1) - clean

            state, metrics = step(KEY, state, batch)
            np.testing.assert_allclose(metrics["loss"], -np.log(p[np.arange(5), label]).mean(), rtol=1e-9)
            same(state.model.params, {"weight": w, "bias": b})
            same(state.memory.reshape(5, -1), perturbation)
        assert np.abs(perturbation).max() > 0.9 * EPSILON
    assert int(state.step) == 2 * num_replays


def test_free_does_not_stick_at_the_edge_of_the_box():
    """Where x + d of another batch leaves [0, 1] there is a gradient still, that of the image seen."""
    model, batch = linear_model(dtype=np.float64), make_batch(5, dtype=np.float64)
    white = batch._replace(image=jnp.ones_like(batch.image))
    objective = training.free(EPSILON)
    memory = jnp.full_like(batch.image, EPSILON)
    found = jax.jit(jax.grad(lambda memory: objective(KEY, model, white, memory=memory)[0]))(memory)
    expected = jax.jit(jax.grad(lambda images: training.standard()(KEY, model, white._replace(image=images))[0]))(white.image)
    same(found, expected)
    after = np.asarray(objective.renew(memory, found, white))
    assert after.max() <= 0 and after.min() >= -EPSILON
    assert np.all(after[np.asarray(found) < 0] < 0)


@pytest.mark.parametrize("name", ["adversarial", "fast", "free"])
def test_the_loss_falls(name):
    model, batch, optimizer = conv_model(dtype=np.float64), make_batch(6, dtype=np.float64), optax.sgd(0.05)
    makes = {
        "adversarial": lambda: training.adversarial(attacks.bim(EPSILON, num_steps=2)),
        "fast": lambda: training.fast(EPSILON),
        "free": lambda: training.free(EPSILON),
    }
    objective = makes[name]()
    step = jax.jit(training.train_step(objective, optimizer))
    state, seen = training.init_state(optimizer, model, memory=objective.remember(batch)), []
    for _ in range(20):
        state, metrics = step(KEY, state, batch)
        seen.append(float(metrics["loss"]))
    assert np.mean(seen[-3:]) < np.mean(seen[1:4])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: training.fast(8), r"expected epsilon in \(0, 1\], got 8; write 8 / 255"),
        (lambda: training.fast(EPSILON, step_size=0.0), r"expected step_size in \(0, 1\], got 0.0"),
        (lambda: training.free(8), r"expected epsilon in \(0, 1\], got 8; write 8 / 255"),
        (lambda: training.free(EPSILON, step_size=2.0), r"expected step_size in \(0, 1\], got 2.0"),
        (lambda: training.free(EPSILON, num_replays=0), "expected num_replays >= 1, got 0; write 8"),
        (lambda: training.fast(EPSILON, clean_weight=1.5), r"expected clean_weight in \[0, 1\], got 1.5; write 0.5"),
        (lambda: training.fast(EPSILON, label_smoothing=-0.1), r"expected label_smoothing in \[0, 1\], got -0.1"),
        (lambda: training.fast(EPSILON, statistics="none"), "expected statistics 'mixed', 'split' or 'frozen', got 'none'"),
        (
            lambda: training.fast(EPSILON, statistics="split"),
            "expected a clean_weight above 0 beside statistics='split', got 0; write statistics='mixed'",
        ),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
