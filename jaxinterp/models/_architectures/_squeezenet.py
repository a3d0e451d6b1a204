"""SqueezeNet 1.0 and 1.1 as torchvision has them, and their variants for small images."""

from typing import NamedTuple, Unpack

import flax.linen as nn
from jax import Array

from jaxinterp._base import Model
from jaxinterp.models._flow import Flow, Sites, concat, global_average, image_flow, max_pool
from jaxinterp.models._init import KAIMING_UNIFORM, Init, normal
from jaxinterp.models._network import Body, Knobs, build, check_knobs, choose, scaled, strides_within
from jaxinterp.models._ops import conv, dropout, relu

_FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))


class _Version(NamedTuple):
    """Units and window of conv1, the positions of the fire modules, and before which of them (from 0) there is a pool."""

    units: int
    kernel: int
    positions: tuple[int, ...]
    pooled_before: tuple[int, ...]
    minimum: int


_VERSIONS = {
    "1.0": _Version(96, 7, (3, 4, 5, 7, 8, 9, 10, 12), (0, 3, 7), 21),
    "1.1": _Version(64, 3, (3, 4, 6, 7, 9, 10, 11, 12), (0, 2, 4), 17),
}


class SqueezeNet(Body):
    """The body of a SqueezeNet: one convolution, eight fire modules, one 1 x 1 convolution, an average."""

    num_classes: int
    version: str
    width: float
    output_stride: int | None
    dropout: float

    def init_of(self, name: str) -> Init:
        """How the weights of that layer are drawn."""
        return normal(0.01) if name == "classifier.1" else KAIMING_UNIFORM

    @nn.compact
    def __call__(self, images: Array, sites: Sites, train: bool) -> Array:
        """Logits of normalised images."""
        plain, plan = self.output_stride is None, _VERSIONS[self.version]
        first, *pools = strides_within(self.output_stride or 16, (2, 2, 2, 2))
        padding = 0 if plain else 1
        units = scaled(plan.units, self.width)
        flow = conv(
            image_flow(images), "features.0", units, plan.kernel, stride=first, padding=0 if plain else plan.kernel // 2
        )
        flow = sites.site("conv1", relu(flow))
        for fire, (position, widths) in enumerate(zip(plan.positions, _FIRES, strict=True)):
            if fire in plan.pooled_before:
                flow = max_pool(flow, 3, pools.pop(0), padding=padding, ceil=plain)
            squeeze, expand = (scaled(units, self.width) for units in widths)
            flow = sites.site(f"fire{fire + 2}", _fire(flow, f"features.{position}", squeeze, expand))
        flow = dropout(flow, self.dropout, "conv10.dropout", train=train, module=self)
        flow = sites.site("conv10", relu(conv(flow, "classifier.1", self.num_classes, 1)))
        return sites.site("logits", global_average(flow, image_size=images.shape[1])).value


def _fire(flow: Flow, name: str, squeeze: int, expand: int) -> Flow:
    flow = relu(conv(flow, f"{name}.squeeze", squeeze, 1))
    small = conv(flow, f"{name}.expand1x1", expand, 1)
    large = conv(flow, f"{name}.expand3x3", expand, 3, padding=1)
    return relu(concat([small, large]))


class SqueezeNetKnobs(Knobs, total=False):
    """What `squeezenet` takes besides its version."""

    width: float
    output_stride: int | None
    dropout: float


def squeezenet(
    version: str,
    *,
    width: float = 1.0,
    output_stride: int | None = None,
    dropout: float = 0.5,
    **knobs: Unpack[Knobs],
) -> Model:
    """SqueezeNet; layers conv1, fire2 ... fire9, conv10, all after their ReLU, logits. Smallest image: 21 px, of 1.1 17 px.

    A fire module is named after what it puts out, both expansions joined. The logits are the averages of conv10.

    Args:
        version: "1.0", the paper's, or "1.1", whose pools stand earlier.
        width: factor on every number of channels.
        output_stride: stride of fire9 in pixels: None (16, torchvision's network), or 1, 2, 4, 8, 16 for a variant,
            which is not torchvision's network: conv1 and the pools are padded, no pool rounds up, and once this
            stride is reached, later steps have stride 1. Names and shapes of the weights stay the same.
        dropout: rate before conv10, in training only.
        **knobs: weights, classes and images; see `Knobs`.

    Raises:
        ValueError: a knob out of range, not exactly one of `weights` and `key`, or weights that do not fit.

    References:
        Forrest N. Iandola, Song Han, Matthew W. Moskewicz, Khalid Ashraf, William J. Dally, Kurt Keutzer, "SqueezeNet:
        AlexNet-level accuracy with 50x fewer parameters and < 0.5 MB model size", 2016. Version 1.1 is that of the
        authors' repository.
    """
    plan = choose("version", version, _VERSIONS)
    check_knobs(width=width, output_stride=output_stride, strides=(1, 2, 4, 8, 16), dropout=dropout)

    def body(num_classes: int) -> SqueezeNet:
        return SqueezeNet(num_classes=num_classes, version=version, width=width, output_stride=output_stride, dropout=dropout)

    return build(
        f"squeezenet{version.replace('.', '_')}",
        body,
        heads=("classifier.1",),
        last_conv="fire9",
        minimum=output_stride or plan.minimum,
        **knobs,
    )


def squeezenet1_0(**knobs: Unpack[SqueezeNetKnobs]) -> Model:
    """SqueezeNet 1.0, with the `knobs` of `squeezenet`."""
    return squeezenet("1.0", **knobs)


def squeezenet1_1(**knobs: Unpack[SqueezeNetKnobs]) -> Model:
    """SqueezeNet 1.1, with the `knobs` of `squeezenet`."""
    return squeezenet("1.1", **knobs)
