"""Every named layer against a plain float64 transcription that reads torchvision's state dict (OIHW, channels first)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from jaxinterp import Model, models
from jaxinterp.models._files._weights import torchvision_state

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
NARROW: dict[str, Any] = {"num_classes": 5, "width": 1 / 16}


def conv2d(x, state, name, stride=1, padding=0):
    """Cross-correlation of `[n c h w]`."""
    weight = state[f"{name}.weight"]
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = sliding_window_view(x, weight.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    out = np.einsum("nchwij,ocij->nohw", windows, weight, optimize=True)
    return out + state[f"{name}.bias"][:, None, None] if f"{name}.bias" in state else out


def pool2d(x, kernel, stride, padding=0, ceil=False):
    """Maximum over windows that start inside `[n c h w]` or in its low padding."""
    size, rounding = x.shape[2], np.ceil if ceil else np.floor
    steps = int(rounding((size + 2 * padding - kernel) / stride)) + 1
    out = np.full((*x.shape[:2], steps, steps), -np.inf)
    for i in range(steps):
        for j in range(steps):
            top, left = i * stride - padding, j * stride - padding
            window = x[:, :, max(top, 0) : top + kernel, max(left, 0) : left + kernel]
            out[:, :, i, j] = window.max((2, 3))
    return out


def adaptive2d(x, size):
    """Average over the cells floor(i h / size) ... ceil((i + 1) h / size)."""
    edges = [(int(np.floor(i * x.shape[2] / size)), int(np.ceil((i + 1) * x.shape[2] / size))) for i in range(size)]
    return np.stack([np.stack([x[:, :, a:b, c:d].mean((2, 3)) for c, d in edges], -1) for a, b in edges], -2)


def norm2d(x, state, name):
    """Batch normalisation with running statistics."""
    weight, bias, mean, var = (
        state[f"{name}.{leaf}"][:, None, None] for leaf in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(var + 1e-5) * weight + bias


def linear(x, state, name):
    """Affine map of `[n u]`."""
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def relu(x):
    return np.maximum(x, 0)


def alexnet(x, state, pool_size):
    sites = {}
    plan = ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1))
    for number, (position, stride, padding) in enumerate(plan, start=1):
        x = sites[f"conv{number}"] = relu(conv2d(x, state, f"features.{position}", stride, padding))
        x = pool2d(x, 3, 2) if number in (1, 2, 5) else x
    x = adaptive2d(x, pool_size).reshape(len(x), -1)
    x = sites["fc6"] = relu(linear(x, state, "classifier.1"))
    x = sites["fc7"] = relu(linear(x, state, "classifier.4"))
    sites["logits"] = linear(x, state, "classifier.6")
    return sites


def vgg16(x, state, pool_size):
    sites, position = {}, 0
    for stage, count in enumerate((2, 2, 3, 3, 3), start=1):
        for number in range(1, count + 1):
            x = sites[f"conv{stage}_{number}"] = relu(conv2d(x, state, f"features.{position}", 1, 1))
            position += 2
        x, position = pool2d(x, 2, 2), position + 1
    x = adaptive2d(x, pool_size).reshape(len(x), -1)
    x = sites["fc6"] = relu(linear(x, state, "classifier.0"))
    x = sites["fc7"] = relu(linear(x, state, "classifier.3"))
    sites["logits"] = linear(x, state, "classifier.6")
    return sites


def resnet(x, state, blocks, deep):
    sites = {}
    x = sites["conv1"] = relu(norm2d(conv2d(x, state, "conv1", 2, 3), state, "bn1"))
    x = pool2d(x, 3, 2, padding=1)
    for stage, count in enumerate(blocks, start=1):
        for number in range(count):
            name, stride = f"layer{stage}.{number}", 2 if stage > 1 and number == 0 else 1
            steps = ((1, 0), (stride, 1), (1, 0)) if deep else ((stride, 1), (1, 1))
            y = x
            for index, (step, padding) in enumerate(steps, start=1):
                y = norm2d(conv2d(y, state, f"{name}.conv{index}", step, padding), state, f"{name}.bn{index}")
                y = relu(y) if index < len(steps) else y
            if f"{name}.downsample.0.weight" in state:
                x = norm2d(conv2d(x, state, f"{name}.downsample.0", stride), state, f"{name}.downsample.1")
            sites[f"{name}.shortcut"] = x
            x = sites[name] = relu(x + y)
    sites["features"] = x.mean((2, 3))
    sites["logits"] = linear(sites["features"], state, "fc")
    return sites


def squeezenet(x, state):
    sites = {}
    x = sites["conv1"] = relu(conv2d(x, state, "features.0", 2))
    x, fire = pool2d(x, 3, 2, ceil=True), 2
    for position in (3, 4, None, 6, 7, None, 9, 10, 11, 12):
        if position is None:
            x = pool2d(x, 3, 2, ceil=True)
            continue
        name = f"features.{position}"
        x = relu(conv2d(x, state, f"{name}.squeeze"))
        wide = (conv2d(x, state, f"{name}.expand1x1"), conv2d(x, state, f"{name}.expand3x3", 1, 1))
        x = sites[f"fire{fire}"] = relu(np.concatenate(wide, 1))
        fire += 1
    x = sites["conv10"] = relu(conv2d(x, state, "classifier.1"))
    sites["logits"] = x.mean((2, 3))
    return sites


CASES = {
    "alexnet": (lambda **k: models.alexnet(image_size=103, pool_size=3, **k), lambda x, s: alexnet(x, s, 3)),
    "vgg16": (lambda **k: models.vgg16(image_size=37, pool_size=2, **k), lambda x, s: vgg16(x, s, 2)),
    "resnet18": (lambda **k: models.resnet18(image_size=45, **k), lambda x, s: resnet(x, s, (2, 2, 2, 2), False)),
    "resnet50": (lambda **k: models.resnet50(image_size=33, **k), lambda x, s: resnet(x, s, (3, 4, 6, 3), True)),
    "squeezenet1_1": (lambda **k: models.squeezenet1_1(image_size=37, **k), squeezenet),
}


def roughened(model):
    """The model with batch statistics, scales and biases that are not 0 and 1."""
    rng = np.random.default_rng(5)

    def rough(path, leaf):
        kind = path[-1].key
        noise = rng.standard_normal(leaf.shape).astype(np.float32)
        return leaf if kind == "kernel" else abs(noise) + 0.5 if kind in ("var", "scale") else 0.2 * noise

    params, stats = jax.tree_util.tree_map_with_path(rough, (model.params, model.stats))
    return Model(jax.tree.map(jnp.asarray, params), jax.tree.map(jnp.asarray, stats), model.network)


@pytest.mark.parametrize("name", CASES)
def test_every_named_layer_equals_the_transcription(name):
    build, transcription = CASES[name]
    model = roughened(build(key=jax.random.key(3), **NARROW))
    images = np.random.default_rng(0).random((2, model.image_size, model.image_size, 3), np.float32)
    logits, activations = jax.jit(lambda model, images: model(images))(model, jnp.asarray(images))
    state = {k: v.astype(np.float64) for k, v in torchvision_state(model.params, model.stats).items()}
    expected = transcription(((images.astype(np.float64) - MEAN) / STD).transpose(0, 3, 1, 2), state)
    assert list(expected) == [layer.name for layer in model.layers]
    assert set(activations) == set(expected)
    for layer in model.layers:
        want = expected[layer.name]
        want = want.transpose(0, 2, 3, 1) if want.ndim == 4 else want
        got = np.asarray(activations[layer.name])
        assert got.shape == want.shape
        assert layer.shape == (want.shape[1:] if want.ndim == 4 else (1, 1, want.shape[1]))
        assert want.std() > 0
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.abs(want).max(), err_msg=layer.name)
    np.testing.assert_array_equal(logits, activations["logits"])
