"""Weights in and out under the names of their own tree, for networks that are not in torchvision's layout."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinterp.models._files._entries import Entry
from jaxinterp.models._files._formats import read_state
from jaxinterp.models._files._weights import expect_fit, listing


def leaves(params: Any, stats: Any) -> dict[str, Any]:
    """Name -> leaf; names are paths, joined by "/".

    Raises:
        ValueError: when a parameter and a statistic have one name.
    """
    named = {}
    for kind, tree in (("params", params), ("stats", stats)):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            name = jax.tree_util.keystr(path, simple=True, separator="/") or kind
            if name in named:
                raise ValueError(f"expected weights of different names, got {name!r} twice; rename it in params or in stats.")
            named[name] = leaf
    return named


def save_leaves(path: str | os.PathLike[str], params: Any, stats: Any, *, dtype: str) -> None:
    """Writes the leaves; floats in `dtype`, everything else as it is.

    Raises:
        ValueError: a type that is not one of the two, or weights that it cannot hold.
    """
    from safetensors.numpy import save_file

    if dtype not in ("float32", "float16"):
        raise ValueError(f"expected dtype 'float32' or 'float16', got {dtype!r}.")
    with np.errstate(over="ignore"):
        tensors = {
            name: np.ascontiguousarray(np.asarray(leaf).astype(dtype) if _is_float(leaf) else np.asarray(leaf))
            for name, leaf in leaves(params, stats).items()
        }
    broken = [name for name, value in tensors.items() if not np.isfinite(value).all()]
    if broken:
        raise ValueError(f"expected weights that {dtype} can hold, got {listing('NaN or infinity in', broken)}.")
    save_file(tensors, os.fspath(path))


def load_leaves(path: str | os.PathLike[str], params: Any, stats: Any) -> tuple[Any, Any]:
    """Reads a file into trees of the shapes and types of `params` and `stats`.

    Raises:
        ValueError: no such file, no safetensors, or names, shapes or values that do not fit; both sides are printed.
    """
    expected = leaves(params, stats)
    types = {name: (str(leaf.dtype),) for name, leaf in expected.items() if not _is_float(leaf)}

    def select(entries: dict[str, Entry]) -> list[str]:
        expect_fit(path, {name: leaf.shape for name, leaf in expected.items()}, entries, types=types)
        return list(expected)

    found = read_state(path, select=select, as_named=True)
    broken = [name for name in expected.keys() - types.keys() if not np.isfinite(found[name].astype(np.float32)).all()]
    if broken:
        raise ValueError(f"expected finite weights in {path}, got {listing('NaN or infinity in', broken)}.")
    order = [jnp.asarray(found[name].astype(leaf.dtype)) for name, leaf in expected.items()]
    return jax.tree.unflatten(jax.tree.structure((params, stats)), order)


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)
