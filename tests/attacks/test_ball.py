"""Balls and the 8-bit lattice."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import attacks
from tests.attacks import toys

RNG = np.random.default_rng(0)


def image(low: float = 0.0, high: float = 1.0) -> jax.Array:
    return jnp.asarray(RNG.uniform(low, high, size=(8, 8, 3)).astype(np.float32))


def test_box() -> None:
    np.testing.assert_array_equal(attacks.box().project(jnp.full((1, 1, 3), 2.0), image()), np.ones((1, 1, 3)))


def test_linf_projection_is_the_clip() -> None:
    clean, far = image(), image(-1, 2)
    expected = np.clip(np.clip(far, clean - 0.1, clean + 0.1), 0, 1)
    np.testing.assert_allclose(attacks.linf(0.1).project(far, clean), expected, atol=1e-7)


def test_l2_projection() -> None:
    clean, ball = image(0.4, 0.6), attacks.l2(0.5)
    far = clean + 0.1 * image(-1, 1)
    step = np.asarray(far - clean)
    assert np.linalg.norm(step) > 0.5
    np.testing.assert_allclose(ball.project(far, clean), clean + step * 0.5 / np.linalg.norm(step), atol=1e-6)
    near = clean + 0.01 * jnp.asarray(step)
    np.testing.assert_array_equal(ball.project(near, clean), near)
    outside = np.asarray(attacks.l2(2.0).project(image(-3, 3), image()))
    assert outside.min() >= 0
    assert outside.max() <= 1
    np.testing.assert_array_equal(ball.project(clean, clean), clean)


def test_l1_projection_is_the_nearest_image_of_both_sets() -> None:
    """The conditions of optimality: a common number is taken off what is neither zero nor at the box."""
    with jax.enable_x64(True):
        clean = jnp.asarray(RNG.uniform(size=(8, 8, 3)))
        far = clean + jnp.asarray(RNG.normal(size=(8, 8, 3)))
        near = np.asarray(jax.jit(attacks.l1(5.0).project)(far, clean))
        change, wanted = near - np.asarray(clean), np.asarray(far - clean)
        assert near.min() >= 0
        assert near.max() <= 1
        np.testing.assert_allclose(np.abs(change).sum(), 5.0, rtol=1e-12)
        inside = (np.abs(change) > 1e-12) & (near > 1e-12) & (near < 1 - 1e-12)
        number = (np.abs(wanted) - np.abs(change))[inside]
        assert inside.sum() > 10
        np.testing.assert_allclose(number, number[0], rtol=1e-9)
        at_box = (np.abs(change) > 1e-12) & ~inside
        assert at_box.sum() > 3
        assert np.all((np.abs(wanted) - np.abs(change))[at_box] >= number[0] - 1e-9)
        assert np.all(np.abs(wanted)[np.abs(change) <= 1e-12] <= number[0] + 1e-9)
        assert np.all(change * wanted >= 0)

        within = clean + 0.001 * (far - clean)
        np.testing.assert_allclose(attacks.l1(5.0).project(within, clean), np.clip(within, 0, 1), atol=1e-15)
        np.testing.assert_array_equal(attacks.l1(5.0).project(clean, clean), clean)
        boxed = attacks.l1(500.0).project(far, clean)
        np.testing.assert_allclose(boxed, np.clip(far, 0, 1), atol=1e-15)


@pytest.mark.parametrize(("ball", "order"), [(attacks.linf, np.inf), (attacks.l2, 2), (attacks.l1, 1)])
def test_random_starts_fill_the_ball(ball: Any, order: float) -> None:
    clean = image(0.4, 0.6)
    assert attacks.linf(0.1).start(jax.random.key(0), clean) is clean
    starts = jax.vmap(ball(0.1, random_start=True).start, in_axes=(0, None))(jax.random.split(jax.random.key(0), 200), clean)
    steps = np.asarray(starts - clean[None]).reshape(200, -1)
    norms = np.linalg.norm(steps, ord=order, axis=1)
    assert norms.max() <= 0.1 + 1e-6
    assert norms.max() > 0.099
    assert np.abs(steps.mean(0)).max() < 0.3 * np.abs(steps).max()


def test_pgd_in_each_norm_takes_its_steepest_step() -> None:
    """One step from the middle of the box on a linear loss: the sign, the unit gradient, the largest entries."""
    batch = toys.make_batch()
    batch = batch._replace(image=jnp.full_like(batch.image, 0.5))
    slope = jnp.asarray(RNG.normal(size=batch.image.shape).astype(np.float32))
    largest = -jnp.sort(-jnp.abs(slope.reshape(4, -1)), axis=1)[:, 1]
    steps = {
        "linf": jnp.sign(slope),
        "l2": slope / jnp.linalg.norm(slope.reshape(4, -1), axis=1)[:, None, None, None],
        "l1": jnp.sign(slope) * (jnp.abs(slope) >= largest[:, None, None, None]) / 2,  # a hundredth of 108 entries
    }
    for norm, step in steps.items():
        attack = attacks.pgd(
            0.4,
            norm=norm,
            num_steps=1,
            random_start=False,
            loss=lambda key, model, adversarial, batch: jnp.sum(slope * adversarial, axis=(1, 2, 3)),
        )
        result = attacks.run_batch(attack, None, batch, key=jax.random.key(0)).adversarial
        np.testing.assert_allclose(result, batch.image - 0.1 * step, atol=1e-6)


@pytest.mark.parametrize("rule", [attacks.normalize_l1(), attacks.normalize_l2(), attacks.sparse_sign(0.01)])
def test_rules_leave_a_zero_gradient_alone(rule: Any) -> None:
    still = jnp.zeros((4, 4, 3))
    np.testing.assert_array_equal(rule.update(still, rule.init(still), still)[0], still)


@pytest.mark.parametrize(
    ("epsilon", "message"),
    [
        (8, r"expected epsilon in \(0, 1\], got 8; write 8 / 255\."),
        (0, r"expected epsilon in \(0, 1\], got 0; write 8 / 255\."),
        (-0.1, r"got -0\.1; write"),
        (float("nan"), "got nan; write"),
        (300.0, "got 300.0; write 8 / 255"),
    ],
)
@pytest.mark.parametrize("make", [attacks.linf, attacks.fgsm, attacks.bim, attacks.pgd, attacks.mi_fgsm])
def test_a_wrong_epsilon_is_refused_before_anything_is_traced(make: Any, epsilon: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(epsilon)


def test_other_wrong_knobs() -> None:
    for make in (attacks.bim, attacks.pgd, attacks.mi_fgsm):
        with pytest.raises(ValueError, match=r"expected step_size in \(0, 1\], got 2; write 2 / 255"):
            make(0.1, step_size=2)
        with pytest.raises(ValueError, match="expected num_steps >= 1, got 0"):
            make(0.1, num_steps=0)
    with pytest.raises(ValueError, match="expected decay >= 0, got -1"):
        attacks.mi_fgsm(0.1, decay=-1)
    with pytest.raises(ValueError, match=r"expected epsilon in \(0, inf\), got 0"):
        attacks.l2(0)
    assert attacks.l2(3).project(image(), image()).shape == (8, 8, 3)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_lattice_points_are_the_numbers_read_from_a_file(dtype: Any) -> None:
    with jax.enable_x64(True):
        levels = np.arange(256).astype(np.uint8)
        exact = (levels.astype(np.float64) / 255).astype(dtype)
        noisy = jnp.asarray((exact + RNG.uniform(-0.4, 0.4, size=256) / 255).astype(dtype))
        np.testing.assert_array_equal(jax.jit(attacks.round_to_lattice)(noisy, noisy), exact, strict=True)


def test_rounding_inside_the_ball_for_every_grey_level() -> None:
    levels = np.arange(256)
    clean = jnp.asarray((levels / 255).astype(np.float32)).reshape(16, 16, 1)
    for radius in (1, 4, 8, 16):
        for shift in (-1.0, -0.5001, -0.3, 0.0, 0.4999, 1.0):
            moved = attacks.linf(radius / 255).project(clean + shift * radius / 255, clean)
            rounded = np.asarray(attacks.round_to_lattice(moved, clean, epsilon=radius / 255)).reshape(-1)
            grey = np.round(rounded * 255).astype(int)
            np.testing.assert_array_equal(grey.astype(np.float32) / np.float32(255), rounded)
            exact = np.clip(levels + shift * radius, 0, 255)
            assert np.abs(grey - exact).max() <= 0.5 + 1e-3
            assert np.abs(grey - levels).max() <= radius


def test_rounding_off_the_lattice_stays_inside() -> None:
    clean = image()
    epsilon = 2.3 / 255
    moved = attacks.linf(epsilon).project(clean + epsilon * jnp.sign(image(-1, 1)), clean)
    plain = np.asarray(attacks.round_to_lattice(moved, clean))
    inside = np.asarray(attacks.round_to_lattice(moved, clean, epsilon=epsilon))
    assert np.abs(plain - np.asarray(clean)).max() > epsilon + 1e-4
    assert np.abs(inside - np.asarray(clean)).max() <= epsilon + 1e-5
    tiny = np.asarray(attacks.round_to_lattice(moved, clean, epsilon=0.01 / 255))
    np.testing.assert_allclose(tiny, np.round(np.asarray(clean) * 255) / 255, atol=1e-6)


def test_rounding_has_the_gradient_of_the_identity() -> None:
    clean = image()
    gradient = jax.grad(lambda a: jnp.sum(attacks.round_to_lattice(a, clean) ** 2))(clean)
    np.testing.assert_allclose(gradient, 2 * attacks.round_to_lattice(clean, clean), rtol=1e-6)


def test_a_fixed_radius_attack_can_stay_on_the_lattice() -> None:
    batch, model = toys.make_batch(), toys.conv_model()
    epsilon = 4 / 255

    def decode(iterate: jax.Array, clean: jax.Array) -> jax.Array:
        return attacks.round_to_lattice(iterate, clean, epsilon=epsilon)

    rule = attacks.normalize_l1()
    attack = attacks.gradient_attack(
        attacks.margin, update_rule=rule, ball=attacks.linf(epsilon, random_start=True), num_steps=3, decode=decode
    )
    result = np.asarray(attacks.run_batch(attack, model, batch, key=jax.random.key(0)).adversarial)
    np.testing.assert_allclose(result * 255, np.round(result * 255), atol=1e-4)
    assert np.abs(result - np.asarray(batch.image)).max() <= epsilon + 1e-6
