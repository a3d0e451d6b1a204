"""State dicts from files of any supported format, told apart by content; no file is ever executed."""

import io
import os
import pathlib
import stat
from collections.abc import Callable, Sequence

import numpy as np

from jaxinterp.models._files._entries import SIZES, Contents, Entry, Unusable, shown
from jaxinterp.models._files._names import canonical
from jaxinterp.models._files._npz import npz_contents
from jaxinterp.models._files._orbax import orbax_contents
from jaxinterp.models._files._safetensors import begins_safetensors, safetensors_contents
from jaxinterp.models._files._torch_file import LEGACY_MAGIC, torch_legacy_contents, torch_zip_contents
from jaxinterp.models._files._zip import sound_zip

LIMIT = 2**33
"""Bytes that reading may allocate where no network says how much is needed."""

_AGAIN = "download the file itself again"
_OTHERS: tuple[tuple[tuple[bytes, ...], str, str], ...] = (
    ((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"Rar!"), "a packed archive", "unpack it first"),
    ((b"\x89HDF",), "an HDF5 file, as Keras writes", "convert it to .safetensors in torchvision's layout"),
    ((b"\x93NUMPY",), "a single NumPy array", "write a state dict with numpy.savez"),
    ((b"PK\x05\x06",), "an empty zip", _AGAIN),
)


def read_state(
    path: str | os.PathLike[str],
    *,
    select: Callable[[dict[str, Entry]], Sequence[str]] | None = None,
    limit: int = LIMIT,
    as_named: bool = False,
) -> dict[str, np.ndarray]:
    """torchvision's state dict in a file: name -> array, in the type of the file.

    `.safetensors`, `.npz` of plain arrays, PyTorch checkpoints (zip and legacy) and checkpoint folders of this library,
    told apart by content. A PyTorch checkpoint is judged from its table of tensors, which is followed on paper, and then
    read by `torch.load(weights_only=True)` alone. What is claimed of the arrays is checked against the file before any
    of them is read: only what is selected is allocated (a PyTorch checkpoint is loaded whole), and never more than `limit`.

    Args:
        path: the file, or the folder of a checkpoint.
        select: given the entries, by the names of the network, says which are read; every one by default.
        limit: bytes that reading may allocate.
        as_named: take the names as they stand in the file, prefixes and all.

    Raises:
        ValueError: in one line, what the file is instead and what to do about it.
    """
    path = pathlib.Path(path)
    try:
        if path.is_dir():
            return _selected(orbax_contents(path), select, limit, as_named)
        with _opened(path) as file:
            size = os.fstat(file.fileno()).st_size
            return _selected(_contents(file, size, path.suffix.lower()), select, limit, as_named)
    except Unusable as error:
        raise ValueError(f"expected a file of weights, got {path}, {error.got}; {error.remedy}.") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ValueError(
            f"expected a file of weights, got {path}, which cannot be read: {reason}; check its permissions."
        ) from error


def _opened(path: pathlib.Path) -> io.BufferedReader:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        got = f"a link to {os.readlink(path)}, which is not there" if path.is_symlink() else "which is not there"
        raise Unusable(got, "check the path") from error
    if not stat.S_ISREG(mode):
        raise Unusable("which is no regular file", "check the path")
    return path.open("rb")


def _contents(file: io.BufferedReader, size: int, suffix: str) -> Contents:
    head = file.read(512)
    if begins_safetensors(head):
        return safetensors_contents(file, size)
    if head.startswith(b"PK\x03\x04"):
        archive = sound_zip(file, size)
        names = archive.namelist()
        if sum(name.endswith("/data.pkl") for name in names) == 1:
            _expect_suffix(suffix)
            return torch_zip_contents(file, archive)
        if all(name.endswith(".npy") for name in names):
            return npz_contents(archive)
        raise Unusable(f"a zip of {shown(', '.join(names[:4]))}, neither of PyTorch nor of NumPy", "unpack it first")
    if head.startswith(b"\x80"):
        _expect_suffix(suffix)
        if head.startswith(LEGACY_MAGIC):
            return torch_legacy_contents(file, size)
        raise Unusable(
            "a pickle that torch.save did not write; it would run code when it is loaded",
            "do not load it; ask for a .safetensors file",
        )
    raise _stranger(head, size, suffix)


def _expect_suffix(suffix: str) -> None:
    """A name that promises no pickle must not hide one."""
    if suffix in (".safetensors", ".npz"):
        raise Unusable(
            f"a pickle under a name that ends in {suffix}",
            "if you trust where it is from and it is a PyTorch checkpoint, rename it to .pth",
        )


def _stranger(head: bytes, size: int, suffix: str) -> Unusable:
    """What a file is that holds no weights."""
    if size == 0:
        return Unusable("an empty file", _AGAIN)
    if head.startswith(b"version https://git-lfs"):
        real = next((line.split()[1] for line in head.decode("latin-1").splitlines() if line.startswith("size ")), "?")
        return Unusable(f"a Git LFS pointer to {shown(real)} bytes that were not fetched", "write git lfs pull")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<error")):
        return Unusable("a page of HTML or XML, which is what a failed download leaves", _AGAIN)
    for magics, what, remedy in _OTHERS:
        if head.startswith(magics):
            return Unusable(what, remedy)
    if head[257:262] == b"ustar":
        return Unusable("a tar archive", "unpack it, or save it again with a PyTorch of this decade")
    if head[8:9] == b"{" or suffix == ".safetensors":
        claim = int.from_bytes(head[:8], "little")
        return Unusable(f"no safetensors file: its header would have {claim} bytes, the file has {size}", _AGAIN)
    return Unusable(
        f"which is of no format that is read; it begins with {head[:16]!r}", "give a .safetensors, .npz or PyTorch .pth file"
    )


def _selected(
    contents: Contents, select: Callable[[dict[str, Entry]], Sequence[str]] | None, limit: int, as_named: bool
) -> dict[str, np.ndarray]:
    own = {name: name for name in contents.entries} if as_named else canonical(contents.entries)
    entries = {name: contents.entries[kept] for name, kept in own.items()}
    wanted = _arrays(contents.kind, entries) if select is None else list(select(entries))
    needed = contents.whole + sum(entries[name].nbytes for name in wanted)
    if needed > limit:
        raise Unusable(
            f"{contents.kind} that would take {needed} bytes of memory, where {limit} are allowed for its weights",
            "save the weights alone, without the optimiser",
        )
    arrays = contents.read([own[name] for name in wanted])
    for name in wanted:
        array = arrays[own[name]]
        if array.shape != entries[name].shape:
            raise Unusable(
                f"{contents.kind} whose {shown(name)!r} is {list(array.shape)} and claims {list(entries[name].shape)}", _AGAIN
            )
    return {name: arrays[own[name]] for name in wanted}


def _arrays(kind: str, entries: dict[str, Entry]) -> list[str]:
    """Every name, all of which must be arrays of numbers."""
    other = next((name for name, entry in entries.items() if entry.dtype not in SIZES), None)
    if other is not None:
        raise Unusable(
            f"{kind} in which {shown(other)!r} is of type {shown(entries[other].dtype)}", "save tensors of numbers alone"
        )
    return list(entries)
