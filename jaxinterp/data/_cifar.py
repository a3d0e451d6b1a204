"""CIFAR-10, in the layouts in which it is passed on."""

import io
import os
import pathlib
import pickle
import tarfile
import zipfile
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8

from jaxinterp.data._arrays import from_arrays
from jaxinterp.data._cache import CachedSource
from jaxinterp.data._images import decode_rgb

CIFAR10_CLASSES = {
    "airplane": "n02691156",
    "automobile": "n02958343",
    "bird": "n01503061",
    "cat": "n02121620",
    "deer": "n02430045",
    "dog": "n02084071",
    "frog": "n01639765",
    "horse": "n02374451",
    "ship": "n04194289",
    "truck": "n04490091",
}
"""Name of a class of CIFAR-10 -> its synset in WordNet, in the order of the labels."""

_SIDE = 32
_BATCHES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
_INNER = ("cifar-10-batches-py", "cifar-10-batches-bin", "cifar-10-python.tar.gz", "cifar-10-binary.tar.gz")
_SUFFIXES = (".png", ".jpg", ".jpeg")

Labelled = tuple[UInt8[np.ndarray, "n 32 32 3"], Integer[np.ndarray, " n"]]


def cifar10(path: str | os.PathLike[str], split: str) -> CachedSource:
    """CIFAR-10, every pixel as it is stored, held in memory (0.15 GB for the 50 000 training images).

    Args:
        path: what was downloaded or unpacked: `cifar-10-python.tar.gz` or `cifar-10-binary.tar.gz`, the folder that comes out
            of one or in which one lies; a folder or .zip with SPLIT/CLASS/IMAGE.png (or .jpg), or a folder with such .zip
            files; a folder with `X*.npy` (8-bit, or floats in [0, 1]) and `y*.npy`, whatever the split. Pickled archives are
            read without running what they may hold.
        split: "train" or "test".

    Returns:
        The source; classes are synsets of WordNet, ids are places in the split. In folders and .zip files images are ordered
        by class, then by name.

    Raises:
        ValueError: nothing of that kind there, damaged files, images of another size, or floats that are no 8-bit pixels.

    Example:
        >>> source = cifar10("cifar-10-python.tar.gz", "test")  # doctest: +SKIP
        >>> len(source), source.class_names[source[0].label]  # doctest: +SKIP
        (10000, 'cat')

    References:
        Krizhevsky: "Learning Multiple Layers of Features from Tiny Images" (2009).
    """
    if split not in _BATCHES:
        raise ValueError(f"expected split 'train' or 'test', got {split!r}.")
    found = _read(pathlib.Path(path), split)
    if found is None:
        raise ValueError(
            f"expected CIFAR-10 with a split {split!r}, found none in {os.fspath(path)}; "
            f"download cifar-10-python.tar.gz and give its path."
        )
    return from_arrays(*found, classes=tuple(CIFAR10_CLASSES.values()), class_names=tuple(CIFAR10_CLASSES))


def _read(path: pathlib.Path, split: str) -> Labelled | None:
    """The split, if it is there in one of the layouts."""
    if path.is_dir():
        for inner in _INNER:
            if (path / inner).exists():
                return _read(path / inner, split)
        files = {file.name: file.read_bytes() for file in sorted(path.iterdir()) if _is_batch(file.name, split)}
        if files:
            return _batches(files, split, path)
        arrays = sorted(path.glob("X*.npy")) + sorted(path.glob("y*.npy"))
        if len(arrays) == 2:
            return _arrays(*arrays)
        zips = (_read(file, split) for file in sorted(path.glob("*.zip")))
        return _pictures(path / split) if (path / split).is_dir() else next((found for found in zips if found), None)
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                folder = zipfile.Path(archive) / split
                return _pictures(folder) if folder.is_dir() else None
        if path.is_file() and tarfile.is_tarfile(path):
            with tarfile.open(path) as archive:
                members = [member for member in archive if _is_batch(pathlib.PurePath(member.name).name, split)]
                files = {pathlib.PurePath(member.name).name: _content(archive, member) for member in members}
            return _batches(files, split, path) if files else None
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"expected a whole archive, got a damaged one: {path} ({error}); download it again.") from error
    return None


