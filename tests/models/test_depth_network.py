"""The depth network: geometry, weights of the encoder, what stands in the record, and that it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import data, models
from jaxinterp.models._architectures._depth_network import enlarged
from jaxinterp.models._flow import Field, Flow

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def model():
    encoder = models.resnet18(num_classes=3, width=1 / 16, image_size=32, output_stride=8, key=jax.random.key(1))
    return models.depth_network(encoder, key=KEY, units=8)


def test_enlarged_keeps_values_at_their_places():
    value = np.random.default_rng(0).normal(size=(1, 4, 4, 2)).astype(np.float32)
    flow = enlarged(Flow(jnp.asarray(value), Field(8, 1.0, 9)), 2, 16)
    assert flow.field == Field(2, 1.0, 17)
    np.testing.assert_allclose(flow.value[:, ::4, ::4], value, atol=1e-6)
    np.testing.assert_allclose(flow.value[:, 2, 0], (value[:, 0, 0] + value[:, 1, 0]) / 2, atol=1e-6)
    np.testing.assert_allclose(flow.value[:, 15, 15], value[:, 3, 3], atol=1e-6)


def test_what_stands_in_the_record(model):
    images = jnp.asarray(np.random.default_rng(0).random((2, 32, 32, 3)), jnp.float32)
    logits, activations = jax.jit(lambda images, model: model(images))(images, model)
    assert logits.shape == (2, 1024) and model.num_classes == 1024
    np.testing.assert_allclose(jnp.exp(logits).reshape(2, 32, 32, 1), activations["depth"], rtol=1e-5)
    doubled, _ = jax.jit(lambda images: model(images, taps={"depth": lambda depth: 2 * depth}))(images)
    np.testing.assert_allclose(doubled, logits + np.log(2), rtol=1e-4, atol=1e-5)
    names = [layer.name for layer in model.layers]
    assert names[-6:] == ["decoder.3", "decoder.2", "decoder.1", "decoder.0", "depth", "logits"] and "features" not in names
    depth, last = model.layer("depth"), model.layer("layer4.1")
    assert (depth.shape, depth.stride, depth.offset) == ((32, 32, 1), 1.0, 0.0)
    assert (last.shape, last.stride) == ((4, 4, 32), 8.0)


def test_it_begins_with_the_weights_of_its_encoder(tmp_path):
    encoder = models.small_resnet18()
    model = models.depth_network(encoder, key=KEY)
    images = jnp.asarray(data.concept_world(seed=0, num_images=1)[0].image[None] / 255.0, jnp.float32)
    ours, theirs = (jax.jit(lambda m, images: m(images)[1]["layer4.1"])(one, images) for one in (model, encoder))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert not any(name.startswith("fc") for name in model.params)
    models.save(model, tmp_path / "depth.safetensors")
    again = models.load(tmp_path / "depth.safetensors", models.depth_network(encoder, key=jax.random.key(5)))
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)


def test_cifar_encoders_too_and_nothing_else():
    model = models.depth_network(models.cifar_resnet20(width=1 / 4, image_size=16, key=KEY), key=KEY, units=4)
    assert model.layer("decoder.0").shape == (16, 16, 4) and model.layer("layer3.2").stride == 4.0
    with pytest.raises(ValueError, match="expected a ResNet of this package"):
        models.depth_network(models.abstract(lambda: models.squeezenet1_1(key=KEY)), key=KEY)
    with pytest.raises(ValueError, match="expected units >= 1"):
        models.depth_network(models.cifar_resnet20(width=1 / 4, image_size=16, key=KEY), key=KEY, units=0)


def test_folding_keeps_the_function(model):
    run = jax.jit(lambda model, images: model(images)[0])
    images = jnp.asarray(np.random.default_rng(1).random((1, 32, 32, 3)), jnp.float32)
    np.testing.assert_allclose(run(models.fold_batch_norm(model), images), run(model, images), atol=1e-4)
