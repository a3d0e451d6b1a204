"""Writes a source with concepts as a folder in the on-disk format of Broden."""

import csv
import os
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int32, UInt8
from PIL import Image

from jaxinterp.data._broden import INDEX_COLUMNS
from jaxinterp.data._concepts import ConceptTable
from jaxinterp.data._source import Example, Source

_COLUMNS = ("color", "object", "part", "material", "scene", "texture")


class _Tally:
    """How many images carry each concept, and how much of them it covers."""

    def __init__(self, concepts: ConceptTable) -> None:
        self.frequency = np.zeros(len(concepts.names), np.int64)
        self.coverage = np.zeros(len(concepts.names))

    def add(self, labels: Int32[np.ndarray, "h w l"]) -> None:
        """Counts one image; concept 0, no label, is counted too and never written."""
        counts = np.bincount(labels.ravel(), minlength=len(self.frequency))
        self.frequency += counts > 0
        self.coverage += counts / labels[..., 0].size


def write_broden(source: Source, path: str | os.PathLike[str], *, split: str = "train", label_stride: int = 1) -> pathlib.Path:
    """Writes a source with concepts as a folder in Broden's format, which `broden` and Network Dissection read.

    Images and label maps are PNG files, so nothing is lost; a layer that labels the whole image is written as a bare
    number, as Broden does for scenes. The number of a label is the number of its concept. `index.csv` is written last: a
    folder that has it is whole.

    Args:
        source: the examples; every one has concepts.
        path: the folder, which must be empty or not exist.
        split: what the column `split` of `index.csv` says.
        label_stride: image pixels per label along each side; 2 gives labels of half the resolution, as Broden's 224-pixel
            set has them.

    Returns:
        The folder.

    Raises:
        ValueError: a source without concepts, a folder that is not empty, a stride that does not divide the image size.
    """
    folder, concepts = pathlib.Path(path), source.concepts
    if concepts is None:
        raise ValueError("expected a source with concepts, got one without; Broden's format has no place for classes.")
    if len(concepts.names) > 2**16:
        raise ValueError(f"expected at most 65535 concepts, got {len(concepts.names) - 1}; a label map has 16 bits a pixel.")
    if label_stride < 1 or source.image_size % label_stride:
        raise ValueError(f"expected a label_stride that divides {source.image_size}, got {label_stride}; write 1 or 2.")
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"expected an empty folder, got one with files: {folder}; give a new one.")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    categories = [name for name in _COLUMNS if name in concepts.categories]
    tally, rows = _Tally(concepts), []
    of_category = {name: np.array([category == name for category in concepts.categories]) for name in categories}
    for index in range(len(source)):
        example = source[index]
        labels = _labels(example, label_stride)
        tally.add(labels)
        stem = f"{index:06d}"
        Image.fromarray(example.image).save(folder / "images" / f"{stem}.png")
        cells = [_write_layers(folder, f"{stem}_{name}", labels, of_category[name]) for name in categories]
        rows.append((f"{stem}.png", split, *example.image.shape[:2], *labels.shape[:2], *cells))
    _write_tables(folder, concepts, categories, tally)
    _write_csv(folder / "index.csv", (*INDEX_COLUMNS, *categories), rows)
    return folder


def _labels(example: Example, stride: int) -> Int32[np.ndarray, "h w l"]:
    if example.concepts is None:
        raise ValueError(f"expected concepts with every example, got none with example {example.id}.")
    return example.concepts[stride // 2 :: stride, stride // 2 :: stride]


def _write_layers(folder: pathlib.Path, stem: str, labels: Int32[np.ndarray, "h w l"], of_category: np.ndarray) -> str:
    """Writes the layers that hold labels of one category, and returns the cell that names them."""
    items = []
    for layer in np.moveaxis(np.where(of_category[labels], labels, 0), -1, 0):
        if not layer.any():
            continue
        if (layer == layer[0, 0]).all():
            items.append(str(layer[0, 0]))
            continue
        name = f"{stem}{f'_{len(items) + 1}' if items else ''}.png"
        Image.fromarray(_encoded(layer)).save(folder / "images" / name)
        items.append(name)
    return ";".join(items)


def _encoded(labels: Int32[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Label numbers as red + 256 * green."""
    return np.stack([labels % 256, labels // 256, np.zeros_like(labels)], axis=-1).astype(np.uint8)


def _write_tables(folder: pathlib.Path, concepts: ConceptTable, categories: Sequence[str], tally: _Tally) -> None:
    """Writes `label.csv`, `category.csv` and the dense coding of each category."""
    frequency, coverage = tally.frequency, tally.coverage
    used = [number for number in range(1, len(concepts.names)) if concepts.categories[number] in categories]
    _write_csv(
        folder / "label.csv",
        ("number", "name", "category", "frequency", "coverage", "syns"),
        [
            (n, concepts.names[n], f"{concepts.categories[n]}({frequency[n]})", frequency[n], f"{coverage[n]:.6f}", "")
            for n in used
        ],
    )
    ranges = []
    for category in categories:
        numbers = concepts.numbers(category)
        ranges.append((category, min(numbers), max(numbers), len(numbers), frequency[list(numbers)].sum()))
        _write_csv(
            folder / f"c_{category}.csv",
            ("code", "number", "name", "frequency", "coverage"),
            [(code, n, concepts.names[n], frequency[n], f"{coverage[n]:.6f}") for code, n in enumerate(numbers, start=1)],
        )
    _write_csv(folder / "category.csv", ("name", "first", "last", "count", "frequency"), ranges)


def _write_csv(path: pathlib.Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes a table under a temporary name and renames it, so that it is there whole or not at all."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
