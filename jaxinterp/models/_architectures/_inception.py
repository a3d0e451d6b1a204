"""Inception-v3 as torchvision and timm have it."""

from typing import Unpack

import flax.linen as nn
from jax import Array

from jaxinterp._base import Model
from jaxinterp.models._architectures._branches import AVERAGE, MAX, Chain, Split, Step, chain, chains
from jaxinterp.models._flow import Flow, Sites, average_pool, global_average, image_flow, max_pool
from jaxinterp.models._init import Init, normal
from jaxinterp.models._network import INCEPTION_MEAN, INCEPTION_STD, Body, Knobs, build, check_knobs
from jaxinterp.models._ops import Norms, dense, dropout

_STEM = (
    Step("Conv2d_1a_3x3", 32, 3, 2),
    Step("Conv2d_2a_3x3", 32, 3, padded=False),
    Step("Conv2d_2b_3x3", 64, 3),
    Step("Conv2d_3b_1x1", 80),
    Step("Conv2d_4a_3x3", 192, 3, padded=False),
)
_POOL_AFTER = ("Conv2d_2b_3x3", "Conv2d_4a_3x3")

_ROW, _COLUMN = (1, 7), (7, 1)


def _module_5(pooled: int) -> tuple[Chain, ...]:
    return (
        (Step("branch1x1", 64),),
        (Step("branch5x5_1", 48), Step("branch5x5_2", 64, 5)),
        (Step("branch3x3dbl_1", 64), Step("branch3x3dbl_2", 96, 3), Step("branch3x3dbl_3", 96, 3)),
        (AVERAGE, Step("branch_pool", pooled)),
    )


def _module_6(inner: int) -> tuple[Chain, ...]:
    return (
        (Step("branch1x1", 192),),
        (Step("branch7x7_1", inner), Step("branch7x7_2", inner, _ROW), Step("branch7x7_3", 192, _COLUMN)),
        (
            Step("branch7x7dbl_1", inner),
            Step("branch7x7dbl_2", inner, _COLUMN),
            Step("branch7x7dbl_3", inner, _ROW),
            Step("branch7x7dbl_4", inner, _COLUMN),
            Step("branch7x7dbl_5", 192, _ROW),
        ),
        (AVERAGE, Step("branch_pool", 192)),
    )


_MODULE_6A: tuple[Chain, ...] = (
    (Step("branch3x3", 384, 3, 2),),
    (Step("branch3x3dbl_1", 64), Step("branch3x3dbl_2", 96, 3), Step("branch3x3dbl_3", 96, 3, 2)),
    (MAX,),
)
_MODULE_7A: tuple[Chain, ...] = (
    (Step("branch3x3_1", 192), Step("branch3x3_2", 320, 3, 2)),
    (
        Step("branch7x7x3_1", 192),
        Step("branch7x7x3_2", 192, _ROW),
        Step("branch7x7x3_3", 192, _COLUMN),
        Step("branch7x7x3_4", 192, 3, 2),
    ),
    (MAX,),
)
_MODULE_7: tuple[Chain, ...] = (
    (Step("branch1x1", 320),),
    (Step("branch3x3_1", 384), Split("branch3x3_2a", "branch3x3_2b", 384)),
    (Step("branch3x3dbl_1", 448), Step("branch3x3dbl_2", 384, 3), Split("branch3x3dbl_3a", "branch3x3dbl_3b", 384)),
    (AVERAGE, Step("branch_pool", 192)),
)
_MODULES = {
    "Mixed_5b": _module_5(32),
    "Mixed_5c": _module_5(64),
    "Mixed_5d": _module_5(64),
    "Mixed_6a": _MODULE_6A,
    "Mixed_6b": _module_6(128),
    "Mixed_6c": _module_6(160),
    "Mixed_6d": _module_6(160),
    "Mixed_6e": _module_6(192),
    "Mixed_7a": _MODULE_7A,
    "Mixed_7b": _MODULE_7,
    "Mixed_7c": _MODULE_7,
}


