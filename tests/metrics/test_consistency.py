"""LC, CS1 and CS2: closed forms, laws, unbiasedness, and units planted in a whole study."""

import numpy as np
import pytest

from jaxinterp.metrics import (
    ImagePool,
    TopImages,
    class_distribution,
    consistency,
    consistency_study,
    level_consistency,
    level_floor,
    level_null,
    similarity,
    split_half_reliability,
    unbiased_level_consistency,
)
from jaxinterp.metrics._consistency_study import _without_split_noise
from jaxinterp.metrics._unit_classes import gather, measure, measure_split, permuted_targets, random_targets

RNG = np.random.default_rng(0)
PATHS = np.asarray([[0, 2, 8, 9], [2, 0, 8, 9], [8, 8, 0, 3], [9, 9, 3, 0]])
D = similarity(PATHS)


def test_similarity_is_the_gaussian_of_the_path():
    assert D[0, 1] == pytest.approx(np.exp(-0.5))
    assert similarity(PATHS, sigma=1.0)[2, 3] == pytest.approx(np.exp(-4.5))
    assert (np.diag(D) == 1).all()
    with pytest.raises(ValueError, match="sigma"):
        similarity(PATHS, sigma=0.0)


def test_class_distribution_counts_top_images():
    labels = np.asarray([[0, 3], [0, -1], [1, 3]])
    np.testing.assert_allclose(class_distribution(labels, 4), [[2 / 3, 1 / 3, 0, 0], [0, 0, 0, 1]])
    assert np.isnan(class_distribution(np.full((2, 1), -1), 4)).all()
    with pytest.raises(ValueError, match="labels from"):
        class_distribution(labels, 3)


def test_level_consistency_bounds_and_closed_forms():
    p = RNG.dirichlet(np.ones(4), size=50)
    lc = level_consistency(p, D)
    assert (lc >= (p**2).sum(axis=1) - 1e-12).all()
    assert (lc <= 1 + 1e-12).all()
    assert level_consistency(np.eye(4), D).tolist() == [1, 1, 1, 1]
    pair = np.asarray([0.5, 0.5, 0, 0])
    assert level_consistency(pair, D) == pytest.approx((1 + np.exp(-0.5)) / 2)
    np.testing.assert_allclose(lc, [q @ D @ q for q in p])


def test_level_floor_is_reached_by_unlike_classes():
    n = 10
    assert level_consistency(np.full(n, 1 / n), np.eye(n)) == pytest.approx(level_floor(n))


def test_unbiased_level_is_the_mean_over_distinct_pairs():
    labels = RNG.integers(0, 4, size=(12, 3))
    found = unbiased_level_consistency(class_distribution(labels, 4), D, 12)
    for unit in range(3):
        pairs = D[np.ix_(labels[:, unit], labels[:, unit])]
        assert found[unit] == pytest.approx(pairs[~np.eye(12, dtype=bool)].mean())
    assert np.isnan(unbiased_level_consistency(np.eye(4)[0], D, 1))


@pytest.mark.parametrize("n", [2, 10, 100])
def test_unbiased_level_does_not_depend_on_the_number_of_images(n):
    rng = np.random.default_rng(n)
    p = np.asarray([0.4, 0.1, 0.2, 0.3])
    labels = rng.choice(4, p=p, size=(n, 4000))
    drawn = class_distribution(labels, 4)
    found = unbiased_level_consistency(drawn, D, n)
    truth = p @ D @ p
    assert found.mean() == pytest.approx(truth, abs=5 * found.std() / np.sqrt(4000))
    plain = level_consistency(drawn, D).mean()
    assert plain == pytest.approx(truth + (1 - truth) / n, abs=5 * found.std() / np.sqrt(4000))


