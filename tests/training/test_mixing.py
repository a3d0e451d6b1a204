"""Mixed images: what Keras makes of a batch, what an objective makes of it, and who may see it."""

import functools
import sys
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxinterp import _mesh, attacks, data, training
from jaxinterp.training._mixing import _mixed_batch
from jaxinterp.training._objectives import MIXED
from tests.attacks.toys import CLASSES, conv_model, make_batch
from tests.conftest import SHARED
from tests.training.toys import same

KEY = jax.random.key(3)
ROWS, SIDE = 12, 16


def images_of(rows=ROWS):
    """Images, and labels that are all different."""
    images = np.random.default_rng(0).random((rows, SIDE, SIDE, 3), np.float32)
    return jnp.asarray(images), jnp.eye(rows)


def spread(key, images, labels):
    """One half of every image and another half of the one before it; draws nothing."""
    del key
    return (images + jnp.roll(images, 1, axis=0)) / 2, (labels + jnp.roll(labels, 1, axis=0)) / 2


def test_mixup_blends_images_as_it_blends_labels():
    images, labels = images_of()
    mixed, weights = training.mixup(concentration=0.4)(KEY, images, labels)
    np.testing.assert_allclose(mixed, jnp.einsum("nm,mhwc->nhwc", weights, images), atol=1e-6)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert np.all((np.asarray(weights) > 0).sum(axis=1) <= 2)
    partner = np.asarray(weights - jnp.diag(jnp.diag(weights)))
    assert (partner > 0).sum() >= 8 and np.all((partner > 0).sum(axis=0) <= 1)  # an order of the rows


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_weights_of_mixup_have_their_distribution(alpha):
    """All rows but one partner of its own: the weight of the first is Beta(alpha, alpha)."""
    images, labels = jnp.zeros((400, 2, 2, 3)), jnp.eye(400)
    own = np.asarray(jnp.diag(training.mixup(concentration=alpha)(KEY, images, labels)[1]))
    assert abs(own.mean() - 0.5) < 0.08
    assert abs(own.var() - 1 / (4 * (2 * alpha + 1))) < 0.03


def test_cutmix_pastes_a_rectangle_of_the_share_that_labels_have():
    images, labels = images_of()
    mixed, weights = (np.asarray(array) for array in training.cutmix()(KEY, images, labels))
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    pasted = 0
    for row in range(ROWS):
        other = int(np.argmax(np.where(np.arange(ROWS) == row, 0, weights[row])))
        own = np.all(mixed[row] == images[row], axis=-1)
        assert np.all(own | np.all(mixed[row] == images[other], axis=-1))
        if own.all():
            continue
        pasted += 1
        down, right = np.nonzero(~own)
        assert (~own).sum() == (np.ptp(down) + 1) * (np.ptp(right) + 1)  # a whole rectangle
        assert abs(own.mean() - weights[row, row]) < 2.5 / SIDE  # its sides are rounded to pixels
    assert pasted >= 6


@pytest.mark.parametrize("build", [training.mixup, functools.partial(training.cutmix, concentration=0.5)])
def test_the_same_key_mixes_alike(build):
    mixing = build()
    images, labels = images_of()
    compiled = jax.jit(mixing)
    for written, found in zip(mixing(KEY, images, labels), compiled(KEY, images, labels), strict=True):
        np.testing.assert_allclose(written, found, atol=1e-6)
    again, other = compiled(KEY, images, labels), compiled(jax.random.key(4), images, labels)
    np.testing.assert_array_equal(again[0], compiled(KEY, images, labels)[0])
    assert not np.array_equal(again[0], other[0])
    assert mixing == type(mixing)(mixing.layer, mixing.concentration) and hash(mixing) is not None


def test_rows_that_do_not_count_are_mixed_into_none():
    batch = make_batch(ROWS)._replace(mask=jnp.arange(ROWS) % 3 > 0)
    batch = batch._replace(image=jnp.where(batch.mask[:, None, None, None], batch.image, 99.0))
    seen = []

    def looks(key, images, labels):
        seen.append(images)
        return spread(key, images, labels)

    found = _mixed_batch(KEY, batch, (looks,), CLASSES)
    assert float(seen[0].max()) <= 1
    counting = np.asarray(batch.mask)
    np.testing.assert_array_equal(np.asarray(seen[0])[counting], np.asarray(batch.image)[counting])
    np.testing.assert_array_equal(found.mask, batch.mask)
    none = _mixed_batch(KEY, batch._replace(mask=jnp.zeros(ROWS, bool)), (spread,), CLASSES)
    assert none.image.shape == batch.image.shape


@pytest.mark.usefixtures("float64")
def test_the_loss_is_that_with_both_labels():
    """`CE(x, lambda y_i + (1 - lambda) y_j)` is linear in the labels."""
    model, batch = conv_model(dtype=np.float64), make_batch(8, dtype=np.float64)
    loss, (_, metrics) = training.mixed(training.standard(), spread)(KEY, model, batch)
    other = jnp.roll(batch.label, 1)
    images = (batch.image + jnp.roll(batch.image, 1, axis=0)) / 2
    parts = [training.standard()(KEY, model, batch._replace(image=images, label=label))[0] for label in (batch.label, other)]
    np.testing.assert_allclose(loss, sum(parts) / 2, rtol=1e-12)
    predicted = jnp.argmax(model(images)[0], axis=-1)
    np.testing.assert_allclose(metrics["accuracy"], jnp.mean(predicted == jnp.minimum(batch.label, other)))