class InceptionV3(Body):
    """The body of Inception-v3: five convolutions, eleven modules, one auxiliary classifier."""

    num_classes: int
    width: float
    aux: bool
    dropout: float
    axis_name: str | None
    folded: bool = False

    def init_of(self, name: str) -> Init:
        """How the weights of that layer are drawn."""
        stddev = {"AuxLogits.conv1.conv": 0.01, "AuxLogits.fc": 0.001}.get(name, 0.1)
        return normal(stddev)._replace(bias="fc" in name)

    @nn.compact
    def __call__(self, images: Array, sites: Sites, train: bool) -> Array:
        """Logits of normalised images."""
        image_size = images.shape[1]
        norms = Norms(train, sites.folds, folded=self.folded, axis_name=self.axis_name, epsilon=1e-3)
        flow = image_flow(images)
        for step in _STEM:
            flow = sites.site(step.name, chain(flow, "", (step,), norms=norms, width=self.width))
            flow = max_pool(flow, 3, 2) if step.name in _POOL_AFTER else flow
        for name, branches in _MODULES.items():
            flow = sites.site(name, chains(flow, name, branches, norms=norms, width=self.width))
            if self.aux and name == "Mixed_6e":
                sites.site("AuxLogits", self._auxiliary(flow, norms, image_size=image_size))
        features = sites.site("features", global_average(flow, image_size=image_size))
        features = dropout(features, self.dropout, "dropout", train=train, module=self)
        return sites.site("logits", dense(features, "fc", self.num_classes, image_size=image_size)).value

    def _auxiliary(self, flow: Flow, norms: Norms, *, image_size: int) -> Flow:
        steps = (Step("conv0", 128), Step("conv1", 768, 5, padded=False))
        flow = chain(average_pool(flow, 5, 3), "AuxLogits", steps, norms=norms, width=self.width)
        pooled = global_average(flow, image_size=image_size)
        return dense(pooled, "AuxLogits.fc", self.num_classes, image_size=image_size)


def inception_v3(
    *,
    width: float = 1.0,
    aux: bool = True,
    dropout: float = 0.5,
    axis_name: str | None = None,
    **knobs: Unpack[Knobs],
) -> Model:
    """Inception-v3; layers Conv2d_1a_3x3 ... Mixed_7c after their ReLU, features (pooled), logits.

    AuxLogits, the logits of the auxiliary classifier, is a layer too; under `jit` it costs nothing where it is not used.
    Images are normalised to [-1, 1], as the published weights want them (torchvision's `transform_input`). Smallest
    image: 299 px, without the auxiliary classifier 75 px.

    Args:
        width: factor on every number of channels.
        aux: whether there is an auxiliary classifier; without it, that of a file is left out.
        dropout: rate before the last layer, in training only.
        axis_name: a mapped axis over which training takes the statistics of batch normalisation; None: of each
            device's own images.
        **knobs: weights, classes and images (299 px when nothing is said); see `Knobs`.

    Raises:
        ValueError: a knob out of range, not exactly one of `weights` and `key`, or weights that do not fit.

    References:
        Christian Szegedy, Vincent Vanhoucke, Sergey Ioffe, Jonathon Shlens, Zbigniew Wojna, "Rethinking the Inception
        Architecture for Computer Vision", 2016: Table 1.
    """
    check_knobs(width=width, dropout=dropout)

    def body(num_classes: int) -> InceptionV3:
        return InceptionV3(num_classes=num_classes, width=width, aux=aux, dropout=dropout, axis_name=axis_name)

    usual = (INCEPTION_MEAN, INCEPTION_STD)
    heads = ("fc", "AuxLogits.fc") if aux else ("fc",)
    ignore = () if aux else ("AuxLogits",)
    return build(
        "inception_v3",
        body,
        heads=heads,
        last_conv="Mixed_7c",
        minimum=299 if aux else 75,
        ignore=ignore,
        usual=usual,
        **(Knobs(image_size=299) | knobs),
    )
