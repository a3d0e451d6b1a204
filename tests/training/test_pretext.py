"""Laws of the pretext tasks: answers are what was done to the image, and a network that knows nothing says log K."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxinterp import data, training
from jaxinterp.training import _pretext_tasks as tasks
from jaxinterp.training._pretext import HEAD, row_keys
from tests.attacks.toys import Conv, conv_model

KEY = jax.random.key(0)
TASKS = {
    "rotation": lambda: training.rotation(layer="conv2"),
    "jigsaw": lambda: training.jigsaw(layer="conv2", num_permutations=6, hidden=16),
    "context_prediction": lambda: training.context_prediction(layer="conv2", hidden=16, jitter=2),
    "colourisation": lambda: training.colourisation(layer="conv2", num_bins=4),
}


@functools.cache
def network():
    return dataclasses.replace(conv_model(), network=Conv(image_size=12))


@functools.cache
def batch():
    batch = next(data.batches(data.concept_world(seed=0, num_images=8, image_size=32), batch_size=8, num_threads=0))
    return jax.tree.map(jnp.asarray, batch)


def images_for(name):
    """Colourisation takes the network's own images, the others cut or resize theirs."""
    if name != "colourisation":
        return batch()
    return batch()._replace(image=jax.image.resize(batch().image, (8, 12, 12, 3), "linear"))


@pytest.mark.parametrize("name", TASKS)
def test_untrained_says_log_k_and_training_lowers_it(name):
    pretext = TASKS[name]()
    model = pretext.start(jax.random.key(1), network())
    optimizer = optax.adam(1e-2)
    step = jax.jit(training.train_step(pretext.objective, optimizer))
    state = training.init_state(optimizer, model)
    losses = []
    for _ in range(30):
        # The step is in the key: held at 0, the same question is asked again.
        state, metrics = step(KEY, state._replace(step=jnp.int32(0)), images_for(name))
        losses.append(float(metrics["loss"]))
    np.testing.assert_allclose(losses[0], np.log(pretext.num_classes), rtol=0.03)
    assert losses[-1] < 0.7 * losses[0]
    trained = training.without_head(state.model)
    assert jax.tree.structure(trained.params) == jax.tree.structure(network().params)
    assert HEAD in state.model.params
    moved = trained.params["conv1"] - network().params["conv1"]
    assert float(jnp.abs(moved).max()) > 0


@pytest.mark.parametrize("name", TASKS)
def test_loss_depends_on_key_and_id_alone(name):
    pretext = TASKS[name]()
    model = pretext.start(jax.random.key(1), network())
    model.params[HEAD]["last"]["bias"] = jnp.arange(pretext.num_classes, dtype=jnp.float32)  # answers differ in cost
    loss = jax.jit(lambda key, batch: pretext.objective(key, model, batch)[0])
    given = images_for(name)
    order = jnp.asarray([3, 1, 7, 0, 2, 6, 5, 4])
    shuffled = jax.tree.map(lambda leaf: leaf[order], given)
    np.testing.assert_allclose(loss(KEY, given), loss(KEY, shuffled), rtol=1e-5)
    padded = given._replace(mask=jnp.arange(8) < 5, image=given.image.at[5:].set(0.0))
    alone = given._replace(mask=jnp.arange(8) < 5)
    np.testing.assert_allclose(loss(KEY, padded), loss(KEY, alone), rtol=1e-5)
    if name != "colourisation":
        assert loss(KEY, given) != loss(jax.random.key(5), given)
        assert loss(KEY, given) != loss(KEY, given._replace(id=given.id + 100))


def test_turns_are_those_of_numpy():
    images, turns = batch().image, jnp.arange(8) % 4
    expected = [np.rot90(image, k=number % 4) for number, image in enumerate(np.asarray(images))]
    np.testing.assert_array_equal(tasks.turned(images, turns), np.stack(expected))


def test_cells_lie_in_reading_order():
    rows = jnp.arange(30.0)
    image = jnp.stack([rows[:, None] + 0 * rows[None], 0 * rows[:, None] + rows[None]], axis=-1)
    cells = tasks._cells(KEY, image, 3)
    assert cells.shape == (9, 7, 7, 2)
    for number, cell in enumerate(np.asarray(cells)):
        assert (cell[..., 0] // 10 == number // 3).all()
        assert (cell[..., 1] // 10 == number % 3).all()
    with pytest.raises(ValueError, match="expected a jitter of 0 to 6 pixels"):
        tasks._cells(KEY, image, 8)


def test_tiles_are_normalised():
    parts = tasks.normalised(jax.random.uniform(KEY, (5, 9, 9, 3)) * 0.2 + 0.7)
    np.testing.assert_allclose(parts.mean(axis=(1, 2)), 0.5, atol=0.01)
    np.testing.assert_allclose(parts.std(axis=(1, 2)), 0.25, atol=0.01)
    np.testing.assert_array_equal(tasks.normalised(jnp.full((1, 4, 4, 3), 0.3)), 0.5)


def test_permutations_are_far_apart():
    table = training.hamming_permutations(24)
    assert (np.sort(table, axis=1) == np.arange(9)).all()
    distance = (table[:, None] != table[None]).sum(axis=2)
    assert distance[~np.eye(24, dtype=bool)].min() == 7
    np.testing.assert_array_equal(table[:5], training.hamming_permutations(5))
    with pytest.raises(ValueError, match="expected 2 to 1000 permutations"):
        training.hamming_permutations(1)


def test_chroma_cells_by_hand():
    pixels = jnp.asarray([[0.0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 0, 1]]).reshape(1, 2, 2, 3)
    cells = np.asarray(tasks.chroma_cells(pixels, (2, 2), 4)).ravel()
    blue, red = cells // 4, cells % 4
    assert (blue[:2] == 2).all()  # greys lie in the middle
    assert (red[:2] == 2).all()
    assert (blue[2], red[2]) == (1, 3)  # Cb of red is 0.33, Cr is 1
    assert (blue[3], red[3]) == (3, 1)


def test_a_row_key_is_of_its_id():
    keys = row_keys(KEY, jnp.asarray([4, 9, -1]))
    np.testing.assert_array_equal(jax.random.key_data(keys[1]), jax.random.key_data(jax.random.fold_in(KEY, 9)))


def test_errors_say_what_to_write():
    with pytest.raises(ValueError, match=r"write pretext.start\(key, model\) first"):
        TASKS["rotation"]().objective(KEY, network(), batch())
    with pytest.raises(ValueError, match="expected num_bins >= 2"):
        training.colourisation(layer="conv2", num_bins=1)
    with pytest.raises(ValueError, match="params are a dict"):
        TASKS["rotation"]().start(KEY, dataclasses.replace(network(), params=[1]))
    with pytest.raises(ValueError, match="unknown layer"):
        training.rotation(layer="conv9").start(KEY, network())
