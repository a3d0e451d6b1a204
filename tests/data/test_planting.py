"""Planted units answer to what they are said to answer to."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from jaxinterp import data, metrics


def _world(count=48):
    source = data.concept_world(seed=2, num_images=count, image_size=32)
    return np.stack([np.asarray(source[i].concepts) for i in range(count)]), np.asarray([source[i].label for i in range(count)])


CONCEPTS, LABELS = _world()
_PRESENT = [np.isin(CONCEPTS, c).any(axis=(1, 2, 3)).sum() for c in range(CONCEPTS.max() + 1)]
CHOSEN = [c for c in range(1, len(_PRESENT)) if 4 <= _PRESENT[c] <= 30][:16]


def _maps(plants, seed=0, noise=0.1, targets=None):
    sight = data.planted_sight(np.random.default_rng(seed), len(CONCEPTS), plants, targets=targets)
    return sight, data.planted_maps(np.random.default_rng(seed + 1), CONCEPTS, plants, sight, cell=4, noise=noise)


def _scores(maps):
    present = np.stack([np.isin(CONCEPTS, c).any(axis=(1, 2, 3)) for c in CHOSEN], axis=1)
    return np.asarray([average_precision_score(present[:, k], maps[..., k].max(axis=(1, 2))) for k in range(len(CHOSEN))])


@pytest.mark.parametrize(("strength", "low", "high"), [(1.0, 1.0, 1.0), (0.0, 0.35, 0.65)])
def test_a_perfect_plant_is_told_from_null_and_no_plant_is_not(strength, low, high):
    _, planted = _maps([data.Plant(c, strength=strength) for c in CHOSEN], noise=0.0)
    _, null = _maps([data.Plant(c, strength=0.0) for c in CHOSEN], seed=7, noise=0.0)
    score = np.concatenate([_scores(planted), _scores(null)])
    truth, clusters = np.repeat([True, False], len(CHOSEN)), np.tile(np.arange(len(CHOSEN)), 2)
    if strength == 1.0:
        np.testing.assert_allclose(_scores(planted), 1.0, atol=1e-12)
    found = metrics.auroc(np.random.default_rng(0), score, truth, clusters, num_draws=40)
    assert low - 0.05 <= found.estimate <= high
    assert strength == 1.0 or found.low < 0.5 < found.high


def test_a_null_unit_has_the_same_regions_elsewhere():
    plants = [data.Plant(CHOSEN[0], strength=s) for s in (1.0, 0.5, 0.0)]
    sight, maps = _maps(plants, noise=0.0)
    np.testing.assert_array_equal(np.sort(sight.row, axis=0), np.repeat(np.arange(len(CONCEPTS))[:, None], 3, axis=1))
    areas = np.sort(maps.mean(axis=(1, 2)), axis=0)
    np.testing.assert_array_equal(areas[:, 1], areas[:, 0])
    np.testing.assert_array_equal(areas[:, 2], areas[:, 0])


def test_the_map_is_the_share_of_each_cell():
    plant = data.Plant(CHOSEN[0], CHOSEN[1], ambiguity=1.0)
    _, maps = _maps([plant], noise=0.0)
    either = np.asarray(np.isin(CONCEPTS, CHOSEN[:2]).any(axis=3))
    assert maps[3, 2, 5, 0] == either[3, 8:12, 20:24].mean()
    assert maps.mean() == pytest.approx(either.mean(), rel=1e-5)


def test_drift_shows_the_target_and_nothing_else_changes():
    targets = np.roll(np.arange(len(CONCEPTS)), 5)
    plants = [data.Plant(CHOSEN[0], strength=0.6, drift=d) for d in (0.0, 0.4, 1.0)]
    real, _ = _maps(plants)
    attacked, _ = _maps(plants, targets=targets)
    np.testing.assert_array_equal(attacked.row[:, 0], real.row[:, 0])
    np.testing.assert_array_equal(attacked.row[:, 2], targets)
    assert not real.drifted.any()
    assert 0.1 < attacked.drifted[:, 1].mean() < 0.7
    np.testing.assert_array_equal(attacked.row, np.where(attacked.drifted, targets[:, None], real.row))


def test_same_seed_same_maps_and_units_stand_alone():
    plants = [data.Plant(c, strength=0.5) for c in CHOSEN[:3]]
    _, first = _maps(plants)
    _, second = _maps(plants)
    _, alone = _maps(plants[:1])
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(alone[..., 0], first[..., 0])


def test_errors():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"expected strength, ambiguity and drift in \[0, 1\]"):
        data.planted_sight(rng, 3, [data.Plant(1, strength=2.0)])
    with pytest.raises(ValueError, match="expected 3 targets, got 2"):
        data.planted_sight(rng, 3, [data.Plant(1)], targets=np.arange(2))
    sight = data.planted_sight(rng, len(CONCEPTS), [data.Plant(1)])
    with pytest.raises(ValueError, match="expected a cell that divides 32 pixels, got 5"):
        data.planted_maps(rng, CONCEPTS, [data.Plant(1)], sight, cell=5)
    with pytest.raises(ValueError, match="expected a sight of 48 images and 2 units"):
        data.planted_maps(rng, CONCEPTS, [data.Plant(1)] * 2, sight, cell=4)
