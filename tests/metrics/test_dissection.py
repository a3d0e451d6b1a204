"""IoU tables, the two counting rules, and the permuted-label null."""

from typing import Any

import jax
import numpy as np
import pytest

from jaxinterp import Layer, data
from jaxinterp.activations import MaskSet, Tally, masks, tally
from jaxinterp.metrics import detectors, iou_table, permuted_null, tally_of_masks
from tests.activations.scenes import CATEGORIES, Scene, equal, fold, iou_loop, quantile_loop, tally_loop

LAYER = Layer("conv", (4, 4, 5), stride=4.0, offset=1.5, receptive_field=7)


def _tally(intersection, unit_area, label_area, images, categories):
    names = tuple(dict.fromkeys(categories[1:]))
    arrays = [np.asarray(a, np.int64) for a in (intersection, unit_area, unit_area, label_area, images)]
    return Tally(arrays[0], arrays[1], arrays[2][:, 0], arrays[3], arrays[4], 50, 8, categories, names)


HAND = _tally(
    [[0, 50, 10, 0, 40], [0, 4, 0, 30, 9], [0, 0, 0, 0, 0]],
    [[100, 60], [100, 40], [0, 0]],
    [0, 150, 100, 60, 50],
    [0, 30, 20, 10, 9],
    ("none", "color", "color", "part", "part"),
)


def test_iou_by_hand():
    expected = [[0, 50 / 200, 10 / 190, 0, 40 / 70], [0, 4 / 246, 0, 30 / 70, 9 / 81], [0, 0, 0, 0, 0]]
    assert np.array_equal(iou_table(HAND), np.asarray(expected))


def test_both_counting_rules_by_hand():
    found = detectors(HAND, min_images=1)
    assert found.concept.tolist() == [4, 3, 0]
    assert found.detects.tolist() == [True, True, False]
    assert (found.number, found.ratio, found.unique) == (2, 2 / 3, 2)
    assert found.by_best == {"color": 0, "part": 2}
    assert found.by_category == {"color": 1, "part": 2}, "unit 0 counts twice"
    assert found.unique_by_best == {"color": 0, "part": 2}
    assert found.unique_by_category == {"color": 1, "part": 2}
    assert np.allclose(found.attainable, [1.0, 1.0, 0.0])


def test_rare_concepts_are_left_out_and_counted():
    found = detectors(HAND)
    assert (found.eligible, found.excluded) == (3, 1)
    assert found.concept.tolist() == [1, 3, 0], "concept 4 is carried by 9 images"
    assert found.by_category == {"color": 1, "part": 1}
    assert detectors(HAND, min_images=31).number == 0


def test_threshold_is_exceeded_not_reached():
    assert detectors(HAND, threshold=0.25).number == 1
    assert detectors(HAND, threshold=np.nextafter(0.25, 0)).number == 2
    with pytest.raises(ValueError, match="expected 0 <= threshold < 1"):
        detectors(HAND, threshold=1.0)


def test_attainable_is_bounded_by_the_areas():
    table = _tally([[0, 5]], [[10]], [0, 1000], [0, 30], ("none", "scene"))
    assert detectors(table).attainable.tolist() == [0.01]


def _masks_of(scene, thresholds, **knobs):
    store = masks(scene.layer, thresholds=thresholds, num_images=len(scene), first_id=7, **knobs)
    return store.compute(fold(store, scene.batches(np.arange(len(scene)), 8)))


def test_tables_agree_streamed_stored_and_in_plain_numpy():
    scene = Scene(11, num_images=37, exact=False)
    thresholds = quantile_loop(scene.maps, 0.05)
    knobs: dict[str, Any] = {"label_size": 16, "image_size": 16}
    statistic = tally(LAYER, thresholds=thresholds, categories=CATEGORIES, **knobs)
    streamed = statistic.compute(fold(statistic, scene.batches(np.arange(37), 8)))
    stored = _masks_of(scene, thresholds, label_layers=3, **knobs)
    loop = tally_loop(scene, thresholds, image_size=16)
    assert equal(streamed, loop)
    assert equal(tally_of_masks(stored, CATEGORIES), loop)
    assert np.array_equal(iou_table(streamed), iou_loop(loop))

    pairing = np.random.default_rng(0).permutation(37)
    order = np.argsort(scene.id)
    scene.maps, scene.concepts = scene.maps[order], scene.concepts[order][pairing]
    shuffled = tally_loop(scene, thresholds, image_size=16)
    assert equal(tally_of_masks(stored, CATEGORIES, pairing=pairing), shuffled)


