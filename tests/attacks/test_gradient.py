"""The driver: per-example update rules, criteria and decoding."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxinterp import attacks
from tests.attacks import toys

KEY = jax.random.key(0)


def drive(loss: Any, rule: Any, batch: Any, *, model: Any = None, **knobs: Any) -> Any:
    attack = attacks.gradient_attack(loss, update_rule=rule, ball=attacks.box(), **{"num_steps": 4, **knobs})
    return attacks.run_batch(attack, toys.linear_model() if model is None else model, batch, key=KEY, unroll=False)


def towards(goal: jax.Array) -> Any:
    return lambda key, model, adversarial, batch: jnp.sum((adversarial - goal) ** 2, axis=(1, 2, 3))


def test_plain_gradient_descent_on_a_quadratic() -> None:
    batch = toys.make_batch()
    goal = batch.image[::-1]
    state = drive(towards(goal), optax.sgd(0.25), batch)
    np.testing.assert_allclose(state.adversarial, goal + (batch.image - goal) * 0.5**4, atol=1e-6)


def test_norms_are_those_of_one_image() -> None:
    batch = toys.make_batch()
    goal = batch.image.at[1:].add(1e-3)  # three images with small gradients, one with none
    goal = goal.at[0].set(1 - batch.image[0])
    rule = optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(1.0))
    state = drive(towards(goal), rule, batch, num_steps=1)
    gradient = 2 * np.asarray(batch.image - goal)
    norms = np.linalg.norm(gradient.reshape(4, -1), axis=1)
    assert norms[0] > 0.1 > norms[1:].max()
    step = gradient * np.minimum(1, 0.1 / norms)[:, None, None, None]
    np.testing.assert_allclose(state.adversarial, np.clip(batch.image - step, 0, 1), atol=1e-6)


@pytest.mark.parametrize(
    "rule", [optax.scale_by_lbfgs(), optax.adabelief(0.01), optax.lion(0.01)], ids=["lbfgs", "belief", "lion"]
)
def test_any_rule_is_independent_of_the_batch(rule: Any) -> None:
    with jax.enable_x64(True):
        batch, model = toys.make_batch(dtype=np.float64), toys.linear_model(dtype=np.float64)
        rule = optax.chain(rule, optax.scale(-0.01)) if rule.init is optax.scale_by_lbfgs().init else rule
        whole = drive(attacks.cross_entropy, rule, batch, model=model)
        alone = drive(attacks.cross_entropy, rule, jax.tree.map(lambda a: a[2:3], batch), model=model)
        np.testing.assert_allclose(alone.adversarial[0], whole.adversarial[2], atol=1e-12)


def test_the_rule_is_given_the_loss_of_the_example() -> None:
    batch, model = toys.make_batch(), toys.linear_model()

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        return jax.tree.map(jnp.zeros_like, updates), extra["value"]

    rule = optax.GradientTransformationExtraArgs(lambda params: jnp.zeros(()), update)
    state = drive(attacks.margin, rule, batch, model=model)
    np.testing.assert_allclose(state.rule, attacks.margin(KEY, model, batch.image, batch), rtol=1e-6)


def test_the_best_iterate_is_kept() -> None:
    batch = toys.make_batch()._replace(image=jnp.full((4, 6, 6, 3), 0.5))
    brighter = lambda key, model, adversarial, batch: -jnp.mean(adversarial, axis=(1, 2, 3))  # noqa: E731
    wanted = jnp.array([0.5, 0.6, 0.7, 2.0])

    def nearest(key: Any, model: Any, adversarial: Any, batch: Any) -> Any:
        distance = jnp.abs(jnp.mean(adversarial, axis=(1, 2, 3)) - wanted)
        return jnp.where(wanted > 1, jnp.inf, distance)

    state = drive(brighter, optax.sign_sgd(0.1), batch, keep=nearest, num_steps=4)
    # Iterates 0.5, 0.6, 0.7, 0.8 are scored; the newest, 0.9, is the answer only where none was acceptable.
    np.testing.assert_allclose(state.adversarial[:, 0, 0, 0], [0.5, 0.6, 0.7, 0.9], atol=1e-6)
    np.testing.assert_allclose(state.iterate[:, 0, 0, 0], 0.9, atol=1e-6)
    np.testing.assert_allclose(state.score, [0, 0, 0, np.inf], atol=1e-6)


def test_of_equally_good_iterates_the_first_is_kept() -> None:
    batch = toys.make_batch()._replace(image=jnp.full((4, 6, 6, 3), 0.5))
    brighter = lambda key, model, adversarial, batch: -jnp.mean(adversarial, axis=(1, 2, 3))  # noqa: E731
    state = drive(brighter, optax.sign_sgd(0.1), batch, keep=lambda key, model, adversarial, batch: jnp.zeros(4))
    np.testing.assert_array_equal(state.adversarial, batch.image)


def test_a_score_that_is_not_a_number_is_never_kept() -> None:
    batch = toys.make_batch()

    def odd(key: Any, model: Any, adversarial: Any, batch: Any) -> Any:
        return jnp.where(jnp.mean(adversarial, axis=(1, 2, 3)) > 0, jnp.nan, jnp.inf)

    state = drive(attacks.margin, optax.sign_sgd(0.1), batch, keep=odd)
    assert np.isinf(state.score).all()
    np.testing.assert_array_equal(state.adversarial, state.iterate)


def test_info_shows_loss_and_score_at_the_iterate() -> None:
    batch, model = toys.make_batch(), toys.linear_model()
    attack = attacks.gradient_attack(
        attacks.margin, update_rule=optax.sgd(0.1), ball=attacks.box(), num_steps=1, keep=attacks.squared_distance
    )
    _, info = attack.step(KEY, attack.init(KEY, model, batch), model, batch)
    np.testing.assert_allclose(info.loss, attacks.margin(KEY, model, batch.image, batch), rtol=1e-6)
    np.testing.assert_array_equal(info.score, np.zeros(4))


def test_the_gradient_goes_through_decode() -> None:
    """Descent in another space than that of images: the iterate is the square root of the image."""
    batch = toys.make_batch()
    goal = jnp.full_like(batch.image, 0.25)
    ball = attacks.Ball(project=lambda adversarial, clean: adversarial, start=lambda key, clean: jnp.sqrt(clean))
    attack = attacks.gradient_attack(
        towards(goal), update_rule=optax.sgd(0.1), ball=ball, num_steps=1, decode=lambda iterate, clean: iterate**2
    )
    state = attacks.run_batch(attack, toys.linear_model(), batch, key=KEY)
    root = np.sqrt(np.asarray(batch.image))
    expected = root - 0.1 * 2 * (root**2 - 0.25) * 2 * root
    np.testing.assert_allclose(state.iterate, expected, atol=1e-6)
    np.testing.assert_allclose(state.adversarial, expected**2, atol=1e-6)


def test_random_starts_belong_to_ids() -> None:
    batch = toys.make_batch()
    attack = attacks.pgd(0.1)
    init = jax.jit(attack.init)
    start = init(KEY, None, batch).iterate
    moved = init(KEY, None, batch._replace(id=batch.id + 1)).iterate
    same = batch.image[0:1] * 0 + 0.5
    halves = init(KEY, None, batch._replace(image=jnp.repeat(same, 4, axis=0))).iterate
    assert np.abs(np.asarray(start - moved)).max() > 0.01
    assert np.abs(np.asarray(halves[0] - halves[1])).max() > 0.01
