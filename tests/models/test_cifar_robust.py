"""Real networks of others as own models: written twice, of the accuracy they are known for, attacked and shown by a recipe."""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import attacks, models
from jaxinterp.cli import main
from tests.conftest import SHARED

RECIPE = pathlib.Path(__file__).parents[2] / "configs" / "cifar_robust.py"
WEIGHTS, PICTURES = SHARED / "data/weights/cifar10_robust", SHARED / "data/cifar10/lossless_200"

pytestmark = pytest.mark.skipif(not (WEIGHTS.is_dir() and PICTURES.is_dir()), reason="needs the real networks and images")


@pytest.fixture(scope="module")
def recipe():
    specification = importlib.util.spec_from_file_location("cifar_robust", RECIPE)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pictures():
    return jnp.asarray(np.load(PICTURES / "X_sdp.npy")), np.load(PICTURES / "y_sdp.npy")


def convolved(state, name, value, stride, padding):
    kernel = state[f"{name}/weight"].transpose(2, 3, 1, 0)
    pads = ((padding, padding),) * 2
    value = jax.lax.conv_general_dilated(value, kernel, (stride,) * 2, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return value + state[f"{name}/bias"][None, None, None]


def dense(state, name, value):
    return value @ state[f"{name}/weight"].T + state[f"{name}/bias"][None]


def cnn_a(state, images):
    """CNN-A from its state dict, as a pure function."""
    value = jax.nn.relu(convolved(state, "0", images, 2, 1))
    value = models.named("relu.2", jax.nn.relu(convolved(state, "2", value, 2, 1)))
    value = value.transpose(0, 3, 1, 2).reshape(len(value), -1)
    return dense(state, "7", jax.nn.relu(dense(state, "5", value)))


def residual(state, images):
    """ResNet-2B and ResNet-4B from their state dicts, as a pure function."""
    value = jax.nn.relu(convolved(state, "conv1", images, 2, 1))
    for block in sorted({name.rpartition("/conv1")[0] for name in state if name.startswith("layer")} - {""}):
        stride = 2 if f"{block}/shortcut/0/weight" in state else 1
        inner = convolved(state, f"{block}/conv1", value, stride, 1)
        inner = convolved(state, f"{block}/conv2", jax.nn.relu(inner), 1, 1)
        if stride == 2:
            value = convolved(state, f"{block}/shortcut/0", value, 2, 0)
        value = models.named(block.replace("/", "."), jax.nn.relu(inner + value))
    value = value.transpose(0, 3, 1, 2).reshape(len(value), -1)
    return dense(state, "linear2", jax.nn.relu(dense(state, "linear1", value)))


@pytest.mark.parametrize("name, correct", [("CNN-A", 140), ("ResNet-2B", 148), ("ResNet-4B", 169)])
def test_a_linen_module_and_a_pure_function_of_one_state_dict_agree(name, correct, recipe, pictures):
    images, labels = pictures
    model = recipe.network(name, WEIGHTS)
    state = {entry: jnp.asarray(value) for entry, value in np.load(WEIGHTS / recipe.NETWORKS[name][1]).items()}
    apply = cnn_a if name == "CNN-A" else residual
    last = models.last_conv(model)
    again = models.from_function(apply, state, image_size=32, num_classes=10, last_conv=last, mean=recipe.MEAN, std=recipe.STD)
    assert again.layer(last) == model.layer(last)
    (logits, found), (expected, wanted) = (jax.jit(lambda model: model(images))(each) for each in (model, again))
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found[last], wanted[last], rtol=1e-4, atol=1e-4)
    assert abs(int((np.asarray(logits).argmax(1) == labels).sum()) - correct) <= 1


def test_robust_accuracy_is_that_of_the_benchmark(recipe, pictures):
    # VNN-COMP 2021, benchmark cifar10_resnet: ResNet-2B, PGD at 2/255 on 10 000 images, 54.82 %; the checkpoint says 56.74 %.
    images, labels = pictures
    model = recipe.network("ResNet-2B", WEIGHTS)
    result = attacks.run(attacks.pgd(2 / 255, num_steps=20), model, images, labels, key=jax.random.key(0))
    robust = 1 - float(result.success.mean())
    deviation = (0.5482 * 0.4518 / 200) ** 0.5
    assert abs(robust - 0.5482) < 2.58 * deviation
    assert robust < 148 / 200 - 0.08


def test_the_recipe_shows_its_networks(capsys):
    assert main(["show", str(RECIPE), "--weights", str(WEIGHTS), "--images", str(PICTURES)]) == 0
    shown = capsys.readouterr().out
    assert "ResNet-4B: 123,734 parameters, images of 32 px, 10 classes" in shown
    assert any(line.split()[:1] == ["layer2.1"] and line.endswith("<- studied") for line in shown.splitlines())
