"""Weights in and out of a network: torchvision's layout, checked strictly."""

import math
import os
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxinterp.models._files._entries import FLOATS, Entry, shown
from jaxinterp.models._files._formats import read_state
from jaxinterp.models._files._layout import AXES_IN, torchvision_shapes, torchvision_state, walk

COUNTER = "num_batches_tracked"


def load_into(
    path: str | os.PathLike[str],
    params: Any,
    stats: Any,
    *,
    drop_background: bool = False,
    ignore: tuple[str, ...] = (),
) -> tuple[Any, Any]:
    """Reads a file into trees of the shapes of `params` and `stats`, as float32.

    Names, shapes and types are compared before a value is read. A PyTorch checkpoint may hold four times the network in
    float64 besides (an optimiser, an average of the weights) and 64 MiB; of another file only the weights are read.

    Args:
        path: a `.safetensors`, `.npz` or PyTorch file, or a checkpoint folder of this library.
        params: trees of arrays or shapes.
        stats: likewise.
        drop_background: the classifier of the file has one class more than the network, the first, which is left out:
            files that come from TensorFlow have 1001 classes, of which the first is the background.
        ignore: modules that the file may have besides.

    Raises:
        ValueError: no such file, one that cannot be used, or names, shapes, types or values that do not fit; both sides
            are printed.
    """
    expected = torchvision_shapes(params, stats)
    background: list[str] = []

    def select(entries: dict[str, Entry]) -> list[str]:
        if drop_background:
            background.extend(_with_background(path, expected, entries))
        wider = {name: (expected[name][0] + 1, *expected[name][1:]) for name in background}
        expect_fit(path, {**expected, **wider}, entries, ignore=tuple(f"{module}." for module in ignore))
        return list(expected)

    found = read_state(path, select=select, limit=4 * 8 * sum(map(math.prod, expected.values())) + 2**26)
    trees: dict[str, dict[str, dict[str, Any]]] = {"params": {}, "batch_stats": {}}
    broken = []
    for name, collection, module, leaf, like in walk(params, stats):
        with np.errstate(over="ignore"):
            value = found.pop(name)[1 if name in background else 0 :].astype(np.float32)
        if not np.isfinite(value).all():
            broken.append(name)
        turned = value.transpose(AXES_IN[len(like.shape)])
        trees[collection].setdefault(module, {})[leaf] = jnp.asarray(np.ascontiguousarray(turned))
    if broken:
        raise ValueError(f"expected finite weights in {path}, got {listing('NaN or infinity in', broken)}.")
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
        raise ValueError(f"expected weights that {dtype} can hold, got {listing('NaN or infinity in', broken)}.")
    for module in stats:
        tensors[f"{module}.{COUNTER}"] = np.zeros((), np.int64)
    save_file(tensors, os.fspath(path), {"format": "pt"} | (about or {}))


def _with_background(
    path: str | os.PathLike[str], expected: dict[str, tuple[int, ...]], entries: dict[str, Entry]
) -> list[str]:
    """The weights of the one module that has a class more in the file than in the network."""
    wider = [n for n, shape in expected.items() if n in entries and entries[n].shape == (shape[0] + 1, *shape[1:])]
    modules = {name.rpartition(".")[0] for name in wider}
    if len(modules) != 1:
        raise ValueError(
            f"expected a classifier in {path} with a background class besides those of this network, got "
            f"{', '.join(map(shown, sorted(modules))) or 'none'}; leave out drop_background."
        )
    return wider


def expect_fit(
    path: str | os.PathLike[str],
    expected: dict[str, tuple[int, ...]],
    entries: dict[str, Entry],
    *,
    types: dict[str, tuple[str, ...]] | None = None,
    ignore: tuple[str, ...] = (),
) -> None:
    """Raises `ValueError` where a file has other names, shapes or types than a network.

    Args:
        path: the file, for the message.
        expected: name -> shape of every weight.
        entries: what the file has.
        types: name -> the types that will do; floats, where nothing is said.
        ignore: what names may begin with that the file has besides.
    """
    strangers = [n for n in entries if n not in expected and not n.endswith(COUNTER) and not n.startswith(ignore)]
    allowed = {name: (types or {}).get(name, FLOATS) for name in expected}
    shared = [name for name in expected if name in entries]
    problems = [
        listing("missing", [name for name in expected if name not in entries]),
        listing("not in this network", strangers),
        listing(
            "of another shape",
            [
                f"{name} (expected {list(expected[name])}, got {shown(list(entries[name].shape))})"
                for name in shared
                if entries[name].shape != expected[name]
            ],
        ),
        listing(
            "of another type",
            [
                f"{name} (expected {_either(allowed[name])}, got {shown(entries[name].dtype)})"
                for name in shared
                if entries[name].dtype not in allowed[name]
            ],
        ),
    ]
    if any(problems):
        raise ValueError(
            f"expected the {len(expected)} weights of this network in {path}, got {len(entries)} names: "
            + "; ".join(filter(None, problems))
            + "."
        )


def _either(words: tuple[str, ...]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def listing(what: str, names: list[str]) -> str:
    """`what: a, b, c and 4 more`, or nothing."""
    if not names:
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{what} {', '.join(map(shown, names[:3]))}{more}"
