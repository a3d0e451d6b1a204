"""Inception-ResNet-v2 as timm has it."""

from typing import NamedTuple, Unpack

import flax.linen as nn
from jax import Array

from jaxinterp._base import Model
from jaxinterp.models._architectures._branches import AVERAGE_INSIDE, MAX, Chain, Step, chain, chains
from jaxinterp.models._flow import Flow, Sites, add, global_average, image_flow, max_pool
from jaxinterp.models._init import PYTORCH, Init
from jaxinterp.models._network import INCEPTION_MEAN, INCEPTION_STD, Body, Knobs, build, check_knobs
from jaxinterp.models._ops import Norms, conv, dense, dropout, relu

_STEM = (
    Step("conv2d_1a", 32, 3, 2),
    Step("conv2d_2a", 32, 3, padded=False),
    Step("conv2d_2b", 64, 3),
    Step("conv2d_3b", 80),
    Step("conv2d_4a", 192, 3, padded=False),
)
_POOL_AFTER = ("conv2d_2b", "conv2d_4a")

_MIXED_5B: tuple[Chain, ...] = (
    (Step("branch0", 96),),
    (Step("branch1.0", 48), Step("branch1.1", 64, 5)),
    (Step("branch2.0", 64), Step("branch2.1", 96, 3), Step("branch2.2", 96, 3)),
    (AVERAGE_INSIDE, Step("branch3.1", 64)),
)
_MIXED_6A: tuple[Chain, ...] = (
    (Step("branch0", 384, 3, 2),),
    (Step("branch1.0", 256), Step("branch1.1", 256, 3), Step("branch1.2", 384, 3, 2)),
    (MAX,),
)
_MIXED_7A: tuple[Chain, ...] = (
    (Step("branch0.0", 256), Step("branch0.1", 384, 3, 2)),
    (Step("branch1.0", 256), Step("branch1.1", 288, 3, 2)),
    (Step("branch2.0", 256), Step("branch2.1", 288, 3), Step("branch2.2", 320, 3, 2)),
    (MAX,),
)


class _Blocks(NamedTuple):
    """Residual blocks of one kind: their names, how much of what they compute is added, its branches."""

    names: tuple[str, ...]
    scale: float
    branches: tuple[Chain, ...]


def _numbered(module: str, count: int) -> tuple[str, ...]:
    return tuple(f"{module}.{number}" for number in range(count))


_BLOCK_8: tuple[Chain, ...] = (
    (Step("branch0", 192),),
    (Step("branch1.0", 192), Step("branch1.1", 224, (1, 3)), Step("branch1.2", 256, (3, 1))),
)
_BLOCKS_35 = _Blocks(
    _numbered("repeat", 10),
    0.17,
    (
        (Step("branch0", 32),),
        (Step("branch1.0", 32), Step("branch1.1", 32, 3)),
        (Step("branch2.0", 32), Step("branch2.1", 48, 3), Step("branch2.2", 64, 3)),
    ),
)
_BLOCKS_17 = _Blocks(
    _numbered("repeat_1", 20),
    0.1,
    ((Step("branch0", 192),), (Step("branch1.0", 128), Step("branch1.1", 160, (1, 7)), Step("branch1.2", 192, (7, 1)))),
)
_BLOCKS_8 = _Blocks(_numbered("repeat_2", 9), 0.2, _BLOCK_8)
_STAGES = (("mixed_5b", _MIXED_5B, _BLOCKS_35), ("mixed_6a", _MIXED_6A, _BLOCKS_17), ("mixed_7a", _MIXED_7A, _BLOCKS_8))
_LAST_BLOCK = _Blocks(("block8",), 1.0, _BLOCK_8)


class InceptionResNetV2(Body):
    """The body of Inception-ResNet-v2: five convolutions, three modules, forty residual blocks, one convolution."""

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
        for step in _STEM:
            flow = sites.site(step.name, chain(flow, "", (step,), norms=norms, width=self.width))
            flow = max_pool(flow, 3, 2) if step.name in _POOL_AFTER else flow
        for name, branches, blocks in _STAGES:
            flow = sites.site(name, chains(flow, name, branches, norms=norms, width=self.width))
            flow = self._blocks(flow, blocks, sites, norms)
        flow = self._blocks(flow, _LAST_BLOCK, sites, norms)
        last = chain(flow, "", (Step("conv2d_7b", 1536),), norms=norms, width=self.width)
        flow = sites.site("conv2d_7b", last)
        features = sites.site("features", global_average(flow, image_size=image_size))
        features = dropout(features, self.dropout, "dropout", train=train, module=self)
        return sites.site("logits", dense(features, "classif", self.num_classes, image_size=image_size)).value

    def _blocks(self, flow: Flow, blocks: _Blocks, sites: Sites, norms: Norms) -> Flow:
        for name in blocks.names:
            maps = chains(flow, name, blocks.branches, norms=norms, width=self.width)
            main = conv(maps, f"{name}.conv2d", flow.value.shape[-1], 1)
            total = add(main.map(main.value * blocks.scale), sites.site(f"{name}.shortcut", flow))
            flow = sites.site(name, total if blocks is _LAST_BLOCK else relu(total))
        return flow


def inception_resnet_v2(
    *, width: float = 1.0, dropout: float = 0.0, axis_name: str | None = None, **knobs: Unpack[Knobs]
) -> Model:
    """Inception-ResNet-v2; layers conv2d_1a ... conv2d_4a, mixed_5b, repeat.0 ..., conv2d_7b, features (pooled), logits.

    `<block>.shortcut`, such as repeat_1.3.shortcut, is what the block adds, before the addition. All layers are after
    their ReLU but block8, which has none. Names of weights are timm's; images are normalised to [-1, 1], as its weights
    want them. Smallest image: 75 px.

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
        Impact of Residual Connections on Learning", 2017: figures 15 to 19. Unlike the paper, the stem is that of
        Inception-v3, as in timm.
    """
    check_knobs(width=width, dropout=dropout)

    def body(num_classes: int) -> InceptionResNetV2:
        return InceptionResNetV2(num_classes=num_classes, width=width, dropout=dropout, axis_name=axis_name)

    usual = (INCEPTION_MEAN, INCEPTION_STD)
    return build(
        "inception_resnet_v2",
        body,
        heads=("classif",),
        last_conv="conv2d_7b",
        minimum=75,
        usual=usual,
        **(Knobs(image_size=299) | knobs),
    )
