"""What own models refuse, each in one line that says what to write."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxinterp import models
from tests.models.own_networks import LinenNet, NnxNet, flax_nnx, function, linen

WEIGHTS = jnp.ones((3, 5))
IMAGES = jnp.full((2, 8, 8, 3), 0.5)


def pooled(params, images):
    return models.named("pooled", images.mean((1, 2))) @ params


def flattened(params, images):
    return images.reshape(len(images), -1) @ params


def channels_first(params, images):
    value = jax.lax.conv_general_dilated(images, params, (1, 1), "SAME")
    return value.mean((2, 3))


def discarding(params, images):
    models.named("discarded", images)
    return images.mean((1, 2)) @ params


def with_activations(params, images):
    value = images.mean((1, 2))
    return value @ params, {"pooled": value}


def ignoring_taps(params, images, *, taps=None):
    value = images.mean((1, 2))
    return value @ params, {"pooled": value}


def tapping(params, images, *, taps=None):
    value = images.mean((1, 2))
    value = taps["pooled"](value) if taps and "pooled" in taps else value
    return value @ params, {"pooled": value}


def of(apply, *, params=WEIGHTS, image_size=8, **knobs):
    return models.from_function(apply, params, image_size=image_size, **knobs)


def drawing(params, images, *, key):
    return images.mean((1, 2)) @ params + jax.random.normal(key, (5,))


def closing_over_weights():
    weights = np.ones((3, 5))
    return lambda params, images: images.mean((1, 2)) @ weights


def _fixed_size(image_size):
    module = nn.Sequential((nn.relu, lambda a: a.reshape(len(a), -1), nn.Dense(5)))
    weights = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    return models.from_linen(module, weights, image_size=image_size)


def _training():
    module = nn.Sequential([nn.Dropout(0.5, deterministic=False), _mean, nn.Dense(5)])
    weights = {"params": {"layers_2": {"kernel": WEIGHTS, "bias": jnp.zeros(5)}}}
    return models.from_linen(module, weights, image_size=16)


class _Noise(nnx.Module):
    def __init__(self, *, rngs):
        self.rngs = rngs.fork()
        self.head = nnx.Linear(3, 5, rngs=rngs)

    def __call__(self, images):
        return self.head(images.mean((1, 2))) + jax.random.normal(self.rngs(), (2, 5))


def _drawing_nnx():
    return models.from_nnx(nnx.eval_shape(lambda: _Noise(rngs=nnx.Rngs(0))), image_size=8)


def _mean(value):
    return value.mean((1, 2))


CASES = {
    "unknown layer": (
        lambda: of(pooled, layers=("poled",)),
        r"unknown layer 'poled'; this network has: pooled, logits; did you",
    ),
    "unknown last_conv": (
        lambda: of(pooled, last_conv="pool"),
        r"unknown layer last_conv='pool'; the layers are: pooled, logits",
    ),
    "linen layer": (lambda: linen(layers=("block1/Relu",)), r"unknown layer 'block1/Relu'; .*; did you mean 'block1/relu'\?"),
    "nnx layer": (lambda: flax_nnx(layers=("blocks.2",)), r"unknown layer 'blocks\.2'; this network has: blocks\.0\.conv, "),
    "twice": (
        lambda: of(pooled, layers=("pooled", "pooled")),
        r"expected layers of different names, got \['pooled', 'pooled'\]",
    ),
    "discarded": (
        lambda: of(discarding, layers=("discarded",)),
        r"'discarded' a layer: what replaces it does not reach the logits; go on with",
    ),
    "ignored taps": (
        lambda: of(ignoring_taps, layers=("pooled",)),
        r"cannot make 'pooled' a layer: what replaces it does not reach the logits",
    ),
    "number of logits": (lambda: of(pooled, num_classes=10), r"expected 10 logits, got 5; write num_classes=5\."),
    "linen image size": (
        lambda: _fixed_size(image_size=10),
        r"expected a network of images \[2, 10, 10, 3\] .*ScopeParamShapeError",
    ),
    "function image size": (
        lambda: of(flattened, params=jnp.ones((192, 5)), image_size=9),
        r"images \[2, 9, 9, 3\] .*TypeError: dot",
    ),
    "channels first": (
        lambda: of(channels_first, params=jnp.ones((5, 3, 3, 3))),
        r"images \[2, 8, 8, 3\] \[n h w c\] .*returns logits",
    ),
    "grey images": (lambda: of(pooled, num_channels=1), r"expected a network of images \[2, 8, 8, 1\] \[n h w c\]"),
    "a tuple": (
        lambda: of(lambda params, images: (1, 2, 3)),
        r"expected logits \[n k\], got tuple; write a function that returns",
    ),
    "a map": (
        lambda: of(lambda params, images: images),
        r"expected float logits \[n k\] of 2 images, got float32 of shape \(2, 8, 8, 3\)",
    ),
    "one image": (lambda: of(lambda params, images: images.mean((0, 1, 2))), r"of 2 images, got float32 of shape \(3,\)"),
    "classes": (lambda: of(lambda params, images: pooled(params, images).argmax(-1)), r"got int32 of shape \(2,\)"),
    "activations": (
        lambda: of(lambda params, images: (images.mean((1, 2)), 3)),
        r"expected activations as a dict of arrays, got int",
    ),
    "weights closed over": (
        lambda: of(closing_over_weights()),
        r"got an array of shape \(3, 5\) in 'weights'; pass it as a part of params",
    ),
    "partial of weights": (
        lambda: of(functools.partial(pooled, WEIGHTS)),
        r"expected code without weights, got an array of shape \(3, 5\)",
    ),
    "stats on one side": (
        lambda: of(pooled, stats={"mean": WEIGHTS}),
        r"expected stats both as an argument here and in the signature",
    ),
    "a draw in evaluation": (lambda: of(drawing), r"expected a network of images .*; TypeError: .*"),
    "linen draw": (_training, r"expected a network of images .* InvalidRngError: .* needs PRNG for \"dropout\""),
    "nnx draw": (
        _drawing_nnx,
        r"expected a module that draws nothing at random when it is evaluated; switch it off with",
    ),
    "no params": (
        lambda: models.from_linen(LinenNet(), {"w": WEIGHTS}, image_size=8),
        r"expected variables with 'params', got \['w'\]",
    ),
    "mean": (lambda: of(pooled, mean=(0.5, 0.5)), r"expected mean of 3 channels, got 2 numbers"),
    "std": (lambda: of(pooled, std=0.0), r"expected a std above 0, got \(0\.0, 0\.0, 0\.0\)"),
    "size": (lambda: of(pooled, image_size=0), r"expected image_size and num_channels >= 1, got 0 and 3"),
    "fold": (
        lambda: models.fold_batch_norm(linen()),
        r"expected a network that jaxinterp.models builds, got LinenNet of 5 classes",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_is_refused_in_one_line(name):
    build, message = CASES[name]
    with pytest.raises(ValueError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_what_is_asked_of_a_model_is_refused_in_one_line():
    model = of(pooled)
    cases = [
        (
            lambda: model(IMAGES, taps={"pool": jnp.zeros_like}),
            r"unknown layer 'pool'; this model has: pooled, logits; did you",
        ),
        (lambda: model(IMAGES, taps={"pooled": jnp.sum}), r"expected the tap on 'pooled' to return shape \(2, 3\), got \(\)"),
        (lambda: model(IMAGES[:, :4, :4]), r"expected images of 8 x 8, got 4 x 4; write models\.at_size\(model, 4\)"),
        (lambda: model(IMAGES[..., :1]), r"expected images \[n h w 3\], got shape \(2, 8, 8, 1\)"),
        (lambda: model(IMAGES.transpose(0, 3, 1, 2)), r"write images\.transpose\(0, 2, 3, 1\)"),
        (
            lambda: of(with_activations)(IMAGES, taps={"pooled": jnp.zeros_like}),
            r"expected a function that takes taps, since 'pooled' is an ",
        ),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_function_that_takes_taps_replaces_activations_itself():
    model = of(tapping)
    logits, found = model(IMAGES, taps={"pooled": lambda a: a + 1})
    np.testing.assert_allclose(logits, 4.5)
    np.testing.assert_allclose(found["pooled"], 1.5)


def test_activations_that_are_returned_can_be_read():
    model = of(with_activations)
    assert [layer.name for layer in model.layers] == ["pooled", "logits"]
    np.testing.assert_allclose(model(IMAGES)[1]["pooled"], 0.5)


def test_grey_images_work():
    model = of(pooled, params=jnp.ones((1, 5)), num_channels=1, mean=0.5, std=0.5)
    np.testing.assert_allclose(model(jnp.ones((2, 8, 8, 1)))[0], 1.0)
    assert len(models.fingerprint(model)) == 64


def test_code_that_is_made_twice_is_one_value_and_code_that_differs_is_not():
    def make(scale):
        return lambda params, images: scale * pooled(params, images)

    assert of(make(2)).network == of(make(2)).network
    assert of(make(2)).network != of(make(3)).network
    assert models.fingerprint(of(make(2))) == models.fingerprint(of(make(2))) != models.fingerprint(of(make(3)))
    same = [
        nn.Sequential([nn.Conv(4, (3, 3), kernel_init=nn.initializers.normal(s)), _mean, nn.Dense(5)]) for s in (0.1, 0.1, 0.2)
    ]
    weights = jax.eval_shape(same[0].init, jax.random.key(0), IMAGES)
    first, second, third = (models.from_linen(module, weights, image_size=8).network for module in same)
    assert first == second
    assert first != third
    assert flax_nnx().network != models.from_nnx(nnx.eval_shape(lambda: NnxNet(rngs=nnx.Rngs(0))), image_size=32).network
    assert function().network == function(3).network
