"""Logit pairing, stored adversaries and distillation: what they reduce to, and the pairing written out."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxinterp import attacks, training
from tests.attacks.toys import CLASSES, conv_model, linear_model, make_batch
from tests.training.toys import KEY, gradient, outcome, same

pytestmark = pytest.mark.usefixtures("float64")

FGSM = attacks.fgsm(8 / 255)


@pytest.fixture
def batch():
    return make_batch(6, dtype=np.float64)


@pytest.fixture
def stored(batch):
    noise = np.sign(np.random.default_rng(3).normal(size=batch.image.shape))
    return batch._replace(extra={"adversarial": jnp.clip(batch.image + 8 / 255 * noise, 0, 1)})


def test_pairing_of_a_linear_classifier(batch):
    """The attack, the loss and its gradient in NumPy."""
    model = linear_model(dtype=np.float64, scale=0.1)
    (loss, (_, metrics)), found = gradient(training.alp(FGSM, pairing_weight=3.0, clean_weight=0.4), model, batch)
    w, b = (np.asarray(model.params[name]) for name in ("weight", "bias"))
    clean, label = np.asarray(batch.image).reshape(6, -1), np.eye(CLASSES)[np.asarray(batch.label)]

    def probabilities(images):
        powers = np.exp(images @ w + b)
        return powers / powers.sum(1, keepdims=True)

    p = probabilities(clean)
    moved = np.clip(clean + 8 / 255 * np.sign((p - label) @ w.T), 0, 1)
    q = probabilities(moved)
    gap = (clean - moved) @ w
    pairing = np.square(gap).mean(1).mean()
    entropies = [-(label * np.log(each)).sum(1).mean() for each in (p, q)]
    np.testing.assert_allclose(metrics["pairing"], pairing, rtol=1e-9)
    np.testing.assert_allclose(loss, 0.4 * entropies[0] + 0.6 * entropies[1] + 3 * pairing, rtol=1e-9)
    of_clean, of_moved = 0.4 * (p - label), 0.6 * (q - label)
    of_gap = 3.0 * 2 * gap / CLASSES
    weight = clean.T @ of_clean + moved.T @ of_moved + (clean - moved).T @ of_gap
    same(found, {"weight": weight / 6, "bias": (of_clean + of_moved).mean(0)})
    assert pairing > 1e-3


def test_without_pairing_it_is_adversarial_training(batch):
    model = conv_model(dtype=np.float64)
    loss, _ = outcome(training.alp(FGSM, pairing_weight=0.0), model, batch)
    same(loss, outcome(training.adversarial(FGSM, clean_weight=0.5), model, batch)[0])


def test_pairing_is_the_consistent_loss_of_the_logits(batch):
    model = linear_model(dtype=np.float64)
    consistent = training.consistent(FGSM, layer="logits", feature_weight=0.5, clean_weight=0.5, adversarial_weight=0.5)
    same(outcome(training.alp(FGSM), model, batch)[0], outcome(consistent, model, batch)[0])


def test_stored_adversaries_are_an_attack(stored):
    """Wherever an objective takes one; the network does not matter to it."""
    model = conv_model(dtype=np.float64)
    given = training.static_adversaries()
    (loss, _), found = gradient(training.adversarial(given), model, stored)
    (expected, _), other = gradient(training.standard(), model, stored._replace(image=stored.extra["adversarial"]))
    same((loss, found), (expected, other))
    state = attacks.run_batch(given, model, stored, key=KEY)
    np.testing.assert_array_equal(state.adversarial, stored.extra["adversarial"])
    _, (_, metrics) = outcome(training.consistent(given, layer="conv2"), model, stored)
    assert float(metrics["feature_distance"]) > 0


def test_the_ensemble_is_one_or_the_other(stored):
    model = conv_model(dtype=np.float64)
    own, others = (training.ensemble_adversarial(FGSM, static_share=share) for share in (0.0, 1.0))
    first = training.adversarial(FGSM, clean_weight=0.5)
    second = training.adversarial(training.static_adversaries(), clean_weight=0.5)
    for one, two in ((own, first), (others, second)):
        same(outcome(one, model, stored), outcome(two, model, stored))


def test_the_ensemble_draws_by_its_share(stored):
    model = conv_model(dtype=np.float64)
    objective = training.ensemble_adversarial(FGSM, static_share=0.75, clean_weight=0.0)
    loss = jax.jit(lambda key: objective(key, model, stored)[0])
    static = float(outcome(training.adversarial(training.static_adversaries()), model, stored)[0])
    drawn = np.asarray([float(loss(key)) for key in jax.random.split(KEY, 400)])
    share = np.isclose(drawn, static, rtol=1e-9).mean()
    assert abs(share - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 400)
    assert len(np.unique(drawn.round(9))) == 2


def test_hard_labels_distil_to_standard_training(batch):
    model = conv_model(dtype=np.float64)
    labelled = batch._replace(extra={"probabilities": jax.nn.one_hot(batch.label, CLASSES, dtype=batch.image.dtype)})
    one = gradient(training.distillation(temperature=20.0), model, labelled)
    same(one, gradient(training.standard(temperature=20.0), model, batch))


def test_a_student_learns_what_the_teacher_says(batch):
    """The gradient vanishes where both agree, and the loss is then the entropy of the soft labels."""
    teacher, student = linear_model(0, dtype=np.float64), linear_model(1, dtype=np.float64)
    soft = training.soft_labels(teacher, batch.image, temperature=5.0)
    logits = np.asarray(teacher(batch.image)[0]) / 5
    np.testing.assert_allclose(soft, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), rtol=1e-12)
    batch = batch._replace(extra={"probabilities": soft})
    objective = training.distillation(temperature=5.0)
    (loss, _), found = gradient(objective, teacher, batch)
    same(found, jax.tree.map(jnp.zeros_like, found))
    np.testing.assert_allclose(loss, -(soft * jnp.log(soft)).sum(1).mean(), rtol=1e-9)

    optimizer = optax.adam(0.05)
    step = jax.jit(training.train_step(objective, optimizer))
    state = training.init_state(optimizer, student)
    for _ in range(200):
        state, _ = step(KEY, state, batch)
    np.testing.assert_allclose(step(KEY, state, batch)[1]["loss"], loss, rtol=0.02)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: training.alp(FGSM, pairing_weight=-1.0), "expected pairing_weight >= 0, got -1.0"),
        (lambda: training.alp(FGSM, clean_weight=2.0), r"expected clean_weight in \[0, 1\], got 2.0"),
        (lambda: training.ensemble_adversarial(FGSM, static_share=1.5), r"expected static_share in \[0, 1\], got 1.5"),
        (lambda: training.distillation(temperature=0.0), "expected temperature > 0, got 0.0; write 1.0"),
        (lambda: training.standard(temperature=-1.0), "expected temperature > 0, got -1.0"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_a_batch_lacks_is_named(batch):
    model = conv_model(dtype=np.float64)
    short = batch._replace(extra={"adversarial": batch.image[:, :3], "probabilities": jnp.ones((6, 2))})
    for objective, name in (
        (training.adversarial(training.static_adversaries()), "adversarial"),
        (training.distillation(temperature=5.0), "probabilities"),
    ):
        with pytest.raises(ValueError, match=rf"batch.extra\['{name}'\], got \[\]; write filling=lambda: training"):
            objective(KEY, model, batch)
        with pytest.raises(ValueError, match=rf"expected batch.extra\['{name}'\] of shape"):
            objective(KEY, model, short)
    bytes_ = batch._replace(extra={"adversarial": jnp.zeros(batch.image.shape, jnp.uint8)})
    with pytest.raises(ValueError, match=r"expected float images in \[0, 1\], got uint8"):
        training.adversarial(training.static_adversaries())(KEY, model, bytes_)
    with pytest.raises(ValueError, match="expected temperature > 0"):
        training.soft_labels(model, batch.image, temperature=0.0)
