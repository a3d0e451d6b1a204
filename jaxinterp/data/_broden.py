"""Reads data sets in the on-disk format of Broden: images with label maps in several categories."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8
from PIL import Image

from jaxinterp.data._broden_tables import INDEX_COLUMNS, pixels, read_codes, read_csv
from jaxinterp.data._concepts import CATEGORIES, ConceptTable
from jaxinterp.data._fingerprint import digest, files_digest
from jaxinterp.data._images import centre_square, read_rgb
from jaxinterp.data._source import NO_IMAGE, Example


class _Row(NamedTuple):
    """One image: its file, its size and that of its labels, and the items of each category's cell, layer by layer."""

    number: int
    image: str
    image_shape: tuple[int, int]
    height: int
    width: int
    items: tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True)
class Broden:
    """A folder in Broden's format, as `broden` opens it; images and label maps are decoded when they are asked for.

    Attributes:
        path: the folder.
        rows: the images, as `index.csv` lists them.
        layers: how many layers of the concept maps each category takes, category by category.
        numbers: for each category, label number of the files -> concept number, -1 where the category has no such label.
        concepts: what the numbers in the concept maps mean.
        image_size: side of the images in pixels.
        label_size: side of the concept maps in pixels.
    """

    path: pathlib.Path
    rows: tuple[_Row, ...] = dataclasses.field(repr=False)
    layers: tuple[tuple[str, int], ...]
    numbers: dict[str, np.ndarray] = dataclasses.field(repr=False, hash=False, compare=False)
    concepts: ConceptTable = dataclasses.field(repr=False)
    image_size: int
    label_size: int
    classes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Digest of the images, of their labels and of the two sizes."""
        return self._fingerprint

    @functools.cached_property
    def _fingerprint(self) -> str:
        names = [name for row in self.rows for name in (row.image, *(item for cell in row.items for item in cell))]
        files = [self.path / "images" / name for name in names if not name.isdecimal()]
        tables = sorted(path for path in self.path.glob("*.csv"))
        for file in files:
            _there(file)
        return digest("broden", files_digest([*tables, *files]), self.rows, self.layers, self.image_size, self.label_size)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int, /) -> Example:
        """The image at an index; its label is -1, for Broden has concepts and no classes."""
        return self.read(index, image=True, concepts=True)

    def read(self, index: int, *, image: bool, concepts: bool) -> Example:
        """The example as far as it is needed, see `data.read`."""
        row = self.rows[index]
        picture, maps = self._image(row) if image else NO_IMAGE, self._maps(row) if concepts else None
        return Example(picture, -1, -1, row.number, row.number, maps)

    def _maps(self, row: _Row) -> Int32[np.ndarray, "s s l"]:
        maps = [np.zeros((self.label_size, self.label_size), np.int32)] * sum(count for _, count in self.layers)
        start = 0
        for (category, count), cell in zip(self.layers, row.items, strict=True):
            for layer, item in enumerate(cell, start):
                maps[layer] = self._layer(row, category, item)
            start += count
        return np.stack(maps, axis=-1)

    def _image(self, row: _Row) -> UInt8[np.ndarray, "s s 3"]:
        path = _there(self.path / "images" / row.image)
        image = read_rgb(path)
        if (image.height, image.width) != row.image_shape:
            raise ValueError(
                f"expected an image of {row.image_shape[0]} x {row.image_shape[1]}, as index.csv says, got {image.height} x "
                f"{image.width}: {path}; correct ih, iw or the file."
            )
        return centre_square(image, image_size=self.image_size, crop=1.0)

    def _layer(self, row: _Row, category: str, item: str) -> Int32[np.ndarray, "s s"]:
        """One layer of labels as concept numbers: a map from a PNG, or a number that holds for the whole image."""
        size = (self.label_size, self.label_size)
        if item.isdecimal():
            return np.broadcast_to(self._concepts_of(np.full((1, 1), int(item)), row, category, item), size)
        path = _there(self.path / "images" / item)
        try:
            with Image.open(path) as file:
                channels = np.asarray(file.convert("RGB")).astype(np.int32)
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"expected a PNG of labels, could not read {path} ({error}); write it again.") from error
        if channels.shape[:2] != (row.height, row.width):
            raise ValueError(
                f"expected labels of {row.height} x {row.width}, as index.csv says, got {channels.shape[0]} x "
                f"{channels.shape[1]}: {path}; correct sh, sw or the file."
            )
        height, width = row.image_shape
        if abs(height * row.width - width * row.height) > max(height, width):
            raise ValueError(
                f"expected labels in the shape of the image, {height} x {width}, got {row.height} x {row.width}: {path}; "
                f"correct sh, sw in index.csv and the map."
            )
        side = min(row.height, row.width)
        centres = ((np.arange(self.label_size) + 0.5) * side / self.label_size).astype(np.int64)
        rows, columns = centres + (row.height - side) // 2, centres + (row.width - side) // 2
        near = channels[rows[:, None], columns[None, :]]
        return self._concepts_of(near[..., 0] + 256 * near[..., 1], row, category, item)

    def _concepts_of(self, labels: np.ndarray, row: _Row, category: str, item: str) -> np.ndarray:
        table = self.numbers[category]
        concepts = table[np.minimum(labels, len(table) - 1)]
        if concepts.min() < 0:
            raise ValueError(
                f"expected labels that c_{category}.csv names, got {labels[concepts < 0].max()} in {item!r} of {row.image}; "
                f"add it to that file."
            )
        return concepts


def broden(
    path: str | os.PathLike[str],
    *,
    image_size: int,
    label_size: int | None = None,
    split: str | None = None,
    categories: Sequence[str] = CATEGORIES,
) -> Broden:
    """A data set in the format of Broden, the broadly and densely labelled data set of Network Dissection.

    The folder holds `index.csv`, one `c_<category>.csv` per category, and `images/` with the images and the label maps
    (label number = red + 256 * green). A cell of `index.csv` holds nothing, one item or several separated by ";", each a
    label map or a bare number that labels the whole image. Each category takes as many layers of the concept map as its
    longest cell has items. A label that belongs to two categories is a concept of each.

    Args:
        path: the folder.
        image_size: side of the images in pixels; they are resized, and cut to the centre square if they are not square.
        label_size: side of the concept maps in pixels, by default `image_size`; labels are taken at the nearest point.
        split: only the images of that split, for example "train"; by default all.
        categories: the categories to read, in the order of the layers.

    Returns:
        The source. It has no classes, and every label is -1; the id of an image is its place in `index.csv`.

    Raises:
        ValueError: a missing folder or file, a table that is no CSV or lacks a column or cells, an unknown split or category, a
            category without labels; when an image is read, a file that is missing, damaged or of another size than the index
            says, a label without a name.

    References:
        David Bau, Bolei Zhou, Aditya Khosla, Aude Oliva, Antonio Torralba, "Network Dissection: Quantifying
        Interpretability of Deep Visual Representations", 2017, section 2.1 (Broden).
    """
    folder = pathlib.Path(path)
    if not folder.is_dir():
        raise ValueError(f"expected a folder in Broden's format, found none at {folder}; give the folder that holds index.csv.")
    rows = list(read_csv(folder / "index.csv", INDEX_COLUMNS))
    if not rows:
        raise ValueError(f"expected images in {folder / 'index.csv'}, got none; write the data set again.")
    found = [name for name in rows[0] if name not in INDEX_COLUMNS]
    wanted = [category for category in categories if category in found]
    if unknown := [category for category in categories if category not in CATEGORIES]:
        raise ValueError(f"expected categories of {', '.join(CATEGORIES)}, got {unknown[0]!r}; write one of them.")
    if not wanted:
        raise ValueError(f"expected a category of {', '.join(categories)} in index.csv, it has: {', '.join(found)}.")
    if split is not None and split not in (splits := sorted({row["split"] for row in rows})):
        raise ValueError(f"unknown split {split!r}; index.csv has: {', '.join(splits)}.")
    numbers, concepts = read_codes(folder, wanted)
    parsed = tuple(
        _Row(
            number,
            row["image"],
            (pixels(row, "ih"), pixels(row, "iw")),
            pixels(row, "sh"),
            pixels(row, "sw"),
            tuple(tuple(item.strip() for item in row[category].split(";") if item.strip()) for category in wanted),
        )
        for number, row in enumerate(rows)
        if split in (None, row["split"])
    )
    layers = tuple((category, max(1, *(len(row.items[place]) for row in parsed))) for place, category in enumerate(wanted))
    return Broden(folder, parsed, layers, numbers, concepts, image_size, label_size or image_size)


def _there(path: pathlib.Path) -> pathlib.Path:
    if not path.is_file():
        raise ValueError(f"expected a file that index.csv names, found none at {path}; fetch the data set again.")
    return path
