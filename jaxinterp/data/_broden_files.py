"""The files of Broden's format: what writes images, label maps and tables, whatever they come from."""

import csv
import json
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TextIO

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image

from jaxinterp.data._broden_tables import INDEX_COLUMNS

COLUMNS = ("color", "object", "part", "material", "scene", "texture")
"""The categories in the order of the columns of `index.csv`."""

_PARTIAL = "index.partial"


class Label(NamedTuple):
    """A label: its name and, separated by ";", its synonyms."""

    name: str
    synonyms: str = ""


class BrodenFiles:
    """A folder in Broden's format while it is written, image by image.

    Rows wait in `index.partial`, which is locked meanwhile; `index.csv` is written last, so a folder that has it is whole.

    Attributes:
        folder: the folder, empty, new, or left by a build that was killed.
        images: for each category and label number, how many images carry it.
        coverage: for each category and label number, the sum of the shares of the images that it covers.
        rare: for each category and label number, the first rows that carry it, at most `min_images - 1` of them.
    """

    def __init__(self, folder: pathlib.Path, *, min_images: int = 1) -> None:
        self.folder, self.num_rows = folder, 0
        self._partial = self._begun()
        self.images: dict[tuple[str, int], int] = {}
        self.coverage: dict[tuple[str, int], float] = {}
        self.rare: dict[tuple[str, int], list[int]] = {}
        self._min_images = min_images

    def _begun(self) -> TextIO:
        """`index.partial`, locked as long as this process builds; what a killed build left is taken away."""
        import fcntl

        left = {path.name for path in self.folder.iterdir()} if self.folder.exists() else set()
        if left and _PARTIAL not in left:
            raise ValueError(f"expected an empty folder, got one with files: {self.folder}; delete it or give a new one.")
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = (self.folder / _PARTIAL).open("a", encoding="utf-8")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            raise ValueError(
                f"expected an empty folder, got one in which another process builds: {self.folder}; wait, or give a new one."
            ) from None
        handle.truncate(0)
        self._take_away()
        (self.folder / "images").mkdir()
        return handle

    def _take_away(self) -> None:
        """Removes what a build writes but for `index.partial`."""
        shutil.rmtree(self.folder / "images", ignore_errors=True)
        for file in [*self.folder.glob("*.csv"), *self.folder.glob("*.tmp")]:
            file.unlink(missing_ok=True)

    def add(
        self,
        name: str,
        image: UInt8[np.ndarray, "h w 3"],
        layers: Mapping[str, Sequence[Integer[np.ndarray, "sh sw"]]],
        *,
        split: str,
    ) -> None:
        """Writes one image and its labels.

        Args:
            name: path under `images/`, without suffix.
            image: the pixels.
            layers: for each category its layers of label numbers, 0 = none, all of one size. An empty layer is not written, and
                one that labels the whole image becomes a bare number.
            split: what the column `split` says.
        """
        file = self.folder / "images" / f"{name}.png"
        if file.exists():
            raise ValueError(f"expected every image once, got {name!r} twice; give the sets or the records different names.")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
        cells = {category: self._write_layers(f"{name}_{category}", layers[category]) for category in layers}
        sh, sw = next((layer.shape for several in layers.values() for layer in several), image.shape[:2])
        for category, several in layers.items():
            self._count(category, several)
        row = [f"{name}.png", split, *image.shape[:2], sh, sw, {key: cell for key, cell in cells.items() if cell}]
        self._partial.write(json.dumps(row) + "\n")
        self.num_rows += 1

    def _count(self, category: str, layers: Sequence[Integer[np.ndarray, "sh sw"]]) -> None:
        if not layers:
            return
        numbers, counts = np.unique(np.stack(layers), return_counts=True)
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            if not number:
                continue
            key = (category, number)
            self.images[key] = self.images.get(key, 0) + 1
            self.coverage[key] = self.coverage.get(key, 0.0) + count / layers[0].size
            if len(rows := self.rare.setdefault(key, [])) < self._min_images - 1:
                rows.append(self.num_rows)

    def _write_layers(self, stem: str, layers: Iterable[Integer[np.ndarray, "sh sw"]]) -> list[str]:
        """Writes the layers of one category, and returns the items of its cell."""
        items: list[str] = []
        for layer in layers:
            if not layer.any():
                continue
            if (layer == layer[0, 0]).all():
                items.append(str(layer[0, 0]))
                continue
            items.append(f"{stem}{f'_{len(items) + 1}' if items else ''}.png")
            if (file := self.folder / "images" / items[-1]).exists():
                raise ValueError(f"expected no image with the name of a label map, got {items[-1]}; rename that image.")
            Image.fromarray(_encoded(layer)).save(file)
        return items

    def finish(
        self,
        labels: Mapping[int, Label],
        numbers: Mapping[str, Sequence[int]],
        *,
        dropped: Iterable[tuple[str, int]] = (),
    ) -> pathlib.Path:
        """Writes the tables, `index.csv` last.

        Args:
            labels: what the label numbers mean.
            numbers: for each category that the data set has, its label numbers in the order of their codes.
            dropped: categories and label numbers that are taken out again; each is in fewer than `min_images` images, and only
                the maps of those are written anew.

        Returns:
            The folder.
        """
        self._partial.flush()
        categories = [category for category in COLUMNS if category in numbers]
        self._write_labels(labels, numbers)
        for category in categories:
            self._write_codes(category, labels, numbers[category])
        ranges = sorted((min(several), max(several), category, len(several)) for category, several in numbers.items())
        write_csv(
            self.folder / "category.csv",
            ("name", "first", "last", "count", "frequency"),
            [
                (category, first, last, count, sum(self.images.get((category, number), 0) for number in numbers[category]))
                for first, last, category, count in ranges
            ],
        )
        write_csv(self.folder / "index.csv", (*INDEX_COLUMNS, *categories), self._rows(categories, set(dropped)))
        (self.folder / _PARTIAL).unlink()
        self._partial.close()
        return self.folder

    def __enter__(self) -> "BrodenFiles":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Takes away what was written when the build fails."""
        if kind is None:
            return
        self._take_away()
        (self.folder / _PARTIAL).unlink(missing_ok=True)
        self._partial.close()

    def _write_labels(self, labels: Mapping[int, Label], numbers: Mapping[str, Sequence[int]]) -> None:
        rows = []
        for number, label in sorted(labels.items()):
            counts = [(category, self.images.get((category, number), 0)) for category in numbers if number in numbers[category]]
            if not counts:
                continue
            counts.sort(key=lambda pair: -pair[1])
            coverage = sum(self.coverage.get((category, number), 0.0) for category, _ in counts)
            kinds = ";".join(f"{category}({count})" for category, count in counts)
            rows.append((number, label.name, kinds, sum(count for _, count in counts), f"{coverage:.6f}", label.synonyms))
        write_csv(self.folder / "label.csv", ("number", "name", "category", "frequency", "coverage", "syns"), rows)

    def _write_codes(self, category: str, labels: Mapping[int, Label], numbers: Sequence[int]) -> None:
        """Writes the dense coding of a category."""
        write_csv(
            self.folder / f"c_{category}.csv",
            ("code", "number", "name", "frequency", "coverage"),
            [
                (code, n, labels[n].name, self.images.get((category, n), 0), f"{self.coverage.get((category, n), 0.0):.6f}")
                for code, n in enumerate(numbers, start=1)
            ],
        )

    def _rows(self, categories: Sequence[str], dropped: set[tuple[str, int]]) -> Iterator[list[object]]:
        """The rows of `index.csv`; those with labels to drop lose them on the way."""
        cleaned = {row for key in dropped for row in self.rare[key]}
        with (self.folder / _PARTIAL).open(encoding="utf-8") as file:
            for place, line in enumerate(file):
                *start, cells = json.loads(line)
                if place in cleaned:
                    cells = {category: self._cleaned(category, items, dropped) for category, items in cells.items()}
                yield [*start, *(";".join(cells.get(category, ())) for category in categories)]

    def _cleaned(self, category: str, items: Sequence[str], dropped: set[tuple[str, int]]) -> list[str]:
        """The items of a cell without the labels to drop."""
        gone = [number for kind, number in dropped if kind == category]
        kept = []
        for item in items:
            if item.isdigit():
                kept += [item] * (int(item) not in gone)
                continue
            file = self.folder / "images" / item
            channels = np.asarray(Image.open(file)).astype(np.int64)
            labels = channels[..., 0] + 256 * channels[..., 1]
            left = np.where(np.isin(labels, gone), 0, labels)
            if left.any():
                if not np.array_equal(left, labels):
                    Image.fromarray(_encoded(left)).save(file)
                kept.append(item)
            else:
                file.unlink()
        return kept


def _encoded(labels: Integer[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Label numbers as red + 256 * green."""
    return np.stack([labels % 256, labels // 256, np.zeros_like(labels)], axis=-1).astype(np.uint8)


def write_csv(path: pathlib.Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes a table under a temporary name and renames it, so that it is there whole or not at all."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
