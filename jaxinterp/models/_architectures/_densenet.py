"""DenseNet as torchvision has it."""

from typing import NamedTuple, Unpack

import flax.linen as nn
from jax import Array

from jaxinterp._base import Model
from jaxinterp.models._flow import Flow, Sites, average_pool, concat, global_average, image_flow, max_pool
from jaxinterp.models._init import KAIMING_NORMAL_IN, UNBIASED, Init
from jaxinterp.models._network import Body, Knobs, build, check_knobs, choose, scaled
from jaxinterp.models._ops import Norms, batch_norm, conv, conv_bn, dense, dropout, relu


class _Plan(NamedTuple):
    """New maps of a layer, maps of the first convolution, layers of each block."""

    growth: int
    first: int
    layers: tuple[int, ...]


_PLANS = {121: _Plan(32, 64, (6, 12, 24, 16)), 161: _Plan(48, 96, (6, 12, 36, 24))}


class DenseNet(Body):
    """The body of a DenseNet: four blocks whose layers see the maps of all layers before them."""

    num_classes: int
    growth: int
    first: int
    layers: tuple[int, ...]
    dropout: float
    axis_name: str | None
    folded: bool = False

    def init_of(self, name: str) -> Init:
        """How the weights of that layer are drawn."""
        return UNBIASED if name == "classifier" else KAIMING_NORMAL_IN

    @nn.compact
    def __call__(self, images: Array, sites: Sites, train: bool) -> Array:
        """Logits of normalised images."""
        image_size = images.shape[1]
        norms = Norms(train, sites.folds, folded=self.folded, axis_name=self.axis_name)
        names = ("features.conv0", "features.norm0")
        flow = conv_bn(image_flow(images), names, self.first, 7, stride=2, padding=3, norms=norms)
        flow = max_pool(sites.site("conv0", relu(flow)), 3, 2, padding=1)
        for block, count in enumerate(self.layers, start=1):
            for number in range(1, count + 1):
                name = f"denseblock{block}.denselayer{number}"
                flow = concat([flow, sites.site(name, self._layer(flow, f"features.{name}", norms))])
            flow = sites.site(f"denseblock{block}", flow)
            if block < len(self.layers):
                name = f"features.transition{block}"
                flow = relu(batch_norm(flow, f"{name}.norm", norms))
                flow = conv(flow, f"{name}.conv", flow.value.shape[-1] // 2, 1, bias=False)
                flow = sites.site(f"transition{block}", average_pool(flow, 2, 2))
        flow = sites.site("norm5", relu(batch_norm(flow, "features.norm5", norms)))
        features = sites.site("features", global_average(flow, image_size=image_size))
        return sites.site("logits", dense(features, "classifier", self.num_classes, image_size=image_size)).value

    def _layer(self, flow: Flow, name: str, norms: Norms) -> Flow:
        flow = relu(batch_norm(flow, f"{name}.norm1", norms))
        flow = relu(conv_bn(flow, (f"{name}.conv1", f"{name}.norm2"), 4 * self.growth, 1, norms=norms))
        flow = conv(flow, f"{name}.conv2", self.growth, 3, padding=1, bias=False)
        return dropout(flow, self.dropout, f"{name}.dropout", train=norms.train, module=self)


class DenseNetKnobs(Knobs, total=False):
    """What `densenet` takes besides its depth."""

    width: float
    dropout: float
    axis_name: str | None


def densenet(
    depth: int,
    *,
    width: float = 1.0,
    dropout: float = 0.0,
    axis_name: str | None = None,
    **knobs: Unpack[Knobs],
) -> Model:
    """DenseNet; layers conv0, denseblock1.denselayer1 ..., denseblock1, transition1, ..., norm5, features, logits.

    A dense layer is named after the maps that it adds, which no ReLU has seen; denseblock1 is all maps of the block,
    transition1 what the next block sees, norm5 the last maps, normalised and after their
    ReLU, as conv0 is. Smallest image: 29 px.

    Args:
        depth: 121 or 161 layers with weights.
        width: factor on the maps of the first convolution and on those that a layer adds.
        dropout: rate after every dense layer, in training only.
        axis_name: a mapped axis over which training takes the statistics of batch normalisation; None: of each
            device's own images.
        **knobs: weights, classes and images; see `Knobs`.

    Raises:
        ValueError: a knob out of range, not exactly one of `weights` and `key`, or weights that do not fit.

    References:
        Gao Huang, Zhuang Liu, Laurens van der Maaten, Kilian Q. Weinberger, "Densely Connected Convolutional Networks",
        2017: Table 1.
    """
    plan = choose("depth", depth, _PLANS)
    check_knobs(width=width, dropout=dropout)

    def body(num_classes: int) -> DenseNet:
        return DenseNet(
            num_classes=num_classes,
            growth=scaled(plan.growth, width),
            first=scaled(plan.first, width),
            layers=plan.layers,
            dropout=dropout,
            axis_name=axis_name,
        )

    return build(f"densenet{depth}", body, heads=("classifier",), last_conv="norm5", minimum=29, **knobs)


def densenet121(**knobs: Unpack[DenseNetKnobs]) -> Model:
    """DenseNet-121, with the `knobs` of `densenet`."""
    return densenet(121, **knobs)


def densenet161(**knobs: Unpack[DenseNetKnobs]) -> Model:
    """DenseNet-161, with the `knobs` of `densenet`."""
    return densenet(161, **knobs)
