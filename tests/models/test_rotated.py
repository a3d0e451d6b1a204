"""Rotations of a layer's units: uniform draws, fractional powers, and models whose predictions stay."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from jaxinterp import Layer, Model, activations, models
from tests.activations.scenes import Scene, equal, fold, quantile_loop, tally_loop
from tests.attacks.toys import Conv, conv_model

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def model():
    return Model(conv_model().params, {}, Conv(image_size=18))


@pytest.fixture(scope="module")
def images():
    return jax.random.uniform(jax.random.key(1), (3, 18, 18, 3))


def _rotation(num_units, seed=0):
    return models.haar_rotation(jax.random.key(seed), num_units)


@pytest.mark.parametrize("num_units", [1, 2, 7, 16])
def test_draws_are_rotations(num_units):
    drawn = _rotation(num_units)
    np.testing.assert_allclose(drawn @ drawn.T, np.eye(num_units), atol=1e-13)
    assert np.linalg.det(drawn) == pytest.approx(1)
    assert np.array_equal(drawn, _rotation(num_units))


def test_draws_are_uniform():
    """Haar measure on SO(3): the angle's density is (1 - cos t) / pi, so E trace = 0 and E trace^2 = 1; entries are centred."""
    drawn = np.stack([_rotation(3, seed) for seed in range(400)])
    traces = drawn.trace(axis1=1, axis2=2)
    assert abs(traces.mean()) < 4 / np.sqrt(400)
    assert abs((traces**2).mean() - 1) < 4 * np.sqrt(2 / 400)
    assert np.abs(drawn.mean(axis=0)).max() < 4 * np.sqrt(1 / 3 / 400)
    assert np.abs((drawn**2).mean(axis=0) - 1 / 3).max() < 4 * np.sqrt(4 / 45 / 400)


@pytest.mark.parametrize("num_units", [2, 5, 32])
def test_powers_are_a_path_of_rotations(num_units):
    whole = _rotation(num_units, 3)
    power = {e: models.rotation_power(whole, e) for e in (-1.0, 0.0, 0.3, 0.45, 0.75, 1.0)}
    np.testing.assert_allclose(power[0.0], np.eye(num_units), atol=1e-12)
    np.testing.assert_allclose(power[1.0], whole, atol=1e-12)
    np.testing.assert_allclose(power[-1.0], whole.T, atol=1e-12)
    np.testing.assert_allclose(power[0.3] @ power[0.45], power[0.75], atol=1e-12)
    for one in power.values():
        np.testing.assert_allclose(one @ one.T, np.eye(num_units), atol=1e-12)
        assert np.linalg.det(one) == pytest.approx(1)
    angles = np.angle(np.linalg.eigvals(whole))
    np.testing.assert_allclose(np.sort(np.angle(np.linalg.eigvals(power[0.3]))), np.sort(0.3 * angles), atol=1e-9)
    np.testing.assert_allclose(power[0.3], scipy.linalg.fractional_matrix_power(whole, 0.3), atol=1e-9)


def test_half_turns_and_fixed_axes():
    whole = np.diag([1.0, -1.0, 1.0, -1.0, -1.0, -1.0])
    half = models.rotation_power(whole, 0.5)
    np.testing.assert_allclose(half @ half, whole, atol=1e-12)
    assert np.linalg.det(half) == pytest.approx(1)
    assert np.array_equal(models.rotation_power(np.eye(4), 0.5), np.eye(4))


def test_the_layer_is_rotated_and_the_predictions_stay(model, images):
    layer = model.layers[0].name
    turn = _rotation(model.layer(layer).shape[2])
    turned = models.rotated(model, layer, turn)
    logits, maps = model(images)
    rotated_logits, rotated_maps = turned(images)
    assert np.array_equal(logits, rotated_logits)
    np.testing.assert_allclose(rotated_maps[layer], np.asarray(maps[layer], np.float64) @ turn.T, atol=1e-5)
    assert (np.asarray(rotated_maps[layer]) < 0).any()
    others = [one.name for one in model.layers if one.name != layer]
    assert all(np.array_equal(maps[name], rotated_maps[name]) for name in others)
    assert turned.layers == model.layers and hash(turned.network) == hash(models.rotated(model, layer, turn).network)


