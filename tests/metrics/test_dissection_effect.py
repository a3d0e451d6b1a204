"""Differences between versions of one set of images: equal to counting afresh, zero for equal sets, found where planted."""

import numpy as np
import pytest

from jaxinterp.activations import MaskSet
from jaxinterp.metrics import detectors, dissection_effect, tally_of_masks
from jaxinterp.metrics._dissection_effect import _Counts

SIDE, UNITS, PER_CATEGORY = 8, 12, 4
CATEGORIES = ("none", *["color"] * PER_CATEGORY, *["object"] * PER_CATEGORY)
RNG = np.random.default_rng


def stored(mask: np.ndarray, concepts: np.ndarray) -> MaskSet:
    packed = np.packbits(mask.reshape(len(mask), SIDE**2, -1), axis=1)
    maps = concepts.reshape(len(mask), SIDE**2, -1).astype(np.uint16)
    return MaskSet(np.arange(len(mask)), np.arange(len(mask)), packed, maps, SIDE)


def first_of(masks: MaskSet, count: int) -> MaskSet:
    return MaskSet(masks.id[:count], masks.source_id[:count], masks.mask[:count], masks.concepts[:count], SIDE)


def labels(seed: int, count: int) -> np.ndarray:
    """Quarters of the image with a colour and an object each."""
    draws = RNG(seed).integers(0, PER_CATEGORY + 1, (count, 2, 2, 2)) + np.asarray([0, PER_CATEGORY])
    draws[..., 1] *= draws[..., 1] > PER_CATEGORY
    return draws.repeat(SIDE // 2, axis=1).repeat(SIDE // 2, axis=2)


def planted(concepts: np.ndarray, share: float, seed: int = 1) -> np.ndarray:
    """Unit k answers to concept 1 + k mod 8 on a share of its pixels, and anywhere at random now and then."""
    wanted = 1 + np.arange(UNITS) % (2 * PER_CATEGORY)
    there = (concepts[..., None] == wanted).any(axis=3)
    random = RNG(seed)
    return (there & (random.random(there.shape) < share)) | (random.random(there.shape) < 0.02)


CONCEPTS = labels(0, 40)
REAL = stored(planted(CONCEPTS, 0.6), CONCEPTS)
OFF = stored(planted(CONCEPTS, 0.0), CONCEPTS)


def test_equal_sets_differ_in_nothing():
    effect = dissection_effect(RNG(0), {"real": REAL, "adversarial": REAL, "noise": REAL}, CATEGORIES, num_draws=20)
    assert effect.number == effect.unique == effect.kept_difference == (0, 0, 0)
    assert effect.kept["adversarial"] == (1, 1, 1)
    assert effect.num_reference == UNITS and effect.num_images == 40


def test_what_was_planted_is_found():
    effect = dissection_effect(RNG(0), {"real": REAL, "adversarial": OFF, "noise": REAL}, CATEGORIES, threshold=0.15)
    assert effect.number.estimate == -UNITS and effect.number.high < 0
    assert effect.unique.estimate == -2 * PER_CATEGORY and effect.unique.high < 0
    assert set(effect.by_category) == {"color", "object"} and effect.by_category["object"].high < 0
    assert effect.kept["adversarial"].estimate == 0 and effect.kept["noise"].estimate == 1
    assert effect.kept_difference.high < 0


def test_weights_of_one_count_as_the_tally_does():
    found = detectors(tally_of_masks(REAL, CATEGORIES), min_images=5)
    counted = _Counts(REAL, CATEGORIES, 0.04, 5).detected(np.ones(40))
    assert np.array_equal(counted.concept, np.where(found.detects, found.concept, 0))
    assert (counted.number, counted.unique, counted.by_category) == (found.number, found.unique, found.by_category)


def test_a_weight_is_so_many_copies_of_an_image():
    weight = RNG(3).integers(0, 3, 40)
    rows = np.repeat(np.arange(40), weight)
    copies = MaskSet(np.arange(len(rows)), rows, REAL.mask[rows], REAL.concepts[rows], SIDE)
    found = detectors(tally_of_masks(copies, CATEGORIES), min_images=1)
    counted = _Counts(REAL, CATEGORIES, 0.04, 1).detected(weight.astype(np.float64))
    assert np.array_equal(counted.concept, np.where(found.detects, found.concept, 0))
    assert counted.by_category == found.by_category


def test_nothing_detected_keeps_nothing():
    effect = dissection_effect(RNG(0), {"real": OFF, "adversarial": OFF, "noise": OFF}, CATEGORIES, threshold=0.5, num_draws=5)
    assert effect.num_reference == 0 and np.isnan(effect.kept_difference).all()


def test_other_images_and_missing_sets_are_refused():
    fewer = first_of(OFF, 20)
    with pytest.raises(ValueError, match="expected the images of 'real' in 'noise'"):
        dissection_effect(RNG(0), {"real": REAL, "adversarial": OFF, "noise": fewer}, CATEGORIES)
    with pytest.raises(ValueError, match="expected a set 'noise', got: real, adversarial"):
        dissection_effect(RNG(0), {"real": REAL, "adversarial": OFF}, CATEGORIES)
    one = first_of(OFF, 1)
    with pytest.raises(ValueError, match="at least 2 source images"):
        dissection_effect(RNG(0), dict.fromkeys(("real", "adversarial", "noise"), one), CATEGORIES)
