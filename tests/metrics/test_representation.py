"""r1 and r2 against plain loops and planted clusters."""

import numpy as np
import pytest

from jaxinterp.metrics import RealFeatures, representation_consistency
from jaxinterp.metrics import _representation as module


def _planted(rng, *, d=8, a_class=30, classes=4, spread=1.0, gap=10.0):
    """Gaussian clusters at `gap / sqrt(2)` on the axes, so that centres lie `gap` apart."""
    label = np.repeat(np.arange(classes), a_class)
    centres = gap / np.sqrt(2) * np.eye(classes, d)
    features = centres[label] + spread * rng.normal(size=(len(label), d))
    return RealFeatures(features, label, 100 + np.arange(len(label))), centres


def _by_loops(real, features, source_ids, targets):
    r1, r2 = [], []
    for x, source, target in zip(features, source_ids, targets, strict=True):
        own = real.label[real.id == source][0]
        near = real.features[(real.label == own) & (real.id != source)]
        far = real.features[real.label == target]
        r1.append(np.linalg.norm(near - x, axis=1).mean() / np.linalg.norm(far - x, axis=1).mean())
        r2.append(np.linalg.norm(near.mean(axis=0) - x) / np.linalg.norm(far.mean(axis=0) - x))
    return np.asarray(r1), np.asarray(r2)


def _attacked(rng, real, targets_a_source=3):
    source = np.repeat(rng.permutation(len(real.id))[:20], targets_a_source)
    targets = (real.label[source] + np.tile([1, 2, 3], 20)) % 4
    return real.features[source] + rng.normal(size=(60, real.features.shape[1])), real.id[source], targets


@pytest.mark.parametrize("chunk", [1, 4_000_000])
def test_equals_plain_loops(monkeypatch, chunk):
    monkeypatch.setattr(module, "CHUNK", chunk)
    rng = np.random.default_rng(0)
    real, _ = _planted(rng)
    order = rng.permutation(len(real.id))  # neither ids nor labels in order
    real = RealFeatures(real.features[order], real.label[order], real.id[order])
    features, source_ids, targets = _attacked(rng, real)
    found = representation_consistency(real, features, source_ids, targets)
    r1, r2 = _by_loops(real, features, source_ids, targets)
    np.testing.assert_allclose(found.r1, r1, rtol=1e-9)
    np.testing.assert_allclose(found.r2, r2, rtol=1e-9)
    clean = real.features[[np.flatnonzero(real.id == i)[0] for i in source_ids]]
    r1, r2 = _by_loops(real, clean, source_ids, targets)
    np.testing.assert_allclose(found.clean_r1, r1, rtol=1e-6)
    np.testing.assert_allclose(found.clean_r2, r2, rtol=1e-9)
    assert found.used.all()


def test_closed_form_between_the_centres():
    rng = np.random.default_rng(1)
    real, centres = _planted(rng, a_class=4000, spread=1e-3)
    along = np.asarray([0.0, 0.25, 0.5, 0.75])  # from the own centre to that of the target
    features = centres[0] + along[:, None] * (centres[1] - centres[0])
    found = representation_consistency(real, features, np.full(4, real.id[0]), np.full(4, 1))
    np.testing.assert_allclose(found.r1[1:], along[1:] / (1 - along[1:]), rtol=1e-3)
    np.testing.assert_allclose(found.r2, along / (1 - along), atol=1e-4)


def test_closed_form_of_clean_gaussians():
    # E|x - y|^2 = 2 d s^2 within a class and + gap^2 between; |x - mean|^2 = d s^2 and + gap^2 (many dimensions)
    rng = np.random.default_rng(2)
    real, _ = _planted(rng, d=400, a_class=200, gap=20.0)
    source = np.flatnonzero(real.label == 0)
    found = representation_consistency(real, real.features[source], real.id[source], np.full(len(source), 1))
    assert np.mean(found.clean_r1) == pytest.approx(np.sqrt(800 / 1200), rel=0.02)
    assert np.mean(found.clean_r2) == pytest.approx(np.sqrt(400 / 800), rel=0.02)


def test_the_source_image_left_out_matters():
    rng = np.random.default_rng(3)
    real, _ = _planted(rng, d=100, a_class=10, gap=0.0)  # no classes at all: r is 1 for clean images
    source = np.arange(40)
    targets = (real.label + 1) % 4
    found = representation_consistency(real, real.features, real.id, targets)
    assert np.mean(found.clean_r2) == pytest.approx(1, abs=0.02)
    assert np.mean(found.clean_r1) == pytest.approx(1, abs=0.02)
    kept = [
        np.linalg.norm(real.features[real.label == real.label[i]].mean(axis=0) - real.features[i])
        / np.linalg.norm(real.features[real.label == targets[i]].mean(axis=0) - real.features[i])
        for i in source
    ]
    assert np.mean(kept) < 0.92


def test_images_moved_to_the_target_have_r_above_one():
    rng = np.random.default_rng(4)
    real, centres = _planted(rng)
    features, source_ids, targets = _attacked(rng, real)
    label = real.label[source_ids - 100]
    found = representation_consistency(real, features + centres[targets] - centres[label], source_ids, targets)
    assert (found.r1 > 1).all() and (found.r2 > 1).all()
    assert (found.clean_r1 < 1).all() and (found.clean_r2 < 1).all()


def test_rare_classes_are_refused_or_merged():
    rng = np.random.default_rng(5)
    real, _ = _planted(rng, a_class=6)
    source_ids, targets = real.id[[0, 0, 23]], np.asarray([1, 2, 0])
    with pytest.raises(ValueError, match="superclasses"):
        representation_consistency(real, real.features[:3], source_ids, targets)
    groups = np.asarray([0, 0, 1, 1])
    found = representation_consistency(real, real.features[:3], source_ids, targets, groups=groups)
    assert found.used.tolist() == [False, True, True]
    for values in (found.r1, found.r2, found.clean_r1, found.clean_r2):
        assert np.isfinite(values).tolist() == [False, True, True]
    merged = real._replace(label=groups[real.label])
    r1, r2 = _by_loops(merged, real.features[1:3], source_ids[1:], groups[targets[1:]])
    np.testing.assert_allclose(found.r1[1:], r1, rtol=1e-6)
    np.testing.assert_allclose(found.r2[1:], r2, rtol=1e-6)


def test_bad_arguments_are_refused():
    rng = np.random.default_rng(6)
    real, _ = _planted(rng)
    with pytest.raises(ValueError, match="no image 7"):
        representation_consistency(real, real.features[:1], np.asarray([7]), np.asarray([1]))
    with pytest.raises(ValueError, match="features an image"):
        representation_consistency(real, real.features[:1, :3], real.id[:1], np.asarray([1]))
    with pytest.raises(ValueError, match="group for each"):
        representation_consistency(real, real.features[:1], real.id[:1], np.asarray([1]), groups=np.zeros(2, dtype=int))
