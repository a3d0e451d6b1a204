"""SqueezeNet 1.1 as torchvision has it, and its variants for small images."""

import os

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Model
from jaxinterp.models._flow import Flow, Sites, image_flow, max_pool, whole
from jaxinterp.models._init import KAIMING_UNIFORM, Init, normal
from jaxinterp.models._network import IMAGENET_MEAN, IMAGENET_STD, ConvNet, build, check_knobs, scaled, strides_within
from jaxinterp.models._ops import conv, dropout, relu

_FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
_POSITIONS = (3, 4, 6, 7, 9, 10, 11, 12)
_POOLED_BEFORE = {0: 0, 2: 1, 4: 2}


class SqueezeNet(nn.Module):
    """The body of SqueezeNet 1.1: one convolution, eight fire modules, one 1 x 1 convolution, an average."""

    num_classes: int
    width: float
    output_stride: int | None
    dropout: float

    def init_of(self, name: str) -> Init:
        """How the weights of that layer are drawn."""
        return normal(0.01) if name == "classifier.1" else KAIMING_UNIFORM

    @nn.compact
    def __call__(self, images: Array, sites: Sites, train: bool) -> Array:
        """Logits of normalised images."""
        plain = self.output_stride is None
        first, *pools = strides_within(self.output_stride or 16, (2, 2, 2, 2))
        padding = 0 if plain else 1
        flow = conv(image_flow(images), "features.0", scaled(64, self.width), 3, stride=first, padding=padding)
        flow = sites.site("conv1", relu(flow))
        for fire, (position, widths) in enumerate(zip(_POSITIONS, _FIRES, strict=True)):
            if fire in _POOLED_BEFORE:
                flow = max_pool(flow, 3, pools[_POOLED_BEFORE[fire]], padding=padding, ceil=plain)
            squeeze, expand = (scaled(units, self.width) for units in widths)
            flow = sites.site(f"fire{fire + 2}", _fire(flow, f"features.{position}", squeeze, expand))
        flow = dropout(flow, self.dropout, "conv10.dropout", train=train, module=self)
        flow = sites.site("conv10", relu(conv(flow, "classifier.1", self.num_classes, 1)))
        return sites.site("logits", Flow(jnp.mean(flow.value, axis=(1, 2)), whole(images.shape[1]))).value


def _fire(flow: Flow, name: str, squeeze: int, expand: int) -> Flow:
    flow = relu(conv(flow, f"{name}.squeeze", squeeze, 1))
    small = conv(flow, f"{name}.expand1x1", expand, 1)
    large = conv(flow, f"{name}.expand3x3", expand, 3, padding=1)
    both = jnp.concatenate([small.value, large.value], axis=-1)
    return relu(Flow(both, large.field.union(small.field)))


def squeezenet1_1(
    *,
    num_classes: int = 1000,
    width: float = 1.0,
    image_size: int = 224,
    output_stride: int | None = None,
    dropout: float = 0.5,
    weights: str | os.PathLike[str] | None = None,
    key: Array | None = None,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> Model:
    """SqueezeNet 1.1; layers conv1, fire2 ... fire9, conv10, all after their ReLU, logits. Smallest image: 17 px.

    A fire module is named after what it puts out, both expansions joined. The logits are the averages of conv10.

    Args:
        num_classes: length of the logits.
        width: factor on every number of channels.
        image_size: side of the images, in pixels; at least 17, of a variant at least the output stride.
        output_stride: stride of fire9 in pixels: None (16, torchvision's network), or 1, 2, 4, 8, 16 for a variant,
            which is not torchvision's network: conv1 and the pools are padded by 1, no pool rounds up, and once this
            stride is reached, later steps have stride 1. Names and shapes of the weights stay the same.
        dropout: rate before conv10, in training only.
        weights: a `.safetensors` file in torchvision's layout.
        key: draws the weights as torchvision does; give either `weights` or `key`.
        mean: per channel of images in [0, 1]; subtracted first.
        std: per channel; divided by.

    Raises:
        ValueError: a knob out of range, not exactly one of `weights` and `key`, or weights that do not fit.

    References:
        Forrest N. Iandola, Song Han, Matthew W. Moskewicz, Khalid Ashraf, William J. Dally, Kurt Keutzer, "SqueezeNet:
        AlexNet-level accuracy with 50x fewer parameters and < 0.5 MB model size", 2016. Unlike the paper, the pools
        stand earlier (version 1.1 of the authors' repository).
    """
    check_knobs(width=width, output_stride=output_stride, strides=(1, 2, 4, 8, 16), dropout=dropout)
    body = SqueezeNet(num_classes=num_classes, width=width, output_stride=output_stride, dropout=dropout)
    network = ConvNet(body, image_size, num_classes, "fire9", mean, std)
    return build(network, minimum=output_stride or 17, weights=weights, key=key)
