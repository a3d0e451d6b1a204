"""Average precision, two-concept formulas and the stability of labels, against scikit-learn and brute force."""

import itertools

import jax
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from jaxinterp.activations import ConceptHistogram, MaskSet, histogram_edges
from jaxinterp.metrics import (
    OPERATORS,
    average_precision,
    detectors,
    formula_texts,
    formulas,
    iou_table,
    label_stability,
    precise_concepts,
    precision_null,
    tally_of_masks,
)

CATEGORIES = ("none", "color", "color", "part", "part", "object", "object")
SIDE = 6


def _histogram(values, present, edges):
    bins = (values[:, :, None] > edges[None]).sum(axis=2)
    one_hot = bins[:, :, None] == np.arange(edges.shape[1] + 1)[None, None]
    carried = np.concatenate([np.ones((len(present), 1), bool), present[:, 1:]], axis=1)
    return ConceptHistogram(np.einsum("nq,nub->qub", carried, one_hot, dtype=np.int64), edges)


def _ranked(seed, num_images=60):
    rng = np.random.default_rng(seed)
    present = rng.random((num_images, 5)) < np.asarray([0.5, 0.2, 0.4, 0.9, 0.5])[None]
    values = np.round(rng.normal(size=(num_images, 4)) * 4) / 4  # ties
    values[:, 1] += 2 * present[:, 2]
    return values.astype(np.float32), present


def test_average_precision_is_that_of_scikit_learn():
    values, present = _ranked(0)
    edges = histogram_edges(values, num_bins=60)
    assert edges.shape == (4, 59)
    table = average_precision(_histogram(values, present, edges))
    assert np.isnan(table[:, 0]).all()
    for unit, concept in itertools.product(range(4), range(1, 5)):
        assert table[unit, concept] == pytest.approx(average_precision_score(present[:, concept], values[:, unit]))


def test_few_bins_are_ties_and_lie_close_at_the_top():
    values, present = _ranked(1, num_images=400)
    values += np.random.default_rng(0).random(values.shape).astype(np.float32) / 100
    edges = histogram_edges(values, num_bins=12)
    above = (values[:, :, None] > edges[None]).sum(axis=0)
    assert (above[:, -1] == 1).all()
    assert (np.diff(above, axis=1) < 0).all()
    table = average_precision(_histogram(values, present, edges))
    binned = (values[:, :, None] > edges[None]).sum(axis=2)
    for unit, concept in itertools.product(range(4), range(1, 5)):
        assert table[unit, concept] == pytest.approx(average_precision_score(present[:, concept], binned[:, unit]))
        exact = average_precision_score(present[:, concept], values[:, unit])
        assert table[unit, concept] == pytest.approx(exact, abs=0.06)
    with pytest.raises(ValueError, match="at least 2 bins and 2 rows"):
        histogram_edges(values[:1], num_bins=12)


def test_the_best_concept_is_that_of_highest_lift():
    values, present = _ranked(2)
    found = precise_concepts(_histogram(values, present, histogram_edges(values, num_bins=60)), min_images=6)
    assert found.concept[1] == 2
    assert found.eligible == sum(6 <= present[:, q].sum() <= 54 for q in range(1, 5))
    share = present[:, 2].mean()
    precision = average_precision_score(present[:, 2], values[:, 1])
    assert found.average_precision[1] == pytest.approx(precision)
    assert found.lift[1] == pytest.approx((precision - share) / (1 - share))
    rare = precise_concepts(_histogram(values, present, histogram_edges(values, num_bins=60)), max_share=share - 0.01)
    assert rare.concept[1] != 2 and rare.eligible < found.eligible and (rare.prevalence <= share - 0.01).all()


