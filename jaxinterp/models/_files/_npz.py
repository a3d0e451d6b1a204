"""A `.npz` state dict: a zip of arrays, whose headers are checked before anything is unpacked."""

import io
import math
import zipfile
import zlib

import numpy as np

from jaxinterp.models._files._entries import Contents, Entry, Unusable, shown

LONGEST_HEADER = 2**14
"""Bytes of a member that are unpacked to find its shape."""

_AGAIN = "download or save it again"
_BROKEN = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, RuntimeError)
"""What zipfile, zlib and NumPy raise on values that are broken."""


def npz_contents(archive: zipfile.ZipFile) -> Contents:
    """The entries of an archive of `.npy` members; "/" in a name is read as ".".

    Only the header of a member is unpacked here. A member is unpacked later only when its declared size is exactly that
    of the array its header describes, and unpacking stops at that size.

    Raises:
        Unusable: members that are no plain little-endian arrays, or headers that do not describe them.
    """
    members: dict[str, zipfile.ZipInfo] = {}
    entries: dict[str, Entry] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy").replace("/", ".")
        if name in members:
            raise Unusable(f"an npz file that has {shown(name)!r} twice", _AGAIN)
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Unusable(f"an npz file in which {shown(name)!r} is packed by a method that NumPy does not use", _AGAIN)
        members[name], entries[name] = member, _entry(archive, member, name)

    def read(names: list[str]) -> dict[str, np.ndarray]:
        return {name: _values(archive, members[name], name) for name in names}

    return Contents("an npz file", entries, read, 0)


def _entry(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> Entry:
    try:
        with archive.open(member) as stream:
            head = io.BytesIO(stream.read(LONGEST_HEADER))
        version = np.lib.format.read_magic(head)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version} of the npy format")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(head)
        room = member.file_size - head.tell()
    except Exception as error:  # NumPy parses the header as Python literals, which fail in many ways
        raise Unusable(f"an npz file whose member {shown(name)!r} is broken: {shown(error)}", _AGAIN) from error
    if dtype.hasobject:
        raise Unusable(
            f"an npz file in which {shown(name)!r} holds Python objects, which are a pickle",
            "save the weights as float32 arrays",
        )
    if dtype.byteorder == ">":
        raise Unusable(f"an npz file in which {shown(name)!r} is big-endian", "save it with array.astype('<f4')")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != room:
        raise Unusable(
            f"an npz file in which {shown(name)!r} is said to be {list(shape)} of {dtype}, "
            f"which is {math.prod(shape) * dtype.itemsize} bytes, and has {room}",
            _AGAIN,
        )
    return Entry(tuple(int(side) for side in shape), dtype.name)


def _values(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> np.ndarray:
    try:
        with archive.open(member) as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)
    except _BROKEN as error:
        raise Unusable(f"an npz file whose member {shown(name)!r} is broken: {shown(error)}", _AGAIN) from error
