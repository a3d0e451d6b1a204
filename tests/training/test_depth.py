"""The depth objective against plain NumPy in float64, and errors that advise."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import activations, training
from jaxinterp.activations import DepthBins
from tests.attacks.toys import conv_model, make_batch
from tests.training.cases import FourLogits

pytestmark = pytest.mark.usefixtures("float64")
BINS = DepthBins(smallest=1.0, largest=16.0, num_bins=3)


def toy():
    model = conv_model(dtype=np.float64)
    return dataclasses.replace(model, network=FourLogits(model.network))


def batch():
    depth = np.random.default_rng(0).choice([0.0, 1.5, 2.0, 4.0, 12.0, 20.0], size=(5, 2, 2))
    whole = make_batch(5, dtype=np.float64)
    return whole._replace(extra={"depth": jnp.asarray(depth)}, mask=jnp.arange(5) != 3)


def test_the_loss_is_that_of_its_docstring():
    model, rows = toy(), batch()
    logits, maps = model(rows.image)
    truth, mask = np.asarray(rows.extra["depth"]), np.asarray(rows.mask)
    losses = []
    for row in np.flatnonzero(mask):
        known = (truth[row].ravel() >= 1) & (truth[row].ravel() <= 16)
        ratio = np.asarray(logits[row])[known] - np.log(truth[row].ravel()[known])
        losses.append(np.mean(ratio**2) - 0.5 * np.mean(ratio) ** 2)
    scores = []
    for name, units in (("conv1", 4), ("conv2", 6)):
        pixels = np.asarray(maps[name])[:, [1, 4]][:, :, [1, 4]]  # the middles of 2 x 2 pixels over 6 x 6 positions
        place = np.digitize(truth, BINS.edges) - 1
        place[(truth < 1) | (truth > 16) | ~mask[:, None, None]] = -1
        response = np.stack([pixels[place == number].mean(axis=0) for number in range(3)], axis=1)
        for unit in range(units):
            chosen = unit * 3 // units
            others = np.delete(response[unit], chosen).mean()
            total = response[unit, chosen] + others
            scores.append((name, (response[unit, chosen] - others) / total if total else 0.0))
    means = [np.mean([value for layer, value in scores if layer == name]) for name in ("conv1", "conv2")]
    objective = training.depth(BINS, layers=("conv1", "conv2"), selectivity_weight=0.1)
    loss, (_, found) = jax.jit(lambda model, rows: objective(jax.random.key(0), model, rows))(model, rows)
    np.testing.assert_allclose(found["depth_loss"], np.mean(losses), rtol=1e-6)
    np.testing.assert_allclose(found["selectivity"], np.mean(means), rtol=1e-6)
    np.testing.assert_allclose(loss, np.mean(losses) - 0.1 * np.sum(means), rtol=1e-6)
    plain, (_, metrics) = training.depth(BINS)(jax.random.key(0), model, rows)
    np.testing.assert_allclose(plain, np.mean(losses), rtol=1e-6)
    assert "selectivity" not in metrics


def test_errors_say_what_to_write():
    with pytest.raises(ValueError, match="expected selectivity_weight >= 0"):
        training.depth(BINS, selectivity_weight=-1.0)
    with pytest.raises(ValueError, match=r"variance_share in \[0, 1\]"):
        training.depth(BINS, variance_share=2.0)
    with pytest.raises(ValueError, match="expected one logit for each of 2 x 2 pixels of depth, got 5"):
        training.depth(BINS)(jax.random.key(0), conv_model(dtype=np.float64), batch())
    with pytest.raises(ValueError, match=r"expected batch.extra\['depth'\]"):
        training.depth(BINS)(jax.random.key(0), toy(), batch()._replace(extra={}))
    assert activations.assigned_bins(6, 3).tolist() == [0, 0, 1, 1, 2, 2]
