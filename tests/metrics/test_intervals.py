"""Intervals against closed forms, coverage on toys, hand examples."""

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

from jaxinterp.metrics import (
    auroc,
    auroc_difference,
    benjamini_hochberg,
    bootstrap_difference,
    bootstrap_interval,
    mean_interval,
    prediction_interval,
    proportion_interval,
    wilson_interval,
)
from jaxinterp.metrics._intervals import cluster_weights


def test_bootstrap_interval_has_the_width_of_the_cluster_means():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(400), 5)
    values = rng.normal(size=400)[clusters]  # five copies of each: 400 independent numbers, not 2 000
    found = bootstrap_interval(rng, values, clusters)
    assert found.estimate == pytest.approx(values.mean(), abs=1e-12)
    width = 2 * 1.96 * values[::5].std() / 20
    assert found.high - found.low == pytest.approx(width, rel=0.1)


def test_bootstrap_covers_the_mean_and_ignoring_clusters_does_not():
    rng = np.random.default_rng(1)
    clusters = np.repeat(np.arange(40), 5)
    hits = {True: 0, False: 0}
    for _ in range(200):
        values = rng.normal(size=40)[clusters] + 0.3 * rng.normal(size=200)
        for clustered in hits:
            found = bootstrap_interval(rng, values, clusters if clustered else np.arange(200), num_draws=200)
            hits[clustered] += found.low <= 0 <= found.high
    assert 0.88 <= hits[True] / 200 <= 0.99
    assert hits[False] / 200 < 0.8


def test_paired_difference_is_narrower_than_an_unpaired_one():
    rng = np.random.default_rng(2)
    shared, ids = rng.normal(size=200), np.arange(200)
    paired = bootstrap_difference(rng, shared + 0.5, ids, shared, ids)
    assert paired.low == pytest.approx(0.5, abs=1e-12) and paired.high == pytest.approx(0.5, abs=1e-12)
    unpaired = bootstrap_difference(rng, shared + 0.5, ids, shared, ids + 200)
    assert unpaired.estimate == pytest.approx(0.5)
    assert unpaired.high - unpaired.low == pytest.approx(2 * 1.96 * np.sqrt(2 / 200) * shared.std(), rel=0.15)


def test_bootstrap_depends_on_the_generator_only():
    values, clusters = np.arange(30.0), np.arange(30) // 3
    one, two = (bootstrap_interval(np.random.default_rng(5), values, clusters) for _ in range(2))
    other = bootstrap_interval(np.random.default_rng(6), values, clusters)
    assert one == two
    assert one != other
    narrow = bootstrap_interval(np.random.default_rng(5), values, clusters, level=0.5)
    assert one.low < narrow.low < narrow.high < one.high


def test_one_cluster_says_nothing():
    found = bootstrap_interval(np.random.default_rng(0), np.arange(5.0), np.zeros(5, dtype=int))
    assert found.estimate == 2
    assert np.isnan(found.low) and np.isnan(found.high)


