"""The header of a `.safetensors` file, checked against the file before anything is allocated."""

import io
import json
from typing import Any

import numpy as np

from jaxinterp.models._files._entries import Contents, Entry, Unusable, is_count, little_endian, shown

LONGEST_HEADER = 2**22
"""Bytes of the longest header that is read; that of a network of a thousand layers has less than one MiB."""

_TYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
}
_AGAIN = "download or save it again"


def safetensors_contents(file: io.BufferedReader, size: int) -> Contents:
    """The entries of a file of `size` bytes, which must tile its data exactly.

    Raises:
        Unusable: a header that is broken, or that does not describe this file.
    """
    header, start = _header(file, size)
    spans = {name: _span(name, claim) for name, claim in header.items() if name != "__metadata__"}
    end = 0
    for name, (entry, first, last) in sorted(spans.items(), key=lambda item: item[1][1:]):
        if first != end:
            what = "overlaps another weight" if first < end else "leaves a gap before it"
            raise Unusable(f"a safetensors file in which {shown(name)!r} {what}, at byte {first} of its data", _AGAIN)
        if last - first != entry.nbytes:
            raise Unusable(
                f"a safetensors file whose header gives {shown(name)!r} {list(entry.shape)} of {entry.dtype}, "
                f"which is {entry.nbytes} bytes, and room for {last - first}",
                _AGAIN,
            )
        end = last
    if end != size - start:
        raise Unusable(
            f"a safetensors file that is cut or too long: {end} bytes of data are described, {size - start} there", _AGAIN
        )

    def read(names: list[str]) -> dict[str, np.ndarray]:
        return {name: _values(file, spans[name][0], start + spans[name][1]) for name in names}

    return Contents("a safetensors file", {name: span[0] for name, span in spans.items()}, read, 0)


def begins_safetensors(head: bytes) -> bool:
    """Whether a file begins with a plausible length and then a JSON object."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= LONGEST_HEADER


def _header(file: io.BufferedReader, size: int) -> tuple[dict[str, Any], int]:
    """The parsed header and where the data begin."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > min(LONGEST_HEADER, size - 8):
        raise Unusable(
            f"a safetensors file whose header claims {length} bytes, where the file has {size} and {LONGEST_HEADER} are read",
            _AGAIN,
        )
    try:
        header = json.loads(file.read(length).decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"a safetensors file whose header cannot be parsed: {shown(error)}", _AGAIN) from error
    return header, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise Unusable(f"a safetensors file that has {shown(name)!r} twice", _AGAIN)
        found[name] = value
    return found


def _span(name: str, claim: Any) -> tuple[Entry, int, int]:
    """What the header claims of one name: the entry, its first byte and the byte after its last."""
    broken = Unusable(f"a safetensors file whose header is broken at {shown(name)!r}", _AGAIN)
    if not isinstance(claim, dict) or set(claim) != {"dtype", "shape", "data_offsets"}:
        raise broken
    shape, offsets = claim["shape"], claim["data_offsets"]
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        raise broken
    if not all(map(is_count, [*shape, *offsets])) or len(shape) > 32 or not isinstance(claim["dtype"], str):
        raise broken
    dtype = _TYPES.get(claim["dtype"])
    if dtype is None:
        known = ", ".join(_TYPES)
        raise Unusable(
            f"a safetensors file in which {shown(name)!r} has the type {shown(claim['dtype'])}, none of {known}",
            "save the weights as float32",
        )
    return Entry(tuple(shape), dtype), offsets[0], offsets[1]


def _values(file: io.BufferedReader, entry: Entry, first: int) -> np.ndarray:
    buffer = np.empty(entry.nbytes, np.uint8)
    file.seek(first)
    if file.readinto(buffer.data) != entry.nbytes:
        raise Unusable("a safetensors file that became shorter while it was read", _AGAIN)
    return buffer.view(little_endian(entry.dtype)).reshape(entry.shape)