def _is_batch(name: str, split: str) -> bool:
    return name.removesuffix(".bin") in _BATCHES[split]


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return b"" if file is None else file.read()


def _batches(files: dict[str, bytes], split: str, path: pathlib.Path) -> Labelled:
    """The images of the published files, Python's or binary ones."""
    kind = ".bin" if any(name.endswith(".bin") for name in files) else ""
    rows, labels = [], []
    for name in _BATCHES[split]:
        if name + kind not in files:
            raise ValueError(f"expected all of {', '.join(_BATCHES[split])} in {path}, found no {name}{kind}; unpack it again.")
        try:
            pixels, of_each = (_binary if kind else _pickled)(files[name + kind])
            rows.append(pixels.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1))
            labels.append(of_each)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, EOFError, pickle.UnpicklingError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"expected a file of CIFAR-10, got a damaged one: {name}{kind} in {path} ({reason}); fetch it again."
            ) from error
    return np.concatenate(rows), np.concatenate(labels)


def _binary(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + 3 * _SIDE**2)
    return records[:, 1:], records[:, 0].astype(np.int32)


def _pickled(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    stored = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
    pixels, labels = np.asarray(stored[b"data"]), np.array(stored[b"labels"], np.int32)
    if pixels.dtype != np.uint8 or len(pixels) != len(labels):
        raise ValueError(f"{len(labels)} labels for {pixels.dtype} data of shape {pixels.shape}")
    return pixels, labels


class _ArraysOnly(pickle.Unpickler):
    """Reads plain values and NumPy arrays; nothing that a file names besides is imported or called."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        home = module_name.replace("numpy._core", "numpy.core")
        if (home, global_name) == ("numpy.core.multiarray", "_reconstruct"):
            return np.ndarray.__reduce__(np.empty(0))[0]
        if (home, global_name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, global_name)
        if (home, global_name) == ("_codecs", "encode"):  # how Python 3 writes bytes for Python 2
            return _latin
        raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")


def _latin(text: str, _: str) -> bytes:
    return text.encode("latin1")


def _arrays(images: pathlib.Path, labels: pathlib.Path) -> Labelled:
    pixels, numbers = (np.load(file, allow_pickle=False) for file in (images, labels))
    if pixels.dtype != np.uint8:
        exact = 255 * pixels.astype(np.float64)
        if not np.abs(exact - np.round(exact)).max() < 1e-3 or not 0 <= exact.min() <= exact.max() < 255.5:
            raise ValueError(f"expected 8-bit pixels, or floats that are those over 255, got others in {images}.")
        pixels = np.round(exact).astype(np.uint8)
    return pixels, numbers.reshape(-1).astype(np.int32)


def _pictures(folder: pathlib.Path | zipfile.Path) -> Labelled | None:
    """The images of a folder CLASS/IMAGE, which may lie in a .zip."""
    pixels, labels = [], []
    for label, name in enumerate(CIFAR10_CLASSES):
        inside = (folder / name).iterdir() if (folder / name).is_dir() else ()
        for file in sorted(inside, key=lambda file: file.name):
            if pathlib.PurePath(file.name).suffix.lower() in _SUFFIXES:
                pixels.append(np.asarray(decode_rgb(file.read_bytes(), str(file))))
                labels.append(label)
                if pixels[-1].shape != (_SIDE, _SIDE, 3):
                    raise ValueError(f"expected images of 32 x 32 pixels, got shape {pixels[-1].shape}: {file}; resize it.")
    return (np.stack(pixels), np.array(labels, np.int32)) if pixels else None
