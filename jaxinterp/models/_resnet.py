"""ResNet-18 and ResNet-50 as torchvision has them, and their variants for small images."""

import os

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Model
from jaxinterp.models._flow import Flow, Sites, image_flow, max_pool, whole
from jaxinterp.models._init import KAIMING_NORMAL, PYTORCH, Init
from jaxinterp.models._network import IMAGENET_MEAN, IMAGENET_STD, ConvNet, build, check_knobs, scaled, strides_within
from jaxinterp.models._ops import batch_norm, conv, dense, relu


class ResNet(nn.Module):
    """The body of a ResNet: four stages of residual blocks, `bottleneck` ones three convolutions deep."""

    num_classes: int
    width: float
    blocks: tuple[int, int, int, int]
    bottleneck: bool
    output_stride: int
    axis_name: str | None

    def init_of(self, name: str) -> Init:
        """How the weights of that layer are drawn."""
        return PYTORCH if name == "fc" else KAIMING_NORMAL

    @nn.compact
    def __call__(self, images: Array, sites: Sites, train: bool) -> Array:
        """Logits of normalised images."""
        image_size = images.shape[1]
        first, pool, *strides = strides_within(self.output_stride, (2, 2, 1, 2, 2, 2))
        flow = self._conv_bn(image_flow(images), "conv1", "bn1", scaled(64, self.width), (7, first), train=train)
        flow = max_pool(sites.site("conv1", relu(flow)), 3, pool, padding=1)
        for stage, (count, stride) in enumerate(zip(self.blocks, strides, strict=True), start=1):
            units = scaled(64 * 2 ** (stage - 1), self.width)
            for number in range(count):
                step = stride if number == 0 else 1
                project = number == 0 and (stage > 1 or self.bottleneck)
                flow = self._block(
                    flow, f"layer{stage}.{number}", sites, units=units, stride=step, project=project, train=train
                )
        features = sites.site("features", Flow(jnp.mean(flow.value, axis=(1, 2)), whole(image_size)))
        return sites.site("logits", dense(features, "fc", self.num_classes, image_size=image_size)).value

    def _block(self, flow: Flow, name: str, sites: Sites, *, units: int, stride: int, project: bool, train: bool) -> Flow:
        out = units * 4 if self.bottleneck else units
        if self.bottleneck:
            windows = ((units, (1, 1)), (units, (3, stride)), (out, (1, 1)))
        else:
            windows = ((units, (3, stride)), (units, (3, 1)))
        main = flow
        for number, (width, window) in enumerate(windows, start=1):
            main = self._conv_bn(main, f"{name}.conv{number}", f"{name}.bn{number}", width, window, train=train)
            main = relu(main) if number < len(windows) else main
        if project:
            flow = self._conv_bn(flow, f"{name}.downsample.0", f"{name}.downsample.1", out, (1, stride), train=train)
        shortcut = sites.site(f"{name}.shortcut", flow)
        total = Flow(main.value + shortcut.value, main.field.union(shortcut.field))
        return sites.site(name, relu(total))

    def _conv_bn(self, flow: Flow, name: str, norm: str, units: int, window: tuple[int, int], *, train: bool) -> Flow:
        kernel, stride = window
        flow = conv(flow, name, units, kernel, stride=stride, padding=(kernel - 1) // 2, bias=False)
        return batch_norm(flow, norm, train=train, axis_name=self.axis_name)


def resnet18(
    *,
    num_classes: int = 1000,
    width: float = 1.0,
    image_size: int = 224,
    output_stride: int | None = None,
    axis_name: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    key: Array | None = None,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> Model:
    """ResNet-18; layers conv1, layer1.0 ... layer4.1 after their last ReLU, features (pooled), logits.

    `<block>.shortcut`, such as layer2.0.shortcut, is what the block adds, before the addition. Smallest image: the
    output stride.

    Args:
        num_classes: length of the logits.
        width: factor on every number of channels.
        image_size: side of the images, in pixels; at least 32 without `output_stride`.
        output_stride: stride of layer4 in pixels: None (32, torchvision's network), or 1, 2, 4, 8, 16 for a variant,
            which is not torchvision's network: once this stride is reached, later steps have stride 1 (nothing is
            dilated). Names and shapes of the weights stay the same.
        axis_name: a mapped axis over which training takes the statistics of batch normalisation; None: of each
            replica by itself.
        weights: a `.safetensors` file in torchvision's layout.
        key: draws the weights as torchvision does; give either `weights` or `key`.
        mean: per channel of images in [0, 1]; subtracted first.
        std: per channel; divided by.

    Raises:
        ValueError: a knob out of range, not exactly one of `weights` and `key`, or weights that do not fit.

    References:
        Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun, "Deep Residual Learning for Image Recognition", 2016: Table 1.
    """
    check_knobs(width=width, output_stride=output_stride, strides=(1, 2, 4, 8, 16, 32))
    body = ResNet(
        num_classes=num_classes,
        width=width,
        blocks=(2, 2, 2, 2),
        bottleneck=False,
        output_stride=output_stride or 32,
        axis_name=axis_name,
    )
    network = ConvNet(body, image_size, num_classes, "layer4.1", mean, std)
    return build(network, minimum=body.output_stride, weights=weights, key=key)


def resnet50(
    *,
    num_classes: int = 1000,
    width: float = 1.0,
    image_size: int = 224,
    output_stride: int | None = None,
    axis_name: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    key: Array | None = None,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> Model:
    """ResNet-50; layers conv1, layer1.0 ... layer4.2 after their last ReLU, features (pooled), logits.

    `<block>.shortcut`, such as layer2.0.shortcut, is what the block adds, before the addition. Smallest image: the
    output stride. The stride of a block sits on its 3 x 3 convolution.

    Args:
        num_classes: length of the logits.
        width: factor on every number of channels.
        image_size: side of the images, in pixels; at least 32 without `output_stride`.
        output_stride: stride of layer4 in pixels: None (32, torchvision's network), or 1, 2, 4, 8, 16 for a variant,
            which is not torchvision's network; as in `resnet18`.
        axis_name: as in `resnet18`.
        weights: a `.safetensors` file in torchvision's layout.
        key: draws the weights as torchvision does; give either `weights` or `key`.
        mean: per channel of images in [0, 1]; subtracted first.
        std: per channel; divided by.

    Raises:
        ValueError: a knob out of range, not exactly one of `weights` and `key`, or weights that do not fit.

    References:
        Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun, "Deep Residual Learning for Image Recognition", 2016:
        Table 1. Unlike the paper, the stride of a block sits on its 3 x 3 convolution, as in torchvision.
    """
    check_knobs(width=width, output_stride=output_stride, strides=(1, 2, 4, 8, 16, 32))
    body = ResNet(
        num_classes=num_classes,
        width=width,
        blocks=(3, 4, 6, 3),
        bottleneck=True,
        output_stride=output_stride or 32,
        axis_name=axis_name,
    )
    network = ConvNet(body, image_size, num_classes, "layer4.2", mean, std)
    return build(network, minimum=body.output_stride, weights=weights, key=key)
