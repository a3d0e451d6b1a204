"""AlexNet as torchvision has it, and its variants for small images."""

from typing import Unpack

import flax.linen as nn
from jax import Array

from jaxinterp._base import Model
from jaxinterp.models._flow import Sites, adaptive_average_pool, image_flow, max_pool
from jaxinterp.models._init import PYTORCH, Init
from jaxinterp.models._network import Body, Knobs, build, check_knobs, scaled, strides_within
from jaxinterp.models._ops import Norms, conv_bn, dense, dropout, relu


class AlexNet(Body):
    """The body of AlexNet: five convolutions and three linear layers; batch normalisation only in a variant."""

    num_classes: int
    width: float
    hidden: int
    pool_size: int
    output_stride: int | None
    dropout: float
    batch_norm: bool = False

    def init_of(self, name: str) -> Init:
        """How the weights of that layer are drawn."""
        return PYTORCH

    @nn.compact
    def __call__(self, images: Array, sites: Sites, train: bool) -> Array:
        """Logits of normalised images."""
        image_size = images.shape[1]
        if self.output_stride is None:
            first, (pool1, pool2), padding = 4, (2, 2), 0
        else:
            first, pool1, pool2 = strides_within(self.output_stride, (2, 2, 2))
            padding = 1
        plan = (
            ("conv1", "features.0", 64, 11, first, 2, pool1),
            ("conv2", "features.3", 192, 5, 1, 2, pool2),
            ("conv3", "features.6", 384, 3, 1, 1, None),
            ("conv4", "features.8", 256, 3, 1, 1, None),
            ("conv5", "features.10", 256, 3, 1, 1, 2),
        )
        flow = image_flow(images)
        norms = Norms(train, sites.folds, folded=not self.batch_norm)
        for name, parameters, units, kernel, stride, pad, pool in plan:
            names, width = (parameters, f"{parameters}_bn"), scaled(units, self.width)
            flow = conv_bn(flow, names, width, kernel, stride=stride, padding=pad, bias=True, norms=norms)
            flow = sites.site(name, relu(flow))
            if pool is not None:
                flow = max_pool(flow, 3, pool, padding=padding)
        flow = flow.map(adaptive_average_pool(flow.value, self.pool_size))
        for name, parameters in (("fc6", "classifier.1"), ("fc7", "classifier.4")):
            flow = dropout(flow, self.dropout, f"{name}.dropout", train=train, module=self)
            flow = sites.site(name, relu(dense(flow, parameters, self.hidden, image_size=image_size)))
        logits = dense(flow, "classifier.6", self.num_classes, image_size=image_size)
        return sites.site("logits", logits).value


def alexnet(
    *,
    width: float = 1.0,
    output_stride: int | None = None,
    hidden: int | None = None,
    pool_size: int = 6,
    dropout: float = 0.5,
    batch_norm: bool = False,
    **knobs: Unpack[Knobs],
) -> Model:
    """AlexNet; layers conv1 ... conv5, fc6, fc7, logits, all after their ReLU. Smallest image: 63 px, of a variant 7 px.

    Args:
        width: factor on every number of channels and on `hidden`.
        output_stride: stride of conv5 in pixels: None (16, torchvision's network), or 2, 4, 8 for a variant, which is
            not torchvision's network: conv1 has stride 2 instead of 4 (from 4 on), pools are padded by 1, and of
            the pools before conv5 the later ones have stride 1. Names and shapes of the weights stay the same.
        hidden: width of fc6 and fc7; 4096 * width when None.
        pool_size: side of the map that fc6 sees; the last map is average-pooled to it.
        dropout: rate before fc6 and fc7, in training only.
        batch_norm: normalise the batch after every convolution, which is not torchvision's network; training is faster
            then, and `fold_batch_norm` gives the plain network of the same function.
        **knobs: weights, classes and images; see `Knobs`.

    Raises:
        ValueError: a knob out of range, not exactly one of `weights` and `key`, or weights that do not fit.

    References:
        Alex Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014: the single-column
        network, which is the one torchvision has.
    """
    check_knobs(
        width=width, output_stride=output_stride, strides=(2, 4, 8), hidden=hidden, pool_size=pool_size, dropout=dropout
    )

    def body(num_classes: int) -> AlexNet:
        return AlexNet(
            num_classes=num_classes,
            width=width,
            hidden=scaled(4096, width) if hidden is None else hidden,
            pool_size=pool_size,
            output_stride=output_stride,
            dropout=dropout,
            batch_norm=batch_norm,
        )

    return build(
        "alexnet", body, heads=("classifier.6",), last_conv="conv5", minimum=63 if output_stride is None else 7, **knobs
    )
