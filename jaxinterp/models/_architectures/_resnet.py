"""ResNet as torchvision has it, and its variants for small images."""

from typing import NamedTuple, Unpack

import flax.linen as nn
from jax import Array

from jaxinterp._base import Model
from jaxinterp.models._flow import Flow, Sites, add, global_average, image_flow, max_pool
from jaxinterp.models._init import KAIMING_NORMAL, PYTORCH, Init
from jaxinterp.models._network import Body, Knobs, build, check_knobs, choose, scaled, strides_within
from jaxinterp.models._ops import Norms, conv_bn, dense, relu

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class ResNetStages(NamedTuple):
    """The convolutional part of a ResNet: what it is made of, and its maps stage by stage."""

    width: float
    blocks: tuple[int, ...]
    bottleneck: bool
    output_stride: int | None

    def __call__(self, images: Array, sites: Sites, norms: Norms) -> list[Flow]:
        """The maps of conv1 and at the end of every stage, in the module whose `__call__` runs."""
        first, pool, *strides = strides_within(self.output_stride or 32, (2, 2, 1, 2, 2, 2))
        flow = image_flow(images)
        flow = conv_bn(flow, ("conv1", "bn1"), scaled(64, self.width), 7, stride=first, padding=3, norms=norms)
        ends = [sites.site("conv1", relu(flow))]
        flow = max_pool(ends[0], 3, pool, padding=1)
        for stage, (count, stride) in enumerate(zip(self.blocks, strides, strict=True), start=1):
            units = scaled(64 * 2 ** (stage - 1), self.width)
            for number in range(count):
                name, step = f"layer{stage}.{number}", stride if number == 0 else 1
                project = number == 0 and (stage > 1 or self.bottleneck)
                flow = self._block(flow, name, sites, units=units, stride=step, project=project, norms=norms)
            ends.append(flow)
        return ends

    def _block(self, flow: Flow, name: str, sites: Sites, *, units: int, stride: int, project: bool, norms: Norms) -> Flow:
        out = units * 4 if self.bottleneck else units
        deep, plain = ((units, 1, 1), (units, 3, stride), (out, 1, 1)), ((units, 3, stride), (units, 3, 1))
        windows = deep if self.bottleneck else plain
        main = flow
        for number, (width, kernel, step) in enumerate(windows, start=1):
            names = (f"{name}.conv{number}", f"{name}.bn{number}")
            main = conv_bn(main, names, width, kernel, stride=step, padding=kernel // 2, norms=norms)
            main = relu(main) if number < len(windows) else main
        if project:
            flow = conv_bn(flow, (f"{name}.downsample.0", f"{name}.downsample.1"), out, 1, stride=stride, norms=norms)
        shortcut = sites.site(f"{name}.shortcut", flow)
        return sites.site(name, relu(add(main, shortcut)))


class ResNet(Body):
    """The body of a ResNet: four stages of residual blocks, `bottleneck` ones three convolutions deep."""

    num_classes: int
    width: float
    blocks: tuple[int, ...]
    bottleneck: bool
    output_stride: int | None
    axis_name: str | None
    folded: bool = False

    def init_of(self, name: str) -> Init:
        """How the weights of that layer are drawn."""
        return PYTORCH if name == "fc" else KAIMING_NORMAL

    @nn.compact
    def __call__(self, images: Array, sites: Sites, train: bool) -> Array:
        """Logits of normalised images."""
        image_size = images.shape[1]
        norms = Norms(train, sites.folds, folded=self.folded, axis_name=self.axis_name)
        stages = ResNetStages(self.width, self.blocks, self.bottleneck, self.output_stride)
        flow = stages(images, sites, norms)[-1]
        features = sites.site("features", global_average(flow, image_size=image_size))
        return sites.site("logits", dense(features, "fc", self.num_classes, image_size=image_size)).value


class ResNetKnobs(Knobs, total=False):
    """What `resnet` takes besides its depth."""

    width: float
    output_stride: int | None
    axis_name: str | None


def resnet(
    depth: int,
    *,
    width: float = 1.0,
    output_stride: int | None = None,
    axis_name: str | None = None,
    **knobs: Unpack[Knobs],
) -> Model:
    """ResNet; layers conv1, layer1.0 ... layer4.1 after their last ReLU, features (pooled), logits.

    `<block>.shortcut`, such as layer2.0.shortcut, is what the block adds, before the addition. Smallest image: the
    output stride. From 50 on a block is three convolutions deep, and its stride sits on the one of 3 x 3.

    Args:
        depth: 18, 34, 50, 101 or 152 layers with weights.
        width: factor on every number of channels.
        output_stride: stride of layer4 in pixels: None (32, torchvision's network), or 1, 2, 4, 8, 16 for a variant,
            which is not torchvision's network: once this stride is reached, later steps have stride 1 (nothing is
            dilated). Names and shapes of the weights stay the same.
        axis_name: a mapped axis over which training takes the statistics of batch normalisation; None: of each
            device's own images.
        **knobs: weights, classes and images; see `Knobs`.

    Raises:
        ValueError: a knob out of range, not exactly one of `weights` and `key`, or weights that do not fit.

    References:
        Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun, "Deep Residual Learning for Image Recognition", 2016:
        Table 1. Unlike the paper, the stride of a deep block sits on its 3 x 3 convolution, as in torchvision.
    """
    blocks = choose("depth", depth, _BLOCKS)
    check_knobs(width=width, output_stride=output_stride, strides=(1, 2, 4, 8, 16, 32))

    def body(num_classes: int) -> ResNet:
        return ResNet(
            num_classes=num_classes,
            width=width,
            blocks=blocks,
            bottleneck=depth >= 50,
            output_stride=output_stride,
            axis_name=axis_name,
        )

    return build(
        f"resnet{depth}", body, heads=("fc",), last_conv=f"layer4.{blocks[-1] - 1}", minimum=output_stride or 32, **knobs
    )


def resnet18(**knobs: Unpack[ResNetKnobs]) -> Model:
    """ResNet-18, with the `knobs` of `resnet`."""
    return resnet(18, **knobs)


def resnet34(**knobs: Unpack[ResNetKnobs]) -> Model:
    """ResNet-34, with the `knobs` of `resnet`."""
    return resnet(34, **knobs)


def resnet50(**knobs: Unpack[ResNetKnobs]) -> Model:
    """ResNet-50, with the `knobs` of `resnet`."""
    return resnet(50, **knobs)


def resnet101(**knobs: Unpack[ResNetKnobs]) -> Model:
    """ResNet-101, with the `knobs` of `resnet`."""
    return resnet(101, **knobs)


def resnet152(**knobs: Unpack[ResNetKnobs]) -> Model:
    """ResNet-152, with the `knobs` of `resnet`."""
    return resnet(152, **knobs)
