"""Randomised smoothing: a linear classifier has its certified radius in closed form, and the bounds are exact."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats

from jaxinterp import Model, attacks, metrics, models
from tests.attacks.toys import SIZE, Linear, conv_model
from tests.conftest import SHARED

KEY = jax.random.key(0)


def halfspaces(count, *, seed=0):
    """A linear classifier of two classes, images, its prediction on each and their Euclidean distance to the hyperplane."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=SIZE * SIZE * 3)
    direction /= np.linalg.norm(direction)
    images = rng.random((count, SIZE, SIZE, 3)).astype(np.float32)
    distance = images.reshape(count, -1) @ direction - 0.5 * direction.sum()
    params = {
        "weight": jnp.asarray(np.stack([direction, -direction], axis=1), jnp.float32),
        "bias": jnp.asarray([-0.5 * direction.sum(), 0.5 * direction.sum()], jnp.float32),
    }
    return Model(params, {}, Linear(num_classes=2)), images, np.where(distance > 0, 0, 1), np.abs(distance)


@pytest.mark.parametrize("trials", [1, 10, 1000])
def test_lower_bound_is_that_of_scipy(trials):
    successes = np.unique(np.linspace(0, trials, 7).astype(int))
    for level in (0.9, 0.999):
        found = metrics.binomial_lower_bound(successes, trials, level=level)
        for count, bound in zip(successes, found, strict=True):
            expected = scipy.stats.binomtest(int(count), trials, alternative="greater").proportion_ci(level, method="exact").low
            np.testing.assert_allclose(bound, expected, rtol=1e-10)


def test_lower_bound_covers():
    """The exact probability that the bound is at most the proportion, for every proportion; close to the level for some."""
    trials, level = 30, 0.95
    bounds = metrics.binomial_lower_bound(np.arange(trials + 1), trials, level=level)
    proportions = np.linspace(0.01, 0.99, 197)
    chances = scipy.stats.binom.pmf(np.arange(trials + 1)[None], trials, proportions[:, None])
    coverage = (chances * (bounds[None] <= proportions[:, None])).sum(axis=1)
    assert coverage.min() >= level
    assert coverage.min() < level + 0.01


def test_radius_of_a_linear_classifier_is_the_distance_to_its_hyperplane():
    model, images, prediction, distance = halfspaces(40)
    certificate = metrics.certify(KEY, model, images, sigma=0.5, num_estimation=4000, batch_size=4096)
    said = certificate.prediction >= 0
    np.testing.assert_array_equal(certificate.prediction[said], prediction[said])
    # Of forty images at a failure probability of 1/1000, none fails.
    assert (certificate.radius <= distance).all()
    probability = scipy.special.ndtr(distance / 0.5)
    error = np.sqrt(probability * (1 - probability) / 4000)
    assert (np.abs(certificate.probability - probability) < 7 * error + 0.002)[said].all()
    within = (probability > 0.6) & (probability < 0.99)
    assert within.sum() > 10
    assert (certificate.radius[within] > 0.75 * distance[within]).all()
    assert not said[probability < 0.5].any()


def test_few_draws_certify_too_much_no_more_often_than_promised():
    model, images, _, distance = halfspaces(400, seed=1)
    failure = 0.1
    certificate = metrics.certify(
        KEY, model, images, sigma=0.5, num_selection=5, num_estimation=25, failure_probability=failure, batch_size=4096
    )
    wrong = (certificate.radius > distance).sum()
    assert scipy.stats.binomtest(int(wrong), 400, failure, alternative="greater").pvalue > 0.01
    assert wrong > 0
    assert (certificate.prediction == -1).any()


def test_the_largest_radius_is_that_of_unanimous_draws():
    model, images, _, _ = halfspaces(3)
    model = Model(jax.tree.map(lambda leaf: 0 * leaf, model.params), {}, model.network)
    certificate = metrics.certify(KEY, model, images, sigma=0.25, num_estimation=50, failure_probability=0.01)
    np.testing.assert_allclose(certificate.radius, 0.25 * scipy.special.ndtri(0.01 ** (1 / 50)), rtol=1e-9)
    np.testing.assert_array_equal(certificate.prediction, 0)


