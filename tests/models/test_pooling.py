"""Pooling: values and derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.models._flow import adaptive_average_pool, average_pool, image_flow, max_pool


def random(*shape):
    return jnp.asarray(np.random.default_rng(len(shape)).standard_normal(shape), jnp.float32)


@pytest.mark.parametrize(
    "size, kernel, stride, padding", [(9, 3, 2, 0), (8, 3, 2, 1), (8, 2, 2, 0), (7, 3, 1, 1), (9, 2, 2, 0), (11, 5, 3, 2)]
)
def test_max_pool_and_its_gradient_are_the_window_reduction(size, kernel, stride, padding):
    value = random(2, size, size, 3)

    def reduced(value):
        pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        windows, strides = (1, kernel, kernel, 1), (1, stride, stride, 1)
        return jax.lax.reduce_window(value, -jnp.inf, jax.lax.max, windows, strides, pads)

    def ours(value):
        return max_pool(image_flow(value), kernel, stride, padding=padding).value

    np.testing.assert_array_equal(jax.jit(ours)(value), reduced(value))
    weights = random(*reduced(value).shape)
    got, want = (jax.jit(jax.grad(lambda v, f=f: jnp.sum(f(v) * weights)))(value) for f in (ours, reduced))
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


def test_of_equal_values_the_first_has_the_gradient_in_both_modes():
    value = jnp.asarray([[5, 5, 1, 7], [5, 5, 1, 7], [0, 2, 2, 7], [0, 2, 2, 7]], jnp.float32)[None, :, :, None]

    def pooled(value):
        return max_pool(image_flow(value), 3, 2, padding=1).value

    gradient = jax.grad(lambda value: jnp.sum(pooled(value) * jnp.asarray([[1.0, 2], [3, 4]])[None, :, :, None]))(value)
    expected = np.zeros((4, 4))
    expected[0, 0], expected[0, 3], expected[1, 0], expected[1, 3] = 1, 2, 3, 4
    np.testing.assert_array_equal(gradient[0, :, :, 0], expected)
    random_move = random(1, 4, 4, 1)
    moved = jax.jvp(pooled, (value,), (random_move,))[1]
    np.testing.assert_allclose(
        jnp.sum(moved * jnp.asarray([[1.0, 2], [3, 4]])[None, :, :, None]), jnp.sum(random_move * gradient)
    )


@pytest.mark.parametrize("count_padding", [True, False])
def test_average_pool_and_its_gradient_are_the_window_reduction(count_padding):
    value, pads = random(2, 7, 7, 3), ((0, 0), (1, 1), (1, 1), (0, 0))

    def reduced(value):
        def total(value):
            return jax.lax.reduce_window(value, 0.0, jax.lax.add, (1, 3, 3, 1), (1, 1, 1, 1), pads)

        return total(value) / (9 if count_padding else total(jnp.ones_like(value)))

    def ours(value):
        return average_pool(image_flow(value), 3, 1, padding=1, count_padding=count_padding).value

    np.testing.assert_allclose(ours(value), reduced(value), rtol=1e-5, atol=1e-6)
    weights = random(2, 7, 7, 3) ** 2
    got, want = (jax.grad(lambda v, f=f: jnp.sum(f(v) * weights))(value) for f in (ours, reduced))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_ceil_mode_keeps_the_overhanging_window():
    value = jnp.arange(8.0)[None, :, None, None] * jnp.ones((1, 8, 8, 1))
    assert max_pool(image_flow(value), 3, 2, ceil=True).value[0, :, 0, 0].tolist() == [2, 4, 6, 7]
    assert max_pool(image_flow(value), 3, 2).value[0, :, 0, 0].tolist() == [2, 4, 6]


def test_max_pool_of_negative_values_is_not_reached_by_its_padding():
    value = -jnp.ones((1, 4, 4, 2))
    assert (max_pool(image_flow(value), 3, 2, padding=1, ceil=True).value == -1).all()


def test_adaptive_average_pool_by_hand():
    value = jnp.arange(5.0)[None, :, None, None] * jnp.ones((1, 5, 5, 1))
    rows = {1: [2], 2: [1, 3], 3: [0.5, 2, 3.5], 5: [0, 1, 2, 3, 4], 7: [0, 0.5, 1.5, 2, 2.5, 3.5, 4]}
    for size, expected in rows.items():
        pooled = adaptive_average_pool(value, size)
        assert pooled.shape == (1, size, size, 1)
        np.testing.assert_allclose(pooled[0, :, 0, 0], expected, rtol=1e-6)
        np.testing.assert_allclose(adaptive_average_pool(value.transpose(0, 2, 1, 3), size)[0, 0, :, 0], expected, rtol=1e-6)
