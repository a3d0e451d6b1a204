"""VGG as torchvision has it, and its variants for small images."""

from typing import Unpack

import flax.linen as nn
from jax import Array

from jaxinterp._base import Model
from jaxinterp.models._flow import Sites, adaptive_average_pool, image_flow, max_pool
from jaxinterp.models._init import KAIMING_NORMAL, Init, normal
from jaxinterp.models._network import Body, Knobs, build, check_knobs, choose, scaled, strides_within
from jaxinterp.models._ops import Norms, conv_bn, dense, dropout, relu

_WIDTHS = (64, 128, 256, 512, 512)
_CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VGG(Body):
    """The body of a VGG: 3 x 3 convolutions in five stages and three linear layers."""

    num_classes: int
    convolutions: tuple[int, ...]
    width: float
    hidden: int
    pool_size: int
    output_stride: int | None
    dropout: float
    batch_norm: bool
    axis_name: str | None

    def init_of(self, name: str) -> Init:
        """How the weights of that layer are drawn."""
        return KAIMING_NORMAL if name.startswith("features") else normal(0.01 * (4096 / self.hidden) ** 0.5)

    @nn.compact
    def __call__(self, images: Array, sites: Sites, train: bool) -> Array:
        """Logits of normalised images."""
        image_size = images.shape[1]
        norms = Norms(train, sites.folds, folded=not self.batch_norm, axis_name=self.axis_name)
        pools = (*strides_within(self.output_stride or 16, (2, 2, 2, 2)), 2)
        flow, position = image_flow(images), 0
        for stage, (count, units, pool) in enumerate(zip(self.convolutions, _WIDTHS, pools, strict=True), start=1):
            for number in range(1, count + 1):
                names = (f"features.{position}", f"features.{position + 1}")
                flow = conv_bn(flow, names, scaled(units, self.width), 3, padding=1, bias=True, norms=norms)
                flow = sites.site(f"conv{stage}_{number}", relu(flow))
                position += 3 if self.batch_norm else 2
            flow = max_pool(flow, 2, 2) if pool == 2 else flow
            position += 1
        flow = flow.map(adaptive_average_pool(flow.value, self.pool_size))
        for name, parameters in (("fc6", "classifier.0"), ("fc7", "classifier.3")):
            flow = sites.site(name, relu(dense(flow, parameters, self.hidden, image_size=image_size)))
            flow = dropout(flow, self.dropout, f"{name}.dropout", train=train, module=self)
        flow = dense(flow, "classifier.6", self.num_classes, image_size=image_size)
        return sites.site("logits", flow).value


class VGGKnobs(Knobs, total=False):
    """What `vgg` takes besides its depth."""

    width: float
    output_stride: int | None
    hidden: int | None
    pool_size: int
    dropout: float
    batch_norm: bool
    axis_name: str | None


def vgg(
    depth: int,
    *,
    width: float = 1.0,
    output_stride: int | None = None,
    hidden: int | None = None,
    pool_size: int = 7,
    dropout: float = 0.5,
    batch_norm: bool = False,
    axis_name: str | None = None,
    **knobs: Unpack[Knobs],
) -> Model:
    """VGG; layers conv1_1 ... conv5_3, fc6, fc7, logits, all after their ReLU. Smallest image: twice the output stride.

    Fresh linear layers are drawn with torchvision's 0.01 times 1 / sqrt(width), so that narrow networks keep its scale.

    Args:
        depth: 11, 13, 16 or 19 layers with weights.
        width: factor on every number of channels and on `hidden`.
        output_stride: stride of the last convolution in pixels: None (16, torchvision's network), or 1, 2, 4, 8 for a
            variant, which is not torchvision's network: of the pools before the last stage the later ones are left
            out; the one after it stays. Names and shapes of the weights stay the same.
        hidden: width of fc6 and fc7; 4096 * width when None.
        pool_size: side of the map that fc6 sees; the last map is average-pooled to it.
        dropout: rate after fc6 and fc7, in training only.
        batch_norm: normalise the batch after every convolution: torchvision's `vgg16_bn` and so on.
        axis_name: a mapped axis over which training takes the statistics of batch normalisation; None: of each
            device's own images.
        **knobs: weights, classes and images; see `Knobs`.

    Raises:
        ValueError: a knob out of range, not exactly one of `weights` and `key`, or weights that do not fit.

    References:
        Karen Simonyan, Andrew Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015:
        configurations A, B, D and E of Table 1.
    """
    convolutions = choose("depth", depth, _CONVOLUTIONS)
    check_knobs(
        width=width, output_stride=output_stride, strides=(1, 2, 4, 8, 16), hidden=hidden, pool_size=pool_size, dropout=dropout
    )

    def body(num_classes: int) -> VGG:
        return VGG(
            num_classes=num_classes,
            convolutions=convolutions,
            width=width,
            hidden=scaled(4096, width) if hidden is None else hidden,
            pool_size=pool_size,
            output_stride=output_stride,
            dropout=dropout,
            batch_norm=batch_norm,
            axis_name=axis_name,
        )

    return build(
        f"vgg{depth}_bn" if batch_norm else f"vgg{depth}",
        body,
        heads=("classifier.6",),
        last_conv=f"conv5_{convolutions[-1]}",
        minimum=2 * (output_stride or 16),
        **knobs,
    )


def vgg11(**knobs: Unpack[VGGKnobs]) -> Model:
    """VGG-11, with the `knobs` of `vgg`."""
    return vgg(11, **knobs)


def vgg13(**knobs: Unpack[VGGKnobs]) -> Model:
    """VGG-13, with the `knobs` of `vgg`."""
    return vgg(13, **knobs)


def vgg16(**knobs: Unpack[VGGKnobs]) -> Model:
    """VGG-16, with the `knobs` of `vgg`."""
    return vgg(16, **knobs)


def vgg19(**knobs: Unpack[VGGKnobs]) -> Model:
    """VGG-19, with the `knobs` of `vgg`."""
    return vgg(19, **knobs)
