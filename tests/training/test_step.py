"""The step: parts of a batch, unequal replicas, averages, memory and recomputation change nothing of what is minimised."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxinterp import _mesh, attacks, models, training
from tests.attacks.toys import make_batch
from tests.training.toys import KEY, same

pytestmark = pytest.mark.usefixtures("float64")


def after(model, batch, *, devices=None, objective=None, optimizer=None, steps=2, **options):
    """The state and the metrics after some steps, of plain descent with momentum where no optimiser is given."""
    objective = objective or training.consistent(attacks.fgsm(4 / 255), layer="conv2")
    optimizer, chosen = optimizer or optax.sgd(0.5, momentum=0.9), training.StepOptions(**options)
    memory = objective.remember(batch)
    state = training.init_state(optimizer, model, memory=memory, average=chosen.ema_decay is not None)
    if devices is None:
        step = jax.jit(training.train_step(objective, optimizer, options=chosen))
    else:
        mesh = _mesh.data_mesh(devices)
        step = training.sharded_step(objective, optimizer, mesh, options=chosen)
        state = jax.tree.map(jnp.array, state)
        state = jax.device_put(state, training.state_shardings(state, mesh, options=chosen))
        batch = jax.device_put(batch, _mesh.sharded(mesh))
    metrics = {}
    for _ in range(steps):
        state, metrics = step(KEY, state, batch)
    return jax.device_get(state), jax.device_get(metrics)


@pytest.mark.parametrize("unroll", [True, False])
@pytest.mark.parametrize("devices", [None, 2])
def test_parts_of_a_batch_are_the_batch(model, batch, devices, unroll):
    same(after(model, batch, devices=devices, num_microbatches=4 if devices is None else 2, unroll=unroll), after(model, batch))


def test_twenty_steps_are_the_same_however_they_are_mapped(model, batch):
    objective, optimizer = training.standard(), optax.sgd(0.5, momentum=0.9)
    expected = after(model, batch, objective=objective, steps=20)
    assert float(expected[1]["loss"]) < 0.95 * float(after(model, batch, objective=objective, steps=1)[1]["loss"])
    same(after(model, batch, objective=objective, steps=20, devices=4), expected)
    mapped = jax.pmap(training.train_step(objective, optimizer, axis_name="data"), axis_name="data", in_axes=(None, 0, 0))
    state = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (4, *leaf.shape)), training.init_state(optimizer, model))
    split = jax.tree.map(lambda leaf: leaf.reshape(4, -1, *leaf.shape[1:]), batch)
    metrics = {}
    for _ in range(20):
        state, metrics = mapped(KEY, state, split)
    for replica in range(4):
        same(jax.tree.map(lambda leaf: leaf[replica], (state.model, metrics)), (expected[0].model, expected[1]))  # noqa: B023


def test_any_mesh_will_do(model, batch):
    """Of explicit axes, which is what `jax.make_mesh` makes, and of several; placed by the caller, or not at all."""
    objective, optimizer = training.standard(), optax.sgd(0.5, momentum=0.9)
    expected = after(model, batch, objective=objective)
    mesh = jax.make_mesh((2, 2), ("a", "b"))
    step = training.sharded_step(objective, optimizer, mesh)
    split = jax.device_put(batch, jax.NamedSharding(mesh, jax.P(("a", "b"))))
    everywhere = jax.device_put(model, jax.NamedSharding(mesh, jax.P()))
    for start, rows in ((model, batch), (everywhere, split)):
        state, metrics = training.init_state(optimizer, jax.tree.map(jnp.array, start)), {}
        for _ in range(2):
            state, metrics = step(KEY, state, rows)
        same((state, metrics), expected)


def test_rows_that_count_may_lie_on_one_device(model, batch):
    """A mean over replicas of their means would weigh the rows of a replica with few of them too much."""
    masked = batch._replace(mask=jnp.asarray([True] * 3 + [False] * 4 + [True]))
    alone = jax.tree.map(lambda leaf: leaf[np.asarray(masked.mask)], batch)
    expected = after(model, alone)
    same(after(model, masked, devices=4), expected)
    same(after(model, masked, num_microbatches=4), expected)


def test_averages(model, batch):
    decay, optimizer = 0.75, optax.sgd(0.5)
    step = jax.jit(training.train_step(training.standard(), optimizer, options=training.StepOptions(ema_decay=decay)))
    state, expected = training.init_state(optimizer, model, average=True), model.params
    for _ in range(3):
        state, _ = step(KEY, state, batch)
        expected = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, expected, state.model.params)
    same(state.averaged.params, expected)
    assert not np.allclose(state.averaged.params["head"], state.model.params["head"])
    without = training.init_state(optimizer, model)
    assert without.averaged is without.model


NORM = optax.chain(optax.clip_by_global_norm(0.05), optax.adamw(0.01, weight_decay=0.1))
"""Looks at the whole gradient and at the parameters."""


@pytest.mark.parametrize("devices", [2, 4])
@pytest.mark.parametrize("optimizer", [None, NORM])
def test_an_optimiser_in_pieces_does_what_the_whole_one_does(model, batch, optimizer, devices):
    def run(**options):
        return after(model, batch, objective=training.standard(), optimizer=optimizer, steps=20, ema_decay=0.5, **options)

    expected = run()
    assert float(expected[1]["loss"]) < 0.97 * float(after(model, batch, objective=training.standard(), steps=1)[1]["loss"])
    same(run(devices=devices, shard_optimizer=True), expected)


def test_every_device_keeps_its_pieces(model, batch):
    mesh, options = _mesh.data_mesh(4), training.StepOptions(shard_optimizer=True)
    step = training.sharded_step(training.standard(), NORM, mesh, options=options)
    state = training.init_state(NORM, jax.tree.map(jnp.copy, model))
    places = training.state_shardings(state, mesh, options=options)
    state, rows = jax.device_put(state, places), jax.device_put(batch, _mesh.sharded(mesh))
    program = step.lower(KEY, state, rows)  # pyright: ignore[reportFunctionMemberAccess]
    split = ("conv1", "conv2")  # four devices divide no side of the head
    text = program.as_text()
    assert text.count('"stablehlo.reduce_scatter"') == len(split)
    assert text.count('"stablehlo.all_reduce"') == len(model.params) - len(split) + 1
    state, _ = step(KEY, state, rows)
    moments = state.optimizer_state[1][0]
    for tree in (moments.mu, moments.nu):
        for name, leaf in tree.items():
            (held,) = {shard.data.size for shard in leaf.addressable_shards}
            assert held == leaf.size // (4 if name in split else 1)
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state.model))
    assert {leaf.dtype for leaf in jax.tree.leaves(state.model.params)} == {np.dtype("float64")}


def test_an_optimiser_in_pieces_over_any_mesh_and_with_a_memory(model, batch):
    expected = after(model, batch, objective=remembering(), optimizer=NORM, steps=2)
    found = after(model, batch, objective=remembering(), optimizer=NORM, steps=2, devices=2, shard_optimizer=True)
    same(found, expected)
    mesh, options = jax.make_mesh((2, 2), ("a", "b")), training.StepOptions(shard_optimizer=True)
    step = training.sharded_step(remembering(), NORM, mesh, options=options)
    memory = remembering().remember(batch)
    state, metrics = training.init_state(NORM, jax.tree.map(jnp.array, model), memory=memory), {}
    for _ in range(2):
        state, metrics = step(KEY, state, batch)
    same((state, metrics), expected)


def test_which_axis_is_split():
    mesh = _mesh.data_mesh(4)
    pieces = {
        (3, 3, 8, 16): jax.P(None, None, None, "data"),
        (16, 8): jax.P("data"),
        (8, 8): jax.P("data"),
        (3, 8, 10): jax.P(None, "data"),
        (3, 5): jax.P(),
        (16,): jax.P(),
        (): jax.P(),
    }
    assert {shape: _mesh.piece(mesh, jax.ShapeDtypeStruct(shape, np.float32)) for shape in pieces} == pieces
    assert _mesh.piece(mesh, jax.ShapeDtypeStruct((8, 8), np.int32)) == jax.P()


def remembering():
    """Descends along a row's own offset of the image, whose gradient comes with that of the weights."""

    def loss(key, model, batch, step, memory):
        logits, _, stats = model.train(batch.image + memory, key=key)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.label)
        value = training.masked_mean(losses, batch.mask) * (1 + step)
        return value, (stats, {"loss": value})

    return training.Objective(
        loss,
        remember=lambda batch: jnp.zeros(batch.image.shape, batch.image.dtype),
        renew=lambda memory, gradient, batch: memory - 10 * gradient,
    )


