"""Metrics of class-specific units against transcriptions in NumPy and closed forms."""

from typing import Any

import numpy as np
import pytest
from scipy.special import digamma

from jaxinterp import metrics


def ross(values, own, neighbours=3):
    """Ross 2014, equations 1 and 2, by all pairs; distances strictly below the one to the k-th neighbour of one's own kind."""
    total, terms = len(values), []
    for i in range(total):
        distance = np.abs(values - values[i])
        kin = np.sort(distance[own == own[i]])[1:]
        k = min(neighbours, len(kin))
        radius = np.nextafter(kin[k - 1], 0)
        terms.append(digamma(total) + digamma(k) - digamma((own == own[i]).sum()) - digamma((distance <= radius).sum()))
    return max(0.0, float(np.mean(terms)))


def example(seed=0, count=90):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    features = rng.normal(size=(count, 4))
    features[:, 0] += 4 * (labels == 1)
    return features, labels


def test_mutual_information_is_that_of_the_estimator():
    features, labels = example()
    found = metrics.mutual_information(np.random.default_rng(0), features, labels, num_classes=4, num_permutations=3)
    expected = [[ross(features[:, u], labels == c) for c in range(3)] + [0.0] for u in range(4)]
    np.testing.assert_allclose(found.by_class, expected, atol=2e-3)
    assert found.score.estimate == pytest.approx(np.max(expected, axis=1).mean(), abs=2e-3)
    assert found.score.low < found.score.estimate < found.score.high
    assert found.by_class.argmax() == 1 and 0.3 < found.by_class[0, 1] <= np.log(2)
    assert found.excess > 0 and found.permuted.shape == (3,) and found.permuted.mean() > 0


def test_gates_and_confusion():
    gate = np.asarray([[1.0, 0.5, 0.0], [0.2, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert metrics.gate_density(gate) == pytest.approx(4.7 / 12)
    np.testing.assert_array_equal(metrics.class_filters(gate).sum(axis=0), [2, 1, 1])
    np.testing.assert_array_equal(metrics.block_order(gate), [2, 0, 3, 1])
    counts = metrics.confusion(np.asarray([0, 0, 1, 2]), np.asarray([0, 1, 1, 0]), num_classes=3)
    np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 1, 0], [1, 0, 0]])
    with pytest.raises(ValueError, match=r"expected a threshold in \[0, 1\), got 1.0"):
        metrics.class_filters(gate, threshold=1.0)


def test_similarity_is_correlation_and_blocks_are_found():
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(50, 2)), 3, axis=1) + 0.1 * rng.normal(size=(50, 6))
    similarity = metrics.filter_similarity(features)
    np.testing.assert_allclose(similarity, np.corrcoef(features.T), atol=1e-12)
    groups = np.asarray([0, 0, 0, 1, 1, 1])
    inside = [similarity[i, j] for i in range(6) for j in range(6) if i != j and groups[i] == groups[j]]
    assert metrics.block_score(similarity, groups) == pytest.approx(np.mean(inside) - similarity[:3, 3:].mean())
    assert metrics.block_score(similarity, groups) > 0.5 > metrics.block_score(similarity, np.asarray([0, 1, 0, 1, 0, 1]))
    assert np.isnan(metrics.block_score(similarity, np.zeros(6, int)))
    dead = metrics.filter_similarity(np.c_[features, np.ones(50)])
    assert not dead[-1].any()


def test_detection_does_not_see_the_source_images():
    """Adversarial images at a distance of their own are found; features that only name the source are of no use."""
    rng = np.random.default_rng(0)
    clean, ids = rng.normal(size=(60, 5)), np.arange(60)
    moved = clean + np.asarray([3.0, 0, 0, 0, 0])[None]
    given: Any = {"clean_ids": ids, "adversarial_ids": ids}
    found = metrics.feature_detection(rng, clean, moved, **given)
    assert found.auroc.low > 0.9 and found.scores.shape == (120,)
    nothing = metrics.feature_detection(rng, clean, clean, **given)
    assert nothing.auroc.estimate <= 0.5
    with pytest.raises(ValueError, match="expected finite features and 2 to 60 folds, got 61"):
        metrics.feature_detection(rng, clean, moved, num_folds=61, **given)