def test_taps_work_in_the_new_basis(model, images):
    layer = model.layers[0].name
    turned = models.rotated(model, layer, _rotation(model.layer(layer).shape[2]))
    logits, maps = turned(images)
    through, same = turned(images, taps={layer: lambda activation: activation})
    np.testing.assert_allclose(through, logits, atol=1e-4)
    np.testing.assert_allclose(same[layer], maps[layer], atol=1e-5)
    _, cut = turned(images, taps={layer: lambda activation: activation.at[..., 1].set(0)})
    np.testing.assert_allclose(cut[layer][..., 1], 0, atol=1e-6)
    np.testing.assert_allclose(cut[layer][..., 0], maps[layer][..., 0], atol=1e-5)


def test_weights_are_arguments_and_wrappers_nest(model, images):
    layer = model.layers[0].name
    units = model.layer(layer).shape[2]
    evaluate: Any = jax.jit(lambda model, images: model(images)[1][layer])
    first, second = (models.rotated(model, layer, _rotation(units, seed)) for seed in (0, 1))
    assert not np.array_equal(evaluate(first, images), evaluate(second, images))
    assert evaluate._cache_size() == 1
    assert models.fingerprint(first) != models.fingerprint(second)
    assert models.fingerprint(first) == models.fingerprint(models.rotated(model, layer, _rotation(units)))
    np.testing.assert_allclose(models.at_size(first, 18)(images)[0], model(images)[0], atol=1e-6)
    back = models.rotated(first, layer, _rotation(units).T)
    np.testing.assert_allclose(back(images)[1][layer], model(images)[1][layer], atol=1e-5)


def test_the_last_convolution_and_the_way_back_from_a_size(images):
    network = models.cifar_resnet20(key=KEY)
    turned = models.rotated(models.at_size(network, 18), "layer3.2", _rotation(64))
    assert models.last_conv(turned) == "layer3.2"
    assert np.array_equal(turned(images)[0], models.at_size(network, 18)(images)[0])


def test_quantiles_and_tallies_of_rotated_maps():
    layer = Layer("conv", (4, 4, 6), 4.0, 1.5, 7)
    scene = Scene(0, layer=layer, exact=False)
    scene.maps = (np.maximum(scene.maps, 0) @ models.rotation_power(_rotation(6), 0.6).T).astype(np.float32)
    assert (scene.maps < 0).mean() > 0.1
    coarse = activations.quantile_coarse("conv", num_units=6, quantile=0.05)
    batches = list(scene.batches(np.arange(len(scene)), 8))
    fine = activations.quantile_fine("conv", coarse.compute(fold(coarse, batches)))
    thresholds = fine.compute(fold(fine, batches))
    assert np.array_equal(thresholds, quantile_loop(scene.maps, 0.05))
    tally = activations.tally(layer, thresholds=thresholds, categories=scene.categories, label_size=16, image_size=16)
    assert equal(tally.compute(fold(tally, batches)), tally_loop(scene, thresholds, image_size=16))


def test_bad_rotations_are_named(model):
    layer = model.layers[0].name
    units = model.layer(layer).shape[2]
    with pytest.raises(ValueError, match=rf"expected a rotation \[{units} {units}\] for layer '{layer}', got shape \(3, 3\)"):
        models.rotated(model, layer, np.eye(3))
    with pytest.raises(ValueError, match="expected an orthogonal matrix"):
        models.rotated(model, layer, 2 * np.eye(units))
    with pytest.raises(ValueError, match="unknown layer"):
        models.rotated(model, "conv9", np.eye(units))
    with pytest.raises(ValueError, match="got a reflection"):
        models.rotation_power(np.diag([1.0, -1.0]), 0.5)
    with pytest.raises(ValueError, match="expected num_units >= 1"):
        models.haar_rotation(KEY, 0)
    assert np.array_equal(models.rotated(model, layer, jnp.eye(units)).params["rotation"], np.eye(units))