def test_an_image_has_the_same_draws_alone_in_any_order_and_in_batches_of_any_size():
    model, images, _, _ = halfspaces(5)
    arguments: dict[str, Any] = {"sigma": 0.7, "num_selection": 3, "num_estimation": 41}
    together = metrics.certify(KEY, model, images, **arguments, batch_size=64)
    other = metrics.certify(KEY, model, images, **arguments, batch_size=7)
    order = np.asarray([3, 0, 4])
    some = metrics.certify(KEY, model, images[order], **arguments, ids=order, batch_size=50)
    for field, again, part in zip(together, other, some, strict=True):
        np.testing.assert_array_equal(field, again)
        np.testing.assert_array_equal(field[order], part)
    assert len(np.unique(together.probability)) > 1
    different = metrics.certify(jax.random.key(1), model, images, **arguments)
    assert not np.array_equal(different.probability, together.probability)


def test_predictions_abstain_where_the_draws_do_not_decide():
    model, images, prediction, distance = halfspaces(200)
    found = metrics.smoothed_predict(KEY, model, images, sigma=0.5, num_draws=60, failure_probability=0.05, batch_size=4096)
    said = found >= 0
    assert said[distance > 0.5].all()
    assert not said[distance < 0.02].any()
    assert (found[said] != prediction[said]).sum() <= 0.05 * 200
    # Abstains exactly where the binomial test does: of sixty draws, thirty-nine to twenty-one is the first to decide.
    assert scipy.stats.binomtest(39, 60).pvalue < 0.05 < scipy.stats.binomtest(38, 60).pvalue


def test_certified_accuracy():
    certificate = metrics.Certificate(
        prediction=np.asarray([1, 2, -1, 0], np.int32),
        radius=np.asarray([0.5, 0.3, 0.0, 0.9]),
        probability=np.asarray([0.9, 0.8, 0.4, 0.95]),
    )
    found = metrics.certified_accuracy(certificate, np.asarray([1, 2, 0, 1]), np.asarray([0.0, 0.3, 0.4, 0.6]))
    np.testing.assert_array_equal(found, [0.5, 0.5, 0.25, 0.0])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"sigma": 0.0}, "expected sigma > 0, got 0.0"),
        ({"num_selection": 0}, "expected num_selection >= 1, got 0"),
        ({"num_estimation": 0}, "expected num_estimation >= 1, got 0"),
        ({"batch_size": 0}, "expected batch_size >= 1, got 0"),
        ({"failure_probability": 1.0}, r"expected failure_probability in \(0, 1\), got 1.0"),
        ({"ids": np.arange(3)}, "expected one id for each image, got 3 for 2"),
    ],
)
def test_errors(change, message):
    arguments: dict[str, Any] = {"sigma": 0.5, **change}
    with pytest.raises(ValueError, match=message):
        metrics.certify(KEY, conv_model(), np.zeros((2, SIZE, SIZE, 3), np.float32), **arguments)


def test_no_attack_within_the_radius_of_a_real_network_changes_the_smoothed_class():
    """ResNet-20, trained without noise, so at a small sigma; PGD on the noisy network, within the certified ball."""
    if not SHARED.is_dir():
        pytest.skip("needs the real images and weights")
    model = models.cifar_resnet20(weights=SHARED / "data" / "weights" / "cifar10" / "resnet20.npz")
    model = models.fold_batch_norm(model)
    images, labels = (np.load(SHARED / "data" / "cifar10" / "lossless_200" / f"{name}_sdp.npy")[:12] for name in "Xy")
    certificate = metrics.certify(KEY, model, images, sigma=0.05, num_selection=20, num_estimation=200, batch_size=240)
    accuracy = metrics.certified_accuracy(certificate, labels, np.asarray([0.0, 0.05, 0.2]))
    assert accuracy[0] >= 0.5
    assert accuracy[2] == 0
    sure = certificate.prediction >= 0
    noise = models.with_gaussian_noise(model, 0.05)
    ball = attacks.l2(float(certificate.radius[sure].min()))
    attack = attacks.gradient_attack(attacks.margin, update_rule=optax.sgd(0.02), ball=ball, num_steps=3)
    moved = attacks.run(attack, noise, images[sure], certificate.prediction[sure], key=KEY).adversarial
    found = metrics.smoothed_predict(KEY, model, moved, sigma=0.05, num_draws=100, batch_size=240)
    assert ((found == certificate.prediction[sure]) | (found == -1)).all()
