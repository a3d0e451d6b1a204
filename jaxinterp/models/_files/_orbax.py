"""The weights in a checkpoint folder that training left: what Orbax wrote, read array by array."""

import functools
import pathlib
from typing import Any

import numpy as np

from jaxinterp.models._files._entries import Contents, Entry, Unusable, shown
from jaxinterp.models._files._layout import torchvision_shapes, torchvision_state, walk

_COLLECTIONS = {"params": "params", "stats": "batch_stats"}
_MANIFEST = "manifest.ocdbt"


def orbax_contents(folder: pathlib.Path) -> Contents:
    """The entries of a checkpoint folder, of its last step when it has several; the optimiser's state is not read.

    Args:
        folder: of the checkpoints, of one step, or of the state in it.

    Raises:
        Unusable: another folder, or a broken one.
    """
    state = _state(folder)
    try:
        trees = _trees(state)
        shapes = torchvision_shapes(trees["params"], trees["batch_stats"])
        types = {name: leaf.dtype.name for name, _, _, _, leaf in walk(trees["params"], trees["batch_stats"])}
    except (ValueError, KeyError, OSError) as error:
        raise _broken(error) from error
    entries = {name: Entry(shape, types[name]) for name, shape in shapes.items()}
    return Contents("a checkpoint folder", entries, functools.partial(_read, trees), 0)


def _state(folder: pathlib.Path) -> pathlib.Path:
    """The folder of the arrays: that folder, `state` in it, or `state` in the last step in it."""
    steps = sorted((path for path in folder.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))
    for found in (folder, folder / "state", *(step / "state" for step in reversed(steps))):
        if (found / _MANIFEST).is_file():
            return found.resolve()
    names = ", ".join(sorted(shown(path.name) for path in folder.iterdir())[:4])
    raise Unusable(
        f"a folder without a checkpoint (it has {names or 'nothing'})",
        "name a checkpoint folder of jaxinterp, one of its steps, or a file",
    )


def _trees(state: pathlib.Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The arrays of parameters and statistics, opened and not yet read; their names are "params.<module>.<leaf>"."""
    import tensorstore

    store: dict[str, Any] = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{state}/"}}
    keys = [key.decode() for key in tensorstore.KvStore.open(store).result().list().result()]
    trees: dict[str, dict[str, dict[str, Any]]] = {"params": {}, "batch_stats": {}}
    for key in keys:
        name, _, last = key.partition("/")
        part, _, rest = name.partition(".")
        if last != ".zarray" or part not in _COLLECTIONS:
            continue
        module, _, leaf = rest.rpartition(".")
        spec = {"driver": "zarr", "kvstore": {**store, "path": f"{name}/"}, "fill_missing_data_reads": False}
        array = tensorstore.open(spec, open=True, read=True).result()
        trees[_COLLECTIONS[part]].setdefault(module, {})[leaf] = array
    if not trees["params"]:
        raise ValueError(f"it has no params, but {', '.join(sorted({key.partition('.')[0] for key in keys})) or 'nothing'}")
    return trees


def _read(trees: dict[str, dict[str, dict[str, Any]]], names: list[str]) -> dict[str, np.ndarray]:
    wanted = set(names)
    found: dict[str, np.ndarray] = {}
    for name, collection, module, leaf, array in walk(trees["params"], trees["batch_stats"]):
        if name in wanted:
            try:
                value = np.asarray(array.read().result())
            except (ValueError, OSError) as error:
                raise _broken(error) from error
            part = {module: {leaf: value}}
            found |= torchvision_state(part, {}) if collection == "params" else torchvision_state({}, part)
    return found


def _broken(error: Exception) -> Unusable:
    return Unusable(
        f"a checkpoint folder that is broken or of another kind: {shown(' '.join(str(error).split()))}",
        "name an earlier step, or a .safetensors file",
    )
