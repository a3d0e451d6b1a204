"""Laws of tracing: closed forms on a linear head, and controls that are controls."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import models, tracing

LAYER = "layer4.1"


@pytest.fixture(scope="module")
def model():
    return models.resnet18(num_classes=5, width=1 / 64, image_size=16, output_stride=4, key=jax.random.key(3))


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(1).random((6, 16, 16, 3)), jnp.float32)


def test_prediction_difference_is_that_of_the_linear_head(model, images):
    classes = jnp.arange(6, dtype=jnp.int32) % 5
    found = np.asarray(tracing.prediction_difference(model, images, classes, layer=LAYER))
    logits, activations = model(images)
    kernel = np.asarray(model.params["fc"]["kernel"], np.float64)
    pooled = np.asarray(activations[LAYER], np.float64).mean(axis=(1, 2))
    for unit in range(pooled.shape[1]):
        without = np.asarray(logits, np.float64) - pooled[:, unit : unit + 1] * kernel[unit]
        expected = np.asarray(jax.nn.softmax(logits) - jax.nn.softmax(jnp.asarray(without)))
        np.testing.assert_allclose(found[:, unit], expected[np.arange(6), np.asarray(classes)], atol=2e-6)


def test_ablating_nothing_and_patching_with_oneself_change_nothing(model, images):
    logits, _ = model(images)
    num_units = model.layer(LAYER).shape[-1]
    nothing, everything = (jnp.full((6, num_units), value) for value in (False, True))
    np.testing.assert_array_equal(tracing.ablate(model, images, nothing, layer=LAYER), logits)
    np.testing.assert_allclose(tracing.patch(model, images, images, everything, layer=LAYER), logits, rtol=1e-6)


def test_patching_every_unit_gives_the_donor(model, images):
    donors = images[::-1]
    everything = jnp.ones((6, model.layer(LAYER).shape[-1]), bool)
    patched = tracing.patch(model, images, donors, everything, layer=LAYER)
    np.testing.assert_allclose(patched, model(donors)[0], rtol=1e-5, atol=1e-6)


def test_ablating_one_unit_is_its_prediction_difference(model, images):
    classes = jnp.zeros(6, jnp.int32)
    units = jnp.zeros((6, model.layer(LAYER).shape[-1]), bool).at[:, 2].set(True)
    drop = jax.nn.softmax(model(images)[0])[:, 0] - jax.nn.softmax(tracing.ablate(model, images, units, layer=LAYER))[:, 0]
    difference = tracing.prediction_difference(model, images, classes, layer=LAYER)
    np.testing.assert_allclose(drop, difference[:, 2], atol=1e-6)


def test_unknown_layer(model, images):
    with pytest.raises(ValueError, match="unknown layer 'layer9'"):
        tracing.prediction_difference(model, images, jnp.zeros(6, jnp.int32), layer="layer9")


def test_top_units_take_the_lower_of_equals():
    chosen = tracing.top_units(np.asarray([[0.0, 2.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0]]), count=2)
    np.testing.assert_array_equal(chosen, [[False, True, True, False], [True, True, False, False]])
    with pytest.raises(ValueError, match="expected 0 to 4 units, got 5"):
        tracing.top_units(np.zeros((1, 4)), count=5)


def test_controls_are_other_units_of_about_equal_activation():
    rng = np.random.default_rng(0)
    activation = rng.random((40, 30))
    chosen = tracing.top_units(activation + rng.normal(0, 0.5, activation.shape), count=5)
    control = tracing.random_units_of_equal_activation(np.random.default_rng(1), chosen, activation)
    assert not (chosen & control).any()
    np.testing.assert_array_equal(control.sum(axis=1), 5)
    matched = np.abs(activation[control].mean() - activation[chosen].mean())
    anyone = np.abs(activation[~chosen].mean() - activation[chosen].mean())
    assert matched < anyone / 2
    with pytest.raises(ValueError, match="expected at most half of the 30 units"):
        tracing.random_units_of_equal_activation(rng, np.ones((1, 30), bool), activation[:1])


def test_support():
    contribution = np.asarray([[0.2, -0.5, 0.2], [0.0, 0.0, -1.0]])
    share = np.asarray([[1.0, 1.0, 0.5], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose(tracing.support(contribution, share), [0.75, 0.0])
