"""VGG-16 as torchvision has it, and its variants for small images."""

import os

import flax.linen as nn
from jax import Array

from jaxinterp._base import Model
from jaxinterp.models._flow import Sites, adaptive_average_pool, image_flow, max_pool
from jaxinterp.models._init import KAIMING_NORMAL, Init, normal
from jaxinterp.models._network import IMAGENET_MEAN, IMAGENET_STD, ConvNet, build, check_knobs, scaled, strides_within
from jaxinterp.models._ops import NORM, batch_norm, conv, dense, dropout, relu

_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG(nn.Module):
    """The body of VGG-16: thirteen 3 x 3 convolutions in five stages and three linear layers."""

    num_classes: int
    width: float
    hidden: int
    pool_size: int
    output_stride: int | None
    dropout: float
    batch_norm: bool = False

    def init_of(self, name: str) -> Init:
        """How the weights of that layer are drawn."""
        return KAIMING_NORMAL if name.startswith("features") else normal(0.01 * (4096 / self.hidden) ** 0.5)

    @nn.compact
    def __call__(self, images: Array, sites: Sites, train: bool) -> Array:
        """Logits of normalised images."""
        image_size = images.shape[1]
        pools = (*strides_within(self.output_stride or 16, (2, 2, 2, 2)), 2)
        flow, position = image_flow(images), 0
        for stage, (widths, pool) in enumerate(zip(_STAGES, pools, strict=True), start=1):
            for number, units in enumerate(widths, start=1):
                flow = conv(flow, f"features.{position}", scaled(units, self.width), 3, padding=1)
                if self.batch_norm:
                    flow = batch_norm(flow, f"features.{position}{NORM}", train=train, axis_name=None)
                flow = sites.site(f"conv{stage}_{number}", relu(flow))
                position += 2
            flow = max_pool(flow, 2, 2) if pool == 2 else flow
            position += 1
        flow = flow.map(adaptive_average_pool(flow.value, self.pool_size))
        for name, parameters in (("fc6", "classifier.0"), ("fc7", "classifier.3")):
            flow = sites.site(name, relu(dense(flow, parameters, self.hidden, image_size=image_size)))
            flow = dropout(flow, self.dropout, f"{name}.dropout", train=train, module=self)
        flow = dense(flow, "classifier.6", self.num_classes, image_size=image_size)
        return sites.site("logits", flow).value


def vgg16(
    *,
    num_classes: int = 1000,
    width: float = 1.0,
    image_size: int = 224,
    output_stride: int | None = None,
    hidden: int | None = None,
    pool_size: int = 7,
    dropout: float = 0.5,
    batch_norm: bool = False,
    weights: str | os.PathLike[str] | None = None,
    key: Array | None = None,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> Model:
    """VGG-16; layers conv1_1 ... conv5_3, fc6, fc7, logits, all after their ReLU. Smallest image: twice the output stride.

    Args:
        num_classes: length of the logits.
        width: factor on every number of channels and on `hidden`.
        image_size: side of the images, in pixels; at least 32 without `output_stride`.
        output_stride: stride of conv5_3 in pixels: None (16, torchvision's network), or 1, 2, 4, 8 for a variant,
            which is not torchvision's network: of the pools before conv5_1 the later ones are left out; the one
            after conv5_3 stays. Names and shapes of the weights stay the same.
        hidden: width of fc6 and fc7; 4096 * width when None.
        pool_size: side of the map that fc6 sees; the last map is average-pooled to it.
        dropout: rate after fc6 and fc7, in training only.
        batch_norm: normalise the batch after every convolution, which is not torchvision's network; training is faster
            then, and `fold_batch_norm` gives the plain network of the same function.
        weights: a `.safetensors` file in torchvision's layout.
        key: draws the weights as torchvision does (the linear layers' 0.01 grows with 1 / sqrt(width), so that
            narrow networks keep its scale); give either `weights` or `key`.
        mean: per channel of images in [0, 1]; subtracted first.
        std: per channel; divided by.

    Raises:
        ValueError: a knob out of range, not exactly one of `weights` and `key`, or weights that do not fit.

    References:
        Karen Simonyan, Andrew Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015:
        configuration D of Table 1.
    """
    check_knobs(
        width=width, output_stride=output_stride, strides=(1, 2, 4, 8, 16), hidden=hidden, pool_size=pool_size, dropout=dropout
    )
    body = VGG(
        num_classes=num_classes,
        width=width,
        hidden=scaled(4096, width) if hidden is None else hidden,
        pool_size=pool_size,
        output_stride=output_stride,
        dropout=dropout,
        batch_norm=batch_norm,
    )
    network = ConvNet(body, image_size, num_classes, "conv5_3", mean, std)
    return build(network, minimum=2 * (output_stride or 16), weights=weights, key=key)
