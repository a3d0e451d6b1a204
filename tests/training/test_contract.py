"""Every objective against every law; an objective that is exported and missing from the table fails."""

import dataclasses
import functools
import inspect
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxinterp import _mesh, training
from jaxinterp.training import _objectives
from tests.attacks.toys import CLASSES, conv_model, make_batch
from tests.training.cases import CASES, KEY
from tests.training.toys import gradient, same

pytestmark = pytest.mark.usefixtures("float64")

EPSILON = 16 / 255
ROWS = 8
every = pytest.mark.parametrize("name", CASES)


def test_no_objective_is_missing():
    functions = {name: value for name, value in vars(training).items() if inspect.isfunction(value)}
    made = {name for name, value in functions.items() if inspect.signature(value).return_annotation is training.Objective}
    assert made - {"from_loss"} == set(CASES)


def example(*, epsilon=EPSILON):
    """A batch with what the objectives read in `extra`: images at a distance of epsilon, and the labels."""
    batch = make_batch(ROWS, dtype=np.float64)
    noise = np.sign(np.random.default_rng(3).normal(size=batch.image.shape))
    stored = jnp.clip(batch.image + epsilon * noise, 0, 1)
    probabilities = jax.nn.one_hot(batch.label, CLASSES, dtype=batch.image.dtype)
    depth = jnp.asarray(np.random.default_rng(4).choice([0.0, 1.5, 4.0, 12.0, 20.0], size=(ROWS, 2, 2)))
    return batch._replace(extra={"adversarial": stored, "probabilities": probabilities, "depth": depth})


@functools.cache
def program(name):
    """`(key, epsilon, model, memory, batch, given, use) -> (outcome, gradients, adversarial images)`, compiled once.

    Where `use` is True, `given` takes the place of the answer of the attack.
    """

    def of(key, epsilon, model, memory, batch, given, use):
        objective, seen = CASES[name].build(epsilon), []

        def handed(images, name):
            seen.append(images)
            return jnp.where(use, given, images)

        def loss_of(params, memory):
            value, aux = objective.loss(key, dataclasses.replace(model, params=params), batch, jnp.int32(0), memory)
            return value, (aux, seen[0] if seen else given)

        with mock.patch.object(_objectives, "checkpoint_name", handed):
            (loss, (aux, images)), gradients = jax.value_and_grad(loss_of, argnums=(0, 1), has_aux=True)(model.params, memory)
        return (loss, aux), gradients, images

    return jax.jit(of)


def ran(name, batch, *, model=None, key=KEY, epsilon=EPSILON, given=None):
    """The outcome, the gradients and the adversarial images."""
    model = CASES[name].prepare(conv_model(dtype=np.float64) if model is None else model)
    memory = CASES[name].build(EPSILON).remember(batch)
    images = jnp.zeros_like(batch.image) if given is None else given
    return program(name)(key, jnp.asarray(epsilon), model, memory, batch, images, jnp.asarray(given is not None))


@every
def test_four_devices_have_the_gradient_of_one(name):
    """Each device draws with a key of its own; what draws nothing has the gradient of the whole batch."""
    model, batch, mesh = CASES[name].prepare(conv_model(dtype=np.float64)), example(), _mesh.data_mesh(4)
    objective, optimizer = CASES[name].build(jnp.asarray(EPSILON)), optax.sgd(1.0)
    memory = objective.remember(batch)
    step = training.sharded_step(objective, optimizer, mesh)
    state = training.init_state(optimizer, jax.tree.map(jnp.copy, model), memory=jax.tree.map(jnp.copy, memory))
    state = jax.device_put(state, training.state_shardings(state, mesh))
    after, metrics = step(KEY, state, jax.device_put(batch, _mesh.sharded(mesh)))

    def moved_along(gradient):
        """Parameters after plain descent by one gradient."""
        return objective.project(jax.tree.map(jnp.subtract, model.params, gradient), jnp.int32(0))

    key, parts = jax.random.fold_in(KEY, 0), []
    for device in range(4):
        rows = batch._replace(mask=jnp.arange(ROWS) // 2 == device)
        parts.append(ran(name, rows, key=jax.random.fold_in(key, device)))
    (_, (_, expected)), (mean, moved) = jax.tree.map(lambda *leaves: sum(leaves) / 4, *[part[:2] for part in parts])
    same(after.model.params, moved_along(mean))
    same(metrics, expected)
    same(after.memory, objective.renew(memory, moved, batch))
    if not CASES[name].drawn and not CASES[name].pooled:
        same(after.model.params, moved_along(ran(name, batch)[1][0]))


@every
def test_rows_that_only_fill_up_change_nothing(name):
    """Half of the rows twice has the gradient of these rows beside others that do not count."""
    batch = example()
    twice = jax.tree.map(lambda leaf: jnp.concatenate([leaf[:4], leaf[:4]]), batch)
    padded = batch._replace(mask=jnp.arange(ROWS) < 4, image=batch.image.at[4:].set(0.5))
    (_, (_, metrics)), (one, _), _ = ran(name, twice)
    (_, (_, filled)), (two, _), _ = ran(name, padded)
    same(one, two)
    same(metrics, filled)
    (loss, _), (none, _), _ = ran(name, batch._replace(mask=jnp.zeros(ROWS, bool)))
    assert float(loss) == 0.0
    assert all(not np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(none))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.at_zero])
def test_what_it_is_at_epsilon_zero(name):
    batch = example(epsilon=0.0)
    (loss, _), expected = gradient(CASES[name].at_zero, conv_model(dtype=np.float64), batch)
    (found, _), (gradients, _), _ = ran(name, batch, epsilon=0.0)
    same((found, gradients), (loss, expected))


@every
def test_finite_where_gradients_are_zero(name):
    (loss, (_, metrics)), gradients, _ = ran(name, example(), model=conv_model(dtype=np.float64, scale=0.0))
    assert np.isfinite(float(loss))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((metrics, gradients)))


@every
def test_finite_where_the_network_is_sure(name):
    """Logits of thousands: probabilities are exactly zero and one."""
    model = conv_model(dtype=np.float64)
    sure = dataclasses.replace(model, params={**model.params, "head": 1e4 * model.params["head"]})
    (loss, (_, metrics)), gradients, _ = ran(name, example(), model=sure)
    assert np.isfinite(float(loss))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((metrics, gradients)))


@every
def test_same_key_same_outcome_and_metrics_are_scalars(name):
    batch = example()
    (loss, (stats, metrics)), gradients, images = ran(name, batch)
    again = ran(name, batch)
    jax.tree.map(np.testing.assert_array_equal, ((loss, (stats, metrics)), gradients, images), again)
    np.testing.assert_array_equal(metrics["loss"], loss)
    assert {value.shape for value in metrics.values()} == {()}
    others = {float(ran(name, batch, key=jax.random.key(seed))[0][0]) for seed in range(4)}
    assert (len(others) > 1) == CASES[name].drawn


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.attacks])
def test_the_gradient_does_not_flow_into_the_attack(name):
    """With its answer handed in as plain numbers, loss and gradient are the same; and the answer is in the ball."""
    batch = example()
    outcome, gradients, images = ran(name, batch)
    assert 1e-3 < float(jnp.abs(images - batch.image).max()) <= EPSILON * (1 + 1e-9)
    given, expected, _ = ran(name, batch, given=images)
    same((outcome, gradients), (given, expected))
    other = ran(name, batch, given=batch.image)[1][0]
    assert max(float(jnp.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (other, gradients[0])), strict=True)) > 1e-6
