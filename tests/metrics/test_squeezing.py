"""Feature squeezing: scores written out, the threshold at its rate, and adversarial images of a real network."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import attacks, metrics, models
from tests.attacks.toys import SIZE, conv_model, make_batch
from tests.conftest import SHARED


def squeezers(model):
    return [models.with_bit_depth(model, 2), models.with_median_filter(model, 2)]


def test_scores_are_the_largest_distance_of_the_softmax():
    model, images = conv_model(), np.asarray(make_batch(7).image)
    found = metrics.squeezing_scores(model, squeezers(model), images, batch_size=3)
    plain, *others = [np.asarray(jax.nn.softmax(m(jnp.asarray(images))[0])) for m in [model, *squeezers(model)]]
    distances = [np.abs(other - plain).sum(axis=1) for other in others]
    np.testing.assert_allclose(found, np.maximum(*distances), rtol=1e-4, atol=1e-6)
    one = metrics.squeezing_scores(model, squeezers(model)[:1], images)
    assert (one <= found + 1e-6).all()
    lossless = [models.with_bit_depth(model, 8)]
    np.testing.assert_allclose(metrics.squeezing_scores(model, lossless, images), 0, atol=1e-5)


@pytest.mark.parametrize("rate, above", [(0.0, 0), (0.05, 2), (0.1, 4), (0.5, 20)])
def test_the_threshold_is_exceeded_by_the_stated_share_of_clean_images(rate, above):
    model, images = conv_model(), np.asarray(make_batch(40).image)
    found = metrics.feature_squeezing(
        np.random.default_rng(0), model, squeezers(model), images, images, false_positive_rate=rate
    )
    assert (found.clean_scores > found.threshold).sum() == above
    assert found.false_positive_rate.estimate == above / 40
    assert found.threshold in found.clean_scores.tolist()
    # Clean images on both sides cannot be told apart.
    assert found.auroc.estimate == pytest.approx(0.5)
    assert found.detection_rate == found.false_positive_rate
    np.testing.assert_array_equal(found.clean_scores, found.adversarial_scores)


def test_a_threshold_of_other_images_is_taken_as_it_is():
    model, images = conv_model(), np.asarray(make_batch(20).image)
    first, second = images[:8], images[8:]
    found = metrics.feature_squeezing(
        np.random.default_rng(0), model, squeezers(model), first, second, threshold=0.01, adversarial_ids=np.arange(12) % 8
    )
    assert found.threshold == 0.01
    assert found.detection_rate.estimate == (found.adversarial_scores > 0.01).mean()
    assert found.auroc.low <= found.auroc.estimate <= found.auroc.high


@pytest.mark.parametrize(
    "change, message",
    [
        ({"squeezed": []}, "expected at least one squeezed version, got none"),
        ({"false_positive_rate": 1.0}, r"expected false_positive_rate in \[0, 1\), got 1.0"),
        ({"clean_ids": np.arange(3)}, "expected clean images and one id for each, got 2 images and 3 ids"),
        ({"adversarial": np.zeros((0, SIZE, SIZE, 3), np.float32)}, "expected adversarial images .* got 0 images"),
    ],
)
def test_errors(change, message):
    model, images = conv_model(), np.zeros((2, SIZE, SIZE, 3), np.float32)
    arguments: dict[str, Any] = {"squeezed": squeezers(model), "clean": images, "adversarial": images, **change}
    with pytest.raises(ValueError, match=message):
        metrics.feature_squeezing(np.random.default_rng(0), model, **arguments)


def test_adversarial_images_of_a_real_network_are_detected():
    if not SHARED.is_dir():
        pytest.skip("needs the real images and weights")
    model = models.cifar_resnet20(weights=SHARED / "data" / "weights" / "cifar10" / "resnet20.npz")
    model = models.fold_batch_norm(model)
    images, labels = (np.load(SHARED / "data" / "cifar10" / "lossless_200" / f"{name}_sdp.npy")[:60] for name in "Xy")
    # Small steps that stop soon after the boundary; far beyond it every version is confident in the same wrong class.
    attack = attacks.bim(2 / 255, num_steps=4, loss=attacks.margin)
    result = attacks.run(attack, model, images, labels, key=jax.random.key(0))
    reached = np.asarray(result.success)
    found = metrics.feature_squeezing(
        np.random.default_rng(0),
        model,
        [models.with_bit_depth(model, 5), models.with_median_filter(model, 2)],
        images,
        np.asarray(result.adversarial)[reached],
        adversarial_ids=np.flatnonzero(reached),
    )
    assert reached.mean() > 0.9
    assert found.auroc.low > 0.75
    assert found.false_positive_rate.estimate == pytest.approx(0.05)
    assert found.detection_rate.estimate > 0.4