@pytest.mark.parametrize(
    ("values", "clusters", "level", "message"),
    [
        (np.zeros(0), np.zeros(0), 0.95, "at least one"),
        (np.asarray([0.0, np.nan]), np.arange(2), 0.95, "finite"),
        (np.zeros(2), np.arange(2), 95.0, "between 0 and 1"),
    ],
)
def test_bad_values_are_refused(values, clusters, level, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(np.random.default_rng(0), values, clusters, level=level)


def test_auroc_of_two_gaussians():
    rng = np.random.default_rng(3)
    positive = np.arange(2000) % 2 == 0
    scores = rng.normal(size=2000) + positive
    found = auroc(rng, scores, positive, np.arange(2000), num_draws=200)
    truth = scipy.stats.norm.cdf(1 / np.sqrt(2))
    pairs = (scores[positive][:, None] > scores[~positive][None, :]).mean()
    assert found.estimate == pytest.approx(pairs, abs=1e-12)
    assert found.low < truth < found.high
    assert found.high - found.low < 0.06


def test_auroc_counts_ties_half_and_clusters_widen_it():
    rng = np.random.default_rng(4)
    positive = np.arange(100) % 2 == 0
    assert auroc(rng, np.zeros(100), positive, np.arange(100), num_draws=10).estimate == 0.5
    scores = np.repeat(rng.normal(size=20), 5) + np.repeat(np.arange(20) % 2, 5)
    truth = np.repeat(np.arange(20) % 2 == 1, 5)
    loose = auroc(rng, scores, truth, np.repeat(np.arange(20), 5), num_draws=300)
    tight = auroc(rng, scores, truth, np.arange(100), num_draws=300)
    assert loose.high - loose.low > 1.5 * (tight.high - tight.low)
    with pytest.raises(ValueError, match="negative"):
        auroc(rng, np.zeros(3), np.ones(3, dtype=bool), np.arange(3))


def test_wilson_solves_its_equation():
    found = wilson_interval(7, 20)
    z = scipy.stats.norm.ppf(0.975)
    for end in (found.low, found.high):
        assert abs(end - 7 / 20) == pytest.approx(z * np.sqrt(end * (1 - end) / 20), abs=1e-12)
    assert wilson_interval(0, 10).low == 0
    assert wilson_interval(0, 10).high == pytest.approx(z**2 / (10 + z**2))
    assert wilson_interval(10, 10).high == 1
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(3, 2)


def test_proportion_of_clusters_counts_clusters():
    copies = np.repeat(np.arange(50) < 20, 10)
    clustered = proportion_interval(copies, np.repeat(np.arange(50), 10))
    alone = proportion_interval(np.arange(50) < 20, np.arange(50))
    assert clustered.low == pytest.approx(alone.low, abs=1e-12)
    assert clustered.estimate == 0.4
    # where every trial succeeds no variance shows: as many trials as clusters
    full = proportion_interval(np.ones(100, dtype=bool), np.repeat(np.arange(10), 10))
    assert full == wilson_interval(10, 10)


def test_benjamini_hochberg_by_hand():
    # sorted .005 .01 .03 .04 .2 against .01 .02 .03 .04 .05: the fourth is the last at or below its line
    p_values = np.asarray([0.04, 0.005, 0.2, 0.03, 0.01])
    found = benjamini_hochberg(p_values)
    assert found.rejected.tolist() == [True, True, False, True, True]
    np.testing.assert_allclose(found.adjusted, [0.05, 0.025, 0.2, 0.05, 0.025])
    assert benjamini_hochberg(p_values, rate=0.03).rejected.sum() == 2
    assert benjamini_hochberg(np.zeros(0)).rejected.shape == (0,)


def test_benjamini_hochberg_keeps_the_rate():
    rng = np.random.default_rng(7)
    shares = []
    for _ in range(300):
        scores = rng.normal(size=100)
        scores[:30] += 3
        rejected = benjamini_hochberg(2 * scipy.stats.norm.sf(np.abs(scores)), rate=0.1).rejected
        shares.append(rejected[30:].sum() / max(1, rejected.sum()))
    assert 0.04 < np.mean(shares) < 0.1  # its expectation is .7 of the rate


def test_mean_interval_is_students():
    values = np.asarray([0.31, 0.4, 0.35, 0.29])
    found = mean_interval(values, level=0.9)
    low, high = scipy.stats.t.interval(0.9, 3, values.mean(), scipy.stats.sem(values))
    assert found == pytest.approx((values.mean(), low, high))
    alone = mean_interval(values[:1])
    assert alone.estimate == 0.31 and np.isnan(alone.low) and np.isnan(alone.high)
    with pytest.raises(ValueError, match="expected finite values"):
        mean_interval(np.asarray([1.0, np.nan]))


def test_prediction_interval_holds_the_next_value():
    """As often as it says, of three normal values and one more; the interval of their mean does so far less often."""
    draws = np.random.default_rng(5).normal(7, 2, size=(4000, 4))
    inside = dict.fromkeys((mean_interval, prediction_interval), 0)
    for row in draws:
        for interval in inside:
            found = interval(row[:3], level=0.9)
            inside[interval] += found.low <= row[3] <= found.high
    assert inside[prediction_interval] / len(draws) == pytest.approx(0.9, abs=0.015)
    assert inside[mean_interval] / len(draws) < 0.8
    half = scipy.stats.t.ppf(0.975, 2) * np.std([14, 16, 13], ddof=1) * np.sqrt(1 + 1 / 3)
    assert prediction_interval(np.asarray([14, 16, 13])) == pytest.approx((43 / 3, 43 / 3 - half, 43 / 3 + half))
    assert np.isnan(prediction_interval(np.asarray([3.0])).low)


def test_auroc_equals_scikit_learn_draw_by_draw():
    """Area and interval, ties included, as `roc_auc_score` gives them for the same resampled weights."""
    rng = np.random.default_rng(3)
    scores, positive, clusters = rng.integers(0, 12, 60).astype(float), rng.random(60) < 0.4, rng.integers(0, 15, 60)
    found = auroc(np.random.default_rng(0), scores, positive, clusters, num_draws=80)
    other = rng.normal(size=60) + positive
    paired = auroc_difference(np.random.default_rng(0), other, scores, positive, clusters, num_draws=80)
    drawn, (_, index) = np.random.default_rng(0), np.unique(clusters, return_inverse=True)
    rows = [cluster_weights(drawn, len(np.unique(clusters)))[index] for _ in range(80)]
    first, second = (np.asarray([roc_auc_score(positive, one, sample_weight=row) for row in rows]) for one in (other, scores))
    assert found == pytest.approx((roc_auc_score(positive, scores), *np.quantile(second, [0.025, 0.975])), abs=1e-12)
    difference = roc_auc_score(positive, other) - roc_auc_score(positive, scores)
    assert paired == pytest.approx((difference, *np.quantile(first - second, [0.025, 0.975])), abs=1e-12)
