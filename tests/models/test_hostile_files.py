"""Files that are no weights, or pretend to be: each refused in one line, before memory is taken and with no code run."""

import importlib.util
import io
import json
import os
import pathlib
import pickle
import random
import struct
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load, save

from jaxinterp.models._files._formats import read_state
from jaxinterp.models._files._weights import load_into
from tests.models import crafted

ARRAYS = {"fc.weight": np.arange(6, dtype=np.float32).reshape(3, 2), "fc.bias": np.ones(3, np.float32)}
PARAMS = {"fc": {"kernel": jax.ShapeDtypeStruct((2, 3), np.float32), "bias": jax.ShapeDtypeStruct((3,), np.float32)}}
VALUES = crafted.blocks(ARRAYS)
STATE = crafted.state(ARRAYS)
OLD = crafted.state(ARRAYS, legacy=True)
HUGE = 10**15


class Payload:
    """Its pickle calls a function when it is loaded."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def header(**claims: Any) -> bytes:
    """A sound safetensors header of ARRAYS, but for the claims; a claim of None leaves the name out."""
    sound = {
        "fc.weight": {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]},
        "fc.bias": {"dtype": "F32", "shape": [3], "data_offsets": [24, 36]},
    }
    for name, claim in claims.items():
        sound[name.replace("_", ".")] = claim
    return json.dumps({name: claim for name, claim in sound.items() if claim is not None}).encode()


RAW = b"".join(VALUES.values())


def safetensors(*, values: bytes = RAW, claim: int | None = None, raw: bytes | None = None, **claims: Any):
    return lambda path, _: crafted.safetensors(path, header(**claims) if raw is None else raw, values, claim=claim)


def torch_zip(body: bytes | None = None, values: Any = VALUES, **twists: Any):
    return lambda path, _: crafted.torch_zip(path, crafted.named(STATE) if body is None else body, values, **twists)


def torch_legacy(body: bytes | None = None, values: Any = VALUES, **twists: Any):
    return lambda path, _: crafted.torch_legacy(path, crafted.named(OLD) if body is None else body, values, **twists)


def with_weight(block: bytes) -> bytes:
    """The state dict with another tensor for fc.weight."""
    return crafted.named({**STATE, "fc.weight": block})


def raw(content: bytes):
    return lambda path, _: path.write_bytes(content)


def pickled(make: Callable[[pathlib.Path], Any], protocol: int = 2):
    return lambda path, marker: path.write_bytes(pickle.dumps(make(marker), protocol=protocol))


def pickled_in_zip(make: Callable[[pathlib.Path], Any], protocol: int = 2):
    def write(path: pathlib.Path, marker: pathlib.Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(make(marker), protocol=protocol))

    return write


def pickled_in_legacy(path: pathlib.Path, marker: pathlib.Path) -> None:
    crafted.torch_legacy(path, b"N", {})
    sound = path.read_bytes()
    path.write_bytes(sound.replace(crafted.program(b"N"), pickle.dumps({"a": touching(marker)}, protocol=2), 1))


def touching(marker: pathlib.Path) -> Payload:
    return Payload(os.system, f"touch {marker}")


def evaluating(marker: pathlib.Path) -> Payload:
    return Payload(eval, f"open({str(marker)!r}, 'w').close()")


def npz(arrays: dict[str, np.ndarray] | None = None, *, method: int = zipfile.ZIP_DEFLATED, **members: bytes):
    """An archive of arrays and of members that are given as bytes."""

    def write(path: pathlib.Path, _: pathlib.Path) -> None:
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, array in (ARRAYS if arrays is None else arrays).items():
                archive.writestr(f"{name}.npy", npy(array))
            for name, content in members.items():
                archive.writestr(f"{name.replace('_', '/')}.npy", content)

    return write


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array)
    return stream.getvalue()


def npy_claiming(shape: str, descr: str = "'<f4'", padding: int = 0) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117 + padding) + "\n"
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text.encode()


def overlapping(path: pathlib.Path, marker: pathlib.Path) -> None:
    """The second entry of the table of members points at the first member."""
    npz(method=zipfile.ZIP_STORED)(path, marker)
    content = bytearray(path.read_bytes())
    second = content.rfind(b"PK\x01\x02")
    content[second + 42 : second + 46] = struct.pack("<I", 0)
    path.write_bytes(content)


def lying_about_size(path: pathlib.Path, marker: pathlib.Path) -> None:
    """A member of a GiB of zeros whose table says that it has the size that its header needs."""
    body = npy_claiming("(3, 2)") + bytes(2**26)
    npz({"fc.bias": ARRAYS["fc.bias"]}, fc_weight=body)(path, marker)
    content = bytearray(path.read_bytes())
    entry = content.rfind(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = struct.pack("<I", len(npy_claiming("(3, 2)")) + 24)
    path.write_bytes(content)


def cut(make: Callable[[pathlib.Path, pathlib.Path], object], size: int):
    def write(path: pathlib.Path, marker: pathlib.Path) -> None:
        make(path, marker)
        path.write_bytes(path.read_bytes()[:size])

    return write


def sparse(path: pathlib.Path, _: pathlib.Path) -> None:
    """A header that is true: the file does have four TiB, none of them on the disk."""
    shape = {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}
    crafted.safetensors(path, json.dumps({"fc.weight": shape}).encode(), b"")
    os.truncate(path, path.stat().st_size + 2**42)


def dangling(path: pathlib.Path, _: pathlib.Path) -> None:
    path.symlink_to(path.parent / "nowhere.pth")


def nested(levels: int) -> bytes:
    """Tuples that share their parts, so that printing or hashing the outermost takes 2**levels steps."""
    return b")" + b"".join(b"q" + bytes([level]) + b"h" + bytes([level]) + b"\x86" for level in range(levels))


BIG_TENSOR = crafted.tensor(crafted.storage("0", HUGE), (HUGE,))
HTML = b"\n<!DOCTYPE html><html><head><title>404 Not Found</title></head></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 46830571\n"
QUANTISED = crafted.call("torch._utils", "_rebuild_qtensor", crafted.storage("0", 6))
SPARSE = crafted.call("torch._utils", "_rebuild_sparse_tensor", b"N")
META = crafted.call("torch._utils", "_rebuild_meta_tensor_no_storage", b"N")
CASES: dict[str, tuple[str, Callable[[pathlib.Path, pathlib.Path], object], str]] = {
    # what is there instead of a file
    "nothing": (".pth", lambda path, _: None, "which is not there; check the path"),
    "folder": ("", lambda path, _: path.mkdir(), r"a folder without a checkpoint \(it has nothing\)"),
    "folder of others": ("", lambda path, _: (path / "0").mkdir(parents=True), r"a folder without a checkpoint \(it has 0\)"),
    "dangling link": (".pth", dangling, r"a link to .*nowhere\.pth, which is not there"),
    "pipe": (".pth", lambda path, _: os.mkfifo(path), "which is no regular file"),
    # what a download leaves
    "empty": (".safetensors", raw(b""), "an empty file; download"),
    "page": (".pth", raw(HTML), "a page of HTML or XML, which is what a failed download leaves"),
    "page as safetensors": (".safetensors", raw(HTML), "a page of HTML or XML"),
    "git lfs": (".safetensors", raw(POINTER), "a Git LFS pointer to 46830571 bytes that were not fetched; write git lfs pull"),
    "gzip": (".pth", raw(b"\x1f\x8b\x08\x00"), "a packed archive; unpack it first"),
    "keras": (".h5", raw(b"\x89HDF\r\n\x1a\n"), "an HDF5 file"),
    "one array": (".npy", raw(npy(np.ones(3))), "a single NumPy array; write a state dict"),
    "tar": (".pth", raw(b"x" * 257 + b"ustar"), "a tar archive"),
    "text": (".pth", raw(b"hello there"), "of no format that is read; it begins with b'hello there'"),
    # safetensors
    "cut header": (".safetensors", cut(safetensors(), 40), r"claims \d+ bytes, where the file has 40"),
    "cut data": (".safetensors", cut(safetensors(), -4), r"cut or too long: 36 bytes of data are described, 32 there"),
    "trailing data": (".safetensors", safetensors(values=RAW + b"1234"), "cut or too long: 36 bytes .* 40 there"),
    "endless header": (".safetensors", safetensors(claim=2**62), "header would have 4611686018427387904 bytes"),
    "not json": (".safetensors", safetensors(raw=b"{'a': 1}"), "header cannot be parsed"),
    "deep json": (".safetensors", safetensors(raw=b'{"a":' + b"[" * 100_000), "header cannot be parsed"),
    "long number": (".safetensors", safetensors(raw=b'{"a":' + b"9" * 10_000 + b"}"), "header cannot be parsed"),
    "shape bomb": (
        ".safetensors",
        safetensors(fc_weight={"dtype": "F32", "shape": [HUGE], "data_offsets": [0, 24]}),
        r"gives 'fc\.weight' \[1000000000000000\] of float32, which is 4000000000000000 bytes, and room for 24",
    ),
    "honest bomb": (
        ".safetensors",
        sparse,
        r"missing fc\.bias; of another shape fc\.weight \(expected \[3, 2\], got \[1099511627776\]\)",
    ),
    "overlap": (
        ".safetensors",
        safetensors(fc_bias={"dtype": "F32", "shape": [3], "data_offsets": [12, 24]}, values=RAW[:24]),
        "'fc.bias' overlaps another weight, at byte 12",
    ),
    "gap": (
        ".safetensors",
        safetensors(fc_bias={"dtype": "F32", "shape": [3], "data_offsets": [28, 40]}, values=RAW + b"1234"),
        "'fc.bias' leaves a gap before it",
    ),
    "negative side": (
        ".safetensors",
        safetensors(fc_weight={"dtype": "F32", "shape": [-3, -2], "data_offsets": [0, 24]}),
        r"header is broken at 'fc\.weight'",
    ),
    "fractional side": (
        ".safetensors",
        safetensors(fc_weight={"dtype": "F32", "shape": [3.0, 2], "data_offsets": [0, 24]}),
        r"header is broken at 'fc\.weight'",
    ),
    "true side": (
        ".safetensors",
        safetensors(fc_bias={"dtype": "F32", "shape": [3, True], "data_offsets": [24, 36]}),
        r"header is broken at 'fc\.bias'",
    ),
    "text side": (
        ".safetensors",
        safetensors(fc_bias={"dtype": "F32", "shape": "3", "data_offsets": [24, 36]}),
        r"header is broken at 'fc\.bias'",
    ),
    "text entry": (".safetensors", safetensors(fc_bias="weights", values=RAW[:24]), r"header is broken at 'fc\.bias'"),
    "unknown type": (
        ".safetensors",
        safetensors(fc_bias={"dtype": "F8_E4M3", "shape": [12], "data_offsets": [24, 36]}),
        r"'fc\.bias' has the type F8_E4M3, none of BOOL, .*; save the weights as float32",
    ),
    "integers": (
        ".safetensors",
        safetensors(fc_bias={"dtype": "I32", "shape": [3], "data_offsets": [24, 36]}),
        r"of another type fc\.bias \(expected float16, bfloat16, float32 or float64, got int32\)",
    ),
    "name twice": (".safetensors", safetensors(raw=header()[:-1] + b"," + header()[1:]), r"has 'fc\.weight' twice"),
    "name that acts": (
        ".safetensors",
        safetensors(
            raw=header(fc_bias=None)[:-1] + b', "\\u001b[2J\\n": {"dtype": "F32", "shape": [3], "data_offsets": [24, 36]}}'
        ),
        r"not in this network '\\x1b\[2J\\n'",
    ),
    "nan": (".safetensors", safetensors(values=RAW[:-4] + struct.pack("<f", np.nan)), r"NaN or infinity in fc\.bias"),
    "infinity": (".safetensors", safetensors(values=struct.pack("<f", -np.inf) + RAW[4:]), r"NaN or infinity in fc\.weight"),
    "beyond float32": (".npz", npz({**ARRAYS, "fc.bias": np.full(3, 1e300)}), r"NaN or infinity in fc\.bias"),
    "both spellings": (
        ".safetensors",
        lambda path, _: path.write_bytes(save({**ARRAYS, "module.fc.bias": ARRAYS["fc.bias"]})),
        r"two weights for 'fc\.bias', 'fc\.bias' and 'module\.fc\.bias'; save the one that you mean alone",
    ),
    # npz
    "objects": (".npz", npz({**ARRAYS, "fc.bias": np.array([{}, 1, "a"], object)}), r"'fc\.bias' holds Python objects"),
    "big-endian npz": (".npz", npz({**ARRAYS, "fc.bias": np.ones(3, ">f4")}), r"'fc\.bias' is big-endian; save it with"),
    "texts": (".npz", npz({**ARRAYS, "fc.bias": np.array(["a", "b", "c"])}), r"of another type fc\.bias \(.*, got str32\)"),
    "complex": (
        ".npz",
        npz({**ARRAYS, "fc.bias": np.ones(3, np.complex64)}),
        r"of another type fc\.bias \(.*, got complex64\)",
    ),
    "npz shape bomb": (
        ".npz",
        npz({}, fc_weight=npy_claiming(f"({HUGE},)")),
        r"said to be \[1000000000000000\] of float32, .* has 0",
    ),
    "npz negative": (".npz", npz({}, fc_weight=npy_claiming("(-3, -2)") + bytes(24)), r"said to be \[-3, -2\] of float32"),
    "npz code": (".npz", npz({}, fc_weight=npy_claiming("__import__('os')")), r"member 'fc\.weight' is broken"),
    "npz deep": (".npz", npz({}, fc_weight=npy_claiming("(" * 5000, padding=6000)), r"member 'fc\.weight' is broken"),
    "npz header bomb": (".npz", npz({}, fc_weight=npy_claiming("(1,)", padding=2**26)), r"member 'fc\.weight' is broken"),
    "zip bomb": (
        ".npz",
        npz({"fc.bias": ARRAYS["fc.bias"]}, fc_weight=npy_claiming("(3, 2)") + bytes(2**26)),
        "24 bytes, and has 67108864",
    ),
    "true zip bomb": (
        ".npz",
        npz({**ARRAYS, "fc.weight": np.zeros((2**12, 2**12), np.float32)}),
        r"of another shape fc\.weight \(expected \[3, 2\], got \[4096, 4096\]\)",
    ),
    "lying zip": (".npz", lying_about_size, r"member 'fc\.weight' is broken"),
    "cut npz": (".npz", cut(npz(), 300), "a zip that is cut or broken"),
    "overlapping zip": (".npz", overlapping, "lies over another"),
    "npz name twice": (".npz", npz(fc_bias=npy(ARRAYS["fc.bias"])), r"'fc\.bias' twice"),
    "other zip": (".pth", lambda path, _: zipfile.ZipFile(path, "w").writestr("a.txt", "a"), "a zip .*"),
    "lzma": (".npz", npz(method=zipfile.ZIP_LZMA), "packed by a method that NumPy does not use"),
    # pickles
    "system": (".pth", pickled(touching), "a pickle that torch.save did not write; it would run code"),
    "system, protocol 4": (".pth", pickled(touching, 4), "a pickle that torch.save did not write"),
    "system, protocol 0": (".pth", pickled(touching, 0), "of no format that is read"),
    "system in zip": (
        ".pth",
        pickled_in_zip(touching),
        r"a pickle that would import (posix|nt)\.system, which is no part of weights",
    ),
    "system in zip, protocol 4": (".pth", pickled_in_zip(lambda m: {"a": touching(m)}, 4), r"would import (posix|nt)\.system"),
    "eval in zip": (".bin", pickled_in_zip(evaluating), r"would import (__builtin__|builtins)\.eval"),
    "system in legacy": (".th", pickled_in_legacy, r"would import (posix|nt)\.system"),
    "torch function": (
        ".pth",
        torch_zip(crafted.call("torch.hub", "load", crafted.text("a/b"), crafted.text("c"))),
        r"would import torch\.hub\.load",
    ),
    "torch serialization": (
        ".pth",
        torch_zip(crafted.call("torch.serialization", "load", crafted.text("a"))),
        r"torch\.serialization\.load",
    ),
    "module": (
        ".pth",
        torch_zip(crafted.symbol("torchvision.models.resnet", "ResNet") + b")\x81"),
        r"torchvision\.models\.resnet\.ResNet",
    ),
    "instance": (".pth", torch_zip(crafted.symbol("torch", "Size") + b")\x81"), "with the instruction NEWOBJ"),
    "called tensor": (".pth", torch_zip(STATE["fc.bias"] + b")R"), "a pickle that calls Tensor"),
    "attributes": (".pth", torch_zip(b"]" + crafted.named({"a": b"N"}) + b"b"), "sets attributes of what is no dict"),
    "item of a list": (
        ".pth",
        torch_zip(b"]" + crafted.number(0) + crafted.number(1) + b"s"),
        "sets an item of what is no dict",
    ),
    "item of a tensor": (".pth", torch_zip(STATE["fc.bias"] + crafted.number(9) + crafted.number(1) + b"s"), "sets an item"),
    "endless sharing": (".pth", torch_zip(nested(200) + b"Q"), "refers to something outside it"),
    "endless key": (".pth", torch_zip(b"}" + nested(200) + b"Ns"), "a key that is a tuple"),
    "endless key, ordered": (
        ".pth",
        torch_zip(crafted.call("collections", "OrderedDict", b"](" + crafted.row(nested(200), b"N") + b"e")),
        "a key that is a tuple",
    ),
    "endless shape": (
        ".pth",
        torch_zip(with_weight(crafted.call("torch._utils", "_rebuild_tensor", b"N", b"N", nested(200), b"N"))),
        "tensor of",
    ),
    "endless work": (
        ".pth",
        torch_zip(b"](" + b"N" * 1000 + b"eq\x00" + (crafted.symbol("torch", "Size") + b"h\x00\x85R") * 1100),
        "more than 1000000 instructions",
    ),
    "hidden in safetensors": (
        ".safetensors",
        torch_zip(),
        r"a pickle under a name that ends in \.safetensors; .* rename it to \.pth",
    ),
    "bare in safetensors": (".safetensors", pickled(touching), r"a pickle under a name that ends in \.safetensors"),
    "hidden in npz": (".npz", torch_legacy(), r"a pickle under a name that ends in \.npz"),
    # PyTorch
    "cut zip": (".pth", cut(torch_zip(), 700), "a zip that is cut or broken"),
    "cut legacy": (".pth", cut(torch_legacy(), -6), "has 6 bytes, where its table needs 12"),
    "long legacy": (
        ".pth",
        lambda p, m: (torch_legacy()(p, m), p.write_bytes(p.read_bytes() + b"1")),
        "bytes, where its table describes",
    ),
    "cut pickle": (".pth", lambda path, _: path.write_bytes(crafted.MAGIC + b"\x80\x02K"), "a pickle that is cut or broken"),
    "big-endian zip": (".pth", torch_zip(order=b"big"), "of byte order 'big'"),
    "big-endian legacy": (".pth", torch_legacy(little=False), "big-endian"),
    "compressed": (".pth", torch_zip(method=zipfile.ZIP_DEFLATED), "compressed, which torch.save never does"),
    "torchscript": (
        ".pt",
        torch_zip(more={"constants.pkl": b"", "code/a.py": b"import os"}),
        "a TorchScript program, which is code",
    ),
    "torch shape bomb": (".pth", torch_zip(with_weight(BIG_TENSOR)), "has 24 bytes, where its table needs 4000000000000000"),
    "legacy bomb": (
        ".pth",
        torch_legacy(
            crafted.named({**OLD, "fc.weight": crafted.tensor(crafted.storage("0", HUGE, legacy=True), (HUGE,))}),
            lengths={"0": HUGE},
        ),
        "has 44 bytes, where its table needs 4000000000000000",
    ),
    "two lengths": (".pth", torch_legacy(lengths={"0": 7}), "where its table needs 24"),
    "expanded": (
        ".pth",
        torch_zip(with_weight(crafted.tensor(crafted.storage("0", 6), (HUGE,), stride=(0,)))),
        r"a tensor of shape \[1000000000000000\] in a storage of 6 values",
    ),
    "out of its storage": (
        ".pth",
        torch_zip(with_weight(crafted.tensor(crafted.storage("0", 6), (3, 2), offset=1))),
        r"a tensor of shape \[3, 2\] in a storage of 6 values",
    ),
    "negative shape": (
        ".pth",
        torch_zip(with_weight(crafted.tensor(crafted.storage("0", 6), (-3, 2)))),
        r"a tensor of shape \[-3, 2\]",
    ),
    "negative stride": (
        ".pth",
        torch_zip(with_weight(crafted.tensor(crafted.storage("0", 6), (3, 2), stride=(-2, 1), offset=4))),
        r"and strides \[-2, 1\]",
    ),
    "fractional shape": (
        ".pth",
        torch_zip(
            with_weight(crafted.tensor(crafted.storage("0", 6), ()).replace(b"(t(t", b"(G?\xf0\x00\x00\x00\x00\x00\x00t(t"))
        ),
        "a tensor of shape",
    ),
    "storage twice": (
        ".pth",
        torch_zip(crafted.named({**STATE, "fc.bias": crafted.tensor(crafted.storage("0", 3), (3,))})),
        "describes its storage '0' twice",
    ),
    "quantised": (".pth", torch_zip(with_weight(QUANTISED)), "with a quantised tensor; save dense float32"),
    "sparse": (".pth", torch_zip(with_weight(SPARSE)), "with a sparse tensor"),
    "meta": (".pth", torch_zip(with_weight(META)), "with a meta tensor, which has no values"),
    "meta storage": (
        ".pth",
        torch_zip(with_weight(crafted.tensor(crafted.storage("0", 6, location="meta"), (3, 2)))),
        "meta tensor",
    ),
    "complex torch": (
        ".pth",
        torch_zip(with_weight(crafted.tensor(crafted.storage("0", 3, kind="ComplexFloatStorage"), (3,)))),
        r"of another type fc\.weight \(.*, got complex64\)",
    ),
    "text for a tensor": (
        ".pth",
        torch_zip(with_weight(crafted.text("weights"))),
        r"of another type fc\.weight \(.*, got str\)",
    ),
    "number for a name": (
        ".pth",
        torch_zip(b"}(" + crafted.number(3) + STATE["fc.bias"] + b"u"),
        "has the key 3, which is no name",
    ),
    "torch name twice": (".pth", torch_zip(crafted.named([*STATE.items(), *STATE.items()])), r"has 'fc\.weight' twice"),
    "list": (".pth", torch_zip(b"](" + STATE["fc.bias"] + b"e"), "a PyTorch checkpoint of a list, which is no state dict"),
    "no state": (
        ".pth",
        torch_zip(crafted.named({"epoch": crafted.number(3)})),
        r"\(it has epoch\); save model\.state_dict\(\) alone",
    ),
    "two states": (
        ".pth",
        torch_zip(crafted.named({"net": crafted.named(STATE), "model": crafted.named(STATE)})),
        "with weights in 'model' and 'net'; save the one that you mean alone",
    ),
    "state at both levels": (
        ".pth",
        torch_zip(crafted.named({**STATE, "state_dict": crafted.named(STATE)})),
        "with weights in 'state_dict' and its top level",
    ),
    "too much besides": (
        ".pth",
        torch_zip(
            crafted.named(
                {
                    "net": crafted.named(STATE),
                    "optimizer": crafted.named({"average": crafted.tensor(crafted.storage("2", 2**25), (2**25,))}),
                }
            ),
            {**VALUES, "2": bytes(2**27)},
        ),
        r"would take \d+ bytes of memory, where \d+ are allowed for its weights; save the weights alone",
    ),
}

SOUND = {
    "safetensors": (safetensors(), False),
    "npz": (npz(), False),
    "zip": (torch_zip(), True),
    "legacy": (torch_legacy(), True),
}


@pytest.fixture(params=["without", "with"] if importlib.util.find_spec("torch") else ["without"])
def torch_or_not(request, monkeypatch):
    """Every file is refused alike, whether PyTorch is installed or not."""
    if request.param == "without":
        monkeypatch.setitem(sys.modules, "torch", None)


@pytest.mark.parametrize("case", CASES)
def test_refused_in_one_line(case, tmp_path, torch_or_not):
    suffix, make, message = CASES[case]
    path, marker = tmp_path / f"weights{suffix}", tmp_path / "ran"
    make(path, marker)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message) as caught:
            load_into(path, PARAMS, {})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    said = str(caught.value)
    assert said.startswith("expected ") and str(path) in said and said.endswith(".")
    assert said.isprintable() and len(said) < 700
    assert not marker.exists()
    assert peak < 48 * 2**20


def test_the_payloads_would_run(tmp_path):
    for payload in (touching, evaluating):
        pickle.loads(pickle.dumps(payload(tmp_path / payload.__name__)))
        assert (tmp_path / payload.__name__).exists()


@pytest.mark.parametrize("kind", SOUND)
def test_the_untwisted_files_are_read(kind, tmp_path):
    write, needs_torch = SOUND[kind]
    if needs_torch:
        pytest.importorskip("torch")
    write(tmp_path / "weights", tmp_path)
    params, _ = load_into(tmp_path / "weights", PARAMS, {})
    np.testing.assert_array_equal(params["fc"]["kernel"], ARRAYS["fc.weight"].T)
    np.testing.assert_array_equal(params["fc"]["bias"], ARRAYS["fc.bias"])


def test_a_file_without_permission(tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    safetensors()(path, tmp_path)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything
        monkeypatch.setattr(pathlib.Path, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(ValueError, match=r"cannot be read: Permission denied; check its permissions\.$"):
        load_into(path, PARAMS, {})


@pytest.mark.parametrize("kind", SOUND)
def test_damaged_files_are_read_or_refused(kind, tmp_path, torch_or_not):
    path = tmp_path / "weights"
    SOUND[kind][0](path, tmp_path)
    sound, draw = path.read_bytes(), random.Random(0)
    for _ in range(250):
        content = bytearray(sound)
        for _ in range(draw.choice((1, 1, 4))):
            content[draw.randrange(len(content))] = draw.randrange(256)
        path.write_bytes(content[: draw.choice((len(content), len(content), draw.randrange(len(content))))])
        try:
            found = read_state(path)
        except ValueError as error:
            assert str(error).isprintable(), error
        else:
            assert all(isinstance(array, np.ndarray) for array in found.values())


def test_no_safetensors_file_is_read_that_the_library_refuses(tmp_path):
    path, draw, accepted = tmp_path / "weights.safetensors", random.Random(1), 0
    safetensors()(path, tmp_path)
    sound = path.read_bytes()
    for _ in range(400):
        content = bytearray(sound)
        content[draw.randrange(len(sound) - len(RAW))] = draw.choice(b'0123456789[]{}",: \x00\xff')
        path.write_bytes(content)
        try:
            found = read_state(path)
        except ValueError:
            continue
        accepted += 1
        try:
            theirs = load(bytes(content))
        except (SafetensorError, KeyError) as error:
            raise AssertionError(f"read what the library refuses: {content!r}") from error
        for name, array in theirs.items():
            np.testing.assert_array_equal(found[name], array)
    assert accepted > 3
