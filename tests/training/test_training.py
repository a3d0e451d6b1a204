"""Laws of the training step: the same numbers however it is mapped, and objectives that reduce to each other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from jaxinterp import _mesh, attacks, training
from jaxinterp.training._step import _varying
from tests.attacks.toys import conv_model, make_batch

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def float64():
    """In float32 the signs of vanishing gradients, and so FGSM, depend on the order of additions."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def model():
    return conv_model(dtype=np.float64)


@pytest.fixture
def batch():
    return make_batch(8, dtype=np.float64)


def objectives():
    return {
        "standard": training.standard(label_smoothing=0.1),
        "consistent": training.consistent(attacks.fgsm(4 / 255), layer="conv2", feature_weight=2.0),
        "adversarial": training.adversarial(attacks.fgsm(4 / 255)),
    }


def gradient(objective, model, batch):
    """The gradient, read off one step of plain descent."""
    state, metrics = training.train_step(objective, optax.sgd(1.0))(KEY, training.init_state(optax.sgd(1.0), model), batch)
    return jax.tree.map(lambda old, new: old - new, model.params, state.model.params), metrics


@pytest.mark.parametrize("name", objectives())
def test_four_devices_and_pmap_have_the_gradient_of_one(name, model, batch):
    objective, optimizer = objectives()[name], optax.sgd(1.0)
    expected, metrics = jax.jit(functools.partial(gradient, objective))(model, batch)
    mesh = _mesh.data_mesh(4)
    state = jax.device_put(jax.tree.map(jnp.copy, training.init_state(optimizer, model)), _mesh.replicated(mesh))
    sharded = jax.device_put(batch, _mesh.sharded(mesh))
    after, sharded_metrics = training.sharded_step(objective, optimizer, mesh)(KEY, state, sharded)
    pmapped = jax.pmap(training.train_step(objective, optimizer, axis_name="data"), axis_name="data", in_axes=(None, None, 0))
    split = jax.tree.map(lambda leaf: leaf.reshape(4, -1, *leaf.shape[1:]), batch)
    pmap_state, _ = pmapped(KEY, training.init_state(optimizer, model), split)
    for new in (after.model.params, jax.tree.map(lambda leaf: leaf[0], pmap_state.model.params)):
        found = jax.tree.map(lambda old, new: np.asarray(old) - np.asarray(new), model.params, new)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), expected, found)
    for key, value in metrics.items():
        np.testing.assert_allclose(value, sharded_metrics[key], rtol=1e-10, atol=1e-12)
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


def test_padding_rows_change_nothing(model, batch):
    short = jax.tree.map(lambda leaf: leaf[:6], batch)
    padded = batch._replace(mask=jnp.arange(8) < 6, image=batch.image.at[6:].set(0.5))
    for objective in objectives().values():
        one, two = (gradient(objective, model, rows)[0] for rows in (short, padded))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), one, two)


def test_consistent_reduces_to_standard(model, batch):
    vanishing = attacks.fgsm(1e-14)
    objective = training.consistent(vanishing, layer="conv2", adversarial_weight=0.0, feature_weight=3.0)
    one, metrics = gradient(objective, model, batch)
    two, _ = gradient(training.standard(), model, batch)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), one, two)
    assert float(metrics["feature_distance"]) < 1e-20


def test_consistent_loss_is_the_sum_of_its_terms(model, batch):
    attack = attacks.fgsm(8 / 255)
    objective = training.consistent(attack, layer="conv2", clean_weight=0.5, adversarial_weight=2.0, feature_weight=7.0)
    loss, (_, metrics) = objective(KEY, model, batch)
    state = attack.init(KEY, model, batch)
    state, _ = attack.step(KEY, state, model, batch)
    (clean, phi), (fake, phi_fake) = (
        (logits, activations["conv2"]) for logits, activations in (model(batch.image), model(state.adversarial))
    )
    entropy = optax.softmax_cross_entropy_with_integer_labels
    distance = np.mean(np.square(np.asarray(phi) - np.asarray(phi_fake)))
    expected = 0.5 * entropy(clean, batch.label).mean() + 2 * entropy(fake, batch.label).mean() + 7 * distance
    np.testing.assert_allclose(loss, expected, rtol=1e-10)
    np.testing.assert_allclose(metrics["feature_distance"], distance, rtol=1e-10)


def test_masked_mean():
    values = jnp.asarray([1.0, 2.0, jnp.nan])
    assert float(training.masked_mean(values, jnp.asarray([True, True, False]))) == 1.5
    assert float(training.masked_mean(values, jnp.zeros(3, bool))) == 0.0
