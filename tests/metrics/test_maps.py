"""Localisation against scikit-learn and brute force; deletion and insertion against a loop and closed forms."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from sklearn.metrics import roc_auc_score

from jaxinterp import models
from jaxinterp.metrics import deletion_insertion, localization

SIZE = 8


def test_localization_equals_the_definitions():
    rng = np.random.default_rng(0)
    maps = rng.integers(-3, 6, (6, SIZE, SIZE)).astype(float)  # ties
    known = rng.random((6, SIZE, SIZE)) < 0.2
    found = localization(maps, known, share=0.4)
    for i, (one, truth) in enumerate(zip(maps, known, strict=True)):
        assert found.auroc[i] == pytest.approx(roc_auc_score(truth.ravel(), one.ravel()))
        region = one > 0.4 * one.max()
        assert found.iou[i] == (region & truth).sum() / (region | truth).sum()
        best = max(((one >= t) & truth).sum() / ((one >= t) | truth).sum() for t in np.unique(one))
        assert found.best_iou[i] == pytest.approx(best)
        assert found.pointing[i] == truth.ravel()[one.argmax()]
        assert found.area[i] == truth.mean()


def test_localization_of_the_truth_itself_and_of_nothing():
    known = np.zeros((2, SIZE, SIZE), bool)
    known[:, 2:4, 3:6] = True
    found = localization(np.stack([known[0] * 1.0, -1.0 - known[1]]), known)
    assert (found.auroc.tolist(), found.iou.tolist(), found.pointing.tolist()) == ([1, 0], [1, 0], [True, False])
    with pytest.raises(ValueError, match="got 0 known in row 1"):
        localization(np.zeros((2, SIZE, SIZE)), known & np.asarray([True, False])[:, None, None])
    with pytest.raises(ValueError, match="maps' shape"):
        localization(np.zeros((1, SIZE, SIZE)), known)


def _apply(params, images):
    maps = models.named("units", images @ params)
    return maps.mean(axis=(1, 2))


@pytest.fixture(scope="module")
def model():
    return models.from_function(_apply, jnp.asarray(np.random.default_rng(2).random((3, 4)), jnp.float32), image_size=SIZE)


@pytest.mark.parametrize(("layer", "at"), [(None, None), ("units", None), ("units", (9, 0, 40))])
def test_curves_equal_a_loop(model, layer, at):
    rng = np.random.default_rng(3)
    images = rng.random((3, SIZE, SIZE, 3)).astype(np.float32)
    importance, numbers = rng.integers(0, 9, (3, SIZE, SIZE)).astype(float), np.asarray([1, 3, 0])
    positions = None if at is None else np.asarray(at)
    knobs: dict[str, Any] = {"num_steps": 5, "fill": 0.25, "blur": 2.0, "positions": positions}
    found = deletion_insertion(model, images, importance, numbers, layer=layer, batch_size=4, **knobs)
    assert found.deletion.shape == (3, 6)
    np.testing.assert_array_equal(found.fraction, np.round(np.arange(6) * 64 / 5) / 64)
    evaluate = jax.jit(lambda model, images: model(images))
    for i in range(3):
        order = sorted(range(64), key=lambda p, i=i: (-importance[i].ravel()[p], p))
        blurred = scipy.ndimage.gaussian_filter(images[i], (2, 2, 0), truncate=1.0)
        for step in range(6):
            first = order[: round(step * 64 / 5)]
            gone, come = images[i].reshape(64, 3).copy(), blurred.reshape(64, 3).copy()
            gone[first], come[first] = 0.25, images[i].reshape(64, 3)[first]
            for curve, picture in ((found.deletion, gone), (found.insertion, come)):
                logits, maps = evaluate(model, jnp.asarray(picture.reshape(1, SIZE, SIZE, 3)))
                values = np.asarray(maps["units"])[..., numbers[i]].ravel()
                score = values.max() if at is None else values[at[i]]
                score = jax.nn.softmax(logits)[0, numbers[i]] if layer is None else score
                assert curve[i, step] == pytest.approx(float(score), rel=1e-5)
    whole = deletion_insertion(model, images, importance, numbers, layer=layer, relative=True, **knobs)
    np.testing.assert_allclose(whole.deletion[:, 0], 1)
    np.testing.assert_allclose(whole.insertion[:, -1], 1, rtol=1e-6)
    np.testing.assert_allclose(found.deletion_auc / found.deletion[:, 0], whole.deletion_auc, rtol=1e-5)


def test_the_pixels_of_a_unit_first_are_better_than_last(model):
    image = np.full((1, SIZE, SIZE, 3), 0.1, np.float32)
    image[0, 2:4, 2:4] = 1.0
    right = image[..., 0] * 1.0
    found, other = (deletion_insertion(model, image, one, np.asarray([2]), layer="units", fill=0.0) for one in (right, -right))
    assert found.deletion_auc < other.deletion_auc
    assert found.insertion_auc > other.insertion_auc


def test_a_constant_score_has_its_own_area(model):
    image = np.full((2, SIZE, SIZE, 3), 0.5, np.float32)
    found = deletion_insertion(model, image, np.zeros((2, SIZE, SIZE)), np.asarray([0, 1]), layer="units", relative=True)
    np.testing.assert_allclose([found.deletion_auc, found.insertion_auc], 1, rtol=1e-6)


def test_bad_arguments_are_named(model):
    image, maps, numbers = np.zeros((2, SIZE, SIZE, 3), np.float32), np.zeros((2, SIZE, SIZE)), np.zeros(2, int)
    with pytest.raises(ValueError, match="repeat an image for every map of it"):
        deletion_insertion(model, image, maps[:1], numbers)
    with pytest.raises(ValueError, match="a layer and a position for each of 2 rows, got layer=None"):
        deletion_insertion(model, image, maps, numbers, positions=numbers)
    with pytest.raises(ValueError, match="num_steps >= 1"):
        deletion_insertion(model, image, maps, numbers, num_steps=0)
    with pytest.raises(ValueError, match="unknown layer 'unit'"):
        deletion_insertion(model, image, maps, numbers, layer="unit")
