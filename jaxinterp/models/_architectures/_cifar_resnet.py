"""The ResNets of CIFAR, whose shortcuts have no weights."""

from typing import NamedTuple, Unpack

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Model
from jaxinterp.models._flow import Flow, Sites, add, global_average, image_flow
from jaxinterp.models._init import KAIMING_NORMAL_IN, Init
from jaxinterp.models._network import Body, Knobs, build, check_knobs, choose, scaled
from jaxinterp.models._ops import Norms, conv_bn, dense, relu

_BLOCKS = {20: 3, 32: 5, 44: 7, 56: 9}


class CifarResNetStages(NamedTuple):
    """The convolutional part of a CIFAR ResNet: what it is made of, and its maps stage by stage."""

    width: float
    blocks: int

    def __call__(self, images: Array, sites: Sites, norms: Norms) -> list[Flow]:
        """The maps of conv1 and at the end of every stage, in the module whose `__call__` runs."""
        units = [scaled(16 * 2**stage, self.width) for stage in range(3)]
        flow = conv_bn(image_flow(images), ("conv1", "bn1"), units[0], 3, padding=1, norms=norms)
        flow = sites.site("conv1", relu(flow))
        ends = [flow]
        for stage in range(3):
            for number in range(self.blocks):
                name, stride = f"layer{stage + 1}.{number}", 2 if stage > 0 and number == 0 else 1
                main = conv_bn(flow, (f"{name}.conv1", f"{name}.bn1"), units[stage], 3, stride=stride, padding=1, norms=norms)
                main = conv_bn(relu(main), (f"{name}.conv2", f"{name}.bn2"), units[stage], 3, padding=1, norms=norms)
                shortcut = sites.site(f"{name}.shortcut", _subsampled(flow, units[stage], stride))
                flow = sites.site(name, relu(add(main, shortcut)))
            ends.append(flow)
        return ends


class CifarResNet(Body):
    """The body of a CIFAR ResNet: three stages of residual blocks of two convolutions."""

    num_classes: int
    width: float
    blocks: int
    axis_name: str | None
    folded: bool = False

    def init_of(self, name: str) -> Init:
        """How the weights of that layer are drawn."""
        return KAIMING_NORMAL_IN._replace(bias=name == "linear")

    @nn.compact
    def __call__(self, images: Array, sites: Sites, train: bool) -> Array:
        """Logits of normalised images."""
        image_size = images.shape[1]
        norms = Norms(train, sites.folds, folded=self.folded, axis_name=self.axis_name)
        flow = CifarResNetStages(self.width, self.blocks)(images, sites, norms)[-1]
        features = sites.site("features", global_average(flow, image_size=image_size))
        return sites.site("logits", dense(features, "linear", self.num_classes, image_size=image_size)).value


def _subsampled(flow: Flow, units: int, stride: int) -> Flow:
    """Every `stride`-th position, as many zero units on either side as are missing."""
    if stride == 1:
        return flow
    missing = units - flow.value.shape[-1]
    sides = (missing // 2, missing - missing // 2)
    value = jnp.pad(flow.value[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), sides))
    return Flow(value, flow.field.through(1, stride, 0))


class CifarResNetKnobs(Knobs, total=False):
    """What `cifar_resnet` takes besides its depth."""

    width: float
    axis_name: str | None


def cifar_resnet(depth: int, *, width: float = 1.0, axis_name: str | None = None, **knobs: Unpack[Knobs]) -> Model:
    """The ResNets of CIFAR-10; layers conv1, layer1.0 ... layer3.2 after their last ReLU, features (pooled), logits.

    `<block>.shortcut` is what the block adds, before the addition: its input, where the stride is 2 subsampled and
    padded with zero units (the paper's option A). Smallest image: 1 px.

    Args:
        depth: 20, 32, 44 or 56 layers with weights.
        width: factor on every number of channels.
        axis_name: a mapped axis over which training takes the statistics of batch normalisation; None: of each
            device's own images.
        **knobs: weights, classes (10 when nothing is said) and images (32 px); see `Knobs`. Names of weights are those
            of the widely used weights for PyTorch.

    Raises:
        ValueError: a knob out of range, not exactly one of `weights` and `key`, or weights that do not fit.

    References:
        Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun, "Deep Residual Learning for Image Recognition", 2016:
        section 4.2.
    """
    blocks = choose("depth", depth, _BLOCKS)
    check_knobs(width=width)

    def body(num_classes: int) -> CifarResNet:
        return CifarResNet(num_classes=num_classes, width=width, blocks=blocks, axis_name=axis_name)

    return build(
        f"cifar_resnet{depth}",
        body,
        heads=("linear",),
        last_conv=f"layer3.{blocks - 1}",
        minimum=1,
        **(Knobs(num_classes=10, image_size=32) | knobs),
    )


def cifar_resnet20(**knobs: Unpack[CifarResNetKnobs]) -> Model:
    """CIFAR ResNet-20, with the `knobs` of `cifar_resnet`."""
    return cifar_resnet(20, **knobs)


def cifar_resnet32(**knobs: Unpack[CifarResNetKnobs]) -> Model:
    """CIFAR ResNet-32, with the `knobs` of `cifar_resnet`."""
    return cifar_resnet(32, **knobs)


def cifar_resnet44(**knobs: Unpack[CifarResNetKnobs]) -> Model:
    """CIFAR ResNet-44, with the `knobs` of `cifar_resnet`."""
    return cifar_resnet(44, **knobs)


def cifar_resnet56(**knobs: Unpack[CifarResNetKnobs]) -> Model:
    """CIFAR ResNet-56, with the `knobs` of `cifar_resnet`."""
    return cifar_resnet(56, **knobs)
