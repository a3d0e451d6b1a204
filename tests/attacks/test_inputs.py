"""Losses of transformed images, and means of losses over draws."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import attacks, models
from tests.attacks import toys

pytestmark = pytest.mark.usefixtures("float64")

KEY = jax.random.key(5)


def example() -> tuple[Any, Any]:
    return toys.conv_model(dtype=np.float64), toys.make_batch(dtype=np.float64)


def value_and_gradient(loss: Any, model: Any, batch: Any, *, key: Any = KEY) -> tuple[np.ndarray, np.ndarray]:
    def total(images: Any) -> Any:
        values = loss(key, model, images, batch)
        return jnp.sum(values), values

    gradient, values = jax.jit(jax.grad(total, has_aux=True))(batch.image)
    return np.asarray(values), np.asarray(gradient)


def noisy(key: Any, image: Any) -> Any:
    return image + 0.1 * jax.random.normal(key, image.shape, image.dtype)


def test_scale_invariant_is_the_mean_over_halved_copies() -> None:
    model, batch = example()

    def expected(key: Any, model: Any, images: Any, batch: Any) -> Any:
        return sum(attacks.cross_entropy(None, model, images / 2**i, batch) for i in range(4)) / 4

    loss = attacks.scale_invariant(attacks.cross_entropy, num_copies=4)
    for found, wanted in zip(value_and_gradient(loss, model, batch), value_and_gradient(expected, model, batch), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-12)
    np.testing.assert_allclose(loss(None, model, batch.image, batch), expected(None, model, batch.image, batch), atol=1e-12)


def test_expectation_is_the_mean_over_draws() -> None:
    model, batch = example()
    inner = attacks.with_inputs(attacks.cross_entropy, noisy)

    def expected(key: Any, model: Any, images: Any, batch: Any) -> Any:
        return sum(inner(jax.random.fold_in(key, i), model, images, batch) for i in range(6)) / 6

    loss = attacks.expectation(inner, num_samples=6)
    for found, wanted in zip(value_and_gradient(loss, model, batch), value_and_gradient(expected, model, batch), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_derivatives_by_the_weights_are_those_of_the_mean() -> None:
    model, batch = example()
    loss = attacks.scale_invariant(attacks.cross_entropy, num_copies=2)

    def by_weights(loss: Any) -> Any:
        return jax.grad(lambda params: jnp.sum(loss(None, dataclasses.replace(model, params=params), batch.image, batch)))(
            model.params
        )

    def plain(key: Any, model: Any, images: Any, batch: Any) -> Any:
        return (attacks.cross_entropy(key, model, images, batch) + attacks.cross_entropy(key, model, images / 2, batch)) / 2

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), by_weights(loss), by_weights(plain))


def test_draws_are_each_image_s_own_and_new_in_each_step() -> None:
    model, batch = example()
    loss = attacks.with_inputs(attacks.cross_entropy, noisy)
    whole = value_and_gradient(loss, model, batch)[0]
    alone = value_and_gradient(loss, model, jax.tree.map(lambda leaf: leaf[2:3], batch))[0]
    np.testing.assert_allclose(alone[0], whole[2], atol=1e-12)
    assert np.abs(value_and_gradient(loss, model, batch, key=jax.random.key(6))[0] - whole).min() > 1e-6
    same = batch._replace(image=jnp.broadcast_to(batch.image[:1], batch.image.shape), label=batch.label * 0)
    assert len(set(value_and_gradient(loss, model, same)[0].tolist())) == len(batch.id)


def test_around_an_ensemble_all_members_see_one_image_and_within_it_each_its_own() -> None:
    model, batch = example()
    seen = []

    def spy(key: Any, image: Any) -> Any:
        seen.append(1)
        return noisy(key, image)

    outside = attacks.with_inputs(attacks.ensemble(attacks.cross_entropy), spy)
    inside = attacks.ensemble(attacks.with_inputs(attacks.cross_entropy, spy))
    once = outside(KEY, (model, model), batch.image, batch)
    assert len(seen) == 1
    np.testing.assert_allclose(
        once, attacks.with_inputs(attacks.cross_entropy, noisy)(KEY, model, batch.image, batch), atol=1e-1
    )
    inside(KEY, (model, model), batch.image, batch)
    assert len(seen) == 3


class TestDiverseInputs:
    """By the loss that gives back the image that the network would have seen."""

    def shown(self, image: Any, **knobs: Any) -> np.ndarray:
        batch = toys.make_batch(64, dtype=np.float64)
        batch = batch._replace(image=jnp.broadcast_to(jnp.asarray(image), (64, *image.shape)))
        seen: list[Any] = []

        def spy(key: Any, model: Any, images: Any, batch: Any) -> Any:
            seen.append(images)
            return images[:, 0, 0, 0]

        attacks.diverse_inputs(spy, **knobs)(KEY, None, batch.image, batch)
        return np.asarray(seen[0])

    def test_never_and_always(self) -> None:
        image = np.random.default_rng(0).uniform(size=(20, 20, 3))
        np.testing.assert_array_equal(self.shown(image, probability=0.0), np.broadcast_to(image, (64, 20, 20, 3)))
        always = self.shown(image, probability=1.0, smallest=0.5)
        assert np.all(np.abs(always - image).max((1, 2, 3)) > 1e-3)
        half = self.shown(image, probability=0.5, smallest=0.5)
        assert 0.3 < np.mean(np.abs(half - image).max((1, 2, 3)) > 1e-3) < 0.7

    def test_the_image_is_smaller_and_lies_within_black(self) -> None:
        shown = self.shown(np.ones((40, 40, 3)), probability=1.0, smallest=0.5)
        side = np.sqrt(shown[..., 0].sum((1, 2)))
        assert side.min() >= 0.5 * 40 - 1
        assert side.max() <= 40 + 1
        assert side.max() - side.min() > 0.25 * 40  # spread over the range
        assert shown.min() >= 0
        assert shown.max() <= 1 + 1e-12
        centre = (shown[..., 0] * np.arange(40)[None, None, :]).sum((1, 2)) / side**2
        assert centre.std() > 1  # and at many places

    def test_an_attack_along_it_moves_and_transfers_to_the_plain_image(self) -> None:
        model, batch = example()
        attack = attacks.mi_fgsm(0.1, loss=attacks.diverse_inputs(attacks.cross_entropy))
        moved = attacks.run_batch(attack, model, batch, key=KEY).adversarial
        before, after = (attacks.cross_entropy(None, model, images, batch) for images in (batch.image, moved))
        assert np.all(np.asarray(after) < np.asarray(before))


def test_expectation_beats_one_draw_on_a_network_that_draws() -> None:
    """The mean loss of a noisy network falls further along the mean gradient."""
    model, batch = models.with_gaussian_noise(toys.linear_model(dtype=np.float64), 2.0), toys.make_batch(64, dtype=np.float64)
    judge = jax.vmap(attacks.cross_entropy, in_axes=(0, None, None, None))
    losses = []
    for num_samples in (1, 16):
        attack = attacks.fgsm(0.1, loss=attacks.expectation(attacks.cross_entropy, num_samples=num_samples))
        moved = attacks.run_batch(attack, model, batch, key=KEY, unroll=False).adversarial
        losses.append(float(np.mean(judge(jax.random.split(jax.random.key(9), 100), model, moved, batch))))
    assert losses[1] < losses[0] - 0.01


def test_errors() -> None:
    model, batch = example()
    for loss in (attacks.expectation(attacks.margin, num_samples=2), attacks.with_inputs(attacks.margin, noisy)):
        with pytest.raises(ValueError, match="expected a key, got None"):
            loss(None, model, batch.image, batch)
    with pytest.raises(ValueError, match="num_copies >= 1, got 0"):
        attacks.scale_invariant(attacks.margin, num_copies=0)
    with pytest.raises(ValueError, match=r"probability in \[0, 1\], got 2.0"):
        attacks.diverse_inputs(attacks.margin, probability=2.0)
    with pytest.raises(ValueError, match=r"smallest in \(0, 1\], got 0.0"):
        attacks.diverse_inputs(attacks.margin, smallest=0.0)
