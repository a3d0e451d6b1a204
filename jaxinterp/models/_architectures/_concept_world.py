"""The small networks of the embedded concept world: variants for images of 64 px, with weights that ship with the package."""

import pathlib

from jax import Array

from jaxinterp._base import Model
from jaxinterp.models._architectures._alexnet import alexnet
from jaxinterp.models._architectures._resnet import resnet18
from jaxinterp.models._architectures._vgg import vgg16

CLASSES, SIZE, STRIDE = 24, 64, 8
_WEIGHTS = pathlib.Path(__file__).parent / "concept_world"


def small_alexnet(*, key: Array | None = None, batch_norm: bool = False) -> Model:
    """AlexNet for the concept world, a variant: 3/16 of the width, output stride 8, conv5 of 8 x 8 positions and 48 units.

    Args:
        key: draws new weights; None takes those that ship with the package, trained by `configs/concept_world.py`.
        batch_norm: normalise after every convolution, to train and then fold.

    Returns:
        A model of 24 classes and images of 64 px.
    """
    weights = None if key is not None else _WEIGHTS / "alexnet.safetensors"
    return alexnet(
        num_classes=CLASSES,
        width=3 / 16,
        image_size=SIZE,
        output_stride=STRIDE,
        hidden=64,
        pool_size=2,
        dropout=0.0,
        batch_norm=batch_norm,
        weights=weights,
        key=key,
    )


def small_vgg16(*, key: Array | None = None, batch_norm: bool = False) -> Model:
    """VGG-16 for the concept world, a variant: 7/64 of the width, output stride 8, conv5_3 of 8 x 8 positions and 56 units.

    Args:
        key: draws new weights; None takes those that ship with the package, trained by `configs/concept_world.py`.
        batch_norm: normalise after every convolution, to train and then fold.

    Returns:
        A model of 24 classes and images of 64 px.
    """
    weights = None if key is not None else _WEIGHTS / "vgg16.safetensors"
    return vgg16(
        num_classes=CLASSES,
        width=7 / 64,
        image_size=SIZE,
        output_stride=STRIDE,
        hidden=64,
        pool_size=2,
        dropout=0.0,
        batch_norm=batch_norm,
        weights=weights,
        key=key,
    )


def small_resnet18(*, key: Array | None = None) -> Model:
    """ResNet-18 for the concept world, a variant: 1/8 of the width, output stride 8, layer4.1 of 8 x 8 positions and 64 units.

    Args:
        key: draws new weights; None takes those that ship with the package, trained by `configs/concept_world.py`.

    Returns:
        A model of 24 classes and images of 64 px.
    """
    weights = None if key is not None else _WEIGHTS / "resnet18.safetensors"
    return resnet18(num_classes=CLASSES, width=1 / 8, image_size=SIZE, output_stride=STRIDE, weights=weights, key=key)
