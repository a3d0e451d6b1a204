"""Files in PyTorch's formats put together byte by byte, sound or not, without PyTorch."""

import pathlib
import struct
import zipfile
from collections.abc import Mapping

import numpy as np

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def row(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def named(items: Mapping[str, bytes] | list[tuple[str, bytes]]) -> bytes:
    pairs = items.items() if isinstance(items, Mapping) else items
    return b"}(" + b"".join(text(name) + value for name, value in pairs) + b"u"


def symbol(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return symbol(module, name) + row(*arguments) + b"R"


def storage(key: str, length: int, *, kind: str = "FloatStorage", location: str = "cpu", legacy: bool = False) -> bytes:
    view = [b"N"] if legacy else []
    return row(text("storage"), symbol("torch", kind), text(key), text(location), number(length), *view) + b"Q"


def tensor(block: bytes, shape: tuple[int, ...], *, stride: tuple[int, ...] | None = None, offset: int = 0) -> bytes:
    if stride is None:
        stride = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
    sides, steps = row(*map(number, shape)), row(*map(number, stride))
    hooks = call("collections", "OrderedDict")
    return call("torch._utils", "_rebuild_tensor_v2", block, number(offset), sides, steps, b"\x89", hooks)


def state(arrays: Mapping[str, np.ndarray], *, legacy: bool = False) -> dict[str, bytes]:
    """The tensors of a state dict; storages are numbered."""
    return {
        name: tensor(storage(str(index), array.size, legacy=legacy), array.shape)
        for index, (name, array) in enumerate(arrays.items())
    }


def blocks(arrays: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """The values of the storages that `state` numbers."""
    return {str(index): array.astype("<f4").tobytes() for index, array in enumerate(arrays.values())}


def program(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def torch_zip(
    path: pathlib.Path,
    body: bytes,
    values: Mapping[str, bytes],
    *,
    order: bytes = b"little",
    method: int = zipfile.ZIP_STORED,
    more: Mapping[str, bytes] | None = None,
) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("archive/data.pkl", program(body))
        archive.writestr("archive/byteorder", order)
        for key, raw in values.items():
            archive.writestr(f"archive/data/{key}", raw)
        for name, raw in (more or {}).items():
            archive.writestr(f"archive/{name}", raw)
        archive.writestr("archive/version", b"3\n")


def torch_legacy(
    path: pathlib.Path,
    body: bytes,
    values: Mapping[str, bytes],
    *,
    little: bool = True,
    lengths: Mapping[str, int] | None = None,
) -> None:
    system = named({"protocol_version": number(1001), "little_endian": b"\x88" if little else b"\x89"})
    keys = b"](" + b"".join(map(text, values)) + b"e"
    with path.open("wb") as file:
        file.write(MAGIC + program(number(1001)) + program(system) + program(body) + program(keys))
        for key, raw in values.items():
            file.write(struct.pack("<q", (lengths or {}).get(key, len(raw) // 4)) + raw)


def safetensors(path: pathlib.Path, header: bytes, values: bytes, *, claim: int | None = None) -> None:
    path.write_bytes(struct.pack("<Q", len(header) if claim is None else claim) + header + values)
