"""The ensemble-optimization attack against a transcription in NumPy, and what it promises."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from jaxinterp import attacks
from jaxinterp.attacks._run import _init, _step
from tests.attacks import toys

KEY = jax.random.key(0)


def transcription(
    models: Any, clean: np.ndarray, target: np.ndarray, *, weight: float, step_size: float, num_steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """lambda d + mean_k CE by Adam, written out; returns the kept images and their distances (infinite: none)."""
    shape, count = clean.shape, len(clean)
    x0 = clean.reshape(count, -1)
    x, first, second = x0.copy(), np.zeros_like(x0), np.zeros_like(x0)
    best, kept = np.full(count, np.inf), x0.copy()
    for t in range(1, num_steps + 1):
        stored = np.round(255 * x) / 255
        gradient = weight * 2 * (stored - x0) / x0.shape[1]
        reached = np.ones(count, bool)
        for model in models:
            matrix, bias = np.asarray(model.params["weight"]), np.asarray(model.params["bias"])
            logits = stored @ matrix + bias
            p = np.exp(logits - logits.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            gradient += (p - np.eye(toys.CLASSES)[target]) @ matrix.T / len(models)
            reached &= logits.argmax(1) == target
        distance = np.where(reached, ((stored - x0) ** 2).mean(1), np.inf)
        kept[distance < best] = stored[distance < best]
        best = np.minimum(best, distance)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        x = x - step_size * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        x = np.clip(x, 0, 1)
    last = np.round(255 * x) / 255
    return np.where(np.isfinite(best)[:, None], kept, last).reshape(shape), best


@pytest.mark.parametrize("weight", [0.0, 300.0, 3e4])
def test_transcribed(weight: float) -> None:
    with jax.enable_x64(True):
        batch = toys.make_batch(12, dtype=np.float64)
        models = tuple(toys.linear_model(seed, dtype=np.float64) for seed in (0, 1))
        attack = attacks.ensemble_optimization(distance_weight=weight, num_steps=12)
        state = attacks.run_batch(attack, models, batch, key=KEY)
        images, target = np.asarray(batch.image), np.asarray(batch.target)
        expected, score = transcription(models, images, target, weight=weight, step_size=5 / 255, num_steps=12)
        np.testing.assert_allclose(np.asarray(state.score), score, rtol=1e-12)
        np.testing.assert_allclose(np.asarray(state.adversarial), expected, atol=1e-12)
        if weight == 300:
            assert 0 < np.isfinite(score).sum() < len(score), "the toy should have successes and failures"


def test_answers_are_on_the_lattice_and_joint_successes() -> None:
    batch, models = toys.make_batch(12), (toys.linear_model(0), toys.linear_model(1))
    attack = attacks.ensemble_optimization(distance_weight=10.0)
    images, labels, targets = (np.asarray(leaf) for leaf in (batch.image, batch.label, batch.target))
    result = attacks.run(attack, models, images, labels, key=KEY, targets=targets)
    stored = np.round(np.asarray(result.adversarial) * 255).astype(np.uint8)
    np.testing.assert_array_equal(stored.astype(np.float32) / np.float32(255), np.asarray(result.adversarial))
    predictions = [np.asarray(model(result.adversarial)[0]).argmax(1) for model in models]
    joint = (predictions[0] == targets) & (predictions[1] == targets)
    np.testing.assert_array_equal(np.asarray(result.success), joint)
    assert joint.sum() >= 6
    state = attacks.run_batch(attack, models, batch, key=KEY)
    assert np.all(joint[np.isfinite(np.asarray(state.score))])
    kept = np.isfinite(np.asarray(state.score))
    np.testing.assert_allclose(np.asarray(result.distortion)[kept] ** 2, np.asarray(state.score)[kept], rtol=1e-4)


def test_a_larger_weight_is_nearer_to_the_clean_image() -> None:
    batch, models = toys.make_batch(12), (toys.linear_model(0, scale=1.0),)
    scores = []
    for weight in (0.0, 2000.0):
        attack = attacks.ensemble_optimization(distance_weight=weight)
        scores.append(np.asarray(attacks.run_batch(attack, models, batch, key=KEY).adversarial - batch.image))
    without, with_weight = np.square(scores).mean((2, 3, 4)) ** 0.5
    assert np.isfinite(with_weight).all()
    assert with_weight.mean() < 0.9 * without.mean()


def test_an_image_that_already_is_the_target_stays() -> None:
    batch, model = toys.make_batch(), toys.linear_model()
    batch = batch._replace(target=model(batch.image)[0].argmax(1).astype(np.int32))
    state = attacks.run_batch(attacks.ensemble_optimization(), (model,), batch, key=KEY)
    np.testing.assert_array_equal(np.asarray(state.adversarial), np.asarray(batch.image))
    np.testing.assert_array_equal(np.asarray(state.score), 0)


def test_rows_without_a_target_are_driven_from_the_label() -> None:
    batch, models = toys.make_batch(8, with_targets=False), (toys.linear_model(0), toys.linear_model(1))
    attack = attacks.ensemble_optimization(distance_weight=10.0)
    result = attacks.run(attack, models, batch.image, batch.label, key=KEY)
    assert bool(result.success.all())
    for model in models:
        assert not np.any(np.asarray(model(result.adversarial)[0].argmax(1) == batch.label))


def test_the_criterion_costs_no_convolution() -> None:
    """The networks are evaluated once for the loss and once backwards, and not again for the criterion."""
    batch, models = toys.make_batch(), (toys.conv_model(0), toys.conv_model(1))
    attack = attacks.ensemble_optimization()
    state = _init(attack, KEY, models, batch, sharding=None)
    compiled: Any = _step.lower(attack, KEY, state, models, batch, index=0, sharding=None).compile()
    forward_and_backward = 2 * 2 * 2  # models x convolutions x directions
    assert compiled.as_text().count("convolution(") == forward_and_backward


def test_loss_and_criterion_see_the_same_draws_and_the_result_none() -> None:
    """A network that draws at random gets one key per step for loss and criterion, and none when success is scored."""
    seen: list[bool] = []

    @dataclasses.dataclass(frozen=True)
    class Noisy(toys.Linear):
        def apply(self, params: Any, stats: Any, images: Any, *, key: Any, taps: Any, train: bool) -> Any:
            seen.append(key is None)
            logits, activations, stats = super().apply(params, stats, images, key=key, taps=taps, train=train)
            return logits + (0 if key is None else 9 * jax.random.normal(key, logits.shape)), activations, stats

    batch = toys.make_batch(16)
    models = tuple(dataclasses.replace(toys.linear_model(seed), network=Noisy()) for seed in (0, 1))
    attack = attacks.ensemble_optimization(num_steps=1)
    attacks.run(attack, models, batch.image, batch.label, key=KEY, targets=batch.target)
    assert seen == [False] * 4 + [True] * 2  # two models in the loss, in the criterion, in the result

    keep = attacks.least_distorted_success()(KEY, models, batch.image, batch)
    predictions = [model(batch.image, key=jax.random.fold_in(KEY, k))[0].argmax(1) for k, model in enumerate(models)]
    joint = np.asarray((predictions[0] == batch.target) & (predictions[1] == batch.target))
    np.testing.assert_array_equal(np.isfinite(keep), joint)
    _, info = attack.step(KEY, attack.init(KEY, models, batch), models, batch)
    np.testing.assert_array_equal(np.isfinite(info.score), joint)
    fused = attacks.ensemble(attacks.targeted(attacks.cross_entropy))(KEY, models, batch.image, batch)
    np.testing.assert_allclose(info.loss, fused, rtol=1e-5)


@pytest.mark.parametrize(
    "knobs", [{"distance_weight": -1}, {"step_size": 5}, {"num_steps": 0}, {"weights": (1.0, -1.0)}, {"weights": (0.0,)}]
)
def test_bad_knobs(knobs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected .*; write "):
        attacks.ensemble_optimization(**knobs)
