"""Codes split by a linear classifier, and detection by the parts."""

import numpy as np
import pytest

from jaxinterp import metrics


def test_the_rest_moves_no_difference_of_logits_and_the_parts_add_up():
    rng = np.random.default_rng(0)
    latent, weight = rng.normal(size=(7, 20)), rng.normal(size=(20, 4))
    parts = metrics.latent_decomposition(latent, weight)
    assert parts.basis.shape == (20, 3)
    logits = parts.rest @ weight
    np.testing.assert_allclose(logits, np.broadcast_to(logits.mean(1, keepdims=True), logits.shape), atol=1e-12)
    np.testing.assert_allclose(parts.read @ parts.basis.T + parts.rest, latent, atol=1e-12)
    share = 1 - (parts.rest**2).sum(1) / (latent**2).sum(1)
    np.testing.assert_allclose(parts.read_share, share, atol=1e-12)
    difference = weight[:, :1].T - weight[:, 1:2].T
    np.testing.assert_allclose(metrics.latent_decomposition(difference, weight).read_share, 1)
    assert metrics.latent_decomposition(np.zeros((1, 20)), weight).read_share == 0


def test_scores_find_what_was_planted():
    rng = np.random.default_rng(1)
    weight, bias = rng.normal(size=(30, 3)), np.zeros(3)
    basis = metrics.latent_decomposition(np.zeros((1, 30)), weight).basis
    labels = rng.integers(3, size=400)
    centres = 6 * rng.normal(size=(3, 2))
    codes = rng.normal(size=(400, 30))
    codes += (centres[labels] @ basis.T) - codes @ basis @ basis.T * 0.5
    plain = metrics.latent_scores(codes[200:], codes[:200], labels[:200], weight, bias)
    aside = rng.normal(size=(200, 30))
    aside -= aside @ basis @ basis.T
    moved = metrics.latent_scores(codes[200:] + aside, codes[:200], labels[:200], weight, bias)
    np.testing.assert_allclose(moved.read, plain.read, atol=1e-9)
    np.testing.assert_allclose(moved.margin, plain.margin, atol=1e-9)
    found = metrics.latent_detection(rng, plain, moved, negative_ids=np.arange(200), positive_ids=np.arange(200))
    assert found.rest.low > 0.9
    assert found.read.estimate == pytest.approx(0.5, abs=1e-3)
    read = metrics.latent_scores(codes[200:] + 9 * basis[:, 0], codes[:200], labels[:200], weight, bias)
    np.testing.assert_allclose(read.rest, plain.rest, atol=1e-9)
    assert read.read.mean() > 2 * plain.read.mean()


def test_the_margin_is_the_distance_to_the_nearest_plane():
    weight, bias = np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 4.0]]), np.zeros(3)
    rng = np.random.default_rng(2)
    reference = rng.normal(size=(30, 2))
    scores = metrics.latent_scores(np.array([[3.0, 0.0]]), reference, rng.integers(3, size=30), weight, bias)
    np.testing.assert_allclose(scores.margin, -min(6 / 2, 6 / np.sqrt(20)))


def test_too_few_codes():
    rng = np.random.default_rng(3)
    with pytest.raises(ValueError, match="reference codes"):
        metrics.latent_scores(np.zeros((1, 5)), rng.normal(size=(4, 5)), np.arange(4) % 2, rng.normal(size=(5, 3)), np.zeros(3))
