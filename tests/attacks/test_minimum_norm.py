"""Minimum-norm attacks: projections in closed form, papers transcribed, errors."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import attacks
from jaxinterp.attacks._minimum_norm._projection import onto_l1_ball, to_hyperplane

pytestmark = pytest.mark.usefixtures("float64")


def moved(image: np.ndarray, gradient: np.ndarray, gap: float, norm: str) -> np.ndarray:
    return np.asarray(to_hyperplane(jnp.asarray(image), jnp.asarray(gradient), jnp.asarray(gap), norm))


def bisected(function: Callable[[float], float], height: float, largest: float) -> float:
    """Where a growing function reaches a height."""
    low, high = 0.0, largest
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < height else (low, middle)
    return high


def projected(image: np.ndarray, gradient: np.ndarray, gap: float, norm: str) -> np.ndarray:
    """By bisection over the common size of the moves; in L1 over the pixels, steepest first."""
    direction = -np.sign(gap) * gradient
    slope, room = np.abs(direction), np.where(direction > 0, 1 - image, image)
    if norm == "linf":
        level = bisected(lambda level: (slope * np.minimum(level, room)).sum(), abs(gap), 1.0)
        return np.sign(direction) * np.minimum(level, room)
    if norm == "l2":
        level = bisected(lambda level: (slope * np.minimum(level * slope, room)).sum(), abs(gap), 1e6)
        return np.sign(direction) * np.minimum(level * slope, room)
    change, missing = np.zeros_like(image), abs(gap)
    for index in np.argsort(-slope):
        move = min(room[index], missing / slope[index])
        change[index], missing = np.sign(direction[index]) * move, missing - move * slope[index]
    return change


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.98, -0.3])
def test_projection_onto_a_hyperplane_within_the_box(norm: str, share: float) -> None:
    rng = np.random.default_rng(0)
    image, gradient = rng.uniform(size=24), rng.normal(size=24)
    image[:4] = [0, 1, 0, 1]
    direction = -np.sign(share) * gradient
    gap = share * float((np.abs(direction) * np.where(direction > 0, 1 - image, image)).sum())
    change = moved(image.reshape(2, 4, 3), gradient.reshape(2, 4, 3), gap, norm).ravel()
    np.testing.assert_allclose(gap + gradient @ change, 0, atol=1e-12)
    assert (image + change).min() >= -1e-15
    assert (image + change).max() <= 1 + 1e-15
    np.testing.assert_allclose(change, projected(image, gradient, gap, norm), atol=1e-9)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_hyperplane_out_of_reach_takes_every_pixel_to_its_end(norm: str) -> None:
    rng = np.random.default_rng(1)
    image, gradient = rng.uniform(size=(2, 2, 3)), rng.normal(size=(2, 2, 3))
    change = moved(image, gradient, 1e3, norm)
    np.testing.assert_allclose(image + change, (gradient < 0).astype(float), atol=1e-12)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_without_a_slope_nothing_moves(norm: str) -> None:
    still = moved(np.full((2, 2, 3), 0.5), np.zeros((2, 2, 3)), 1.0, norm)
    np.testing.assert_array_equal(still, 0)


def test_projection_onto_an_l1_ball() -> None:
    change = jnp.asarray(np.random.default_rng(2).normal(size=(2, 4, 3)))
    inside = np.asarray(onto_l1_ball(change, jnp.asarray(100.0)))
    np.testing.assert_array_equal(inside, change)
    shrunk = np.asarray(onto_l1_ball(change, jnp.asarray(2.0)))
    np.testing.assert_allclose(np.abs(shrunk).sum(), 2.0, rtol=1e-12)
    amount = (np.abs(change) - np.abs(shrunk))[shrunk != 0]
    np.testing.assert_allclose(amount, amount[0], atol=1e-12)
    assert np.abs(change[shrunk == 0]).max() <= amount[0]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: attacks.fab(norm="L2"), r"expected norm in linf, l2, l1, got 'L2'; write norm='linf'\."),
        (lambda: attacks.fab(towards="label"), "expected towards 'nearest' or 'target', got 'label'"),
        (lambda: attacks.fab(num_steps=0), "expected num_steps >= 1, got 0"),
        (lambda: attacks.fab(num_candidates=0), "expected num_candidates >= 1, got 0"),
        (lambda: attacks.fab(largest_bias=2.0), r"expected largest_bias in \[0, 1\], got 2.0"),
        (lambda: attacks.fab(overshoot=0.9), "expected overshoot >= 1, got 0.9"),
        (lambda: attacks.deepfool(norm="l1"), "expected norm in l2, linf, got 'l1'"),
        (lambda: attacks.deepfool(overshoot=-0.1), "expected overshoot >= 0, got -0.1"),
        (lambda: attacks.ddn(change=1.0), r"expected change in \(0, 1\), got 1.0"),
        (lambda: attacks.ddn(initial_radius=0.0), r"expected initial_radius in \(0, inf\), got 0.0"),
        (lambda: attacks.fmn(change=0.0), r"expected change in \[0.001, 1\), got 0.0"),
        (lambda: attacks.carlini_wagner(confidence=-1.0), "expected confidence >= 0, got -1.0"),
        (lambda: attacks.carlini_wagner(num_search_steps=0), "expected num_search_steps >= 1, got 0"),
        (lambda: attacks.carlini_wagner_linf(shrink=1.0), r"expected shrink in \(0, 1\), got 1.0"),
        (lambda: attacks.carlini_wagner_linf(num_rounds=0), "expected num_rounds >= 1, got 0"),
        (lambda: attacks.carlini_wagner_linf(largest_weight=1e-6), "expected largest_weight >= 1e-05, got 1e-06"),
        (lambda: attacks.ead(decision="l2"), "expected decision 'l1' or 'elastic_net', got 'l2'"),
        (lambda: attacks.ead(l1_weight=-1.0), "expected l1_weight >= 0, got -1.0"),
        (lambda: attacks.universal_perturbation(8.0), r"expected epsilon in \(0, 1\], got 8.0; write 8.0 / 255"),
        (lambda: attacks.universal_perturbation(0.1, norm="l1"), "expected norm in linf, l2, got 'l1'"),
        (lambda: attacks.fab(backward=1.0), r"expected backward in \(0, 1\), got 1.0"),
    ],
)
def test_errors(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