def test_memory_belongs_to_its_row(model, batch):
    plain = after(model, batch, objective=remembering(), steps=3)
    assert np.abs(plain[0].memory).max() > 0
    same(after(model, batch, objective=remembering(), steps=3, devices=4), plain)
    same(after(model, batch, objective=remembering(), steps=3, num_microbatches=2), plain)


def test_the_step_is_seen(model, batch):
    objective = remembering()
    losses = [objective(KEY, model, batch, step=step)[0] for step in (0, 1)]
    np.testing.assert_allclose(losses[1], 2 * losses[0])


def test_recomputed_activations_are_the_same():
    """On a network of the package: what is not kept is computed again, the attack is not."""
    model = models.vgg11(num_classes=5, width=1 / 16, hidden=8, image_size=32, pool_size=1, dropout=0.0, key=jax.random.key(1))
    objective, optimizer = training.adversarial(attacks.fgsm(4 / 255)), optax.sgd(0.1)
    batch = make_batch(4)._replace(image=jax.random.uniform(KEY, (4, 32, 32, 3), jnp.float32))
    assert {layer.name for layer in model.layers} >= {"conv2_1", "conv3_2"}

    def lowered(**options):
        step = training.train_step(objective, optimizer, options=training.StepOptions(**options))
        return jax.jit(step).lower(KEY, training.init_state(optimizer, model), batch)

    def convolutions(program):
        return program.as_text().count("stablehlo.convolution")

    plain, recomputing = lowered(), lowered(kept_layers=("conv2_1", "conv3_2"))
    one, two = (program.compile()(KEY, training.init_state(optimizer, model), batch) for program in (plain, recomputing))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), one[0].model, two[0].model)
    again = convolutions(recomputing) - convolutions(plain)
    assert 0 < again <= convolutions(jax.jit(lambda model, images: model(images)[0]).lower(model, batch.image))
    nothing = lowered(kept_layers=())
    assert convolutions(nothing) >= convolutions(recomputing)


