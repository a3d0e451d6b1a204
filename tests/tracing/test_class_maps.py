"""Maps of the evidence for a class: class activation maps and gradients through some units, against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import metrics, models, tracing


def _apply(params, images):
    """Logits linear in the mean of maps that are ReLUs of each pixel."""
    cells = models.named("units", jnp.maximum(images @ params["units"], 0))
    return cells.mean(axis=(1, 2)) @ params["head"]


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    params = {
        "units": jnp.asarray(rng.normal(size=(3, 5)), jnp.float32),
        "head": jnp.asarray(rng.normal(size=(5, 4)), jnp.float32),
    }
    return models.from_function(_apply, params, image_size=6)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).random((3, 6, 6, 3)).astype(np.float32)


CLASSES = np.asarray([0, 3, 1])


@pytest.mark.parametrize("some", [False, True])
def test_maps_are_their_definitions(model, images, some):
    units = np.random.default_rng(2).random((3, 5)) < 0.5 if some else np.ones((3, 5), bool)
    maps = tracing.class_maps(model, images, CLASSES, layer="units", units=units if some else None)
    kernel, head = (np.asarray(model.params[name]) for name in ("units", "head"))
    activation = np.maximum(images @ kernel, 0)
    weight = head[:, CLASSES].T * units
    np.testing.assert_allclose(maps.activation, np.einsum("nhwu,nu->nhw", activation, weight) / 36, atol=1e-6)

    def logit(images):
        means = jnp.maximum(images @ kernel, 0).mean(axis=(1, 2))
        return jnp.sum(means * weight)

    expected = np.abs(np.asarray(jax.grad(logit)(jnp.asarray(images)))).sum(axis=-1)
    np.testing.assert_allclose(maps.gradient, expected, atol=1e-6)
    mesh = jax.make_mesh((2,), ("rows",))
    split = tracing.class_maps(model, images, CLASSES, layer="units", units=units if some else None, mesh=mesh)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-6), split, maps)


def test_no_unit_gives_no_evidence(model, images):
    maps = tracing.class_maps(model, images, CLASSES, layer="units", units=np.zeros((3, 5), bool))
    assert not maps.activation.any() and not maps.gradient.any()
    with pytest.raises(ValueError, match="among 5 units, as layer 'units' has"):
        tracing.class_maps(model, images, CLASSES, layer="units", units=np.zeros((3, 4), bool))


def test_a_planted_unit_finds_its_pixels():
    """One unit that answers to red alone: its map is the red patch, and that of the whole layer is not."""
    params = {"units": jnp.asarray([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), "head": jnp.ones((2, 4))}
    planted = models.from_function(_apply, params, image_size=6)
    images = np.zeros((1, 6, 6, 3), np.float32)
    images[0, :3, :3, 0] = images[0, 4:, 4:, 1] = 1
    known = images[..., 0] > 0
    alone = tracing.class_maps(planted, images, np.asarray([0]), layer="units", units=np.asarray([[True, False]]))
    every = tracing.class_maps(planted, images, np.asarray([0]), layer="units")
    assert metrics.localization(alone.activation, known).iou[0] == 1
    assert metrics.localization(every.activation, known).iou[0] == pytest.approx(9 / 13)