def test_consistency_closed_forms():
    p = np.asarray([[0.5, 0.5, 0, 0], [1.0, 0, 0, 0], [0.1, 0.2, 0.3, 0.4]])
    q = np.asarray([[0, 0.5, 0.5, 0], [0, 0, 1.0, 0], [0.1, 0.2, 0.3, 0.4]])
    np.testing.assert_allclose(consistency(p, q), [0.5, 0, 1], atol=1e-12)
    smoothed = consistency(p, q, similarity=D)
    assert smoothed[1] == pytest.approx(D[0, 2])
    assert smoothed[2] == pytest.approx(1)
    first = p[0] @ D @ q[0] / np.sqrt((p[0] @ D @ p[0]) * (q[0] @ D @ q[0]))
    assert smoothed[0] == pytest.approx(first)
    np.testing.assert_allclose(consistency(p, q, similarity=np.eye(4)), consistency(p, q), atol=1e-12)
    np.testing.assert_allclose(consistency(q, p, similarity=D), smoothed)


def test_null_of_random_sets():
    labels = np.repeat(np.arange(4), 50)
    null = level_null(np.random.default_rng(1), labels, D, 20)
    pairs = D[np.ix_(labels, labels)][~np.eye(200, dtype=bool)]
    assert null.mean == pytest.approx(pairs.mean(), abs=0.005)
    assert null.low < null.mean < null.high
    whole = level_null(np.random.default_rng(1), labels, D, 200, num_draws=3)
    assert whole.mean == pytest.approx(pairs.mean())
    assert whole.high - whole.low < 1e-9
    with pytest.raises(ValueError, match="whole pool"):
        level_null(np.random.default_rng(1), labels, D, 201)


def test_reliability_follows_spearman_and_brown():
    rng = np.random.default_rng(2)
    truth, noise = rng.normal(size=20000), rng.normal(size=(2, 20000))
    halves = truth + noise
    whole = np.corrcoef(halves.mean(axis=0), truth)[0, 1] ** 2  # reliability: squared correlation with the truth
    assert split_half_reliability(halves[0], halves[1]) == pytest.approx(whole, abs=0.02)
    assert split_half_reliability(truth, truth) == pytest.approx(1)
    assert np.isnan(split_half_reliability(np.ones(5), truth[:5]))
    assert np.isnan(split_half_reliability(truth[:2], truth[:2]))


CLASSES, SOURCES, TARGETS = 8, 800, 4


def _world(rng: np.random.Generator) -> tuple[ImagePool, ImagePool]:
    """Real images of eight classes, each attacked towards four others; ids neither dense nor in order."""
    ids = rng.permutation(5 * SOURCES)[:SOURCES]
    label = np.arange(SOURCES) % CLASSES
    source = np.repeat(np.arange(SOURCES), TARGETS)
    step = np.argsort(rng.random((SOURCES, CLASSES - 1)), axis=1)[:, :TARGETS] + 1
    target = (label[source] + step.ravel()) % CLASSES
    real = ImagePool(ids, ids, label, np.full(SOURCES, -1))
    return real, ImagePool(10 * ids[source] + np.tile(np.arange(TARGETS), SOURCES), ids[source], label[source], target)


def _top(ids: np.ndarray, score: np.ndarray, t: int) -> np.ndarray:
    return ids[np.argsort(-score, axis=0)[:t]]


def _units(rng, real, adversarial, *, follows, num_units=40, t=100):
    """Units that like one class more and more; on adversarial images they follow the original class or the target."""
    liked, strength = np.arange(num_units) % CLASSES, np.linspace(0.0, 4.0, num_units)
    clean = rng.normal(size=(SOURCES, num_units)) + strength * (real.label[:, None] == liked)
    seen = adversarial.label if follows == "label" else adversarial.target
    noise = rng.normal(size=(len(seen), num_units))
    attacked = noise + strength * (seen[:, None] == liked) if follows != "nothing" else noise
    return TopImages(_top(real.id, clean, t), _top(adversarial.id, attacked, 4 * t), _top(real.id, clean, t))


SIMILARITY = similarity(np.where(np.eye(CLASSES, dtype=bool), 0, 6))
FEW = {"num_draws": 40, "num_splits": 10, "num_null_sets": 100}


