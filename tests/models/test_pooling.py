"""Pooling and convolutions: values and derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.models._flow import adaptive_average_pool, average_pool, image_flow, max_pool
from jaxinterp.models._ops import _depthwise_convolution, _eased_convolution


def random(*shape):
    return jnp.asarray(np.random.default_rng(len(shape)).standard_normal(shape), jnp.float32)


def plain_convolution(maps, kernel, stride, pads):
    return jax.lax.conv_general_dilated(
        maps, kernel, (stride,) * 2, [(pad, pad) for pad in pads], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


STEMS = [(17, 3, (11, 11), 4, 2), (12, 3, (11, 11), 2, 2), (12, 3, (7, 7), 2, 3), (15, 3, (7, 7), 2, 3), (12, 3, (3, 3), 2, 0)]
INNER = [(7, 9, (3, 3), 1, 1), (7, 9, (3, 3), 1, 0), (9, 8, (1, 1), 1, 1), (9, 8, (5, 3), 1, (2, 1)), (9, 8, (1, 7), 1, (0, 3))]
STRIDED = [(9, 8, (1, 1), 2, 0), (10, 8, (3, 3), 2, 1), (13, 3, (3, 3), 2, 1), (9, 8, (3, 3), 2, 0)]


@pytest.mark.parametrize("size, channels, kernel, stride, pad", STEMS + INNER + STRIDED)
def test_a_convolution_and_all_its_derivatives_are_the_plain_one(size, channels, kernel, stride, pad):
    maps, weights = (
        random(2, size, size + 2, channels) if stride == 1 else random(2, size, size, channels),
        random(*kernel, channels, 4),
    )
    pads = pad if isinstance(pad, tuple) else (pad, pad)
    ours = functools.partial(_eased_convolution, stride=stride, pads=pads)
    plain = functools.partial(plain_convolution, stride=stride, pads=pads)
    np.testing.assert_array_equal(ours(maps, weights), plain(maps, weights))

    @functools.partial(jax.jit, static_argnums=0)
    def derivatives(convolve, maps, weights):
        def loss(maps, weights):
            return jnp.sum(jnp.sin(convolve(maps, weights)))

        first = jax.grad(loss, argnums=(0, 1))(maps, weights)
        forward = jax.jvp(convolve, (maps, weights), (maps + 1, weights - 1))[1]
        second = jax.grad(lambda weights: jnp.sum(jax.grad(loss)(maps, weights) ** 2))(weights)
        mixed = jax.grad(lambda maps: jnp.sum(jax.grad(loss, argnums=1)(maps, weights) ** 2))(maps)
        each = jax.vmap(lambda map: jax.grad(loss, argnums=1)(map[None], weights))(maps)
        return *first, forward, second, mixed, each

    for got, want in zip(derivatives(ours, maps, weights), derivatives(plain, maps, weights), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-5 * float(jnp.abs(want).max()))


@pytest.mark.parametrize("platform, convolutions, products", [("cpu", 2, 1), ("tpu", 3, 0), ("cuda", 3, 0)])
def test_only_a_cpu_computes_the_gradient_of_1_x_1_weights_as_a_product(platform, convolutions, products):
    def loss(maps, weights):
        return jnp.sum(jnp.sin(_eased_convolution(maps, weights, 1, (0, 0))))

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1))).trace(random(2, 6, 6, 8), random(1, 1, 8, 8))
    text = gradient.lower(lowering_platforms=(platform,)).as_text()
    assert (text.count("stablehlo.convolution"), text.count("stablehlo.dot_general")) == (convolutions, products)


def test_a_gradient_of_the_image_alone_has_nothing_of_the_weights():
    def loss(maps):
        return jnp.sum(jnp.sin(_eased_convolution(maps, jnp.ones((1, 1, 8, 8)), 1, (0, 0))))

    text = jax.jit(jax.grad(loss)).lower(random(2, 6, 6, 8)).as_text()
    assert (text.count("stablehlo.convolution"), text.count("stablehlo.dot_general")) == (2, 0)


@pytest.mark.parametrize("size, stride", [(8, 1), (8, 2), (9, 2)])
def test_the_depthwise_convolution_and_its_derivatives_are_the_plain_one(size, stride):
    maps, weights = random(2, size, size, 5), random(3, 3, 1, 5)

    def plain(maps, weights):
        numbers = ("NHWC", "HWIO", "NHWC")
        pads = ((1, 1), (1, 1))
        return jax.lax.conv_general_dilated(
            maps, weights, (stride,) * 2, pads, dimension_numbers=numbers, feature_group_count=5
        )

    def ours(maps, weights):
        return _depthwise_convolution(maps, weights, stride, (1, 1))

    np.testing.assert_allclose(ours(maps, weights), plain(maps, weights), rtol=1e-5, atol=1e-5)
    both = [jax.grad(lambda m, w, f=f: jnp.sum(jnp.sin(f(m, w))), argnums=(0, 1))(maps, weights) for f in (ours, plain)]
    for got, want in zip(*both, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


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
