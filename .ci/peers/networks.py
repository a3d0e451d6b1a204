"""Every architecture of `jaxinterp.models` as a PyTorch module with named sites; a new one is a new row of `PEERS`."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import sites
import torch
from cifar_resnet import CifarResNet
from packages import timm, torchvision
from sites import Site
from torch import nn

VERSIONS = {module.__name__: str(module.__version__) for module in (torch, torchvision, timm, np)}
"""Of what the numbers come from."""


class Peer(NamedTuple):
    """An architecture, and how the fixture exercises it.

    Attributes:
        build: `() -> module`.
        sites: `module -> ` where its named layers lie.
        origin: the package it is compared with.
        builder: its function in `jaxinterp.models`.
        knobs: that function's arguments.
        reduced: further arguments in the fixture: `hidden`, the width of fc6 and fc7, which spares it 100 million weights.
        image_size: of the fixture's images, in pixels: the smallest odd one that leaves 3 x 3 positions to the last
            windows (XLA is slow where a window is larger than the map), or the smallest that the network takes.
        num_images: of them.
        training: the same two for training mode, where every normalisation needs several values.
        native_size: of the images that it was published with.
        gain: of the recipe's kernels; less than 2 where blocks add up.
        num_classes: length of the logits.
    """

    build: Callable[[], nn.Module]
    sites: Callable[[nn.Module], list[Site]]
    origin: str
    builder: str
    knobs: dict[str, Any]
    reduced: dict[str, int]
    image_size: int
    num_images: int
    training: dict[str, int]
    native_size: int
    gain: float
    num_classes: int


def _peer(
    build: Callable[[], nn.Module],
    find: Callable[[nn.Module], list[Site]],
    builder: str,
    *,
    origin: str = "torchvision",
    knobs: dict[str, Any] | None = None,
    hidden: int | None = None,
    image_size: int = 33,
    num_images: int = 2,
    training_images: int = 3,
    native_size: int = 224,
    gain: float = 2.0,
    num_classes: int = 1000,
) -> Peer:
    reduced = {} if hidden is None else {"hidden": hidden}
    training = {"image_size": image_size, "num_images": training_images}
    return Peer(
        build, find, origin, builder, knobs or {}, reduced, image_size, num_images, training, native_size, gain, num_classes
    )


def _torchvision(name: str, **knobs: Any) -> Callable[[], nn.Module]:
    return functools.partial(getattr(torchvision.models, name), weights=None, **knobs)


def _timm(name: str) -> Callable[[], nn.Module]:
    return functools.partial(timm.create_model, name, pretrained=False)


_WITH_AUX = {"aux_logits": True, "transform_input": False, "init_weights": False}

PEERS: dict[str, Peer] = {
    "alexnet": _peer(_torchvision("alexnet"), sites.alexnet, "alexnet", hidden=64, image_size=127),
    **{
        f"vgg{depth}": _peer(_torchvision(f"vgg{depth}"), sites.vgg, f"vgg{depth}", hidden=64, image_size=size)
        for depth, size in ((11, 65), (13, 49), (16, 49), (19, 49))
    },
    **{
        f"vgg{depth}_bn": _peer(
            _torchvision(f"vgg{depth}_bn"),
            sites.vgg,
            f"vgg{depth}",
            knobs={"batch_norm": True},
            hidden=64,
            image_size=size,
        )
        for depth, size in ((11, 65), (13, 49), (16, 49), (19, 49))
    },
    **{
        name: _peer(_torchvision(name), sites.resnet, name, image_size=65, gain=0.8)
        for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
    },
    **{name: _peer(_torchvision(name), sites.squeezenet, name, image_size=37) for name in ("squeezenet1_0", "squeezenet1_1")},
    "googlenet": _peer(_torchvision("googlenet", **_WITH_AUX), sites.googlenet, "googlenet", image_size=79),
    "inception_v3": _peer(
        _torchvision("inception_v3", **_WITH_AUX),
        sites.inception_v3,
        "inception_v3",
        image_size=299,
        native_size=299,
    ),
    **{name: _peer(_torchvision(name), sites.densenet, name, image_size=97) for name in ("densenet121", "densenet161")},
    "mobilenet_v2": _peer(_torchvision("mobilenet_v2"), sites.mobilenet_v2, "mobilenet_v2", image_size=65, gain=1.5),
    **{
        f"cifar_resnet{6 * blocks + 2}": _peer(
            functools.partial(CifarResNet, blocks),
            sites.cifar_resnet,
            f"cifar_resnet{6 * blocks + 2}",
            origin="akamaster/pytorch_resnet_cifar10",
            image_size=17,
            native_size=32,
            gain=0.8,
            num_classes=10,
        )
        for blocks in (3, 5, 7, 9)
    },
    "inception_v4": _peer(
        _timm("inception_v4"), sites.inception_v4, "inception_v4", origin="timm", image_size=139, native_size=299
    ),
    "inception_resnet_v2": _peer(
        _timm("inception_resnet_v2"),
        sites.inception_resnet_v2,
        "inception_resnet_v2",
        origin="timm",
        image_size=139,
        native_size=299,
    ),
    **{
        name: _peer(_timm(name), sites.resnetv2, name, origin="timm", image_size=65, gain=1.0)
        for name in ("resnetv2_50", "resnetv2_101", "resnetv2_152")
    },
}
