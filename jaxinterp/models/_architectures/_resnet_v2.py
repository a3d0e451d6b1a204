"""The pre-activation ResNets as timm has them."""

from typing import Unpack

import flax.linen as nn
from jax import Array

from jaxinterp._base import Model
from jaxinterp.models._flow import Flow, Sites, add, global_average, image_flow, max_pool
from jaxinterp.models._init import KAIMING_NORMAL, Init, normal
from jaxinterp.models._network import INCEPTION_MEAN, INCEPTION_STD, Body, Knobs, build, check_knobs, choose, scaled
from jaxinterp.models._ops import Norms, batch_norm, conv, conv_bn, relu

_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class ResNetV2(Body):
    """The body of a pre-activation ResNet: four stages of blocks that normalise before each of their three convolutions."""

    num_classes: int
    width: float
    blocks: tuple[int, ...]
    axis_name: str | None
    folded: bool = False

    def init_of(self, name: str) -> Init:
        """How the weights of that layer are drawn."""
        return normal(0.01) if name == "head.fc" else KAIMING_NORMAL

    @nn.compact
    def __call__(self, images: Array, sites: Sites, train: bool) -> Array:
        """Logits of normalised images."""
        image_size = images.shape[1]
        norms = Norms(train, sites.folds, folded=self.folded, axis_name=self.axis_name)
        flow = conv(image_flow(images), "stem.conv", scaled(64, self.width), 7, stride=2, padding=3, bias=False)
        flow = max_pool(sites.site("conv1", flow), 3, 2, padding=1)
        for stage, count in enumerate(self.blocks):
            units = scaled(64 * 2**stage, self.width)
            for number in range(count):
                stride = 2 if stage > 0 and number == 0 else 1
                names = (f"stages.{stage}.blocks.{number}", f"layer{stage + 1}.{number}")
                flow = self._block(flow, names, sites, units=units, stride=stride, project=number == 0, norms=norms)
        flow = sites.site("norm", relu(batch_norm(flow, "norm", norms)))
        features = sites.site("features", global_average(flow, image_size=image_size))
        pixel = features.map(features.value[:, None, None])
        logits = conv(pixel, "head.fc", self.num_classes, 1)
        return sites.site("logits", features.map(logits.value[:, 0, 0])).value

    def _block(
        self, flow: Flow, names: tuple[str, str], sites: Sites, *, units: int, stride: int, project: bool, norms: Norms
    ) -> Flow:
        module, site = names
        active = relu(batch_norm(flow, f"{module}.norm1", norms))
        if project:
            flow = conv(active, f"{module}.downsample.conv", 4 * units, 1, stride=stride, bias=False)
        main = relu(conv_bn(active, (f"{module}.conv1", f"{module}.norm2"), units, 1, norms=norms))
        inner = (f"{module}.conv2", f"{module}.norm3")
        main = relu(conv_bn(main, inner, units, 3, stride=stride, padding=1, norms=norms))
        main = conv(main, f"{module}.conv3", 4 * units, 1, bias=False)
        return sites.site(site, add(main, sites.site(f"{site}.shortcut", flow)))


class ResNetV2Knobs(Knobs, total=False):
    """What `resnet_v2` takes besides its depth."""

    width: float
    axis_name: str | None


def resnet_v2(depth: int, *, width: float = 1.0, axis_name: str | None = None, **knobs: Unpack[Knobs]) -> Model:
    """Pre-activation ResNet; layers conv1, layer1.0 ... layer4.2, norm, features (pooled), logits.

    A block is named after its sum, which no ReLU has seen; `<block>.shortcut`, such as layer2.0.shortcut, is what it adds,
    before the addition. norm is the last sum, normalised and after its ReLU. Names of weights are timm's; images are
    normalised to [-1, 1], as its weights want them. Smallest image: 1 px.

    Args:
        depth: 50, 101 or 152 layers with weights.
        width: factor on every number of channels.
        axis_name: a mapped axis over which training takes the statistics of batch normalisation; None: of each
            device's own images.
        **knobs: weights, classes and images; see `Knobs`.

    Raises:
        ValueError: a knob out of range, not exactly one of `weights` and `key`, or weights that do not fit.

    References:
        Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun, "Identity Mappings in Deep Residual Networks", 2016: figure
        1(b). Unlike the paper, the stride of a block sits on its 3 x 3 convolution, as in timm.
    """
    blocks = choose("depth", depth, _BLOCKS)
    check_knobs(width=width)

    def body(num_classes: int) -> ResNetV2:
        return ResNetV2(num_classes=num_classes, width=width, blocks=blocks, axis_name=axis_name)

    usual = (INCEPTION_MEAN, INCEPTION_STD)
    return build(f"resnetv2_{depth}", body, heads=("head.fc",), last_conv="norm", minimum=1, usual=usual, **knobs)


def resnetv2_50(**knobs: Unpack[ResNetV2Knobs]) -> Model:
    """ResNet-v2-50, with the `knobs` of `resnet_v2`."""
    return resnet_v2(50, **knobs)


def resnetv2_101(**knobs: Unpack[ResNetV2Knobs]) -> Model:
    """ResNet-v2-101, with the `knobs` of `resnet_v2`."""
    return resnet_v2(101, **knobs)


def resnetv2_152(**knobs: Unpack[ResNetV2Knobs]) -> Model:
    """ResNet-v2-152, with the `knobs` of `resnet_v2`."""
    return resnet_v2(152, **knobs)
