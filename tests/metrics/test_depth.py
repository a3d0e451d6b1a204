"""Errors of depth against plain NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import Batch, metrics
from jaxinterp.activations import DepthBins

BINS = DepthBins(smallest=1.0, largest=16.0, num_bins=4)


def batch_of(ids, truth, mask=None):
    ids = jnp.asarray(ids, jnp.int32)
    mask = jnp.ones(len(ids), bool) if mask is None else jnp.asarray(mask)
    return Batch(jnp.zeros((len(ids), 8, 8, 3)), ids, ids, ids, ids, mask, {"depth": jnp.asarray(truth)})


def metrics_loop(predicted, truth):
    predicted = np.clip(predicted.astype(np.float64), 1, 16)
    factor = np.maximum(predicted / truth, truth / predicted)
    return {
        "abs_rel": np.mean(np.abs(predicted - truth) / truth),
        "rmse": np.sqrt(np.mean((predicted - truth) ** 2)),
        "rmse_log": np.sqrt(np.mean((np.log(predicted) - np.log(truth)) ** 2)),
        **{f"within_{power}": np.mean(factor < 1.25**power) for power in (1, 2, 3)},
    }


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.5, 18, (6, 8, 8)).astype(np.float32)
    truth[rng.random(truth.shape) < 0.3] = 0
    truth[5] = 0
    predicted = (truth * rng.uniform(0.6, 1.6, truth.shape) + 0.2).astype(np.float32)
    statistic = metrics.depth_errors(BINS, num_images=6, first_id=3)
    update, states = jax.jit(statistic.update), []
    for rows in (np.arange(4), np.asarray([4, 5, 0, 0])):
        batch = batch_of(rows + 3, truth[rows], mask=[True, True, rows[2] == 2, rows[3] == 3])
        states.append(update(statistic.init(), batch, {"depth": jnp.asarray(predicted[rows])[..., None]}))
    return truth, predicted, statistic.compute(statistic.merge(*states))


def test_overall_per_image_and_per_bin_equal_numpy(case):
    truth, predicted, found = case
    valid = (truth >= 1) & (truth <= 16)
    for name, value in metrics_loop(predicted[valid], truth[valid]).items():
        np.testing.assert_allclose(found.overall[name], value, rtol=2e-6)
    for row in range(5):
        for name, value in metrics_loop(predicted[row][valid[row]], truth[row][valid[row]]).items():
            np.testing.assert_allclose(found.per_image[name][row], value, rtol=2e-6)
    assert all(np.isnan(values[5]) for values in found.per_image.values())
    for place in range(4):
        inside = (truth >= BINS.edges[place]) & (truth < BINS.edges[place + 1])
        for name, value in metrics_loop(predicted[inside], truth[inside]).items():
            np.testing.assert_allclose(found.per_bin[name][place], value, rtol=2e-6)
    assert tuple(found.overall) == metrics.DEPTH_METRICS


def test_a_perfect_prediction_errs_nowhere():
    truth = np.full((2, 8, 8), 3.0, np.float32)
    statistic = metrics.depth_errors(BINS, num_images=2)
    state = statistic.update(statistic.init(), batch_of([0, 1], truth), {"depth": jnp.asarray(truth)[..., None]})
    overall = statistic.compute(state).overall
    assert [overall[name] for name in metrics.DEPTH_METRICS] == [0, 0, 0, 1, 1, 1]
    state = statistic.update(state, batch_of([7, 1], truth), {"depth": jnp.asarray(truth)[..., None]})
    with pytest.raises(ValueError, match=r"expected ids in \[0, 2\)"):
        statistic.compute(state)
