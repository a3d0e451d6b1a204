"""Invertible networks: codes and back, the norms of blocks, the readout, derivatives of the inverse, files."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxinterp import data, models
from jaxinterp.models._invertible import _iresnet, _spectral
from tests.conftest import SHARED

SMALL: dict[str, Any] = {"blocks": (2, 1), "hidden": (5, 4), "image_size": 8}
PICTURES = SHARED / "data/cifar10/lossless_200"
ENCODE, DECODE = jax.jit(models.encode), jax.jit(models.decode)


@pytest.fixture(scope="module")
def model():
    return models.iresnet(**SMALL, key=jax.random.key(0))


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(0).random((3, 8, 8, 3), np.float32))


def dense(kernel, side):
    """The convolution as a matrix, column by column."""
    inputs = kernel.shape[2]
    every = np.eye(side * side * inputs).reshape(-1, side, side, inputs)
    return np.asarray(_spectral.convolve(jnp.asarray(every), jnp.asarray(kernel))).reshape(len(every), -1).T


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("window", [1, 3])
def test_norms_are_those_of_the_matrix(window):
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(window, window, 3, 4))
    matrix = dense(kernel, 5)
    maps = rng.normal(size=(1, 5, 5, 4))
    back = _spectral.transposed(jnp.asarray(maps), jnp.asarray(kernel))
    np.testing.assert_allclose(np.asarray(back).ravel(), matrix.T @ maps.ravel(), atol=1e-12)
    norm = np.linalg.svd(matrix, compute_uv=False)[0]
    start = jnp.asarray(rng.normal(size=(5, 5, 4)))
    assert float(_spectral.spectral_norm(jnp.asarray(kernel), start)[0]) < norm
    found, left = _spectral.iterated(jnp.asarray(kernel), start, jnp.int32(3000))
    np.testing.assert_allclose(found, norm, rtol=1e-6)
    assert norm * (1 - 1e-12) <= _spectral.norm_above(kernel) <= (1.5 if window > 1 else 1 + 1e-9) * norm
    used, _ = _spectral.bounded(jnp.asarray(kernel), left, 0.9)
    np.testing.assert_allclose(np.linalg.svd(dense(np.asarray(used), 5), compute_uv=False)[0], 0.9, rtol=1e-6)
    small = jnp.asarray(kernel * 0.5 / norm)
    np.testing.assert_array_equal(_spectral.bounded(small, left, 0.9)[0], small)
    slope = jax.grad(lambda kernel: _spectral.spectral_norm(kernel, left)[0])(jnp.asarray(kernel))
    bump = rng.normal(size=kernel.shape)
    sizes = [np.linalg.svd(dense(kernel + h * bump, 5), compute_uv=False)[0] for h in (1e-5, -1e-5)]
    np.testing.assert_allclose(np.sum(np.asarray(slope) * bump), (sizes[0] - sizes[1]) / 2e-5, rtol=1e-4)


def test_squeeze_has_an_inverse(images):
    np.testing.assert_array_equal(_iresnet.unsqueeze(_iresnet.squeeze(images)), images)
    np.testing.assert_array_equal(_iresnet.squeeze(images)[1, 2, 3].reshape(2, 2, 3), images[1, 4:6, 6:8])


@pytest.mark.parametrize("knobs", [{}, {"activation": "relu", "padding": 1}])
def test_codes_decode_to_their_images_and_the_readout_reads_them(knobs, images):
    model = models.iresnet(**SMALL, **knobs, readout="pooled" if knobs else "flat", key=jax.random.key(1))
    latent = ENCODE(model, images)
    assert latent.shape == (3, 64 * (3 + knobs.get("padding", 0)))
    np.testing.assert_allclose(DECODE(model, latent), images, atol=1e-5)
    weight, bias = models.readout(model)
    np.testing.assert_allclose(latent @ weight + bias[None], model(images)[0], atol=1e-5)


def test_errors_are_below_their_bound_and_fall_with_the_iterations(model, images):
    found = [models.inversion_errors(model, images, num_iterations=count) for count in (2, 4, 30)]
    for one in found[:2]:
        assert np.all(one.measured <= one.bound)
        assert one.measured.shape == (3, 3)
    assert found[1].measured.max() < 0.73**2 * found[0].measured.max()
    assert found[2].image.max() < 1e-5


def test_blocks_are_contractions(model, images):
    """The stretch of real differences and of Jacobians, the product of norms, and a bound without iterations."""
    tight = models.power_iterated(model, num_iterations=300)
    bounds, local = models.lipschitz_bounds(tight), models.local_lipschitz(tight, images)
    assert bounds.blocks == ("layer1.0", "layer1.1", "layer2.0")
    assert bounds.layers.max() <= 0.9 * (1 + 1e-4)
    assert np.all(local.max(axis=1) <= bounds.product)
    assert np.all(bounds.product <= bounds.above)
    assert np.all(bounds.product <= bounds.stated * (1 + 3e-4))


@pytest.mark.usefixtures("float64")
def test_the_inverse_is_differentiated_by_the_implicit_function(images):
    model = models.iresnet(blocks=(1,), hidden=(2,), image_size=4, key=jax.random.key(0))
    latent = models.encode(model, images[:2, :4, :4].astype(jnp.float64))
    check_grads(
        lambda latent: models.decode(model, jnp.asarray(latent), num_iterations=60), (latent,), order=1, atol=1e-5, rtol=1e-5
    )
    mapped = jax.vmap(lambda one: models.decode(model, one[None], num_iterations=60)[0])(latent)
    np.testing.assert_allclose(mapped, models.decode(model, latent, num_iterations=60), atol=1e-12)
    grads = jax.grad(lambda params: models.decode(dataclasses.replace(model, params=params), latent).sum())(model.params)
    assert float(jnp.abs(grads["layer1.0.conv1"]["kernel"]).max()) > 0


def test_a_training_pass_makes_one_step_of_power_iteration(model, images):
    _, _, stats = jax.jit(lambda model: model.train(images, key=jax.random.key(0)))(model)
    expected = models.power_iterated(model, num_iterations=1).stats
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), stats, expected)
    again = model.network.apply(model.params, model.stats, images, key=None, taps={}, train=False)[2]
    assert again is model.stats


def test_files_and_fingerprints(model, images, tmp_path):
    models.save(model, tmp_path / "weights.safetensors")
    again = models.iresnet(**SMALL, weights=tmp_path / "weights.safetensors")
    assert models.fingerprint(again) == models.fingerprint(model)
    np.testing.assert_array_equal(ENCODE(again, images), ENCODE(model, images))
    assert models.last_conv(model) == "layer2.0"
    outline = models.abstract(lambda: models.iresnet(**SMALL, weights="not there"))
    assert jax.tree.structure(outline) == jax.tree.structure(model)


def test_knobs_and_networks_that_will_not_do(model, images):
    for wrong in ({"coefficient": 1.0}, {"image_size": 6}, {"hidden": (4,)}, {"activation": "tanh"}, {"readout": "all"}):
        with pytest.raises(ValueError, match="expected"):
            models.iresnet(**{**SMALL, **wrong}, key=jax.random.key(0))
    with pytest.raises(ValueError, match="got neither"):
        models.iresnet(**SMALL)
    with pytest.raises(ValueError, match="expected latent"):
        models.decode(model, jnp.zeros((1, 5)))
    with pytest.raises(ValueError, match=r"models\.iresnet"):
        models.readout(models.at_size(model, 10))


@pytest.mark.skipif(not PICTURES.is_dir(), reason="needs the real images")
def test_real_images_come_back():
    source = data.cifar10(PICTURES, "test")
    images = np.stack([np.asarray(source[index].image) for index in range(4)]).astype(np.float32) / 255
    model = models.iresnet(blocks=(1, 1), hidden=(8, 8), key=jax.random.key(2))
    found = models.inversion_errors(model, images, num_iterations=20)
    assert found.image.max() < 1e-4
