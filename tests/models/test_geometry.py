"""Strides, offsets and receptive fields against what a pixel reaches: a NaN spreads to exactly the positions that see it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import models

NARROW: dict[str, Any] = {"num_classes": 2, "width": 1 / 64, "key": jax.random.key(0)}
CASES = {
    "alexnet": lambda: models.alexnet(image_size=95, pool_size=2, **NARROW),
    "alexnet variant": lambda: models.alexnet(image_size=64, output_stride=8, pool_size=4, **NARROW),
    "vgg16": lambda: models.vgg16(image_size=47, pool_size=1, **NARROW),
    "vgg16 variant": lambda: models.vgg16(image_size=40, output_stride=4, pool_size=4, **NARROW),
    "resnet18": lambda: models.resnet18(image_size=75, **NARROW),
    "resnet18 variant": lambda: models.resnet18(image_size=64, output_stride=8, **NARROW),
    "resnet50": lambda: models.resnet50(image_size=75, **NARROW),
    "googlenet": lambda: models.googlenet(image_size=95, **NARROW),
    "inception_v3": lambda: models.inception_v3(image_size=139, aux=False, **NARROW),
    "inception_v4": lambda: models.inception_v4(image_size=139, **NARROW),
    "inception_resnet_v2": lambda: models.inception_resnet_v2(image_size=107, **NARROW),
    "resnetv2_50": lambda: models.resnetv2_50(image_size=75, **NARROW),
    "densenet121": lambda: models.densenet121(image_size=77, **NARROW),
    "mobilenet_v2": lambda: models.mobilenet_v2(image_size=67, **NARROW),
    "cifar_resnet20": lambda: models.cifar_resnet20(image_size=33, **NARROW),
    "iresnet": lambda: models.iresnet(blocks=(1, 2), hidden=(3, 3), image_size=20, key=jax.random.key(0)),
    "squeezenet1_0": lambda: models.squeezenet1_0(image_size=79, **NARROW),
    "squeezenet1_1": lambda: models.squeezenet1_1(image_size=71, **NARROW),
    "squeezenet1_1 variant": lambda: models.squeezenet1_1(image_size=64, output_stride=8, **NARROW),
}

evaluate = jax.jit(lambda model, images: model(images))


def seen(model):
    """Layer name -> [rows of the image, rows of the map]: which rows of the map a row of the image reaches."""
    size = model.image_size
    images = jnp.zeros((size, size, size, 3)).at[jnp.arange(size), jnp.arange(size)].set(jnp.nan)
    _, activations = evaluate(model, images)
    return {
        name: np.isnan(value).any(tuple(range(2, value.ndim))) if value.ndim == 4 else np.isnan(value).any(1)[:, None]
        for name, value in activations.items()
    }


def claimed(layer, size):
    """The same, from the stride, the offset and the receptive field."""
    centres = layer.offset + layer.stride * np.arange(layer.shape[0])
    distance = np.abs(np.arange(size)[:, None] - centres[None])
    return distance <= (layer.receptive_field - 1) / 2


SLOW = ("inception_v4", "inception_resnet_v2")  # their parts are those of other networks


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in CASES])
def test_receptive_fields_are_exact(name):
    model = CASES[name]()
    reached = seen(model)
    for layer in model.layers:
        if layer.shape[:2] != (1, 1):
            np.testing.assert_array_equal(reached[layer.name], claimed(layer, model.image_size), err_msg=layer.name)
        else:
            assert (layer.receptive_field, layer.offset) == (model.image_size, (model.image_size - 1) / 2)


def test_receptive_fields_of_a_resized_model_are_bounds():
    inner = models.vgg16(image_size=32, output_stride=4, pool_size=1, **NARROW)
    for size in (24, 47):
        model = models.at_size(inner, size)
        images = jnp.asarray(np.random.default_rng(0).random((1, size, size, 3)), jnp.float32)
        brighter = jnp.concatenate([images, jnp.broadcast_to(images, (size, size, size, 3))])
        brighter = brighter.at[1 + jnp.arange(size), jnp.arange(size)].add(100)
        # One image at a time: in a batch, equal sums may be rounded differently by their place in it.
        activations = [evaluate(model, image[None])[1] for image in brighter]
        reached = 0
        for layer in model.layers:
            if layer.shape[0] > 1:
                value = np.concatenate([np.asarray(found[layer.name]) for found in activations])
                changed = (value[1:] != value[:1]).any((2, 3))
                assert not (changed & ~claimed(layer, size)).any(), (size, layer.name)
                reached += changed.sum()
        assert reached > 100


def test_published_receptive_fields():
    # Andre Araujo, Wade Norris, Jack Sim, "Computing Receptive Fields of Convolutional Neural Networks", 2019, Table 1:
    # AlexNet 195 and VGG-16 212, both after the last pool, whose window adds (kernel - 1) * stride.
    alexnet = jax.eval_shape(lambda: models.alexnet(key=jax.random.key(0)))
    vgg = jax.eval_shape(lambda: models.vgg16(key=jax.random.key(0)))
    assert alexnet.layer("conv5").receptive_field + 2 * 16 == 195
    assert vgg.layer("conv5_3").receptive_field + 1 * 16 == 212


def test_conv1_of_alexnet_by_hand():
    layer = jax.eval_shape(lambda: models.alexnet(key=jax.random.key(0))).layer("conv1")
    assert layer == ("conv1", (55, 55, 64), 4.0, 3.0, 11)
