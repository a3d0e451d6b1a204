"""Convolutions: values and derivatives are those of the plain one, on every platform."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.models._convolutions import convolution, depthwise_convolution, eased_convolution


def random(*shape):
    return jnp.asarray(np.random.default_rng(len(shape)).standard_normal(shape), jnp.float32)


def plain_convolution(maps, kernel, stride, pads):
    return jax.lax.conv_general_dilated(
        maps, kernel, (stride,) * 2, [(pad, pad) for pad in pads], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


STEMS = [(17, 3, (11, 11), 4, 2), (12, 3, (11, 11), 2, 2), (12, 3, (7, 7), 2, 3), (15, 3, (7, 7), 2, 3), (12, 3, (3, 3), 2, 0)]
INNER = [(7, 9, (3, 3), 1, 1), (7, 9, (3, 3), 1, 0), (9, 8, (1, 1), 1, 1), (9, 8, (5, 3), 1, (2, 1)), (9, 8, (1, 7), 1, (0, 3))]
NARROW = [(6, 3, (3, 3), 1, 1), (6, 8, (3, 3), 1, 1), (6, 8, (3, 5), 1, (1, 2)), (8, 8, (3, 3), 2, 1), (10, 3, (3, 3), 2, 1)]
STRIDED = [(9, 8, (1, 1), 2, 0), (10, 8, (3, 3), 2, 1), (13, 3, (3, 3), 2, 1), (9, 8, (3, 3), 2, 0)]


@pytest.mark.parametrize("size, channels, kernel, stride, pad", STEMS + INNER + NARROW + STRIDED)
def test_a_convolution_and_all_its_derivatives_are_the_plain_one(size, channels, kernel, stride, pad):
    maps, weights = (
        random(2, size, size + 2, channels) if stride == 1 else random(2, size, size, channels),
        random(*kernel, channels, 4),
    )
    pads = pad if isinstance(pad, tuple) else (pad, pad)
    ours = functools.partial(eased_convolution, stride=stride, pads=pads)
    plain = functools.partial(plain_convolution, stride=stride, pads=pads)
    np.testing.assert_allclose(ours(maps, weights), plain(maps, weights), rtol=2e-6, atol=2e-5)

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
        return jnp.sum(jnp.sin(eased_convolution(maps, weights, 1, (0, 0))))

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1))).trace(random(2, 6, 6, 8), random(1, 1, 8, 8))
    text = gradient.lower(lowering_platforms=(platform,)).as_text()
    assert (text.count("stablehlo.convolution"), text.count("stablehlo.dot_general")) == (convolutions, products)


def test_a_gradient_of_the_image_alone_has_nothing_of_the_weights():
    def loss(maps):
        return jnp.sum(jnp.sin(eased_convolution(maps, jnp.ones((1, 1, 8, 8)), 1, (0, 0))))

    text = jax.jit(jax.grad(loss)).lower(random(2, 6, 6, 8)).as_text()
    assert (text.count("stablehlo.convolution"), text.count("stablehlo.dot_general")) == (2, 0)


@pytest.mark.parametrize("platform, windows", [("cpu", {(3, 6)}), ("tpu", {(3, 3)}), ("cuda", {(3, 3)})])
def test_only_a_cpu_shares_windows_among_neighbouring_positions(platform, windows):
    """Of 8 units, 4 positions share 3 + 3 columns, forwards and in the gradient by the maps."""

    def loss(maps, weights):
        return jnp.sum(jnp.sin(eased_convolution(maps, weights, 1, (1, 1))))

    gradient = jax.jit(jax.grad(loss)).trace(random(2, 8, 8, 8), random(3, 3, 8, 8))
    text = gradient.lower(lowering_platforms=(platform,)).as_text()
    found = re.findall(r"stablehlo.convolution.*: \(tensor<[^>]*>, tensor<(\d+)x(\d+)x", text)
    assert {(int(rows), int(columns)) for rows, columns in found} == windows


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_groups_see_their_own_channels_alone(groups):
    maps, weights = random(2, 8, 8, 8), random(3, 3, 8 // groups, 8)
    want = [
        plain_convolution(maps[..., group], weights[..., unit : unit + 1], 1, (1, 1))
        for unit in range(8)
        for group in [slice(unit * groups // 8 * (8 // groups), (unit * groups // 8 + 1) * (8 // groups))]
    ]
    got = convolution(maps, weights, 1, (1, 1), groups=groups)
    np.testing.assert_allclose(got, jnp.concatenate(want, axis=-1), rtol=0, atol=1e-5)


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
        return depthwise_convolution(maps, weights, stride, (1, 1))

    np.testing.assert_allclose(ours(maps, weights), plain(maps, weights), rtol=1e-5, atol=1e-5)
    both = [jax.grad(lambda m, w, f=f: jnp.sum(jnp.sin(f(m, w))), argnums=(0, 1))(maps, weights) for f in (ours, plain)]
    for got, want in zip(*both, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
