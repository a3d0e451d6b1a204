"""Inception-v4 as timm has it."""

from typing import Unpack

import flax.linen as nn
from jax import Array

from jaxinterp._base import Model
from jaxinterp.models._architectures._branches import AVERAGE_INSIDE, MAX, Chain, Split, Step, chain, chains
from jaxinterp.models._flow import Sites, global_average, image_flow
from jaxinterp.models._init import PYTORCH, Init
from jaxinterp.models._network import INCEPTION_MEAN, INCEPTION_STD, Body, Knobs, build, check_knobs
from jaxinterp.models._ops import Norms, dense, dropout

_ROW, _COLUMN = (1, 7), (7, 1)
_STEM = (Step("0", 32, 3, 2), Step("1", 32, 3, padded=False), Step("2", 64, 3))


_MIXED_3A: tuple[Chain, ...] = ((MAX,), (Step("conv", 96, 3, 2),))
_MIXED_4A: tuple[Chain, ...] = (
    (Step("branch0.0", 64), Step("branch0.1", 96, 3, padded=False)),
    (
        Step("branch1.0", 64),
        Step("branch1.1", 64, _ROW),
        Step("branch1.2", 64, _COLUMN),
        Step("branch1.3", 96, 3, padded=False),
    ),
)
_MIXED_5A: tuple[Chain, ...] = ((Step("conv", 192, 3, 2),), (MAX,))
_A: tuple[Chain, ...] = (
    (Step("branch0", 96),),
    (Step("branch1.0", 64), Step("branch1.1", 96, 3)),
    (Step("branch2.0", 64), Step("branch2.1", 96, 3), Step("branch2.2", 96, 3)),
    (AVERAGE_INSIDE, Step("branch3.1", 96)),
)
_REDUCTION_A: tuple[Chain, ...] = (
    (Step("branch0", 384, 3, 2),),
    (Step("branch1.0", 192), Step("branch1.1", 224, 3), Step("branch1.2", 256, 3, 2)),
    (MAX,),
)
_B: tuple[Chain, ...] = (
    (Step("branch0", 384),),
    (Step("branch1.0", 192), Step("branch1.1", 224, _ROW), Step("branch1.2", 256, _COLUMN)),
    (
        Step("branch2.0", 192),
        Step("branch2.1", 192, _COLUMN),
        Step("branch2.2", 224, _ROW),
        Step("branch2.3", 224, _COLUMN),
        Step("branch2.4", 256, _ROW),
    ),
    (AVERAGE_INSIDE, Step("branch3.1", 128)),
)
_REDUCTION_B: tuple[Chain, ...] = (
    (Step("branch0.0", 192), Step("branch0.1", 192, 3, 2)),
    (
        Step("branch1.0", 256),
        Step("branch1.1", 256, _ROW),
        Step("branch1.2", 320, _COLUMN),
        Step("branch1.3", 320, 3, 2),
    ),
    (MAX,),
)
_C: tuple[Chain, ...] = (
    (Step("branch0", 256),),
    (Step("branch1_0", 384), Split("branch1_1a", "branch1_1b", 256)),
    (
        Step("branch2_0", 384),
        Step("branch2_1", 448, (3, 1)),
        Step("branch2_2", 512, (1, 3)),
        Split("branch2_3a", "branch2_3b", 256),
    ),
    (AVERAGE_INSIDE, Step("branch3.1", 256)),
)
_MODULES = (
    ("mixed_3a", _MIXED_3A),
    ("mixed_4a", _MIXED_4A),
    ("mixed_5a", _MIXED_5A),
    *((f"inception_a{number}", _A) for number in range(1, 5)),
    ("reduction_a", _REDUCTION_A),
    *((f"inception_b{number}", _B) for number in range(1, 8)),
    ("reduction_b", _REDUCTION_B),
    *((f"inception_c{number}", _C) for number in range(1, 4)),
)


class InceptionV4(Body):
    """The body of Inception-v4: three convolutions and nineteen modules."""

    num_classes: int
    width: float
    dropout: float
    axis_name: str | None
    folded: bool = False

    def init_of(self, name: str) -> Init:
        """How the weights of that layer are drawn."""
        return PYTORCH

    @nn.compact
    def __call__(self, images: Array, sites: Sites, train: bool) -> Array:
        """Logits of normalised images."""
        image_size = images.shape[1]
        norms = Norms(train, sites.folds, folded=self.folded, axis_name=self.axis_name, epsilon=1e-3)
        flow = image_flow(images)
        for number, step in enumerate(_STEM, start=1):
            flow = sites.site(f"conv{number}", chain(flow, "features", (step,), norms=norms, width=self.width))
        for position, (name, branches) in enumerate(_MODULES, start=len(_STEM)):
            flow = sites.site(name, chains(flow, f"features.{position}", branches, norms=norms, width=self.width))
        features = sites.site("features", global_average(flow, image_size=image_size))
        features = dropout(features, self.dropout, "dropout", train=train, module=self)
        return sites.site("logits", dense(features, "last_linear", self.num_classes, image_size=image_size)).value


def inception_v4(*, width: float = 1.0, dropout: float = 0.0, axis_name: str | None = None, **knobs: Unpack[Knobs]) -> Model:
    """Inception-v4; layers conv1 ... conv3, mixed_3a ... mixed_5a, inception_a1 ... inception_c3, features (pooled), logits.

    All are after their ReLU. Names of weights are timm's; images are normalised to [-1, 1], as its weights want them.
    Smallest image: 75 px.

    Args:
        width: factor on every number of channels.
        dropout: rate before the last layer, in training only.
        axis_name: a mapped axis over which training takes the statistics of batch normalisation; None: of each
            device's own images.
        **knobs: weights, classes and images (299 px when nothing is said); see `Knobs`.

    Raises:
        ValueError: a knob out of range, not exactly one of `weights` and `key`, or weights that do not fit.

    References:
        Christian Szegedy, Sergey Ioffe, Vincent Vanhoucke, Alexander A. Alemi, "Inception-v4, Inception-ResNet and the
        Impact of Residual Connections on Learning", 2017: figures 3 to 9.
    """
    check_knobs(width=width, dropout=dropout)

    def body(num_classes: int) -> InceptionV4:
        return InceptionV4(num_classes=num_classes, width=width, dropout=dropout, axis_name=axis_name)

    usual = (INCEPTION_MEAN, INCEPTION_STD)
    return build(
        "inception_v4",
        body,
        heads=("last_linear",),
        last_conv="inception_c3",
        minimum=75,
        usual=usual,
        **(Knobs(image_size=299) | knobs),
    )