@pytest.mark.usefixtures("float64")
def test_smoothing_comes_after_mixing():
    model, batch = conv_model(dtype=np.float64), make_batch(8, dtype=np.float64)
    smooth, _ = training.mixed(training.standard(label_smoothing=0.2), spread)(KEY, model, batch)
    images = (batch.image + jnp.roll(batch.image, 1, axis=0)) / 2
    labels = jax.nn.one_hot(batch.label, CLASSES)
    targets = 0.4 * (labels + jnp.roll(labels, 1, axis=0)) + 0.2 / CLASSES
    wanted = optax.softmax_cross_entropy(model(images)[0], targets).mean()
    np.testing.assert_allclose(smooth, wanted, rtol=1e-12)


def test_of_several_one_is_drawn_for_every_batch():
    batch = make_batch(8)

    def black(key, images, labels):
        return 0 * images, labels

    seen = [bool(jnp.any(_mixed_batch(jax.random.key(seed), batch, (spread, black), CLASSES).image > 0)) for seed in range(40)]
    assert 8 <= sum(seen) <= 32
    both = _mixed_batch(KEY, batch, (training.mixup(), training.cutmix()), CLASSES)
    np.testing.assert_allclose(both.extra[MIXED].sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(both.label, jnp.argmax(both.extra[MIXED], axis=-1))


def test_adversarial_training_and_microbatches_over_four_devices():
    """Every device mixes rows of its own; the step is finite, and the same twice."""
    model, whole, mesh = conv_model(), make_batch(16), _mesh.data_mesh(4)
    objective = training.mixed(training.consistent(attacks.fgsm(4 / 255), layer="conv2"), training.mixup(), training.cutmix())
    optimizer = optax.sgd(0.1)
    step = training.sharded_step(objective, optimizer, mesh, options=training.StepOptions(num_microbatches=2))
    results = []
    for _ in range(2):
        state = training.init_state(optimizer, jax.tree.map(jnp.copy, model))
        state = jax.device_put(state, _mesh.replicated(mesh))
        results.append(step(KEY, state, jax.device_put(whole, _mesh.sharded(mesh))))
    assert np.isfinite(float(results[0][1]["loss"]))
    same(results[0][0].model.params, results[1][0].model.params)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: training.mixup(concentration=0.0), "concentration above 0, got 0.0; write concentration=0.2"),
        (lambda: training.cutmix(concentration=1.5), r"concentration in \(0, 1\], got 1.5; write concentration=1.0"),
        (lambda: training.mixed(training.standard()), r"at least one mixing, got none; write training.mixup\(\)"),
        (
            lambda: training.mixed(training.free(0.1, num_replays=3), spread),
            "an objective that sees each batch once, got one that replays it 3 times",
        ),
        (
            lambda: training.mixed(training.mart(0.1), spread)(KEY, conv_model(), make_batch(4)),
            "one class an image for mart, got mixed images",
        ),
        (
            lambda: training.mixed(training.class_specific(gated=training.gate_schedule(1)), spread)(
                KEY, conv_model(), make_batch(4)
            ),
            "one class an image for class_specific, got mixed images",
        ),
        (
            lambda: training.mixed(training.standard(), spread)(
                KEY, conv_model(), make_batch(4)._replace(extra={"adversarial": jnp.zeros(())})
            ),
            r"a batch of images and labels alone, got \['adversarial'\] in batch.extra",
        ),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_without_keras_or_with_another_backend_one_line_says_so():
    with mock.patch.dict(sys.modules, {"keras": None}), pytest.raises(ValueError, match=r"pip install 'jaxinterp\[keras\]'"):
        training.mixup()
    import keras

    wanted = pytest.raises(ValueError, match="Keras on JAX, got Keras on torch; set KERAS_BACKEND=jax before Keras")
    with mock.patch.object(keras.backend, "backend", return_value="torch"), wanted:
        training.cutmix()


@pytest.mark.skipif(not SHARED.is_dir(), reason="real data")
def test_real_photographs():
    source = data.image_folder(SHARED / "data" / "imagenet_sample" / "short256", image_size=64, num_images=8)
    batch = next(data.training_batches(source, batch_size=8, seed=0))
    labels = jax.nn.one_hot(jnp.arange(8), 8)
    for mixing in (training.mixup(), training.cutmix()):
        images, weights = mixing(KEY, jnp.asarray(batch.image), labels)
        assert images.shape == batch.image.shape and float(images.min()) >= 0 and float(images.max()) <= 1
        assert float(jnp.abs(images - batch.image).mean()) > 0.02 and float(jnp.abs(weights - labels).max()) > 0.2
