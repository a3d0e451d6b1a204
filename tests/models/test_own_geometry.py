"""Where the layers of own models lie: against the library's own networks, against what a pixel reaches, and by hand."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import Layer, models
from jaxinterp.models import named
from tests.models.test_geometry import CASES, claimed


def through_taps(params, images, *, taps, network):
    """A network of the library as a pure function that returns its activations."""
    logits, found, _ = network.apply(params, {}, images, key=None, taps=taps, train=False)
    return logits, found


def with_statistics(params, images, *, taps, network, stats):
    """The same where there are batch statistics."""
    return network.apply(params, stats, images, key=None, taps=taps, train=False)


@pytest.mark.parametrize("name", CASES)
def test_the_librarys_own_networks_are_measured_as_they_are_written(name):
    model = jax.eval_shape(CASES[name])
    apply = functools.partial(with_statistics if model.stats else through_taps, network=model.network)
    measured = jax.eval_shape(
        lambda model: models.from_function(apply, model.params, image_size=model.image_size, stats=model.stats or None), model
    )
    reaching = {layer.name: layer for layer in model.layers if not layer.name.startswith("aux")}
    assert {layer.name: layer for layer in measured.layers} == reaching


def conv(value, kernel, **knobs):
    """A convolution whose weights are nowhere zero."""
    knobs = {"padding": "SAME", "strides": 1, **knobs}
    weights = jnp.ones((kernel, kernel, value.shape[-1] // knobs.get("groups", 1), 4))
    return jax.lax.conv_general_dilated(
        value,
        weights,
        (knobs["strides"],) * 2,
        knobs["padding"],
        lhs_dilation=(knobs.get("spread", 1),) * 2,
        rhs_dilation=(knobs.get("hole", 1),) * 2,
        feature_group_count=knobs.get("groups", 1),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def patches(value, side):
    """Squares of side x side pixels as channels, by reshape."""
    n, size, _, channels = value.shape
    value = value.reshape(n, size // side, side, size // side, side, channels).transpose(0, 1, 3, 2, 4, 5)
    return value.reshape(n, size // side, size // side, -1)


TRUNKS: dict[str, Any] = {
    "same padding, even kernel": lambda a: conv(a, 4, strides=2),
    "valid padding": lambda a: conv(conv(a, 5, padding="VALID", strides=3), 2, padding="VALID"),
    "holes": lambda a: conv(conv(a, 3, hole=2), 3, hole=3, padding="VALID"),
    "groups": lambda a: conv(conv(a, 1), 3, groups=4),
    "max pool": lambda a: nn.max_pool(conv(a, 3), (3, 3), (2, 2), "SAME"),
    "average pool": lambda a: nn.avg_pool(conv(a, 3), (2, 2), (2, 2), count_include_pad=False),
    "two branches": lambda a: jnp.concatenate([conv(a, 1), conv(conv(a, 5), 3)], -1),
    "shortcut": lambda a: jax.nn.gelu(conv(conv(a, 3, strides=2), 3) + conv(a, 1, strides=2)),
    "patches by reshape": lambda a: conv(patches(a, 4), 3),
    "subsampled by a slice": lambda a: conv(a, 3)[:, 1::2, 1::2],
    "cut and padded": lambda a: conv(jnp.pad(a[:, 2:-1, 2:-1], ((0, 0), (1, 0), (1, 0), (0, 0))), 3, padding="VALID"),
    "dense on channels": lambda a: jnp.einsum("nhwc,cu->nhwu", conv(a, 3), jnp.ones((4, 6))),
    "channels in front and back": lambda a: jnp.moveaxis(jax.nn.relu(jnp.moveaxis(conv(a, 3), -1, 1)), 1, -1),
    "tokens and back": lambda a: jnp.tanh(conv(a, 4, strides=4, padding="VALID").reshape(2, -1, 4)).reshape(2, 5, 5, 4),
    "another form on another platform": lambda a: jax.lax.platform_dependent(
        conv(a, 3, strides=2), tpu=lambda a: a[:, ::-1], default=lambda a: a + 1
    ),
    "checkpoint and jit inside": jax.checkpoint(jax.jit(lambda a: jax.nn.silu(conv(a, 3)))),
    "layer norm of channels": lambda a: jax.nn.standardize(conv(a, 3), axis=-1, epsilon=1.0),
}


def head(params, images, *, trunk):
    """Logits of a trunk, which is named."""
    return named("trunk", TRUNKS[trunk](images)).mean((1, 2))[:, :1] * params


def model_of(trunk):
    return models.from_function(functools.partial(head, trunk=trunk), jnp.ones((1, 3)), image_size=20)


@pytest.mark.parametrize("trunk", TRUNKS)
def test_receptive_fields_are_exact(trunk):
    model = model_of(trunk)
    size = model.image_size
    images = jnp.zeros((size, size, size, 3)).at[jnp.arange(size), jnp.arange(size)].set(jnp.nan)
    pairs = images.reshape(size // 2, 2, size, size, 3)
    maps = jax.jit(jax.vmap(TRUNKS[trunk]))(pairs)
    reached = np.asarray(np.isnan(np.asarray(maps)).reshape(size, *maps.shape[2:]).any((2, 3)))
    said = claimed(model.layer("trunk"), size)
    if trunk in ("holes", "cut and padded"):  # pixels between the holes, and those that were cut off, are in the field too
        assert not (reached & ~said).any()
        middle = len(said[0]) // 2
        first, second = (np.flatnonzero(seen[:, middle])[[0, -1]] for seen in (reached, said))
        np.testing.assert_array_equal(first, second)
    else:
        np.testing.assert_array_equal(reached, said)


def test_windows_of_a_transposed_convolution_are_bounds():
    layer = _layer(lambda a: conv(conv(a, 4, strides=4, padding="VALID"), 4, spread=2, padding=((2, 2), (2, 2))))
    assert (layer.shape, layer.stride, layer.offset) == ((10, 10, 4), 2.0, 0.5)
    assert layer.receptive_field == 10


def test_windows_of_unequal_sides_are_bounded_by_the_longer():
    assert _layer(lambda a: nn.max_pool(a, (1, 7), padding="SAME")) == ("trunk", (20, 20, 3), 1.0, 0.0, 7)


def _layer(trunk, size=20):
    return models.from_function(
        lambda params, images: named("trunk", trunk(images)).mean((1, 2))[:, :1] * params, jnp.ones((1, 3)), image_size=size
    ).layer("trunk")


@pytest.mark.parametrize(
    "trunk",
    [
        lambda a: conv(a, 3, strides=2) * jax.nn.sigmoid(a.mean((1, 2), keepdims=True)[..., :1]),
        lambda a: nn.GroupNorm(2, use_bias=False, use_scale=False).apply({}, conv(a, 3, strides=2)),
        lambda a: _attention(conv(a, 3, strides=2)),
        lambda a: jnp.cumsum(conv(a, 3, strides=2), 1),
    ],
    ids=["squeeze", "group norm", "attention", "cumulative"],
)
def test_what_mixes_all_positions_keeps_its_place_and_sees_the_whole_image(trunk):
    assert _layer(trunk) == ("trunk", (10, 10, 4), 2.0, 1.0, 39)


def _attention(value):
    n, h, w, u = value.shape
    tokens = value.reshape(n, h * w, u)
    weights = jax.nn.softmax(jnp.einsum("nqu,nku->nqk", tokens, tokens))
    return (tokens + weights @ tokens).reshape(n, h, w, u)


def test_layers_without_positions_are_those_of_the_library():
    layer = models.from_function(
        lambda params, images: named("pooled", images.mean((1, 2))) @ params, jnp.ones((3, 4)), image_size=20
    ).layer("pooled")
    assert layer == ("pooled", (1, 1, 3), 20.0, 9.5, 20)


@pytest.mark.parametrize(
    "trunk, reason",
    [
        (
            lambda a: jax.image.resize(a, (2, 10, 10, 3), "bilinear"),
            r"cannot be followed back to the image past .*mixes positions",
        ),
        (lambda a: a[:, ::-1], r"past rev"),
        (lambda a: jnp.pad(a, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect"), r"past (a concatenation along the image|rev)"),
        (lambda a: a + a.transpose(0, 2, 1, 3), r"past add of maps that lie differently on the image"),
        (lambda a: a.at[:, 0].set(0.0), r"past scatter"),
        (lambda a: nn.max_pool(a, (1, 2), (1, 2)), r"its rows lie at 0 \+ 1 i and its columns at 0\.5 \+ 2 i"),
        (lambda a: a.transpose(0, 3, 1, 2), r"expected \[n h w u\], got \[n u h w\] of shape \(2, 3, 20, 20\); transpose it"),
    ],
)
def test_what_cannot_be_followed_is_said_and_can_be_given(trunk, reason):
    def apply(params, images):
        return named("trunk", trunk(images)).mean((1, 2))[:, :1] * params

    build = functools.partial(models.from_function, apply, jnp.ones((1, 3)), image_size=20)
    with pytest.raises(ValueError, match=r"cannot make 'trunk' a layer: .*" + reason) as caught:
        build(layers=("trunk",))
    assert "\n" not in str(caught.value)
    assert "write jaxinterp.Layer('trunk', (" in str(caught.value)
    assert [layer.name for layer in build().layers] == ["logits"]
    shape = jax.eval_shape(trunk, jnp.zeros((2, 20, 20, 3))).shape[1:]
    given = Layer("trunk", shape, 2.0, 0.5, 5)
    assert build(layers=(given,)).layers == (given,)
    with pytest.raises(ValueError, match=r"expected the layer 'trunk' of shape \(.*\), got \(1, 1, 1\)"):
        build(layers=(given._replace(shape=(1, 1, 1)),))
