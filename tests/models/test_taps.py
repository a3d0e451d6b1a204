"""Taps: what they replace, what is recorded, and what is refused."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import models

SMALL: dict[str, Any] = {"num_classes": 4, "width": 1 / 16, "image_size": 64, "output_stride": 8, "key": jax.random.key(0)}
NETS = {
    "alexnet": lambda: models.alexnet(pool_size=4, **SMALL),
    "vgg16": lambda: models.vgg16(pool_size=4, **SMALL),
    "resnet18": lambda: models.resnet18(**SMALL),
    "squeezenet1_1": lambda: models.squeezenet1_1(**SMALL),
}
EVALUATE = jax.jit(lambda model, images: model(images))
IMAGES = jnp.asarray(np.random.default_rng(1).random((2, 64, 64, 3), np.float32))


@pytest.mark.parametrize("name", ["alexnet", "resnet18", "squeezenet1_1"])
def test_a_tap_on_every_layer_reaches_the_logits_and_is_what_is_recorded(name):
    model = NETS[name]()

    @jax.jit
    def logits_by_tap(model, images, place):
        """One program for all layers: the tap of layer `i` adds 1 exactly when `place` is `i`."""
        taps = {
            layer.name: lambda a, i=i: (
                a + (place == i) * (1 + jnp.arange(a.shape[-1], dtype=a.dtype))
                if a.ndim == 1
                else a + ((place == i) * (1 + jnp.arange(a.shape[-1], dtype=a.dtype))).reshape((1,) * (a.ndim - 1) + (-1,))
            )
            for i, layer in enumerate(model.layers)
        }
        return model(images, taps=taps)

    plain, before = logits_by_tap(model, IMAGES, -1)
    np.testing.assert_allclose(plain, EVALUATE(model, IMAGES)[0], rtol=1e-4, atol=1e-5)
    for i, layer in enumerate(model.layers):
        tapped, after = logits_by_tap(model, IMAGES, i)
        assert np.abs(np.asarray(tapped - plain)).max() > 1e-7, layer.name
        added = np.broadcast_to(1 + np.arange(layer.shape[-1]), before[layer.name].shape)
        np.testing.assert_allclose(after[layer.name] - before[layer.name], added, rtol=1e-3, atol=1e-3, err_msg=layer.name)
        for earlier in model.layers[:i]:
            np.testing.assert_array_equal(after[earlier.name], before[earlier.name])


def test_zeroing_the_last_layer_leaves_the_bias():
    model = NETS["alexnet"]()
    logits, activations = jax.jit(lambda model: model(IMAGES, taps={"fc7": jnp.zeros_like}))(model)
    assert not np.asarray(activations["fc7"]).any()
    np.testing.assert_array_equal(logits, np.broadcast_to(model.params["classifier.6"]["bias"], logits.shape))


def test_the_shortcut_is_tapped_before_the_addition():
    model = NETS["resnet18"]()
    scaled = jax.jit(lambda model, scale: model(IMAGES, taps={"layer1.1.shortcut": lambda a: a * scale})[1])
    plain, without, doubled = (scaled(model, scale) for scale in (1.0, 0.0, 2.0))
    np.testing.assert_array_equal(plain["layer1.1.shortcut"], plain["layer1.0"])
    np.testing.assert_array_equal(doubled["layer1.0"], plain["layer1.0"])
    alive = np.asarray(without["layer1.1"]) > 0
    assert alive.any()
    for after, scale in ((plain, 1), (doubled, 2)):
        expected = without["layer1.1"] + scale * plain["layer1.0"]
        np.testing.assert_allclose(np.asarray(after["layer1.1"])[alive], np.asarray(expected)[alive], rtol=1e-4, atol=1e-5)


def test_an_unknown_tap_and_a_tap_that_changes_the_shape_are_refused():
    model = NETS["vgg16"]()
    with pytest.raises(ValueError, match=r"unknown layer 'conv5'; this model has: conv1_1, .*; did you mean 'conv5_3'"):
        model(IMAGES, taps={"conv5": jnp.zeros_like})
    with pytest.raises(ValueError, match=r"expected the tap on 'fc6' to return shape \(2, 256\), got \(\)"):
        jax.eval_shape(lambda: model(IMAGES, taps={"fc6": jnp.sum}))


def test_two_builds_share_one_trace_and_other_knobs_do_not():
    traces = []

    @jax.jit
    def logits(model, images):
        traces.append(model.network)
        return model(images)[0]

    first, second = (models.alexnet(pool_size=4, **dict(SMALL, key=jax.random.key(seed))) for seed in (1, 2))
    assert first.network == second.network
    assert hash(first.network) == hash(second.network)
    assert not np.array_equal(logits(first, IMAGES), logits(second, IMAGES))
    assert len(traces) == 1
    assert jax.tree.structure(jax.tree.map(jnp.add, first, second)) == jax.tree.structure(first)
    logits(models.at_size(first, 64), IMAGES)
    assert len(traces) == 1
    logits(models.alexnet(pool_size=4, **dict(SMALL, dropout=0.25)), IMAGES)
    assert len(traces) == 2


def test_vmap_over_models_and_gradients_of_a_layer():
    builds = [models.alexnet(pool_size=4, **dict(SMALL, key=jax.random.key(seed))) for seed in (1, 2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *builds)
    both = jax.jit(jax.vmap(lambda model: model(IMAGES)[0]))(stacked)
    for got, model in zip(both, builds, strict=True):
        np.testing.assert_allclose(got, EVALUATE(model, IMAGES)[0], rtol=1e-4, atol=1e-5)

    @jax.jit
    def by_shift(model, shift):
        logits, activations = model(IMAGES, taps={"conv5": lambda a: a + shift})
        return logits[:, 1].sum(), activations["conv5"]

    shape = builds[0].layer("conv5").shape
    gradient, activation = jax.jit(jax.grad(by_shift, argnums=1, has_aux=True))(builds[0], jnp.zeros((2, *shape)))
    assert gradient.shape == activation.shape == (2, *shape)
    assert np.asarray(gradient).any()
