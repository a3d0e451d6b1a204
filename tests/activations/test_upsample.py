"""Where the positions of a map lie in the image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import Layer
from jaxinterp.activations import upsample

RAMP = Layer("conv", (5, 5, 2), stride=4.0, offset=3.0, receptive_field=9)


def _ramp():
    place = RAMP.offset + RAMP.stride * np.arange(5, dtype=np.float32)
    return jnp.asarray(np.stack(np.meshgrid(place, place, indexing="ij"), axis=-1))


def test_interpolates_the_input_coordinate():
    size = 24
    expected = np.clip(np.arange(size), 3, 19)
    got = np.asarray(upsample(_ramp(), RAMP, size, image_size=size))
    assert np.array_equal(got[..., 0], np.broadcast_to(expected[:, None], (size, size)))
    assert np.array_equal(got[..., 1], np.broadcast_to(expected[None, :], (size, size)))


def test_half_resolution_has_half_pixel_centres():
    got = np.asarray(upsample(_ramp()[None], RAMP, 12, image_size=24))[0, :, 0, 0]
    assert np.array_equal(got, np.clip(2 * np.arange(12) + 0.5, 3, 19))


def test_plain_is_an_image_resize():
    maps = jnp.asarray(np.random.default_rng(0).normal(size=(3, 5, 5, 2)), jnp.float32)
    got = upsample(maps, RAMP, 17, image_size=24, anchor="plain")
    np.testing.assert_allclose(got, jax.image.resize(maps, (3, 17, 17, 2), "bilinear"), atol=1e-6)


def test_plateaus_and_centres_are_exact():
    values = np.random.default_rng(1).normal(size=(1, 5, 5, 2)).astype(np.float32)
    values[:, :, 1:3] = values[:, 2:3, 1:2]
    got = np.asarray(upsample(jnp.asarray(values), RAMP, 24, image_size=24))
    assert np.array_equal(got[:, 3:20:4, 3:20:4], values)
    assert (got[:, :, 7:12] == values[:, 2:3, 1:2]).all()


def test_single_position_fills_the_image():
    layer = Layer("fc", (1, 1, 3), stride=1.0, offset=0.0, receptive_field=24)
    got = upsample(jnp.arange(3.0)[None, None], layer, 6, image_size=24)
    assert np.array_equal(got, np.broadcast_to(np.arange(3.0), (6, 6, 3)))


def test_bad_sizes_are_named():
    with pytest.raises(ValueError, match=r"expected sizes >= 1, got size=0"):
        upsample(_ramp(), RAMP, 0, image_size=24)