def test_bad_options_are_refused(model, batch):
    with pytest.raises(ValueError, match="expected num_microbatches >= 1, got 0; write 1 for whole batches"):
        training.StepOptions(num_microbatches=0)
    with pytest.raises(ValueError, match=r"expected ema_decay in \(0, 1\), got 1.0; write 0.999"):
        training.StepOptions(ema_decay=1.0)
    with pytest.raises(ValueError, match="expected num_microbatches to divide the 8 rows of a device, got 3"):
        after(model, batch, num_microbatches=3)
    with pytest.raises(ValueError, match=r"expected a mesh beside shard_optimizer=True, .*; write training\.sharded_step"):
        after(model, batch, shard_optimizer=True)


def test_a_plain_loss_is_an_objective(model, batch):
    objective = training.from_loss(lambda key, model, batch, step: (jnp.asarray(2.0), (model.stats, {})))
    assert objective.remember(batch) == () and objective.num_replays == 1
    assert float(functools.partial(objective, KEY)(model, batch)[0]) == 2.0


def test_replicas_wait_for_each_other_once_for_all_but_the_gradient(model, batch):
    """A sum of its own for the count would be made at the beginning, where a waiting replica keeps the thread of another."""
    objective, optimizer, mesh = training.standard(), optax.sgd(0.5), _mesh.data_mesh(2)
    step = training.sharded_step(objective, optimizer, mesh)
    state = jax.device_put(training.init_state(optimizer, model), _mesh.replicated(mesh))
    text = step.lower(KEY, state, jax.device_put(batch, _mesh.sharded(mesh))).as_text()  # pyright: ignore[reportFunctionMemberAccess]
    assert text.count('"stablehlo.all_reduce"') == len(jax.tree.leaves(model.params)) + 1
