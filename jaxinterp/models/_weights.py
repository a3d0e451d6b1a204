"""Weights in and out: torchvision's `.safetensors` layout, checked strictly."""

import json
import os
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

_LEAVES = {
    ("params", "kernel"): "weight",
    ("params", "scale"): "weight",
    ("params", "bias"): "bias",
    ("batch_stats", "mean"): "running_mean",
    ("batch_stats", "var"): "running_var",
}
_COUNTER = "num_batches_tracked"


def torchvision_shapes(params: Any, stats: Any) -> dict[str, tuple[int, ...]]:
    """torchvision's name -> shape of every weight, in the order of the network; arrays or shapes will do."""
    return {name: _there(leaf.shape) for name, _, _, _, leaf in _walk(params, stats)}


def torchvision_state(params: Any, stats: Any) -> dict[str, np.ndarray]:
    """torchvision's name -> weight as torchvision lays it out, on the host."""
    state = {}
    for name, _, _, _, leaf in _walk(params, stats):
        value = np.asarray(leaf)
        state[name] = np.ascontiguousarray(value.transpose(_AXES_OUT[value.ndim]))
    return state


_AXES_OUT = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}
_AXES_IN = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}


def _there(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[axis] for axis in _AXES_OUT[len(shape)])


def _walk(params: Any, stats: Any) -> list[tuple[str, str, str, str, Any]]:
    """(torchvision's name, collection, module, leaf name, leaf) of every weight."""
    return [
        (f"{module}.{_LEAVES[collection, leaf]}", collection, module, leaf, value)
        for collection, tree in (("params", params), ("batch_stats", stats))
        for module, leaves in tree.items()
        for leaf, value in leaves.items()
    ]


def load_into(path: str | os.PathLike[str], params: Any, stats: Any, *, ignore: tuple[str, ...] = ()) -> tuple[Any, Any]:
    """Reads a file into trees of the shapes of `params` and `stats`, as float32.

    What the file holds under a name that begins with one of `ignore` is left out.

    Raises:
        ValueError: no such file, no safetensors, or names, shapes or values that do not fit; both sides are printed.
    """
    found = {name: value for name, value in _read(path).items() if not name.startswith(tuple(f"{part}." for part in ignore))}
    expected = torchvision_shapes(params, stats)
    problems = [
        _listing("missing", [name for name in expected if name not in found]),
        _listing("not in this network", [name for name in found if name not in expected and not name.endswith(_COUNTER)]),
        _listing(
            "of another shape",
            [
                f"{name} (expected {list(shape)}, got {list(found[name].shape)})"
                for name, shape in expected.items()
                if name in found and found[name].shape != shape
            ],
        ),
    ]
    if any(problems):
        raise ValueError(
            f"expected the {len(expected)} weights of this network in {path}, got {len(found)} names: "
            + "; ".join(filter(None, problems))
            + "."
        )
    broken = [name for name in expected if not np.isfinite(found[name]).all()]
    if broken:
        raise ValueError(f"expected finite weights in {path}, got {_listing('NaN or infinity in', broken)}.")
    trees: dict[str, dict[str, dict[str, Any]]] = {"params": {}, "batch_stats": {}}
    for name, collection, module, leaf, like in _walk(params, stats):
        value = found[name].astype(np.float32).transpose(_AXES_IN[len(like.shape)])
        trees[collection].setdefault(module, {})[leaf] = jnp.asarray(np.ascontiguousarray(value))
    return trees["params"], trees["batch_stats"]


def save_state(
    path: str | os.PathLike[str], params: Any, stats: Any, *, dtype: str, about: dict[str, str] | None = None
) -> None:
    """Writes trees as torchvision's state dict; `about` stands in the file's header.

    Raises:
        ValueError: a type that is not one of the two, or weights that it cannot hold.
    """
    from safetensors.numpy import save_file

    if dtype not in ("float32", "float16"):
        raise ValueError(f"expected dtype 'float32' or 'float16', got {dtype!r}.")
    state = torchvision_state(params, stats)
    with np.errstate(over="ignore"):
        tensors = {name: value.astype(dtype) for name, value in state.items()}
    broken = [name for name, value in tensors.items() if not np.isfinite(value).all()]
    if broken:
        raise ValueError(f"expected weights that {dtype} can hold, got {_listing('NaN or infinity in', broken)}.")
    for module in stats:
        tensors[f"{module}.{_COUNTER}"] = np.zeros((), np.int64)
    save_file(tensors, os.fspath(path), {"format": "pt"} | (about or {}))


def _read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not pathlib.Path(path).is_file():
        raise ValueError(f"expected a .safetensors file of weights, got {path}, which is not there.")
    try:
        return load_file(path)
    except (SafetensorError, json.JSONDecodeError, KeyError, TypeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"expected a .safetensors file, got {path}, which is none: {reason}.") from error


def _listing(what: str, names: list[str]) -> str:
    """`what: a, b, c and 4 more`, or nothing."""
    if not names:
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{what} {', '.join(names[:3])}{more}"
