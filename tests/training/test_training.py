"""Laws of the training step: the same numbers however it is mapped."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from jaxinterp import _mesh, attacks, training
from jaxinterp.training._step import _varying
from tests.training.toys import KEY, same

pytestmark = pytest.mark.usefixtures("float64")


def gradient(objective, model, batch):
    """The gradient, read off one step of plain descent."""
    state, metrics = training.train_step(objective, optax.sgd(1.0))(KEY, training.init_state(optax.sgd(1.0), model), batch)
    return jax.tree.map(lambda old, new: old - new, model.params, state.model.params), metrics


def test_pmap_has_the_gradient_of_one_device(model, batch):
    """As `shard_map` has, see the contract of objectives."""
    objective, optimizer = training.consistent(attacks.fgsm(4 / 255), layer="conv2", feature_weight=2.0), optax.sgd(1.0)
    expected, metrics = jax.jit(functools.partial(gradient, objective))(model, batch)
    pmapped = jax.pmap(training.train_step(objective, optimizer, axis_name="data"), axis_name="data", in_axes=(None, None, 0))
    split = jax.tree.map(lambda leaf: leaf.reshape(4, -1, *leaf.shape[1:]), batch)
    after, found = jax.tree.map(lambda leaf: leaf[0], pmapped(KEY, training.init_state(optimizer, model), split))
    moved = jax.tree.map(lambda old, new: np.asarray(old) - np.asarray(new), model.params, after.model.params)
    same(moved, expected)
    same(found, metrics)
    assert int(after.step) == 1


def test_without_varying_parameters_the_gradient_would_be_summed(model, batch):
    """The trap that `train_step` avoids: under shard_map the gradient of replicated parameters is already a sum."""
    mesh = _mesh.data_mesh(4)

    def mean_gradient(params, images, varying):
        params = _varying(params, "data") if varying else params
        loss = lambda p: jnp.mean(jnp.square(images @ p))  # noqa: E731
        return jax.lax.pmean(jax.grad(loss)(params), "data")

    images, params = batch.image.reshape(8, -1)[:, :5], jnp.ones(5, jnp.float64)
    specs = {"mesh": mesh, "in_specs": (PartitionSpec(), PartitionSpec("data")), "out_specs": PartitionSpec()}
    right, wrong = (
        jax.shard_map(functools.partial(mean_gradient, varying=varying), **specs)(params, images) for varying in (True, False)
    )
    np.testing.assert_allclose(right, jax.grad(lambda p: jnp.mean(jnp.square(images @ p)))(params), rtol=1e-12)
    np.testing.assert_allclose(wrong, 4 * right, rtol=1e-12)


def test_masked_mean():
    values = jnp.asarray([1.0, 2.0, jnp.nan])
    assert float(training.masked_mean(values, jnp.asarray([True, True, False]))) == 1.5
    assert float(training.masked_mean(values, jnp.zeros(3, bool))) == 0.0
