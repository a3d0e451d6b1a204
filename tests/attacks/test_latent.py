"""The latent attack: its move against another solver, and what it does to an invertible network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxinterp import attacks, models
from tests.attacks.toys import make_batch


def least_distance(normals, heights):
    """The smallest v with `normals @ v >= heights`, by the non-negative least squares of Lawson and Hanson (LDP)."""
    system = np.vstack([normals.T, heights[None]])
    wanted = np.zeros(len(system))
    wanted[-1] = 1
    residual = system @ scipy.optimize.nnls(system, wanted)[0] - wanted
    return -residual[:-1] / residual[-1]


def problem(num_classes, size):
    rng = np.random.default_rng(num_classes)
    weight, bias = rng.normal(size=(size, num_classes)), rng.normal(size=num_classes)
    latent = 2 * rng.normal(size=(20, size))
    labels = (latent @ weight + bias).argmax(1)
    return latent, weight, bias, labels, (labels + rng.integers(1, num_classes, 20)) % num_classes


MOVE = jax.jit(attacks.smallest_latent_move)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("num_classes, size", [(3, 4), (10, 12), (12, 9)])
@pytest.mark.parametrize("overshoot", [0.0, 0.3])
def test_the_move_into_a_cell_is_that_of_another_solver(num_classes, size, overshoot):
    latent, weight, bias, labels, targets = problem(num_classes, size)
    found = MOVE(latent, weight, bias, labels, targets[:, None], overshoot=overshoot)
    for row, (code, target) in enumerate(zip(latent, targets, strict=True)):
        logits = code @ weight + bias
        heights = logits - logits[target]
        heights = heights + overshoot * heights.max()
        others = np.arange(num_classes) != target
        expected = least_distance((weight[:, [target]] - weight).T[others], heights[others])
        np.testing.assert_allclose(found.change[row], expected, atol=1e-9)
    np.testing.assert_allclose(found.distance, np.linalg.norm(found.change, axis=1), atol=1e-12)
    after = (latent + np.asarray(found.change)) @ weight + bias
    ahead = after[np.arange(20), targets] - np.where(np.eye(num_classes)[targets] > 0, -np.inf, after).max(1)
    assert ahead.min() > (1e-3 if overshoot else -1e-9)


@pytest.mark.usefixtures("float64")
def test_away_from_a_label_is_the_nearest_plane_and_the_nearest_cell():
    latent, weight, bias, labels, _ = problem(10, 12)
    nowhere = np.full((20, 1), -1)
    found = MOVE(latent, weight, bias, labels, nowhere, overshoot=0.0)
    logits = latent @ weight + bias
    gaps = logits[np.arange(20), labels][:, None] - logits
    apart = np.linalg.norm(weight[:, labels].T[:, None] - weight.T[None], axis=2)
    with np.errstate(invalid="ignore"):
        distances = np.where(apart > 0, gaps / apart, np.inf)
    np.testing.assert_allclose(found.distance, distances.min(1), rtol=1e-9)
    np.testing.assert_array_equal(found.towards, distances.argmin(1))
    every = np.array([[k if k != label else -1 for k in range(10)] for label in labels])
    np.testing.assert_allclose(MOVE(latent, weight, bias, labels, every, overshoot=0.0).change, found.change, atol=1e-9)
    longer = MOVE(latent, weight, bias, labels, nowhere, overshoot=0.5)
    np.testing.assert_allclose(longer.change, 1.5 * np.asarray(found.change), atol=1e-12)
    behind = MOVE(latent, weight, bias, (labels + 1) % 10, nowhere, overshoot=0.5)
    np.testing.assert_array_equal(behind.change, np.zeros_like(latent))


def test_on_an_invertible_network_the_code_goes_where_it_should():
    model = models.iresnet(blocks=(1,), hidden=(4,), image_size=6, num_classes=5, readout="flat", key=jax.random.key(0))
    batch = make_batch(6)
    batch = batch._replace(label=jnp.argmax(model(batch.image)[0], axis=1).astype(jnp.int32), target=batch.target * 0 - 1)
    batch = batch._replace(image=0.3 + 0.4 * batch.image)
    attack = attacks.latent_attack(models.encode, models.decode, models.readout)
    key = jax.random.key(0)
    result = attacks.run(attack, model, batch.image, batch.label, key=key)
    assert bool(result.success.all())
    state = attacks.run_batch(attack, model, batch, key=key)
    moved = np.asarray(models.encode(model, state.adversarial) - models.encode(model, batch.image))
    inside = np.asarray((state.adversarial > 0) & (state.adversarial < 1)).all((1, 2, 3))
    assert inside.any()
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1)[inside], np.asarray(state.distance)[inside], rtol=1e-3, atol=1e-5)

    chosen = attacks.latent_attack(models.encode, models.decode, models.readout, among=(1, 3), num_steps=3)
    result = attacks.run(chosen, model, batch.image, batch.label, key=key)
    predicted = np.asarray(model(result.adversarial)[0].argmax(1))
    label = np.asarray(batch.label)
    np.testing.assert_array_equal(result.success, np.isin(predicted, (1, 3)) & (predicted != label))
    assert bool(result.success[(label != 1) & (label != 3)].all())


def test_what_it_does_not_take():
    functions = (models.encode, models.decode, models.readout)
    with pytest.raises(ValueError, match="overshoot"):
        attacks.latent_attack(*functions, overshoot=-1.0)
    with pytest.raises(ValueError, match="at least one class"):
        attacks.latent_attack(*functions, among=())