def test_controls_stay_within_their_class():
    adversarial = _world(np.random.default_rng(3))[1]
    shuffled = permuted_targets(np.random.default_rng(4), adversarial)
    assert (shuffled != adversarial.target).mean() > 0.5
    for label in range(CLASSES):
        of = adversarial.label == label
        assert sorted(shuffled[of]) == sorted(adversarial.target[of])
    drawn = random_targets(np.random.default_rng(4), adversarial, CLASSES)
    assert (drawn != adversarial.label).all()
    counts = np.bincount(drawn, minlength=CLASSES) / len(drawn)
    np.testing.assert_allclose(counts, 1 / CLASSES, atol=0.03)


def test_measures_equal_plain_counting():
    rng = np.random.default_rng(5)
    real, adversarial = _world(rng)
    top = _units(rng, real, adversarial, follows="target", num_units=5)
    top.real[-1, 0] = -1  # a unit with one image fewer
    data = gather(top, real, adversarial, SIMILARITY)
    weights = rng.integers(0, 3, data.num_sources).astype(float)
    weight_of = dict(zip(np.unique(real.id).tolist(), weights.tolist(), strict=True))
    found = measure(np.random.default_rng(0), data, weights)
    marginal = np.zeros(CLASSES)
    for source, target in zip(adversarial.source_id, adversarial.target, strict=True):
        marginal[target] += weight_of[source]
    for unit in range(5):
        p, orig, target, free = np.zeros((4, CLASSES))
        for image in top.real[:, unit]:
            if image >= 0:
                p[real.label[real.id == image][0]] += weight_of[image]
        for image in top.adversarial[:, unit]:
            row = np.flatnonzero(adversarial.id == image)[0]
            orig[adversarial.label[row]] += weight_of[adversarial.source_id[row]]
            target[adversarial.target[row]] += weight_of[adversarial.source_id[row]]
        for image in top.clean[:, unit]:
            for row in np.flatnonzero(adversarial.source_id == image):
                free[adversarial.target[row]] += weight_of[image]
        for name, q in (("cs1", orig), ("cs2", target), ("attack_free", free), ("marginal", marginal)):
            cosine = p @ q / np.sqrt((p @ p) * (q @ q))
            assert found[name][unit] == pytest.approx(cosine), name


def test_weights_count_like_copies_in_the_unbiased_level():
    rng = np.random.default_rng(6)
    real, adversarial = _world(rng)
    top = _units(rng, real, adversarial, follows="label", num_units=3)
    data = gather(top, real, adversarial, SIMILARITY)
    split = measure_split(np.random.default_rng(9), data, np.ones(data.num_sources))
    part = np.random.default_rng(9).permutation(SOURCES) * 4 // SOURCES
    in_a = dict(zip(np.unique(real.id).tolist(), (part >= 2).tolist(), strict=True))
    label_of = dict(zip(real.id.tolist(), real.label.tolist(), strict=True))
    for unit in range(3):
        for name, half in (("lc_a", True), ("lc_b", False)):
            labels = [label_of[i] for i in top.real[:, unit] if in_a[i] == half]
            pairs = SIMILARITY[np.ix_(labels, labels)][~np.eye(len(labels), dtype=bool)]
            assert split[name][unit] == pytest.approx(pairs.mean())


