"""Losses and their transforms."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import attacks
from tests.attacks import toys

KEY = jax.random.key(0)


def test_cross_entropy_is_the_log_probability_of_the_label() -> None:
    batch, model = toys.make_batch(), toys.linear_model()
    log_p = jax.nn.log_softmax(model(batch.image)[0])[np.arange(4), batch.label]
    np.testing.assert_allclose(attacks.cross_entropy(KEY, model, batch.image, batch), log_p, rtol=1e-6)


def test_margin_is_negative_just_where_the_model_errs() -> None:
    batch, model = toys.make_batch(64), toys.linear_model()
    errs = np.asarray(model(batch.image)[0].argmax(1) != batch.label)
    assert 0 < errs.sum() < 64
    np.testing.assert_array_equal(np.asarray(attacks.margin(KEY, model, batch.image, batch)) < 0, errs)
    reached = np.asarray(model(batch.image)[0].argmax(1) == batch.target)
    aimed = np.asarray(attacks.targeted(attacks.margin)(KEY, model, batch.image, batch))
    np.testing.assert_array_equal(aimed < 0, reached)


def test_difference_ratios() -> None:
    batch, model = toys.make_batch(64), toys.linear_model()
    logits, rows = np.asarray(model(batch.image)[0]), np.arange(64)
    label, target = np.asarray(batch.label), np.asarray(batch.target).copy()
    target[::4] = -1
    batch = batch._replace(target=jnp.asarray(target))
    ordered = -np.sort(-logits, axis=1)
    others = np.where(np.eye(toys.CLASSES)[label] > 0, -np.inf, logits).max(1)
    plain = (logits[rows, label] - others) / (ordered[:, 0] - ordered[:, 2])
    np.testing.assert_allclose(attacks.dlr(KEY, model, batch.image, batch), plain, rtol=1e-4)
    aimed = (logits[rows, label] - logits[rows, target]) / (ordered[:, 0] - (ordered[:, 2] + ordered[:, 3]) / 2)
    expected = np.where(target < 0, plain, aimed)
    np.testing.assert_allclose(attacks.targeted_dlr(KEY, model, batch.image, batch), expected, rtol=1e-4)
    shifted = toys.linear_model()
    params = {"weight": 3 * shifted.params["weight"], "bias": 3 * shifted.params["bias"] + 7}
    scaled = attacks.dlr(KEY, dataclasses.replace(shifted, params=params), batch.image, batch)
    np.testing.assert_allclose(scaled, plain, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("loss", [attacks.dlr, attacks.targeted_dlr])
def test_ratio_of_equal_logits_is_zero(loss: Any) -> None:
    batch, model = toys.make_batch(), toys.conv_model(scale=0.0)
    value, gradient = jax.value_and_grad(lambda image: jnp.sum(loss(None, model, image, batch)))(batch.image)
    assert float(value) == 0
    np.testing.assert_array_equal(gradient, np.zeros(batch.image.shape))


def test_logit() -> None:
    batch, model = toys.make_batch(), toys.linear_model()
    logits = np.asarray(model(batch.image)[0])
    np.testing.assert_allclose(attacks.logit(KEY, model, batch.image, batch), logits[np.arange(4), batch.label], rtol=1e-6)
    aimed = attacks.targeted(attacks.logit)(KEY, model, batch.image, batch)
    np.testing.assert_allclose(aimed, -logits[np.arange(4), batch.target], rtol=1e-6)


def test_feature_distance() -> None:
    batch, model = toys.make_batch(), toys.conv_model()
    moved = batch.image.at[:2].multiply(0.5)
    difference = np.asarray(model(moved)[1]["conv2"] - model(batch.image)[1]["conv2"])
    values = attacks.feature_distance("conv2")(KEY, model, moved, batch)
    np.testing.assert_allclose(values, -np.mean(difference**2, axis=(1, 2, 3)), rtol=1e-5)
    assert values[0] < 0 == values[3]


def test_joint_margin_is_negative_just_where_the_attack_succeeded() -> None:
    batch, models = toys.make_batch(64), (toys.linear_model(0), toys.linear_model(1))
    batch = batch._replace(target=jnp.where(jnp.arange(64) % 2 == 0, models[0](batch.image)[0].argmax(1), -1).astype(jnp.int32))
    for each in (models, models[0]):
        reached = np.asarray(attacks.joint_success(None, each, batch.image, batch))
        assert 0 < reached.sum() < 64
        np.testing.assert_array_equal(np.asarray(attacks.joint_margin(None, each, batch.image, batch)) < 0, reached)
    wrong = np.asarray(models[0](batch.image)[0].argmax(1) != batch.label)
    np.testing.assert_array_equal(attacks.misclassified(None, models[0], batch.image, batch), wrong)


def test_squared_distance() -> None:
    batch = toys.make_batch()
    moved = batch.image.at[1, 0, 0, 0].add(0.5)
    expected = np.array([0, 0.25 / (toys.SIZE**2 * 3), 0, 0])
    np.testing.assert_allclose(attacks.squared_distance(KEY, None, moved, batch), expected, rtol=1e-6)
    np.testing.assert_allclose(attacks.rms_distortion(moved, batch.image), np.sqrt(expected), rtol=1e-6)


@pytest.mark.parametrize("loss", [attacks.cross_entropy, attacks.margin])
def test_targeted_is_minus_untargeted_with_the_target_as_label(loss: Any) -> None:
    batch, model = toys.make_batch(), toys.conv_model()
    aimed = attacks.targeted(loss)(KEY, model, batch.image, batch)
    np.testing.assert_array_equal(aimed, -loss(KEY, model, batch.image, batch._replace(label=batch.target)))


def test_targeted_without_a_target_is_untargeted() -> None:
    batch, model = toys.make_batch(with_targets=False), toys.conv_model()
    aimed = attacks.targeted(attacks.cross_entropy)(KEY, model, batch.image, batch)
    np.testing.assert_array_equal(aimed, attacks.cross_entropy(KEY, model, batch.image, batch))


def test_ensemble_is_the_weighted_mean_of_losses() -> None:
    batch, models = toys.make_batch(), (toys.linear_model(0), toys.conv_model(1))
    one, two = (np.asarray(attacks.cross_entropy(KEY, model, batch.image, batch)) for model in models)
    fused = attacks.ensemble(attacks.cross_entropy)(KEY, models, batch.image, batch)
    np.testing.assert_allclose(fused, (one + two) / 2, rtol=1e-6)
    weighted = attacks.ensemble(attacks.cross_entropy, weights=(3, 1))(KEY, models, batch.image, batch)
    np.testing.assert_allclose(weighted, 0.75 * one + 0.25 * two, rtol=1e-6)


def test_ensemble_members_get_different_keys() -> None:
    batch, models = toys.make_batch(), (toys.linear_model(0), toys.linear_model(0))

    def draw(key: Any, model: Any, adversarial: Any, batch: Any) -> Any:
        return jax.random.normal(key, (4,))

    mean = attacks.ensemble(draw)(KEY, models, batch.image, batch)
    assert np.all(np.asarray(mean) != np.asarray(draw(jax.random.fold_in(KEY, 0), None, None, None)))


def test_weighted_sum() -> None:
    batch, model = toys.make_batch(), toys.linear_model()
    moved = batch.image * 0.5
    total = attacks.weighted_sum((3.0, attacks.squared_distance), (0.5, attacks.margin))(KEY, model, moved, batch)
    parts = attacks.squared_distance(KEY, model, moved, batch), attacks.margin(KEY, model, moved, batch)
    np.testing.assert_allclose(total, 3 * parts[0] + 0.5 * parts[1], rtol=1e-6)


def test_a_tap_acts_inside_the_loss_for_each_member() -> None:
    batch = toys.make_batch()
    silent = attacks.with_taps(attacks.cross_entropy, lambda key, model, batch: {"conv2": lambda a: a * 0})
    value = silent(KEY, toys.conv_model(), batch.image, batch)
    np.testing.assert_allclose(value, np.full(4, -np.log(toys.CLASSES)), rtol=1e-6)

    models = (toys.conv_model(0), toys.conv_model(1))
    for loss in (attacks.ensemble(silent), attacks.with_taps(attacks.ensemble(attacks.cross_entropy), silence)):
        np.testing.assert_allclose(loss(KEY, models, batch.image, batch), np.full(4, -np.log(toys.CLASSES)), rtol=1e-6)


def silence(key: Any, model: Any, batch: Any) -> Any:
    return {model.layers[-1].name: jnp.zeros_like}


def test_nested_taps_of_one_layer_are_chained_the_outer_one_first() -> None:
    batch, model = toys.make_batch(), toys.linear_model()
    inner = attacks.with_taps(attacks.margin, lambda *_: {"logits": lambda a: a * 2})
    outer = attacks.with_taps(inner, lambda *_: {"logits": lambda a: a + a**2})
    logits, _ = model(batch.image, taps={"logits": lambda a: 2 * (a + a**2)})
    direct = attacks.margin(KEY, lambda images, key: (logits, {}), batch.image, batch)
    np.testing.assert_allclose(outer(KEY, model, batch.image, batch), direct, rtol=1e-5)


def test_taps_may_draw_from_their_key() -> None:
    batch, model = toys.make_batch(), toys.linear_model()

    def noise(key: Any, model: Any, batch: Any) -> Any:
        return {"logits": lambda a: a + jax.random.normal(key, a.shape)}

    loss = attacks.with_taps(attacks.margin, noise)
    values = [np.asarray(loss(jax.random.key(seed), model, batch.image, batch)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(values[0], values[1])
    assert np.all(values[0] != values[2])


def test_errors() -> None:
    batch, models = toys.make_batch(), (toys.linear_model(0), toys.linear_model(1))
    with pytest.raises(ValueError, match=r"expected one model, got 2; wrap the loss: attacks.ensemble\(loss\)"):
        attacks.cross_entropy(KEY, models, batch.image, batch)
    with pytest.raises(ValueError, match=r"expected one model, got 2; wrap the loss: attacks.ensemble\(loss\)"):
        attacks.feature_distance("conv1")(KEY, models, batch.image, batch)
    with pytest.raises(ValueError, match="unknown layer 'conv3'; this model has: conv1, conv2; did you mean 'conv"):
        attacks.feature_distance("conv3")(KEY, toys.conv_model(), batch.image, batch)
    few = lambda images, key: (jnp.zeros((len(images), 2)), {})  # noqa: E731
    with pytest.raises(ValueError, match="expected at least 3 classes for dlr, got 2"):
        attacks.dlr(KEY, few, batch.image, batch)
    with pytest.raises(ValueError, match="expected at least 4 classes for targeted_dlr, got 2"):
        attacks.targeted_dlr(KEY, few, batch.image, batch)
    with pytest.raises(ValueError, match="one weight per model, got 3 for 2"):
        attacks.ensemble(attacks.margin, weights=(1, 1, 1))(KEY, models, batch.image, batch)
    with pytest.raises(ValueError, match="expected finite weights"):
        attacks.ensemble(attacks.margin, weights=(1.0, float("nan")))
    with pytest.raises(ValueError, match="at least one term"):
        attacks.weighted_sum()
    with pytest.raises(ValueError, match="unknown layer 'conv9'"):
        attacks.with_taps(attacks.margin, lambda *_: {"conv9": lambda a: a})(KEY, models[0], batch.image, batch)


def test_joint_success() -> None:
    batch, models = toys.make_batch(64), (toys.linear_model(0), toys.linear_model(1))
    predictions = [np.asarray(model(batch.image)[0].argmax(1)) for model in models]
    target = np.where(np.arange(64) % 2 == 0, predictions[0], -1).astype(np.int32)
    batch = batch._replace(target=jnp.asarray(target))
    label = np.asarray(batch.label)
    expected = np.where(target >= 0, predictions[1] == target, (predictions[0] != label) & (predictions[1] != label))
    assert 0 < expected[::2].sum() < 32
    assert 0 < expected[1::2].sum() < 32
    np.testing.assert_array_equal(attacks.joint_success(None, models, batch.image, batch), expected)
    score = np.asarray(attacks.least_distorted_success()(KEY, models, batch.image * 0 + 0.5, batch))
    assert np.isinf(score).any()


def test_least_likely() -> None:
    images, models = toys.make_batch(16).image, (toys.linear_model(0), toys.conv_model(1))
    mean = sum(np.asarray(jax.nn.softmax(model(images)[0])) for model in models) / 2
    found = attacks.least_likely(models, images, num_targets=3)
    assert found.dtype == jnp.int32
    np.testing.assert_array_equal(found, np.argsort(mean, axis=1, kind="stable")[:, :3])
    np.testing.assert_array_equal(
        attacks.least_likely(models[0], images, num_targets=1), attacks.least_likely(models[:1], images, num_targets=1)
    )
    ties = attacks.least_likely(toys.conv_model(scale=0.0), images, num_targets=5)
    np.testing.assert_array_equal(ties, np.tile(np.arange(5), (16, 1)))
    for count in (0, 6):
        with pytest.raises(ValueError, match="expected num_targets in 1 to 5"):
            attacks.least_likely(models, images, num_targets=count)
