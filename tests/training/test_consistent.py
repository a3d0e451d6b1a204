"""The consistent loss: its terms, its weights, and what normalises the images."""

import jax
import numpy as np
import optax
import pytest

from jaxinterp import attacks, training
from tests.training.toys import KEY, moved_by, normalised_model, outcome, same

pytestmark = pytest.mark.usefixtures("float64")

FGSM = attacks.fgsm(8 / 255)


evaluated = jax.jit(lambda model, images: model(images))
trained = jax.jit(lambda model, images: model.train(images, key=KEY))


def entropy(logits, batch):
    return float(optax.softmax_cross_entropy_with_integer_labels(logits, batch.label).mean())


def test_the_loss_is_the_sum_of_its_terms(model, batch):
    weights = {"conv1": 3.0, "conv2": 0.5}
    objective = training.consistent(FGSM, layer=weights, clean_weight=0.5, adversarial_weight=2.0, feature_weight=7.0)
    loss, (_, metrics) = outcome(objective, model, batch)
    (clean, phi), (fake, phi_fake) = evaluated(model, batch.image), evaluated(model, moved_by(FGSM, model, batch))
    distances = {name: np.mean(np.square(np.asarray(phi[name]) - np.asarray(phi_fake[name]))) for name in weights}
    squares = {name: np.mean(np.square(np.asarray(phi[name]))) for name in weights}
    distance = sum(weights[name] * distances[name] for name in weights)
    np.testing.assert_allclose(loss, 0.5 * entropy(clean, batch) + 2 * entropy(fake, batch) + 7 * distance, rtol=1e-10)
    np.testing.assert_allclose(metrics["feature_distance"], distance, rtol=1e-10)
    np.testing.assert_allclose(metrics["feature_square"], sum(weights[n] * squares[n] for n in weights), rtol=1e-10)
    for name in weights:
        np.testing.assert_allclose(metrics[f"feature_distance/{name}"], distances[name], rtol=1e-10)
        np.testing.assert_allclose(metrics[f"feature_square/{name}"], squares[name], rtol=1e-10)


def test_one_layer_is_a_mapping_of_one(model, batch):
    one, two = (outcome(training.consistent(FGSM, layer=layer), model, batch) for layer in ("conv2", {"conv2": 1.0}))
    same(one, two)
    assert set(one[1][1]) == {"loss", "accuracy", "adversarial_accuracy", "feature_distance", "feature_square"}


def test_weights_may_be_functions_of_the_step(model, batch):
    def of(scale):
        return training.consistent(
            FGSM,
            layer={"conv1": scale(1.0), "conv2": 2.0},
            feature_weight=scale(3.0),
            clean_weight=scale(0.5),
            adversarial_weight=scale(0.2),
        )

    rising = of(lambda weight: optax.linear_schedule(0.0, weight, 4))
    at = jax.jit(lambda step: rising(KEY, model, batch, step=step))
    same(at(3), outcome(of(lambda weight: 0.75 * weight), model, batch))
    assert float(at(0)[0]) == 0.0


def test_without_features_it_is_adversarial_training_beside_clean_images(batch):
    model = normalised_model()
    for statistics in ("mixed", "split", "frozen"):
        consistent = training.consistent(
            FGSM, layer="hidden", feature_weight=0.0, clean_weight=0.5, adversarial_weight=0.5, statistics=statistics
        )
        plain = training.adversarial(FGSM, clean_weight=0.5, statistics=statistics)
        one, (stats, metrics) = outcome(consistent, model, batch)
        two, (expected, others) = outcome(plain, model, batch)
        same((one, stats), (two, expected))
        same({name: metrics[name] for name in others}, others)


def test_mixed_statistics_are_those_of_both(batch):
    model = normalised_model()
    objective = training.consistent(FGSM, layer="hidden", statistics="mixed")
    images = np.concatenate([batch.image, moved_by(FGSM, model, batch)])
    logits, _, expected = trained(model, images)
    loss, (stats, metrics) = outcome(objective, model, batch)
    same(stats, expected)
    total = entropy(logits[:8], batch) + entropy(logits[8:], batch)
    np.testing.assert_allclose(loss, total + metrics["feature_distance"], rtol=1e-10)


def test_split_statistics_are_each_ones_own(batch):
    model = normalised_model()
    objective = training.consistent(FGSM, layer="hidden", statistics="split", feature_weight=2.0)
    loss, (stats, metrics) = outcome(objective, model, batch)
    clean, phi, expected = trained(model, batch.image)
    fake, phi_fake, _ = trained(model, moved_by(FGSM, model, batch))
    same(stats, expected)
    distance = np.mean(np.square(np.asarray(phi["hidden"] - phi_fake["hidden"])))
    np.testing.assert_allclose(loss, entropy(clean, batch) + entropy(fake, batch) + 2 * distance, rtol=1e-10)
    np.testing.assert_allclose(metrics["feature_distance"], distance, rtol=1e-10)


def test_frozen_statistics_stay_and_dropout_is_off(batch):
    model = normalised_model(rate=0.5)
    objective = training.consistent(FGSM, layer="hidden", statistics="frozen")
    loss, (stats, _) = outcome(objective, model, batch)
    same(stats, model.stats)
    (clean, phi), (fake, phi_fake) = evaluated(model, batch.image), evaluated(model, moved_by(FGSM, model, batch))
    distance = np.mean(np.square(np.asarray(phi["hidden"] - phi_fake["hidden"])))
    np.testing.assert_allclose(loss, entropy(clean, batch) + entropy(fake, batch) + distance, rtol=1e-10)
    for statistics in ("mixed", "split"):
        drops = training.consistent(FGSM, layer="hidden", statistics=statistics)
        losses = jax.jit(jax.vmap(lambda key, drops=drops: drops(key, model, batch)[0]))(jax.random.split(KEY, 3))
        assert len(set(losses.tolist())) == 3


def test_label_smoothing_is_that_of_standard_training(model, batch):
    objective = training.consistent(FGSM, layer="conv2", feature_weight=0.0, adversarial_weight=0.0, label_smoothing=0.2)
    same(outcome(objective, model, batch)[0], outcome(training.standard(label_smoothing=0.2), model, batch)[0])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"layer": {}}, "expected at least one layer, got none; write layer='layer4.1'"),
        ({"layer": {"conv1": -1.0}}, "expected conv1 >= 0, got -1.0; write 1.0"),
        ({"feature_weight": -1.0}, "expected feature_weight >= 0, got -1.0"),
        ({"clean_weight": -0.5}, "expected clean_weight >= 0, got -0.5"),
        ({"label_smoothing": 2.0}, r"expected label_smoothing in \[0, 1\], got 2.0; write 0.5"),
        ({"statistics": "freeze"}, "expected statistics 'mixed', 'split' or 'frozen', got 'freeze'; write 'mixed'"),
    ],
)
def test_errors(change, message):
    with pytest.raises(ValueError, match=message):
        training.consistent(FGSM, **{"layer": "conv2", **change})


def test_an_unknown_layer_is_named(model, batch):
    with pytest.raises(ValueError, match="unknown layer 'conv3'; this model has: conv1, conv2; did you mean"):
        training.consistent(FGSM, layer="conv3")(KEY, model, batch)
