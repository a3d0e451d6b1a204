"""GoogLeNet as torchvision has it."""

from typing import Unpack

import flax.linen as nn
from jax import Array

from jaxinterp._base import Model
from jaxinterp.models._architectures._branches import Step, chain
from jaxinterp.models._flow import Flow, Sites, adaptive_average_pool, concat, global_average, image_flow, max_pool
from jaxinterp.models._init import Init, normal
from jaxinterp.models._network import INCEPTION_MEAN, INCEPTION_STD, Body, Knobs, build, check_knobs, scaled
from jaxinterp.models._ops import Norms, conv_bn, dense, dropout, relu

_MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
_POOL_AFTER = {"3b": 3, "4e": 2}
_AUXILIARY_AFTER = {"4a": "aux1", "4d": "aux2"}


class GoogLeNet(Body):
    """The body of GoogLeNet: three convolutions, nine inception modules, two auxiliary classifiers."""

    num_classes: int
    width: float
    aux: bool
    dropout: float
    aux_dropout: float
    axis_name: str | None
    folded: bool = False

    def init_of(self, name: str) -> Init:
        """How the weights of that layer are drawn."""
        return normal(0.01)._replace(bias="fc" in name)

    @nn.compact
    def __call__(self, images: Array, sites: Sites, train: bool) -> Array:
        """Logits of normalised images."""
        image_size = images.shape[1]
        norms = Norms(train, sites.folds, folded=self.folded, axis_name=self.axis_name, epsilon=1e-3)
        names = ("conv1.conv", "conv1.bn")
        flow = conv_bn(image_flow(images), names, scaled(64, self.width), 7, stride=2, padding=3, norms=norms)
        flow = max_pool(sites.site("conv1", relu(flow)), 3, 2, ceil=True)
        for step in (Step("conv2", 64), Step("conv3", 192, 3)):
            flow = sites.site(step.name, self._chain(flow, "", step, norms=norms))
        flow = max_pool(flow, 3, 2, ceil=True)
        for name, units in _MODULES.items():
            flow = sites.site(f"inception{name}", self._inception(flow, f"inception{name}", units, norms))
            if self.aux and name in _AUXILIARY_AFTER:
                auxiliary = self._auxiliary(flow, _AUXILIARY_AFTER[name], norms, image_size=image_size)
                sites.site(_AUXILIARY_AFTER[name], auxiliary)
            if name in _POOL_AFTER:
                flow = max_pool(flow, _POOL_AFTER[name], 2, ceil=True)
        features = sites.site("features", global_average(flow, image_size=image_size))
        features = dropout(features, self.dropout, "dropout", train=train, module=self)
        return sites.site("logits", dense(features, "fc", self.num_classes, image_size=image_size)).value

    def _chain(self, flow: Flow, module: str, *steps: Step, norms: Norms) -> Flow:
        return chain(flow, module, steps, norms=norms, width=self.width)

    def _inception(self, flow: Flow, name: str, units: tuple[int, ...], norms: Norms) -> Flow:
        one, three_in, three, five_in, five, pooled = units
        branches = (
            (flow, (Step("branch1", one),)),
            (flow, (Step("branch2.0", three_in), Step("branch2.1", three, 3))),
            (flow, (Step("branch3.0", five_in), Step("branch3.1", five, 3))),
            (max_pool(flow, 3, 1, padding=1), (Step("branch4.1", pooled),)),
        )
        return concat([self._chain(start, name, *steps, norms=norms) for start, steps in branches])

    def _auxiliary(self, flow: Flow, name: str, norms: Norms, *, image_size: int) -> Flow:
        flow = self._chain(flow.map(adaptive_average_pool(flow.value, 4)), name, Step("conv", 128), norms=norms)
        flow = relu(dense(flow, f"{name}.fc1", scaled(1024, self.width), image_size=image_size))
        flow = dropout(flow, self.aux_dropout, f"{name}.dropout", train=norms.train, module=self)
        return dense(flow, f"{name}.fc2", self.num_classes, image_size=image_size)


def googlenet(
    *,
    width: float = 1.0,
    aux: bool = True,
    dropout: float = 0.2,
    aux_dropout: float = 0.7,
    axis_name: str | None = None,
    **knobs: Unpack[Knobs],
) -> Model:
    """GoogLeNet; layers conv1 ... conv3, inception3a ... inception5b, all after their ReLU, features (pooled), logits.

    aux1 and aux2, the logits of the auxiliary classifiers, are layers too; under `jit` they cost nothing where they are
    not used. Images are normalised to [-1, 1], as the published weights want them (torchvision's `transform_input`).

    Args:
        width: factor on every number of channels.
        aux: whether there are auxiliary classifiers; without them, those of a file are left out.
        dropout: rate before the last layer, in training only.
        aux_dropout: the same in the auxiliary classifiers.
        axis_name: a mapped axis over which training takes the statistics of batch normalisation; None: of each
            device's own images.
        **knobs: weights, classes and images; see `Knobs`.

    Raises:
        ValueError: a knob out of range, not exactly one of `weights` and `key`, or weights that do not fit.

    References:
        Christian Szegedy, Wei Liu, Yangqing Jia, Pierre Sermanet, Scott Reed, Dragomir Anguelov, Dumitru Erhan, Vincent
        Vanhoucke, Andrew Rabinovich, "Going Deeper with Convolutions", 2015: Table 1. Unlike the paper, batches are
        normalised and the 5 x 5 windows are 3 x 3, as in torchvision.
    """
    check_knobs(width=width, dropout=dropout)
    check_knobs(dropout=aux_dropout)

    def body(num_classes: int) -> GoogLeNet:
        return GoogLeNet(
            num_classes=num_classes, width=width, aux=aux, dropout=dropout, aux_dropout=aux_dropout, axis_name=axis_name
        )

    usual = (INCEPTION_MEAN, INCEPTION_STD)
    heads = ("fc", "aux1.fc2", "aux2.fc2") if aux else ("fc",)
    ignore = () if aux else ("aux1", "aux2")
    return build("googlenet", body, heads=heads, last_conv="inception5b", minimum=15, ignore=ignore, usual=usual, **knobs)
