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


def after(model, batch, *, devices=None, objective=None, steps=2, **options):
    """The state and the metrics after some steps of plain descent with momentum."""
    objective = objective or training.consistent(attacks.fgsm(4 / 255), layer="conv2")
    optimizer, chosen = optax.sgd(0.5, momentum=0.9), training.StepOptions(**options)
    memory = objective.remember(batch)
    state = training.init_state(optimizer, model, memory=memory, average=chosen.ema_decay is not None)
    if devices is None:
        step = jax.jit(training.train_step(objective, optimizer, options=chosen))
    else:
        mesh = _mesh.data_mesh(devices)
        step = training.sharded_step(objective, optimizer, mesh, options=chosen)
        whole = jax.device_put(jax.tree.map(jnp.array, state._replace(memory=())), _mesh.replicated(mesh))
        state = whole._replace(memory=jax.device_put(memory, _mesh.sharded(mesh)))
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
