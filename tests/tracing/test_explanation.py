"""Explanations: completeness on linear heads, the gradient elsewhere, and masks that are the maps'."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import models, tracing
from jaxinterp.activations import unit_masks

LAYER = "units"
evaluate = jax.jit(lambda model, images: model(images))


def _linear(params, images):
    """Eight units on 4 x 4 positions, and a head that is linear over their means."""
    dims = ("NHWC", "HWIO", "NHWC")
    maps = jax.lax.conv_general_dilated(images, params["filters"], (4, 4), "VALID", dimension_numbers=dims)
    return models.named("units", jax.nn.relu(maps)).mean(axis=(1, 2)) @ params["kernel"] + params["bias"][None]


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(3)
    shapes = {"filters": (4, 4, 3, 8), "kernel": (8, 5), "bias": (5,)}
    params = {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}
    return models.from_function(_linear, params, image_size=16)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).random((4, 16, 16, 3)).astype(np.float32)


def test_contributions_and_bias_are_the_logit_of_a_linear_head(model, images):
    classes = np.asarray([0, 3, 1, 3])
    labels = [f"concept {unit}" for unit in range(8)]
    found = tracing.explain(model, images, layer=LAYER, classes=classes, count=3, labels=labels)
    logits, activations = evaluate(model, images)
    pooled = np.asarray(activations[LAYER]).mean(axis=(1, 2))
    kernel, bias = (np.asarray(model.params[name]) for name in ("kernel", "bias"))
    expected = pooled * kernel[:, classes].T
    np.testing.assert_allclose(found.contribution, expected, atol=1e-6)
    np.testing.assert_allclose(found.baseline, bias[classes], atol=1e-6)
    np.testing.assert_allclose(found.logit, np.asarray(logits)[np.arange(4), classes], rtol=1e-6)
    np.testing.assert_allclose(found.gap, 0, atol=2e-6)
    np.testing.assert_allclose(found.baseline + found.contribution.sum(axis=1), found.logit, atol=2e-6)
    for row in range(4):
        units = np.argsort(-expected[row], kind="stable")[:3]
        assert found.units[row].tolist() == units.tolist()
        np.testing.assert_allclose(found.weight[row], kernel[units, classes[row]], rtol=1e-5)
        np.testing.assert_allclose(found.activation[row], pooled[row, units], rtol=1e-5)
        assert found.labels[row] == tuple(f"concept {unit}" for unit in units)
    np.testing.assert_allclose(
        found.weight * found.activation, np.take_along_axis(found.contribution, found.units, 1), rtol=1e-4
    )


def test_masks_are_those_of_the_dissection(model, images):
    thresholds = np.random.default_rng(2).random(8).astype(np.float32)
    found = tracing.explain(model, images, layer=LAYER, count=8, thresholds=thresholds, size=10)
    logits, activations = evaluate(model, images)
    maps = activations[LAYER]
    expected = np.asarray(unit_masks(maps, thresholds, model.layer(LAYER), 10, image_size=16))
    assert np.array_equal(found.masks, np.take_along_axis(expected, found.units[:, None, None, :], axis=3))
    assert np.array_equal(found.classes, np.asarray(logits).argmax(axis=1))
    assert found.labels[0] == ("",) * 8
    half = tracing.explain(model, images, layer=LAYER, count=8)
    alive = found.activation > 0
    assert half.masks.shape == (4, 16, 16, 8)
    assert (half.masks.any(axis=(1, 2)) | ~alive).all()


def _curved(params, images):
    cells = models.named("cells", images[:, ::4, ::4] @ params)
    return (cells**2).mean(axis=(1, 2))


def test_elsewhere_it_is_the_gradient_and_the_gap_says_what_it_leaves_out(images):
    model = models.from_function(_curved, jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)), jnp.float32), image_size=16)
    found = tracing.explain(model, images, layer="cells", classes=np.asarray([0, 1, 2, 3]), count=2)
    # A square has twice its value as gradient times argument.
    contribution = found.contribution[np.arange(4), np.arange(4)]
    np.testing.assert_allclose(contribution, 2 * found.logit, rtol=1e-5)
    np.testing.assert_allclose(found.gap, -found.logit, rtol=1e-5)
    np.testing.assert_allclose(found.baseline, 0)


def test_bad_arguments_are_named(model, images):
    with pytest.raises(ValueError, match="unknown layer 'layer9'"):
        tracing.explain(model, images, layer="layer9")
    with pytest.raises(ValueError, match="labels for 8 units of layer 'units', got 2"):
        tracing.explain(model, images, layer=LAYER, labels=["a", "b"])
    with pytest.raises(ValueError, match="thresholds for 8 units"):
        tracing.explain(model, images, layer=LAYER, thresholds=np.zeros(3))
    with pytest.raises(ValueError, match="a count from 1 to 8"):
        tracing.explain(model, images, layer=LAYER, count=9)
    with pytest.raises(ValueError, match="a class for each of 4 images, got 1"):
        tracing.explain(model, images, layer=LAYER, classes=np.asarray([0]))
