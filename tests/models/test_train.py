"""Training mode: batch statistics as PyTorch keeps them, dropout from the key alone."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from jax.test_util import check_grads

from jaxinterp import Model, models
from jaxinterp._mesh import AXIS, data_mesh
from jaxinterp.models._flow import image_flow
from jaxinterp.models._ops import Norms, batch_norm

SMALL: dict[str, Any] = {"num_classes": 4, "width": 1 / 16, "image_size": 32, "output_stride": 8, "key": jax.random.key(0)}
IMAGES = jnp.asarray(np.random.default_rng(1).random((8, 32, 32, 3), np.float32))
EVALUATE = jax.jit(lambda model, images: model(images)[0])
TRAIN = jax.jit(lambda model, images, key: model.train(images, key=key))


def test_batch_statistics_of_the_first_layer_by_hand():
    model = models.resnet18(**SMALL)
    model = Model(model.params, jax.tree.map(lambda leaf: leaf + 0.5, model.stats), model.network)
    _, activations, stats = TRAIN(model, IMAGES, jax.random.key(0))
    images = jnp.asarray(
        (np.asarray(IMAGES) - np.array(models.IMAGENET_MEAN, np.float32)) / np.array(models.IMAGENET_STD, np.float32)
    )
    convolved = jax.lax.conv_general_dilated(
        images, model.params["conv1"]["kernel"], (2, 2), ((3, 3), (3, 3)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    rows = np.asarray(convolved, np.float64).reshape(-1, convolved.shape[-1])
    np.testing.assert_allclose(stats["bn1"]["mean"], 0.9 * 0.5 + 0.1 * rows.mean(0), rtol=1e-5)
    np.testing.assert_allclose(stats["bn1"]["var"], 0.9 * 1.5 + 0.1 * rows.var(0, ddof=1), rtol=1e-5)
    normal = np.maximum((rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5), 0)
    np.testing.assert_allclose(np.asarray(activations["conv1"]).reshape(rows.shape), normal, atol=1e-4)
    assert jax.tree.structure(stats) == jax.tree.structure(model.stats)


def test_evaluation_keeps_the_statistics_and_each_row_by_itself():
    model = models.resnet18(**SMALL)
    together, alone = EVALUATE(model, IMAGES), EVALUATE(model, IMAGES[:1])
    np.testing.assert_allclose(together[:1], alone, rtol=1e-4, atol=1e-5)
    evaluated = jax.eval_shape(lambda: model.network.apply(model.params, {}, IMAGES, key=None, taps={}, train=True)[2])
    assert jax.tree.structure(evaluated) == jax.tree.structure(model.stats)


def test_synchronised_statistics_over_a_mesh_are_those_of_the_whole_batch():
    whole = models.resnet18(**SMALL)
    synchronised = models.resnet18(axis_name=AXIS, **SMALL)
    spec = PartitionSpec(AXIS)

    def step(model, images):
        logits, _, stats = model.train(images, key=jax.random.key(0))
        return logits, stats

    spread = jax.shard_map(step, mesh=data_mesh(4), in_specs=(PartitionSpec(), spec), out_specs=(spec, PartitionSpec()))
    logits, stats = jax.jit(spread)(synchronised, IMAGES)
    expected, _, expected_stats = TRAIN(whole, IMAGES, jax.random.key(0))
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3)
    for got, want in zip(jax.tree.leaves(stats), jax.tree.leaves(expected_stats), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("build", [models.alexnet, models.squeezenet1_1])
def test_dropout_follows_the_key_in_training_only(build):
    model = build(**SMALL)
    draws = [TRAIN(model, IMAGES, jax.random.key(seed)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0][0], draws[1][0])
    assert not np.array_equal(draws[0][0], draws[2][0])
    assert draws[0][2] == {}
    with_key = jax.jit(lambda model: model(IMAGES, key=jax.random.key(5))[0])(model)
    np.testing.assert_allclose(with_key, EVALUATE(model, IMAGES), rtol=1e-5, atol=1e-7)


def test_dropout_rate_zero_is_evaluation():
    model = models.alexnet(dropout=0.0, **SMALL)
    np.testing.assert_allclose(TRAIN(model, IMAGES, jax.random.key(0))[0], EVALUATE(model, IMAGES), rtol=1e-4, atol=1e-6)


def test_dropout_keeps_the_mean_and_zeroes_its_share():
    model = models.vgg16(dropout=0.25, hidden=64, pool_size=2, **SMALL)
    params = dict(model.params)
    params["classifier.6"] = {"kernel": jnp.ones((64, 4)) / 64, "bias": jnp.zeros(4)}
    model = Model(params, model.stats, model.network)
    run = jax.jit(jax.vmap(lambda key: model.train(IMAGES, key=key, taps={"fc7": jnp.ones_like})[0]))
    logits = np.asarray(run(jax.random.split(jax.random.key(0), 100)), np.float64)
    kept = logits * 0.75 * 64
    np.testing.assert_allclose(kept, np.round(kept), atol=1e-3)
    np.testing.assert_allclose(logits.mean(), 1, atol=0.01)


def test_gradient_of_batch_normalisation():
    class Normalise(nn.Module):
        @nn.compact
        def __call__(self, value):
            return batch_norm(image_flow(jnp.asarray(value)), "bn", Norms(True, [])).value

    value = jnp.asarray(np.random.default_rng(0).standard_normal((3, 2, 2, 2)), jnp.float32)
    variables = Normalise().init(jax.random.key(0), value)

    def normalised(value, scale):
        params = {"bn": {"scale": scale, "bias": jnp.zeros(2)}}
        return Normalise().apply({**variables, "params": params}, value, mutable=["batch_stats"])[0]

    check_grads(normalised, (value, jnp.asarray([0.5, 2.0])), order=1, modes=("fwd", "rev"), rtol=0.02, atol=0.02)
    np.testing.assert_allclose(normalised(value + 5, jnp.ones(2)), normalised(value, jnp.ones(2)), atol=1e-4)