def _random_world(seed, *, num_images=120, side=16, num_units=60, per_category=8):
    """Masks and label maps in blocks, drawn apart from each other."""
    random = np.random.default_rng(seed)
    blocks = random.integers(1, per_category + 1, (num_images, 4, 4, 3)) * (random.random((num_images, 4, 4, 3)) < 0.7)
    blocks += (blocks > 0) * per_category * np.arange(3)
    concepts = np.repeat(np.repeat(blocks, side // 4, axis=1), side // 4, axis=2)
    mask = np.zeros((num_images, side, side, num_units), bool)
    for unit in range(num_units):
        extent = int(random.integers(2, 7))
        for _ in range(max(1, int(0.02 * num_images * side**2 / extent**2))):
            image, y, x = random.integers((0, 0, 0), (num_images, side - extent + 1, side - extent + 1))
            mask[image, y : y + extent, x : x + extent, unit] = True
    categories = ("none", *np.repeat(["color", "part", "object"], per_category).tolist())
    return mask, concepts, categories


def _stored(mask, concepts, source_id=None):
    n, side = mask.shape[:2]
    packed = np.packbits(mask.reshape(n, side**2, -1), axis=1)
    ids = np.arange(n)
    maps = concepts.reshape(n, side**2, -1).astype(np.uint16)
    return MaskSet(ids, ids if source_id is None else source_id, packed, maps, side)


def test_null_is_calibrated():
    values, survivors = [], 0
    for seed in range(6):
        mask, concepts, categories = _random_world(seed)
        null = permuted_null(jax.random.key(seed), _stored(mask, concepts), categories, num_draws=20)
        values.append(null.p_value)
        survivors += int(null.survives.sum())
        assert abs(null.number.excess) < 4 * np.sqrt(null.number.mean + 1) + 1
    values = np.concatenate(values)
    assert survivors <= 2
    assert 0.02 < (values < 0.05).mean() < 0.09
    assert 0.4 < values.mean() < 0.6


def test_planted_unit_survives():
    mask, concepts, categories = _random_world(9)
    mask[..., 3] = (concepts == 5).any(axis=-1)
    null = permuted_null(jax.random.key(0), _stored(mask, concepts), categories, num_draws=10)
    assert null.observed.iou[3] == 1.0
    assert null.observed.concept[3] == 5
    assert null.survives[3]
    assert null.survives.sum() <= 2
    assert null.p_value[3] < 1e-4
    assert null.by_category["color"].observed >= 1
    assert null.number.low <= null.number.mean <= null.number.high


@pytest.mark.parametrize("area_rule", ["carried", "touched"])
def test_the_null_counts_by_the_same_rule_as_the_tally(area_rule):
    mask, concepts, categories = _random_world(4, num_units=6)
    mask[..., 0] = False
    stored = _stored(mask, concepts)
    null = permuted_null(jax.random.key(0), stored, categories, num_draws=5, min_images=1, area_rule=area_rule)
    expected = detectors(tally_of_masks(stored, categories, area_rule=area_rule), min_images=1)
    assert equal(null.observed, expected)
    order = np.asarray(jax.random.permutation(jax.random.fold_in(jax.random.key(0), 2), len(mask)))
    shuffled = detectors(tally_of_masks(stored, categories, pairing=order, area_rule=area_rule), min_images=1)
    np.testing.assert_array_equal(null.draws[2], shuffled.iou)


def test_same_key_same_null():
    mask, concepts, categories = _random_world(2, num_units=8)
    once, again = (permuted_null(jax.random.key(1), _stored(mask, concepts), categories, num_draws=5) for _ in range(2))
    assert equal(once, again)
    other = permuted_null(jax.random.key(2), _stored(mask, concepts), categories, num_draws=5)
    assert not equal(once.draws, other.draws)


def test_images_of_one_source_stay_together():
    # Five adversarial images of each source, all with the source's masks and labels: nothing is learnt from the copies.
    mask, concepts, categories = _random_world(3, num_images=60)
    copies = np.repeat(np.arange(60), 5)
    alone = permuted_null(jax.random.key(0), _stored(mask, concepts), categories, num_draws=8)
    together = permuted_null(jax.random.key(0), _stored(mask[copies], concepts[copies], copies), categories, num_draws=8)
    assert (together.num_images, together.num_sources) == (300, 60)
    assert np.array_equal(alone.p_value, together.p_value)
    assert alone.number == together.number


def test_silent_units_have_no_p_value_below_one():
    mask, concepts, categories = _random_world(4, num_units=4)
    mask[..., 2] = False
    null = permuted_null(jax.random.key(0), _stored(mask, concepts), categories, num_draws=5)
    assert null.p_value[2] == 1.0
    assert not null.survives[2]
    assert null.observed.concept[2] == 0


def test_bad_arguments_are_named():
    mask, concepts, categories = _random_world(5, num_images=12, num_units=2)
    key, stored = jax.random.key(0), _stored(mask, concepts)
    with pytest.raises(ValueError, match="expected num_draws >= 5, got 4"):
        permuted_null(key, stored, categories, num_draws=4)
    with pytest.raises(ValueError, match="at least 2 source images"):
        permuted_null(key, stored._replace(source_id=np.zeros(12, int)), categories)
    with pytest.raises(ValueError, match="expected concept numbers below 3"):
        tally_of_masks(stored, categories[:3])
    with pytest.raises(ValueError, match="expected a pairing of 12 rows"):
        tally_of_masks(stored, categories, pairing=np.arange(3))


def test_a_unit_of_the_concept_world_that_sees_its_labels():
    source = data.concept_world(num_images=64, seed=3)
    concepts = np.stack([np.asarray(source[i].concepts) for i in range(64)])
    table = source.concepts
    counts = np.bincount(concepts[..., 3].reshape(64, -1).max(axis=1), minlength=len(table.categories))
    scene = int(counts[1:].argmax()) + 1
    random = np.random.default_rng(0)
    mask = random.random((64, *concepts.shape[1:3], 24)) < 0.005
    mask[..., 0] = (concepts == scene).any(axis=-1)
    null = permuted_null(jax.random.key(0), _stored(mask, concepts), table.categories, min_images=2)
    assert null.observed.iou[0] == 1.0
    assert table.categories[null.observed.concept[0]] == "scene"
    assert null.survives.tolist() == [True] + 23 * [False]
