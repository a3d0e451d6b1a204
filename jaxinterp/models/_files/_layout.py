"""The names and the axes of weights, as torchvision has them and as this library has them."""

from typing import Any

import numpy as np

LEAVES = {
    ("params", "kernel"): "weight",
    ("params", "scale"): "weight",
    ("params", "bias"): "bias",
    ("batch_stats", "mean"): "running_mean",
    ("batch_stats", "var"): "running_var",
}
"""(collection, leaf) -> the last part of torchvision's name."""

AXES_OUT = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}
AXES_IN = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}
"""Of weights with so many axes, how they are transposed out to torchvision's order and in from it."""


def torchvision_shapes(params: Any, stats: Any) -> dict[str, tuple[int, ...]]:
    """torchvision's name -> shape of every weight, in the order of the network; arrays or shapes will do."""
    return {name: _there(tuple(leaf.shape)) for name, _, _, _, leaf in walk(params, stats)}


def torchvision_state(params: Any, stats: Any) -> dict[str, np.ndarray]:
    """torchvision's name -> weight as torchvision lays it out, on the host."""
    state = {}
    for name, _, _, _, leaf in walk(params, stats):
        value = np.asarray(leaf)
        state[name] = np.ascontiguousarray(value.transpose(AXES_OUT[value.ndim]))
    return state


def walk(params: Any, stats: Any) -> list[tuple[str, str, str, str, Any]]:
    """(torchvision's name, collection, module, leaf name, leaf) of every weight."""
    return [
        (f"{module}.{LEAVES[collection, leaf]}", collection, module, leaf, value)
        for collection, tree in (("params", params), ("batch_stats", stats))
        for module, leaves in tree.items()
        for leaf, value in leaves.items()
    ]


def _there(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[axis] for axis in AXES_OUT[len(shape)])
