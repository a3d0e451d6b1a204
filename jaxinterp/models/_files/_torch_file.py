"""PyTorch checkpoints, zip and legacy: judged here from their table, read by `torch.load(weights_only=True)` alone."""

import functools
import importlib
import io
import zipfile
from typing import Any

import numpy as np

from jaxinterp.models._files._entries import SIZES, Contents, Entry, Unusable, shown
from jaxinterp.models._files._pickle_table import Inert, Storage, Tensor, read_table

LONGEST_TABLE = 2**22
"""Bytes of pickle that are read; the table of a network of a thousand layers has less than one MiB."""

WRAPPERS = ("state_dict", "model", "model_state_dict", "net")
"""Where training scripts put the weights, next to the epoch and the optimiser."""

OLDEST = (2, 10)
"""PyTorch whose weights_only loader has no known way to run code (CVE-2025-32434 before 2.6, CVE-2026-24747 before 2.10)."""

LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""How a legacy checkpoint begins: the pickle of the number 0x1950A86A20F9469CFC6C."""

_AGAIN = "download or save it again"


def torch_zip_contents(file: io.BufferedReader, archive: zipfile.ZipFile) -> Contents:
    """The entries of a zip that `torch.save` wrote.

    Raises:
        Unusable: anything but a plain checkpoint of dense tensors that lie in this file.
    """
    sizes = {member.filename: member.file_size for member in archive.infolist()}
    table = next(name for name in sizes if name.endswith("/data.pkl"))
    root = table.removesuffix("data.pkl")
    if f"{root}constants.pkl" in sizes or any(name.startswith(f"{root}code/") for name in sizes):
        raise Unusable("a TorchScript program, which is code", "save model.state_dict() where you trust it")
    packed = next((m for m in archive.infolist() if m.compress_type != zipfile.ZIP_STORED), None)
    if packed is not None:
        raise Unusable(
            f"a PyTorch checkpoint whose member {shown(packed.filename)!r} is compressed, which torch.save never does", _AGAIN
        )
    if sizes.get(f"{root}byteorder", 0) > 16 or sizes[table] > LONGEST_TABLE:
        raise Unusable(f"a PyTorch checkpoint whose table has {sizes[table]} bytes, where {LONGEST_TABLE} are read", _AGAIN)
    try:
        order = archive.read(f"{root}byteorder") if f"{root}byteorder" in sizes else b"little"
        stream = io.BytesIO(archive.read(table))
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError) as error:
        raise Unusable(f"a PyTorch checkpoint that is broken: {shown(error)}", _AGAIN) from error
    if order != b"little":
        raise Unusable(
            f"a PyTorch checkpoint of byte order {shown(order.decode('latin-1'))!r}", "save it on a little-endian machine"
        )
    content, storages = read_table(stream)
    for storage in storages.values():
        name = f"{root}data/{storage.key}"
        _expect_room(storage, sizes.get(name, -1))
    return _contents("a PyTorch checkpoint", file, content, storages)


def torch_legacy_contents(file: io.BufferedReader, size: int) -> Contents:
    """The entries of a file that `torch.save` wrote before version 1.6, or was asked to write so.

    Raises:
        Unusable: anything but a plain checkpoint of dense tensors that lie in this file.
    """
    file.seek(0)
    stream = io.BytesIO(file.read(LONGEST_TABLE))
    read_table(stream)
    version, _ = read_table(stream)
    system, _ = read_table(stream)
    if version != 1001 or not isinstance(system, dict):
        raise Unusable("a legacy PyTorch checkpoint of an unknown version", _AGAIN)
    if system.get("little_endian") is not True:
        raise Unusable("a legacy PyTorch checkpoint that is big-endian", "save it on a little-endian machine")
    content, storages = read_table(stream)
    keys, _ = read_table(stream)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or sorted(keys) != sorted(storages):
        raise Unusable("a legacy PyTorch checkpoint whose list of storages is broken", _AGAIN)
    at = stream.tell()
    for storage in (storages[key] for key in keys):
        file.seek(at)
        count, room = int.from_bytes(file.read(8), "little", signed=True), size - at - 8
        _expect_room(storage, min(count * SIZES[storage.dtype], room))
        at += 8 + storage.length * SIZES[storage.dtype]
    if at != size:
        raise Unusable(f"a legacy PyTorch checkpoint of {size} bytes, where its table describes {at}", _AGAIN)
    return _contents("a legacy PyTorch checkpoint", file, content, storages)


def _expect_room(storage: Storage, found: int) -> None:
    needed = storage.length * SIZES[storage.dtype]
    if found != needed:
        raise Unusable(
            f"a PyTorch checkpoint whose storage {shown(storage.key)!r} has {max(found, 0)} bytes, "
            f"where its table needs {needed} for {storage.length} of {storage.dtype}",
            _AGAIN,
        )


def _contents(kind: str, file: io.BufferedReader, content: Any, storages: dict[str, Storage]) -> Contents:
    wrapper = _wrapper(content)
    state = content if wrapper is None else content[wrapper]
    entries: dict[str, Entry] = {}
    for name, value in state.items():
        if not isinstance(name, str):
            raise Unusable(
                f"{kind} whose state dict has the key {shown(name)}, which is no name", "save model.state_dict() alone"
            )
        entries[name] = value.entry if isinstance(value, Tensor) else Entry((), type(value).__name__)
    whole = sum(storage.length * SIZES[storage.dtype] for storage in storages.values())
    return Contents(kind, entries, functools.partial(_load, kind, file, wrapper), whole)


def _wrapper(content: Any) -> str | None:
    """Under which key the state dict is; None where the content is one itself.

    Raises:
        Unusable: no state dict, or two.
    """
    if not isinstance(content, dict):
        kind = content.name if isinstance(content, Inert) else type(content).__name__
        raise Unusable(f"a PyTorch checkpoint of a {shown(kind)}, which is no state dict", "save model.state_dict()")
    found = [key for key in WRAPPERS if _is_state(content.get(key))]
    plain = [key for key, value in content.items() if isinstance(value, Tensor) and (value.shape or not found)]
    if plain:
        found = [*found, None] if found else [None]
    if len(found) > 1:
        places = " and ".join("its top level" if key is None else repr(key) for key in found)
        raise Unusable(f"a PyTorch checkpoint with weights in {places}", "save the one that you mean alone, with torch.save")
    if not found:
        names = ", ".join(shown(key) for key in list(content)[:6]) or "nothing"
        raise Unusable(
            f"a PyTorch checkpoint with weights neither at its top level nor in {', '.join(WRAPPERS)} (it has {names})",
            "save model.state_dict() alone, with torch.save",
        )
    return found[0]


def _is_state(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(item, Tensor) for item in value.values())


def _load(kind: str, file: io.BufferedReader, wrapper: str | None, names: list[str]) -> dict[str, np.ndarray]:
    torch = _torch(kind)
    file.seek(0)
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
        state = loaded if wrapper is None else loaded[wrapper]
        return {name: _array(torch, state[name]) for name in names}
    except Exception as error:
        raise Unusable(f"{kind} that PyTorch refuses: {shown(error)}", _AGAIN) from error


def _torch(kind: str) -> Any:
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise Unusable(
            f"{kind}, and PyTorch, which alone reads it, is not installed",
            'write pip install "jaxinterp[torch]", or convert it to .safetensors where PyTorch is',
        ) from error
    release = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if release < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise Unusable(
            f"{kind}, and PyTorch {torch.__version__} can be made to run code by one",
            f'write pip install -U "torch>={oldest}"',
        )
    return torch


def _array(torch: Any, tensor: Any) -> np.ndarray:
    """The tensor in its type, in float32 where NumPy has no such type."""
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
