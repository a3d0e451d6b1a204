"""Ablation of sets of units: predictions against one set at a time, effects against plain counting."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import models, tracing
from jaxinterp.metrics import ablation_effect


def _apply(params, images):
    """Class k is the channel that is largest, by units 2 k and 2 k + 1; units 6 to 11 do nothing."""
    cells = models.named("units", jnp.maximum(images[:, ::4, ::4] @ params["units"], 0))
    return cells.mean(axis=(1, 2)) @ params["head"]


@pytest.fixture(scope="module")
def model():
    units = np.zeros((3, 12), np.float32)
    head = np.zeros((12, 3), np.float32)
    for k in range(3):
        units[k, 2 * k : 2 * k + 2] = 1
        head[2 * k : 2 * k + 2, k] = 1
    units[:, 6:] = 0.4
    return models.from_function(_apply, {"units": jnp.asarray(units), "head": jnp.asarray(head)}, image_size=8)


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    images = rng.random((60, 8, 8, 3)).astype(np.float32) * 0.5
    images[np.arange(60), :, :, labels] += 0.4
    return images, labels


def test_predictions_are_those_of_one_set_at_a_time(model, world):
    images, labels = world
    sets = np.random.default_rng(1).random((5, 12)) < 0.4
    sets[0] = False
    found = tracing.ablated_predictions(model, images, sets, layer="units", batch_size=16)
    assert found.shape == (5, 60)
    assert np.array_equal(found[0], labels)
    ablate = jax.jit(lambda model, images, units: tracing.ablate(model, images, units, layer="units"))
    for row, units in zip(found, sets, strict=True):
        logits = ablate(model, images, np.broadcast_to(units, (60, 12)))
        assert np.array_equal(row, np.asarray(logits).argmax(axis=1))
    mesh = jax.make_mesh((3,), ("rows",))
    split = tracing.ablated_predictions(model, images, sets, layer="units", batch_size=16, mesh=mesh)
    assert np.array_equal(split, found)
    with pytest.raises(ValueError, match="expected sets of 12 units, as layer 'units' has, got 3"):
        tracing.ablated_predictions(model, images, sets[:, :3], layer="units")


def test_matched_sets_are_other_units():
    units = np.zeros(12, bool)
    units[:2] = True
    found = tracing.matched_sets(np.random.default_rng(0), units, np.linspace(0, 1, 12), count=7)
    assert found.shape == (7, 12)
    assert (found.sum(axis=1) == 2).all()
    assert not found[:, :2].any()
    assert len(np.unique(found, axis=0)) > 1


def test_silencing_the_detectors_of_a_class_costs_that_class(model, world):
    images, labels = world
    detectors = np.isin(np.arange(12), [2, 3])  # class 1
    rng = np.random.default_rng(2)
    controls = tracing.matched_sets(rng, detectors, np.full(12, 0.5) + 0.5 * (np.arange(12) < 2), count=20)
    sets = np.concatenate([np.zeros((1, 12), bool), detectors[None], controls])
    said = tracing.ablated_predictions(model, images, sets, layer="units")
    found = ablation_effect(rng, labels, said[0], said[1], said[2:], num_classes=4, num_draws=100)
    assert (found.accuracy[:3] == 1).all()
    assert found.drop[1] == 1
    assert (found.drop[[0, 2]] == 0).all()
    assert found.low[1] > 0.5
    assert found.num_images.tolist() == [20, 20, 20, 0]
    assert np.isnan([found.accuracy[3], found.low[3], found.p_value[3]]).all()
    assert found.survives.tolist() == [False, (found.p_value[1] <= 0.05 / 3), False, False]
    assert found.overall.low <= found.overall.estimate <= found.overall.high


def test_the_effect_equals_plain_counting():
    rng = np.random.default_rng(3)
    labels, whole, ablated = rng.integers(0, 4, (3, 80))
    controls = rng.integers(0, 4, (9, 80))
    found = ablation_effect(np.random.default_rng(0), labels, whole, ablated, controls, num_classes=4, num_draws=20)
    for k in range(4):
        of = labels == k
        accuracy = (whole == k)[of].mean()
        drops = [accuracy - (control == k)[of].mean() for control in controls]
        drop = accuracy - (ablated == k)[of].mean()
        assert found.accuracy[k] == pytest.approx(accuracy)
        assert found.drop[k] == pytest.approx(drop)
        assert found.control_drop[k] == pytest.approx(np.mean(drops))
        assert found.excess[k] == pytest.approx(drop - np.mean(drops))
        assert found.p_value[k] == pytest.approx((1 + sum(d >= drop - 1e-9 for d in drops)) / 10)
        assert found.low[k] <= found.high[k]
    assert found.overall.estimate == pytest.approx((controls == labels[None]).mean() - (ablated == labels).mean())
    assert found.num_sets == 9


def test_a_set_like_its_controls_has_no_effect():
    labels = np.arange(40) % 2
    same = np.zeros(40, int)
    clusters = np.arange(40) // 4
    found = ablation_effect(
        np.random.default_rng(0), labels, labels, same, np.stack([same] * 5), num_classes=2, clusters=clusters, num_draws=50
    )
    assert (found.excess == 0).all() and (found.low == 0).all() and (found.high == 0).all()
    assert found.overall == (0, 0, 0)
    assert not found.survives.any()
    with pytest.raises(ValueError, match="labels from 0 to 0 and at least one control set"):
        ablation_effect(np.random.default_rng(0), labels, labels, same, np.stack([same]), num_classes=1)