def test_units_that_follow_the_original_class():
    rng = np.random.default_rng(7)
    real, adversarial = _world(rng)
    study = consistency_study(rng, _units(rng, real, adversarial, follows="label"), real, adversarial, SIMILARITY, **FEW)
    strong = study.bin == study.bin.max()
    assert study.scores["cs1"][strong].mean() > 0.95
    assert study.scores["disjoint"][strong].mean() == pytest.approx(study.scores["ceiling"][strong].mean(), abs=0.05)
    # a class is never its own target: CS2 falls as LC rises, exactly as without any attack
    assert study.effects["excess"].direction == "undecided"
    assert study.curves["cs2"].mean[-1] < study.curves["cs2"].mean[0]
    assert abs(study.means["excess"].estimate) < 0.1
    assert (study.num_images, study.num_images_a_class) == (SOURCES, SOURCES // CLASSES)
    assert study.under_powered  # 800 images
    assert study.reliability > 0.8


def test_units_that_follow_the_target():
    rng = np.random.default_rng(8)
    real, adversarial = _world(rng)
    study = consistency_study(rng, _units(rng, real, adversarial, follows="target"), real, adversarial, SIMILARITY, **FEW)
    assert study.effects["cs1"].direction == "falls"
    assert study.effects["excess"].direction == "rises"
    assert study.effects["ratio"].direction == "falls"
    strong = study.bin == study.bin.max()
    for control in ("attack_free", "permuted", "marginal", "random"):
        assert study.scores["cs2"][strong].mean() > study.scores[control][strong].mean() + 0.2, control
    for name, curve in study.curves.items():
        assert (curve.low <= curve.mean + 1e-12).all() and (curve.mean <= curve.high + 1e-12).all(), name
    assert (np.diff(study.bin_lc) > 0).all()
    assert (np.bincount(study.bin) == 4).all()
    assert study.floor == pytest.approx(0.01)
    assert study.lc_null.low < study.scores["lc_u"][0] < study.lc_null.high  # a unit that likes nothing


def test_random_units_show_no_effect_and_lie_in_the_nulls():
    rng = np.random.default_rng(9)
    real, adversarial = _world(rng)
    top = _units(rng, real, adversarial, follows="nothing")
    clean = _top(real.id, rng.normal(size=(SOURCES, 40)), 100)
    study = consistency_study(rng, top._replace(real=clean, clean=clean), real, adversarial, SIMILARITY, **FEW)
    assert [effect.direction for effect in study.effects.values()] == ["undecided"] * 3
    for name, null in (("cs1", study.cs1_null), ("cs2", study.cs2_null), ("lc_u", study.lc_null)):
        inside = (study.scores[name] >= null.low) & (study.scores[name] <= null.high)
        assert inside.mean() > 0.8, name
    assert study.scores["permuted"].mean() == pytest.approx(study.scores["cs2"].mean(), abs=0.01)
    assert abs(study.reliability) < 0.7


def test_few_top_images_decide_nothing():
    rng = np.random.default_rng(10)
    real, adversarial = _world(rng)
    top = _units(rng, real, adversarial, follows="target", t=20)
    study = consistency_study(rng, top, real, adversarial, SIMILARITY, **FEW)
    assert study.effects["excess"].difference.low > 0
    assert study.effects["excess"].direction == "undecided"


def test_split_noise_comes_out_of_the_spread():
    rng = np.random.default_rng(13)
    draws = rng.normal(size=(20000, 1)) + 2 * rng.normal(size=(20000, 4))  # splits four times as noisy as the images
    spread = _without_split_noise(draws, 20)
    assert spread.var() == pytest.approx(1 + 4 / 20, rel=0.05)
    assert spread.mean() == pytest.approx(draws.mean())
    same = np.repeat(draws[:, :1], 2, axis=1)
    np.testing.assert_allclose(_without_split_noise(same, 20), draws[:, 0])


def test_the_generator_decides_every_draw():
    rng = np.random.default_rng(11)
    real, adversarial = _world(rng)
    top = _units(rng, real, adversarial, follows="target", num_units=4)
    settings = {"num_draws": 3, "num_splits": 2, "num_null_sets": 5}
    one, two = (consistency_study(np.random.default_rng(1), top, real, adversarial, SIMILARITY, **settings) for _ in range(2))
    assert one.means == two.means
    assert one.effects == two.effects
    assert one.curves["cs2"].low.shape == (4,)


def test_bad_lists_are_refused():
    rng = np.random.default_rng(12)
    real, adversarial = _world(rng)
    top = _units(rng, real, adversarial, follows="label", num_units=4)
    with pytest.raises(ValueError, match="same units"):
        consistency_study(rng, top._replace(real=top.real[:, :3]), real, adversarial, SIMILARITY)
    with pytest.raises(ValueError, match="ids of its pool"):
        consistency_study(rng, top._replace(real=top.real + 10**6), real, adversarial, SIMILARITY)
    with pytest.raises(ValueError, match="dead units"):
        consistency_study(rng, top._replace(clean=np.full_like(top.clean, -1)), real, adversarial, SIMILARITY)
    with pytest.raises(ValueError, match="a row a class"):
        consistency_study(rng, top, real, adversarial, SIMILARITY[:4, :4])
