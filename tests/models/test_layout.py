"""torchvision's names and shapes, written down, and the number of weights of the published networks."""

import math
from typing import Any

import jax
import numpy as np
import pytest

from jaxinterp import models
from jaxinterp.models._files._weights import torchvision_shapes, torchvision_state


def pair(name, *shape):
    """A weight and its bias."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def norm(name, units):
    """A batch normalisation."""
    return {f"{name}.{leaf}": (units,) for leaf in ("weight", "bias", "running_mean", "running_var")}


def alexnet():
    return (
        pair("features.0", 64, 3, 11, 11)
        | pair("features.3", 192, 64, 5, 5)
        | pair("features.6", 384, 192, 3, 3)
        | pair("features.8", 256, 384, 3, 3)
        | pair("features.10", 256, 256, 3, 3)
        | pair("classifier.1", 4096, 9216)
        | pair("classifier.4", 4096, 4096)
        | pair("classifier.6", 1000, 4096)
    )


def vgg16():
    widths = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256), 14: (256, 256)}
    widths |= {17: (256, 512)} | dict.fromkeys((19, 21, 24, 26, 28), (512, 512))
    convs = [pair(f"features.{i}", out, inputs, 3, 3) for i, (inputs, out) in widths.items()]
    linear = pair("classifier.0", 4096, 25088) | pair("classifier.3", 4096, 4096) | pair("classifier.6", 1000, 4096)
    return {k: v for table in convs for k, v in table.items()} | linear


def resnet(blocks, expansion):
    table = {"conv1.weight": (64, 3, 7, 7)} | norm("bn1", 64) | pair("fc", 1000, 512 * expansion)
    inputs = 64
    for stage, count in enumerate(blocks, start=1):
        planes = 32 * 2**stage
        for number in range(count):
            name = f"layer{stage}.{number}"
            if expansion == 1:
                convs = ((planes, inputs, 3, 3), (planes, planes, 3, 3))
            else:
                convs = ((planes, inputs, 1, 1), (planes, planes, 3, 3), (planes * 4, planes, 1, 1))
            for index, shape in enumerate(convs, start=1):
                table |= {f"{name}.conv{index}.weight": shape} | norm(f"{name}.bn{index}", shape[0])
            if number == 0 and inputs != planes * expansion:
                table |= {f"{name}.downsample.0.weight": (planes * expansion, inputs, 1, 1)}
                table |= norm(f"{name}.downsample.1", planes * expansion)
            inputs = planes * expansion
    return table


def squeezenet1_1():
    table = pair("features.0", 64, 3, 3, 3) | pair("classifier.1", 1000, 512, 1, 1)
    fires = {3: (64, 16, 64), 4: (128, 16, 64), 6: (128, 32, 128), 7: (256, 32, 128)}
    fires |= {9: (256, 48, 192), 10: (384, 48, 192), 11: (384, 64, 256), 12: (512, 64, 256)}
    for position, (inputs, squeeze, expand) in fires.items():
        table |= pair(f"features.{position}.squeeze", squeeze, inputs, 1, 1)
        table |= pair(f"features.{position}.expand1x1", expand, squeeze, 1, 1)
        table |= pair(f"features.{position}.expand3x3", expand, squeeze, 3, 3)
    return table


PUBLISHED = {
    "alexnet": (models.alexnet, alexnet(), 61_100_840),
    "vgg16": (models.vgg16, vgg16(), 138_357_544),
    "resnet18": (models.resnet18, resnet((2, 2, 2, 2), 1), 11_689_512),
    "resnet50": (models.resnet50, resnet((3, 4, 6, 3), 4), 25_557_032),
    "squeezenet1_1": (models.squeezenet1_1, squeezenet1_1(), 1_235_496),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_full_network_has_torchvisions_names_and_shapes(name):
    build, expected, total = PUBLISHED[name]
    model = jax.eval_shape(lambda: build(key=jax.random.key(0)))
    assert torchvision_shapes(model.params, model.stats) == expected
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(model.params)) == total
    assert model.image_size == 224
    assert model.layer("logits").shape == (1, 1, 1000)


@pytest.mark.parametrize("name", PUBLISHED)
def test_last_maps_of_the_full_network(name):
    build, _, _ = PUBLISHED[name]
    model = jax.eval_shape(lambda: build(key=jax.random.key(0)))
    shapes = {"alexnet": (13, 13, 256), "vgg16": (14, 14, 512), "resnet18": (7, 7, 512), "resnet50": (7, 7, 2048)}
    assert model.layer(models.last_conv(model)).shape == shapes.get(name, (13, 13, 512))


@pytest.mark.parametrize("name", PUBLISHED)
def test_small_variants_keep_the_names_and_have_maps_of_8_x_8(name):
    build, expected, _ = PUBLISHED[name]
    model = build(num_classes=24, width=1 / 8, image_size=64, output_stride=8, key=jax.random.key(0))
    assert list(torchvision_shapes(model.params, model.stats)) == list(torchvision_shapes(*model.network.shapes))
    assert set(torchvision_shapes(model.params, model.stats)) == set(expected)
    for layer in model.layers:
        assert layer.shape[0] >= 8 or layer.shape[:2] == (1, 1), layer
    assert model.layer(models.last_conv(model)).stride == 8


@pytest.mark.parametrize("stride", [1, 2, 16, 32])
@pytest.mark.parametrize("name", PUBLISHED)
def test_output_stride_is_that_of_the_last_convolution(name, stride):
    build, _, _ = PUBLISHED[name]
    strides = {"alexnet": (2, 4, 8), "vgg16": (1, 2, 4, 8, 16), "squeezenet1_1": (1, 2, 4, 8, 16)}.get(
        name, (1, 2, 4, 8, 16, 32)
    )

    def make():
        return build(num_classes=3, width=1 / 64, image_size=64, output_stride=stride, key=jax.random.key(0))

    if stride not in strides:
        with pytest.raises(ValueError, match="expected output_stride None or one of"):
            make()
        return
    model = jax.eval_shape(make)
    assert model.layer(models.last_conv(model)).stride == stride


def test_first_draws_are_torchvisions():
    def spread(model, name):
        return torchvision_state(model.params, model.stats)[name].astype(np.float64)

    knobs: dict[str, Any] = {"num_classes": 50, "key": jax.random.key(1)}
    alex = models.alexnet(width=1 / 2, image_size=63, pool_size=2, **knobs)
    for name, fan_in in (("features.3", 32 * 25), ("classifier.4", 2048)):
        for leaf in ("weight", "bias"):
            value = spread(alex, f"{name}.{leaf}")
            assert np.abs(value).max() <= fan_in**-0.5
            np.testing.assert_allclose(value.std(), (3 * fan_in) ** -0.5, rtol=0.1)
    vgg = models.vgg16(width=1 / 4, image_size=32, pool_size=1, hidden=1024, **knobs)
    np.testing.assert_allclose(spread(vgg, "features.7.weight").std(), (2 / (9 * 32)) ** 0.5, rtol=0.02)
    np.testing.assert_allclose(spread(vgg, "classifier.3.weight").std(), 0.01 * 2, rtol=0.02)
    assert not spread(vgg, "features.7.bias").any()
    res = models.resnet18(image_size=32, **knobs)
    np.testing.assert_allclose(spread(res, "layer2.0.conv1.weight").std(), (2 / (9 * 128)) ** 0.5, rtol=0.02)
    np.testing.assert_allclose(spread(res, "fc.weight").std(), (3 * 512) ** -0.5, rtol=0.02)
    assert (spread(res, "bn1.weight") == 1).all()
    assert (spread(res, "bn1.running_var") == 1).all()
    assert not spread(res, "bn1.running_mean").any()
    squeeze = models.squeezenet1_1(image_size=32, **knobs)
    np.testing.assert_allclose(spread(squeeze, "classifier.1.weight").std(), 0.01, rtol=0.02)
    value = spread(squeeze, "features.12.expand3x3.weight")
    assert np.abs(value).max() <= (6 / (9 * 64)) ** 0.5
    np.testing.assert_allclose(value.std(), (2 / (9 * 64)) ** 0.5, rtol=0.02)


def test_draws_depend_on_the_key_alone():
    def first(seed):
        return models.resnet18(num_classes=3, width=1 / 32, image_size=32, key=jax.random.key(seed)).params["conv1"]["kernel"]

    assert (first(0) == first(0)).all()
    assert not (first(0) == first(1)).any()
    assert (first(0) == jax.jit(lambda: first(0))()).all()
