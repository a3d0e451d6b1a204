"""Real weights: strict import, and logits equal to those of an independent implementation."""

import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from jaxinterp import models
from tests.conftest import SHARED

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real weights")
NETS = {
    "resnet18": (models.resnet18, "resnet18_pqf_small", 224),
    "resnet18_ktb": (models.resnet18, "resnet18_ktb_small", 224),
    "resnet50": (models.resnet50, "resnet50_pqf_large", 224),
    "squeezenet1_0": (models.squeezenet1_0, "squeezenet1_0", 227),
    "squeezenet1_1": (models.squeezenet1_1, "squeezenet1_1", 227),
}
PADDED = {"squeezenet1_0": (169, 56), "squeezenet1_1": (196, 60)}
"""Positions of the last map inside and in its padding."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    subprocess.run(
        [sys.executable, str(SHARED / "tools" / "real_weights.py"), str(folder), *NETS], check=True, capture_output=True
    )
    return folder


def photograph(file, size):
    """The short side to size * 256 / 224, then the centre."""
    image = Image.open(SHARED / "data" / "imagenet_sample" / "short256" / file).convert("RGB")
    scale = round(size * 256 / 224) / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)), np.float32) / 255


@pytest.mark.parametrize("name", NETS)
def test_logits_of_real_images(name, weights):
    build, reference, size = NETS[name]
    expected = np.load(SHARED / "data" / "reference_logits" / f"{reference}_logits.npz")
    images = np.stack([photograph(str(file), size) for file in expected["files"][::5]])
    model = build(weights=weights / f"{name}.safetensors", image_size=size)
    logits = np.asarray(jax.jit(lambda model, images: model(images)[0])(model, images))
    if name in PADDED:  # the reference pads the last 1 x 1 convolution by one position, torchvision does not
        inside, border = PADDED[name]
        logits = (inside * logits + border * np.maximum(model.params["classifier.1"]["bias"], 0)) / (inside + border)
    np.testing.assert_allclose(logits, expected["logits"][::5], rtol=0, atol=1e-3)
    assert (logits.argmax(1) == expected["logits"][::5].argmax(1)).all()


def test_the_weights_of_a_deeper_network_are_refused(weights):
    with pytest.raises(ValueError, match=r"not in this network layer1.0.bn3.\S+, .* and \d+ more; of another shape"):
        models.resnet18(weights=weights / "resnet50.safetensors")


@pytest.mark.parametrize("depth, file, accuracy", [(20, "resnet20.npz", 0.925), (56, "resnet56.th", 0.945)])
def test_published_networks_of_cifar_reach_their_accuracy(depth, file, accuracy):
    """On the 200 images of the test set that are there without loss."""
    if file.endswith(".th"):
        pytest.importorskip("torch")
    data = SHARED / "data"
    model = models.cifar_resnet(depth, weights=data / "weights" / "cifar10" / file)
    images, labels = (np.load(data / "cifar10" / "lossless_200" / f"{name}_sdp.npy") for name in "Xy")
    logits = jax.jit(lambda model, images: model(images)[0])(model, images)
    assert (np.asarray(logits).argmax(1) == labels).mean() == accuracy
    folded = models.fold_batch_norm(model)
    again = jax.jit(lambda model, images: model(images)[0])(folded, images)
    np.testing.assert_allclose(again, logits, rtol=0, atol=1e-5 * float(np.abs(logits).max()))
