"""What inception modules are made of: chains of convolutions and pools, side by side."""

from typing import NamedTuple

from jaxinterp.models._flow import Flow, average_pool, concat, max_pool
from jaxinterp.models._network import scaled
from jaxinterp.models._ops import Norms, conv_bn, relu


class Step(NamedTuple):
    """A convolution, its normalisation and its ReLU.

    Attributes:
        name: of their weights, inside the module.
        units: how many, in the published network.
        kernel: the window; (rows, columns) where they differ.
        stride: of the window.
        padded: whether the map keeps its size; with a stride above 1 nothing is padded.
    """

    name: str
    units: int
    kernel: int | tuple[int, int] = 1
    stride: int = 1
    padded: bool = True


class Split(NamedTuple):
    """A convolution over a row of three and one over a column of three, side by side.

    Attributes:
        row: the name of the weights of the former, inside the module.
        column: of the latter.
        units: of each, in the published network.
    """

    row: str
    column: str
    units: int


class Pool(NamedTuple):
    """Pooling over windows of 3 x 3.

    Attributes:
        average: the average at every position; otherwise the maximum at every other one.
        count_padding: whether zeros outside count.
    """

    average: bool
    count_padding: bool = True


MAX, AVERAGE, AVERAGE_INSIDE = Pool(average=False), Pool(average=True), Pool(average=True, count_padding=False)

Chain = tuple[Step | Split | Pool, ...]


def chain(flow: Flow, module: str, parts: Chain, *, norms: Norms, width: float) -> Flow:
    """Parts one after the other; weights are named `module.step.conv` and `module.step.bn`."""
    for part in parts:
        if isinstance(part, Pool):
            pooled = average_pool(flow, 3, 1, padding=1, count_padding=part.count_padding) if part.average else None
            flow = max_pool(flow, 3, 2) if pooled is None else pooled
        elif isinstance(part, Split):
            ends = (Step(part.row, part.units, (1, 3)), Step(part.column, part.units, (3, 1)))
            flow = concat([chain(flow, module, (end,), norms=norms, width=width) for end in ends])
        else:
            name = ".".join(filter(None, (module, part.name)))
            padding = _half(part.kernel) if part.padded and part.stride == 1 else 0
            names, units = (f"{name}.conv", f"{name}.bn"), scaled(part.units, width)
            flow = relu(conv_bn(flow, names, units, part.kernel, stride=part.stride, padding=padding, norms=norms))
    return flow


def chains(flow: Flow, module: str, branches: tuple[Chain, ...], *, norms: Norms, width: float) -> Flow:
    """Chains from one map, side by side: an inception module."""
    return concat([chain(flow, module, parts, norms=norms, width=width) for parts in branches])


def _half(kernel: int | tuple[int, int]) -> int | tuple[int, int]:
    return kernel // 2 if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)
