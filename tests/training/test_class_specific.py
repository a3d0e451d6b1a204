"""Class-specific gates: both kinds of step written out in NumPy, the projection, and a gate that rests on plain steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxinterp import _mesh, models, training
from tests.attacks.toys import CLASSES, conv_model
from tests.training.cases import gate
from tests.training.toys import KEY, gradient, outcome, same

pytestmark = pytest.mark.usefixtures("float64")
ALWAYS = training.gate_schedule(1, warm_up=0, period=1)
SECOND = training.gate_schedule(1, warm_up=1, period=2)


def gated_model():
    return models.gated(conv_model(dtype=np.float64), layer="conv2", gate=gate(6, CLASSES))


def after(batch, *, gated=SECOND, steps=3, devices=None, network=None, **options):
    objective, chosen = training.class_specific(gated=gated), training.StepOptions(**options)
    optimizer = training.gate_optimizer(
        optax.sgd(0.1, momentum=0.9) if network is None else network, optax.sgd(5.0, momentum=0.9), gated=gated
    )
    state = training.init_state(optimizer, gated_model(), average=chosen.ema_decay is not None)
    if devices is None:
        step = jax.jit(training.train_step(objective, optimizer, options=chosen))
    else:
        mesh = _mesh.data_mesh(devices)
        step = training.sharded_step(objective, optimizer, mesh, options=chosen)
        state = jax.device_put(jax.tree.map(jnp.array, state), _mesh.replicated(mesh))
        batch = jax.device_put(batch, _mesh.sharded(mesh))
    states = []
    for _ in range(steps):
        state, _ = step(KEY, state, batch)
        states.append(jax.device_get(state))
    return states


def test_the_loss_is_that_of_the_formula(batch):
    model, table = gated_model(), np.asarray(gate(6, CLASSES))
    maps = np.asarray(model(batch.image)[1]["conv2"])
    logits = (maps * table.T[np.asarray(batch.label)][:, None, None]).mean((1, 2)) @ np.asarray(model.params["network"]["head"])
    log_sum = np.log(np.exp(logits).sum(1))
    entropy = (log_sum - logits[np.arange(8), np.asarray(batch.label)]).mean()
    loss, (_, metrics) = outcome(training.class_specific(gated=ALWAYS, regulariser_weight=0.3, density=0.1), model, batch)
    np.testing.assert_allclose(metrics["cross_entropy"], entropy)
    np.testing.assert_allclose(loss, entropy + 0.3 * (table.sum() - 0.1 * table.size))
    np.testing.assert_allclose(metrics["gate_density"], table.mean())
    free, _ = outcome(training.class_specific(gated=ALWAYS, density=1.0), model, batch)
    np.testing.assert_allclose(free, entropy)


def test_a_plain_step_is_the_standard_one(batch):
    (loss, _), found = gradient(training.class_specific(gated=SECOND), gated_model(), batch)
    (expected, _), plain = gradient(training.standard(), conv_model(dtype=np.float64), batch)
    same((loss, found["network"]), (expected, plain))
    assert not np.any(found["gate"])


def test_rows_are_divided_by_their_maximum(batch):
    table = np.asarray([[0.2, 0.4, -0.1, 0.1, 0.0], [-1.0, -2.0, -0.5, -3.0, -1.0], [2.0, 1.0, 0.5, 4.0, 0.0]])
    project = training.class_specific(gated=SECOND).project
    expected = [[0.5, 1.0, 0.0, 0.25, 0.0], [0.0] * 5, [0.5, 0.25, 0.125, 1.0, 0.0]]
    np.testing.assert_allclose(project({"network": {}, "gate": jnp.asarray(table)}, jnp.int32(1))["gate"], expected)
    np.testing.assert_array_equal(project({"network": {}, "gate": jnp.asarray(table)}, jnp.int32(0))["gate"], table)


def test_plain_steps_leave_the_gate_and_its_momentum(batch):
    first, second, third = after(batch)
    start = np.asarray(gate(6, CLASSES))
    np.testing.assert_array_equal(first.model.params["gate"], start)
    assert not np.allclose(second.model.params["gate"], start)
    np.testing.assert_allclose(second.model.params["gate"].max(axis=1), 1.0)
    np.testing.assert_array_equal(third.model.params["gate"], second.model.params["gate"])
    traces = [s.optimizer_state.inner_states["gate"].inner_state.inner_state for s in (second, third)]
    jax.tree.map(np.testing.assert_array_equal, *traces)
    assert not np.allclose(third.model.params["network"]["head"], second.model.params["network"]["head"])


@pytest.mark.parametrize("options", [{"devices": 4}, {"num_microbatches": 4}])
def test_however_it_is_mapped(batch, options):
    same(after(batch, **options)[-1].model, after(batch)[-1].model)


def test_averages_are_of_what_was_projected(batch):
    states = after(batch, gated=ALWAYS, steps=2, ema_decay=0.75)
    expected = np.asarray(gate(6, CLASSES))
    for state in states:
        expected = 0.75 * expected + 0.25 * state.model.params["gate"]
    np.testing.assert_allclose(states[-1].averaged.params["gate"], expected)


def test_a_gate_is_fitted_to_frozen_weights(batch):
    state = after(batch, gated=ALWAYS, network=optax.set_to_zero())[-1]
    jax.tree.map(np.testing.assert_array_equal, state.model.params["network"], conv_model(dtype=np.float64).params)
    assert not np.allclose(state.model.params["gate"], gate(6, CLASSES))


def test_errors(batch):
    with pytest.raises(ValueError, match="expected steps_per_epoch and period of at least 1"):
        training.gate_schedule(0)
    with pytest.raises(ValueError, match="expected statistics 'mixed' or 'frozen', got 'split'"):
        training.class_specific(gated=ALWAYS, statistics="split")
    with pytest.raises(ValueError, match="expected a model with a gate, got one without"):
        training.class_specific(gated=ALWAYS)(KEY, conv_model(dtype=np.float64), batch)
