"""Inception-v3 as torchvision and timm have it."""

from typing import Unpack

import flax.linen as nn
from jax import Array

from jaxinterp._base import Model
from jaxinterp.models._flow import Flow, Sites, average_pool, concat, global_average, image_flow, max_pool
from jaxinterp.models._init import Init, normal
from jaxinterp.models._network import INCEPTION_MEAN, INCEPTION_STD, Body, Knobs, build, check_knobs, scaled
from jaxinterp.models._ops import Norms, conv_bn, dense, dropout, relu

_STEM = (
    ("Conv2d_1a_3x3", 32, 3, 2, 0),
    ("Conv2d_2a_3x3", 32, 3, 1, 0),
    ("Conv2d_2b_3x3", 64, 3, 1, 1),
    ("Conv2d_3b_1x1", 80, 1, 1, 0),
    ("Conv2d_4a_3x3", 192, 3, 1, 0),
)
_POOL_AFTER = ("Conv2d_2b_3x3", "Conv2d_4a_3x3")
_ROW, _COLUMN = (1, 7), (7, 1)

# Branches of a module: (units, window, stride) from the module's input on, or a pool and what follows it.
_Branch = tuple[tuple[str, int, int | tuple[int, int], int], ...]


def _a(pooled: int) -> dict[str, _Branch]:
    return {
        "": (("branch1x1", 64, 1, 1),),
        "5x5": (("branch5x5_1", 48, 1, 1), ("branch5x5_2", 64, 5, 1)),
        "dbl": (("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 1), ("branch3x3dbl_3", 96, 3, 1)),
        "average": (("branch_pool", pooled, 1, 1),),
    }


def _b() -> dict[str, _Branch]:
    return {
        "": (("branch3x3", 384, 3, 2),),
        "dbl": (("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 1), ("branch3x3dbl_3", 96, 3, 2)),
        "max": (),
    }


def _c(inner: int) -> dict[str, _Branch]:
    return {
        "": (("branch1x1", 192, 1, 1),),
        "7x7": (("branch7x7_1", inner, 1, 1), ("branch7x7_2", inner, _ROW, 1), ("branch7x7_3", 192, _COLUMN, 1)),
        "dbl": (
            ("branch7x7dbl_1", inner, 1, 1),
            ("branch7x7dbl_2", inner, _COLUMN, 1),
            ("branch7x7dbl_3", inner, _ROW, 1),
            ("branch7x7dbl_4", inner, _COLUMN, 1),
            ("branch7x7dbl_5", 192, _ROW, 1),
        ),
        "average": (("branch_pool", 192, 1, 1),),
    }


def _d() -> dict[str, _Branch]:
    return {
        "": (("branch3x3_1", 192, 1, 1), ("branch3x3_2", 320, 3, 2)),
        "7x7": (
            ("branch7x7x3_1", 192, 1, 1),
            ("branch7x7x3_2", 192, _ROW, 1),
            ("branch7x7x3_3", 192, _COLUMN, 1),
            ("branch7x7x3_4", 192, 3, 2),
        ),
        "max": (),
    }


def _e() -> dict[str, _Branch]:
    return {
        "": (("branch1x1", 320, 1, 1),),
        "split3": (("branch3x3_1", 384, 1, 1),),
        "split": (("branch3x3dbl_1", 448, 1, 1), ("branch3x3dbl_2", 384, 3, 1)),
        "average": (("branch_pool", 192, 1, 1),),
    }


_MODULES = {
    "Mixed_5b": _a(32),
    "Mixed_5c": _a(64),
    "Mixed_5d": _a(64),
    "Mixed_6a": _b(),
    "Mixed_6b": _c(128),
    "Mixed_6c": _c(160),
    "Mixed_6d": _c(160),
    "Mixed_6e": _c(192),
    "Mixed_7a": _d(),
    "Mixed_7b": _e(),
    "Mixed_7c": _e(),
}
_SPLIT = {"split3": ("branch3x3_2a", "branch3x3_2b"), "split": ("branch3x3dbl_3a", "branch3x3dbl_3b")}


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
        for name, units, kernel, stride, padding in _STEM:
            flow = sites.site(name, self._conv(flow, name, units, kernel, norms, stride=stride, padding=padding))
            flow = max_pool(flow, 3, 2) if name in _POOL_AFTER else flow
        for name, branches in _MODULES.items():
            flow = sites.site(name, concat([self._branch(flow, name, kind, plan, norms) for kind, plan in branches.items()]))
            if self.aux and name == "Mixed_6e":
                sites.site("AuxLogits", self._auxiliary(flow, norms, image_size=image_size))
        features = sites.site("features", global_average(flow, image_size=image_size))
        features = dropout(features, self.dropout, "dropout", train=train, module=self)
        return sites.site("logits", dense(features, "fc", self.num_classes, image_size=image_size)).value

    def _branch(self, flow: Flow, module: str, kind: str, plan: _Branch, norms: Norms) -> Flow:
        if kind == "max":
            return max_pool(flow, 3, 2)
        flow = average_pool(flow, 3, 1, padding=1) if kind == "average" else flow
        for name, units, kernel, stride in plan:
            flow = self._conv(flow, f"{module}.{name}", units, kernel, norms, stride=stride, padding=_same(kernel, stride))
        if kind not in _SPLIT:
            return flow
        row, column = (f"{module}.{name}" for name in _SPLIT[kind])
        return concat(
            [
                self._conv(flow, row, 384, (1, 3), norms, padding=(0, 1)),
                self._conv(flow, column, 384, (3, 1), norms, padding=(1, 0)),
            ]
        )

    def _conv(
        self,
        flow: Flow,
        name: str,
        units: int,
        kernel: int | tuple[int, int],
        norms: Norms,
        *,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> Flow:
        names, units = (f"{name}.conv", f"{name}.bn"), scaled(units, self.width)
        return relu(conv_bn(flow, names, units, kernel, stride=stride, padding=padding, norms=norms))

    def _auxiliary(self, flow: Flow, norms: Norms, *, image_size: int) -> Flow:
        flow = self._conv(average_pool(flow, 5, 3), "AuxLogits.conv0", 128, 1, norms)
        flow = self._conv(flow, "AuxLogits.conv1", 768, 5, norms)
        pooled = global_average(flow, image_size=image_size)
        return dense(pooled, "AuxLogits.fc", self.num_classes, image_size=image_size)


def _same(kernel: int | tuple[int, int], stride: int) -> int | tuple[int, int]:
    """The padding that keeps the size; none where the stride is not 1."""
    if stride > 1:
        return 0
    return kernel // 2 if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)


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

    usual = Knobs(image_size=299, mean=INCEPTION_MEAN, std=INCEPTION_STD)
    heads = ("fc", "AuxLogits.fc") if aux else ("fc",)
    ignore = () if aux else ("AuxLogits",)
    return build(body, heads=heads, last_conv="Mixed_7c", minimum=299 if aux else 75, ignore=ignore, **(usual | knobs))
