"""MobileNet-v2 as torchvision has it."""

from typing import Unpack

import flax.linen as nn
from jax import Array

from jaxinterp._base import Model
from jaxinterp.models._flow import Flow, Sites, add, global_average, image_flow
from jaxinterp.models._init import KAIMING_NORMAL, Init, normal
from jaxinterp.models._network import Body, Knobs, build, check_knobs, scaled
from jaxinterp.models._ops import Norms, conv_bn, dense, dropout, relu6

_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class MobileNetV2(Body):
    """The body of MobileNet-v2: seventeen inverted residual blocks between two convolutions."""

    num_classes: int
    width: float
    dropout: float
    axis_name: str | None
    folded: bool = False

    def init_of(self, name: str) -> Init:
        """How the weights of that layer are drawn."""
        return normal(0.01) if name == "classifier.1" else KAIMING_NORMAL

    @nn.compact
    def __call__(self, images: Array, sites: Sites, train: bool) -> Array:
        """Logits of normalised images."""
        image_size = images.shape[1]
        norms = Norms(train, sites.folds, folded=self.folded, axis_name=self.axis_name)
        names = ("features.0.0", "features.0.1")
        flow = conv_bn(image_flow(images), names, scaled(32, self.width), 3, stride=2, padding=1, norms=norms)
        flow, number = sites.site("conv1", relu6(flow)), 0
        for expansion, units, count, stride in _STAGES:
            for step in (stride, *(1,) * (count - 1)):
                number += 1
                flow = self._block(flow, number, sites, expansion, scaled(units, self.width), step, norms)
        names = ("features.18.0", "features.18.1")
        flow = sites.site("conv18", relu6(conv_bn(flow, names, scaled(1280, max(self.width, 1.0)), 1, norms=norms)))
        features = sites.site("features", global_average(flow, image_size=image_size))
        features = dropout(features, self.dropout, "dropout", train=train, module=self)
        return sites.site("logits", dense(features, "classifier.1", self.num_classes, image_size=image_size)).value

    def _block(self, flow: Flow, number: int, sites: Sites, expansion: int, units: int, stride: int, norms: Norms) -> Flow:
        name, inputs, shortcut = f"features.{number}.conv", flow.value.shape[-1], flow
        inner, layer = inputs * expansion, 0
        if expansion > 1:
            flow, layer = relu6(conv_bn(flow, (f"{name}.0.0", f"{name}.0.1"), inner, 1, norms=norms)), 1
        names = (f"{name}.{layer}.0", f"{name}.{layer}.1")
        flow = relu6(conv_bn(flow, names, inner, 3, stride=stride, padding=1, groups=inner, norms=norms))
        flow = conv_bn(flow, (f"{name}.{layer + 1}", f"{name}.{layer + 2}"), units, 1, norms=norms)
        if stride == 1 and inputs == units:
            flow = add(flow, sites.site(f"block{number}.shortcut", shortcut))
        return sites.site(f"block{number}", flow)


def mobilenet_v2(*, width: float = 1.0, dropout: float = 0.2, axis_name: str | None = None, **knobs: Unpack[Knobs]) -> Model:
    """MobileNet-v2; layers conv1, block1 ... block17, conv18, features (pooled), logits.

    A block is named after what it puts out, which no ReLU has seen; where it adds its input, that is
    `<block>.shortcut`, before the addition. conv1 and conv18 are after their ReLU6.

    Args:
        width: factor on every number of channels; of the last convolution only above 1. Unlike torchvision's
            `width_mult`, nothing is rounded to multiples of 8.
        dropout: rate before the last layer, in training only.
        axis_name: a mapped axis over which training takes the statistics of batch normalisation; None: of each
            device's own images.
        **knobs: weights, classes and images; see `Knobs`.

    Raises:
        ValueError: a knob out of range, not exactly one of `weights` and `key`, or weights that do not fit.

    References:
        Mark Sandler, Andrew Howard, Menglong Zhu, Andrey Zhmoginov, Liang-Chieh Chen, "MobileNetV2: Inverted Residuals
        and Linear Bottlenecks", 2018: Table 2.
    """
    check_knobs(width=width, dropout=dropout)

    def body(num_classes: int) -> MobileNetV2:
        return MobileNetV2(num_classes=num_classes, width=width, dropout=dropout, axis_name=axis_name)

    return build("mobilenet_v2", body, heads=("classifier.1",), last_conv="conv18", minimum=1, **knobs)