def test_the_null_of_average_precision():
    rng = np.random.default_rng(3)
    present = rng.random((150, 9)) < 0.3
    values = rng.random((150, 40))
    values[:, 7] += present[:, 4]
    null = precision_null(jax.random.key(0), values, present, num_draws=6)
    assert (null.draws.shape, null.num_sources) == ((6, 40), 150)
    assert null.survives[7]
    assert null.survives.sum() <= 2
    edges = histogram_edges(values, num_bins=150)
    streamed = precise_concepts(_histogram(values.astype(np.float32), present, edges))
    np.testing.assert_allclose(null.observed.lift, streamed.lift)
    with pytest.raises(ValueError, match="a source for each of 150 images"):
        precision_null(jax.random.key(0), values, present, source_id=np.arange(3))
    with pytest.raises(ValueError, match="num_draws >= 5"):
        precision_null(jax.random.key(0), values, present, num_draws=2)


def _masks(seed, *, num_images=24, num_units=5, plant=True):
    rng = np.random.default_rng(seed)
    layers = [rng.integers(1, 3, (num_images, SIDE, SIDE)) + 2 * layer for layer in range(3)]
    concepts = np.stack([layer * (rng.random(layer.shape) < 0.7) for layer in layers], axis=-1)
    concepts[::5] *= (np.arange(3) != 1)[None, None, None]  # no parts in some images
    mask = rng.random((num_images, SIDE, SIDE, num_units)) < 0.15
    if plant:
        carries = {c: (concepts == c).any(axis=-1) for c in range(1, 7)}
        mask[..., 0] = carries[1] & carries[3]
        mask[..., 1] = carries[2] | carries[6]
        mask[..., 2] = carries[5] & ~carries[4]
    packed = np.packbits(mask.reshape(num_images, SIDE**2, num_units), axis=1)
    maps = concepts.reshape(num_images, SIDE**2, 3).astype(np.uint16)
    ids = np.arange(num_images)
    return mask, concepts, MaskSet(ids, ids // 2, packed, maps, SIDE)


def _brute(mask, concepts, unit, firsts):
    """Every formula from pixels: (IoU, operator, a, b)."""
    carries = {c: (concepts == c).any(axis=-1) for c in range(1, 7)}
    in_image = {
        name: np.asarray(np.isin(concepts, [c for c in range(7) if CATEGORIES[c] == name]).any(axis=(1, 2, 3)))
        for name in CATEGORIES
    }
    found = []
    for how, a, b in itertools.product(range(3), firsts, range(1, 7)):
        if a != b:
            pair = {0: carries[a] & carries[b], 1: carries[a] | carries[b], 2: carries[a] & ~carries[b]}[how]
            counted = mask[..., unit] & (in_image[CATEGORIES[a]] | in_image[CATEGORIES[b]])[:, None, None]
            shared = (counted & pair).sum()
            found.append((shared / max(counted.sum() + pair.sum() - shared, 1), how, a, b))
    return found


@pytest.mark.parametrize("beam", [None, 2])
def test_formulas_equal_brute_force(beam):
    mask, concepts, stored = _masks(0)
    found = formulas(jax.random.key(0), stored, CATEGORIES, beam=beam, num_draws=5, min_images=1)
    single = detectors(tally_of_masks(stored, CATEGORIES), min_images=1)
    np.testing.assert_array_equal(found.single, single.concept)
    np.testing.assert_allclose(found.single_iou, single.iou)
    order = np.argsort(-iou_table(tally_of_masks(stored, CATEGORIES)), axis=1, kind="stable")
    for unit in range(5):
        every = _brute(mask, concepts, unit, range(1, 7) if beam is None else sorted(order[unit][:beam]))
        best = max(every, key=lambda one: one[0])
        assert (found.iou[unit], found.operator[unit], found.first[unit], found.second[unit]) == best
    if beam is None:
        assert found.iou[:3].tolist() == [1, 1, 1]
        assert formula_texts(found, ("none", *"abcdef"))[:3] == ("a and c", "b or f", "e and not d")
        assert OPERATORS[found.operator[2]] == "and not"


def test_the_null_of_formulas_makes_the_same_search():
    mask, concepts, stored = _masks(1)
    found = formulas(jax.random.key(4), stored, CATEGORIES, num_draws=5, min_images=1)
    assert (found.num_images, found.num_sources) == (24, 12)
    order = np.asarray(jax.random.permutation(jax.random.fold_in(jax.random.key(4), 3), 12))
    pairing = 2 * order[np.arange(24) // 2]
    for unit in range(5):
        best = max(_brute(mask, concepts[pairing], unit, range(1, 7)))[0]
        assert found.draws[3, unit] == pytest.approx(best)
    single = detectors(tally_of_masks(stored, CATEGORIES, pairing=pairing), min_images=1)
    np.testing.assert_allclose(found.single_draws[3], single.iou)
    assert (found.draws >= found.single_draws * 0.5).all()


def test_formulas_of_noise_do_not_survive():
    _, _, stored = _masks(2, num_images=60, num_units=40, plant=False)
    found = formulas(jax.random.key(0), stored, CATEGORIES, num_draws=8, min_images=2)
    assert found.survives.sum() <= 1
    assert found.p_value.mean() > 0.3
    silent = stored._replace(mask=stored.mask * 0)
    nothing = formulas(jax.random.key(0), silent, CATEGORIES, num_draws=5, min_images=2)
    assert (nothing.first.max(), nothing.iou.max(), nothing.p_value.min()) == (0, 0, 1)
    assert formula_texts(nothing, ("none", *"abcdef"))[0] == "none"


def test_stability_equals_dissection_of_repeated_images():
    _, _, stored = _masks(3)
    found = label_stability(np.random.default_rng(5), stored, CATEGORIES, num_draws=8, threshold=0.1, min_images=1)
    rng, kept, detected, own = np.random.default_rng(5), [], [], []
    for _ in range(8):
        weight = np.bincount(rng.integers(0, 12, 12), minlength=12)[np.arange(24) // 2]
        rows = np.repeat(np.arange(24), weight)
        fields = ("id", "source_id", "mask", "concepts")
        tally = tally_of_masks(stored._replace(**{name: getattr(stored, name)[rows] for name in fields}), CATEGORIES)
        again = detectors(tally, min_images=1)
        kept.append(again.concept == found.concept)
        detected.append(kept[-1] & (again.iou > 0.1))
        own.append(iou_table(tally)[np.arange(5), found.concept])
    np.testing.assert_allclose(found.kept, np.mean(kept, axis=0))
    np.testing.assert_allclose(found.detected, np.mean(detected, axis=0))
    whole = detectors(tally_of_masks(stored, CATEGORIES), min_images=1)
    assert np.array_equal(found.concept, whole.concept)
    np.testing.assert_allclose([found.low, found.high], np.quantile(own, (0.025, 0.975), axis=0))
    assert (found.num_draws, found.num_sources) == (8, 12)
    assert (found.kept + found.rival_share <= 1 + 1e-9).all()


def test_a_unit_that_is_its_concept_keeps_it_and_noise_does_not():
    mask, concepts, stored = _masks(6, num_images=60, num_units=6, plant=False)
    mask[..., 3] = (concepts == 4).any(axis=-1)
    stored = stored._replace(mask=np.packbits(mask.reshape(60, SIDE**2, 6), axis=1))
    found = label_stability(np.random.default_rng(0), stored, CATEGORIES, num_draws=50)
    assert (found.concept[3], found.kept[3], found.low[3], found.rival[3]) == (4, 1, 1, 0)
    assert found.kept[[0, 1, 2, 4, 5]].mean() < 0.9
    with pytest.raises(ValueError, match="at least 2 draws and 2 source images, got 1 and 30"):
        label_stability(np.random.default_rng(0), stored, CATEGORIES, num_draws=1)


def test_bad_arguments_are_named():
    stored = _masks(7)[2]
    with pytest.raises(ValueError, match="expected beam >= 1 or None, got 0"):
        formulas(jax.random.key(0), stored, CATEGORIES, beam=0)
    with pytest.raises(ValueError, match="num_draws >= 5"):
        formulas(jax.random.key(0), stored, CATEGORIES, num_draws=4)
    with pytest.raises(ValueError, match="at least 2 source images"):
        formulas(jax.random.key(0), stored._replace(source_id=np.zeros(24, int)), CATEGORIES)
