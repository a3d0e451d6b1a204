"""The labels file of a folder of images: a CSV whose columns are found by name."""

import csv
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from jaxinterp._base import did_you_mean

_COLUMNS = {
    "file": ("file", "filename", "path", "image", "imageid"),
    "label": ("index", "label", "truelabel", "classindex"),
    "wnid": ("wnid", "synset"),
    "target": ("target", "targetclass", "targetlabel"),
    "name": ("name", "classname"),
}


_MOST_CLASSES = 100_000


class Row(NamedTuple):
    """A line of the labels file.

    Attributes:
        number: line number in the file, the header is line 1.
        file: name of the image as it is written there.
        label: the class, counted from 0.
        target: the class an attack aims at, counted from 0; -1 where there is none.
    """

    number: int
    file: str
    label: int
    target: int


class Labels(NamedTuple):
    """What a labels file says: its rows, the class ids (index = label) and the names of the classes."""

    rows: tuple[Row, ...]
    classes: tuple[str, ...]
    class_names: tuple[str, ...]


def read_labels(
    path: pathlib.Path, *, first_label: int, classes: Sequence[str] | None, class_names: Sequence[str] | None
) -> Labels:
    """Reads and checks a labels file.

    Args:
        path: a CSV with a header. Columns, in any order and case: file (or image id, path), index or label and / or wnid,
            and if there are any, target and name.
        first_label: the number of the first class in the columns label and target, 0 or 1.
        classes: class ids, index = label; by default those of the wnid column.
        class_names: what people call them; by default those of the name column.

    Returns:
        Rows, classes and names.

    Raises:
        ValueError: a missing column, no row, a label that is no number or outside the class list, a wnid that
            contradicts its index.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file)
            header = next(lines, [])
            numbered = [(lines.line_num, line) for line in lines if any(line)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"expected a CSV file in UTF-8, got something else: {path} ({error}); save it again.") from error
    columns = _find_columns(path, header)
    if not numbered:
        raise ValueError(f"expected a line for every image, got only a header: {path}; write file,label below it.")
    numbers = [number for number, _ in numbered]
    cells = {name: [_cell(path, number, line, at) for number, line in numbered] for name, at in columns.items()}
    wnids = cells.get("wnid")
    labels, targets = (
        [_number(path, *pair, first_label) for pair in zip(numbers, cells.get(name, ()), strict=name in cells)]
        for name in ("label", "target")
    )
    if classes is not None:
        ids = tuple(classes)
    elif wnids is not None and not labels:
        ids = tuple(sorted(set(wnids)))
    else:
        ids = _classes_by_index(path, labels, wnids) if wnids is not None else _numbered(path, max(labels + targets) + 1)
    if len(set(ids)) != len(ids):
        raise ValueError(f"expected every class once, got {len(ids) - len(set(ids))} repeated class ids; one id is one class.")
    if wnids is not None and not labels:
        labels = _positions(path, numbers, wnids, ids)
    _check_range(path, numbers, labels, len(ids), first_label)
    _check_range(path, numbers, targets, len(ids), first_label)
    _check_pairs(path, numbers, labels, wnids, ids)
    targets = targets or [-1] * len(numbers)
    rows = tuple(Row(*row) for row in zip(numbers, cells["file"], labels, targets, strict=True))
    return Labels(rows=rows, classes=ids, class_names=name_classes(ids, labels, cells.get("name"), class_names))


def _find_columns(path: pathlib.Path, header: list[str]) -> dict[str, int]:
    plain = [title.strip().lower().replace("_", "").replace(" ", "") for title in header]
    columns = {}
    for name, titles in _COLUMNS.items():
        places = [plain.index(title) for title in titles if title in plain]
        if places:
            columns[name] = places[0]
    if "file" not in columns or not {"label", "wnid"} & columns.keys():
        shown = ", ".join(header) or "an empty file"
        raise ValueError(f"expected the columns file and label (or wnid), got {shown}: {path}; name them in its first line.")
    return columns


def _cell(path: pathlib.Path, number: int, line: list[str], column: int) -> str:
    if column >= len(line):
        raise ValueError(f"expected at least {column + 1} columns, got {len(line)} in {path} line {number}; complete the line.")
    return line[column].strip()


def _number(path: pathlib.Path, number: int, text: str, first_label: int) -> int:
    try:
        return int(text) - first_label
    except ValueError:
        raise ValueError(f"expected a class number, got {text!r} in {path} line {number}; write an integer.") from None


def _classes_by_index(path: pathlib.Path, labels: list[int], wnids: list[str]) -> tuple[str, ...]:
    by_index = dict(zip(labels, wnids, strict=True))
    length = max(labels) + 1
    missing = next((label for label in range(length) if label not in by_index), None)
    if missing is not None:
        raise ValueError(f"expected a wnid for each of {length} classes, got none for {missing}: {path}; pass classes=.")
    return tuple(by_index[label] for label in range(length))


def _numbered(path: pathlib.Path, length: int) -> tuple[str, ...]:
    if length > _MOST_CLASSES:
        raise ValueError(f"expected classes below {_MOST_CLASSES}, got {length - 1}: {path}; pass the list as classes=.")
    return tuple(str(label) for label in range(length))


def _check_range(path: pathlib.Path, numbers: list[int], labels: list[int], length: int, first_label: int) -> None:
    for number, label in zip(numbers, labels, strict=bool(labels)):
        if not 0 <= label < length:
            raise ValueError(
                f"expected a class from {first_label} to {length - 1 + first_label}, got {label + first_label} in "
                f"{path} line {number}; write first_label={1 - first_label} or pass the whole list as classes=."
            )


def _check_pairs(
    path: pathlib.Path, numbers: list[int], labels: list[int], wnids: list[str] | None, ids: tuple[str, ...]
) -> None:
    for number, label, wnid in zip(numbers, labels, wnids or (), strict=wnids is not None):
        if ids[label] != wnid:
            raise ValueError(
                f"expected {ids[label]} for this label, got {wnid} in {path} line {number}; "
                f"check first_label= and the order of classes=."
            )


def _positions(path: pathlib.Path, numbers: list[int], wnids: list[str], ids: tuple[str, ...]) -> list[int]:
    place = {wnid: index for index, wnid in enumerate(ids)}
    for number, wnid in zip(numbers, wnids, strict=True):
        if wnid not in place:
            raise ValueError(
                f"expected one of {len(ids)} classes, got {wnid!r} in {path} line {number}; "
                f"remove the line or add it to classes={did_you_mean(wnid, list(ids))}"
            )
    return [place[wnid] for wnid in wnids]


def name_classes(
    ids: tuple[str, ...], labels: Sequence[int], names: Sequence[str] | None, class_names: Sequence[str] | None
) -> tuple[str, ...]:
    """The name of every class: as given, else as the labelled rows say, else its id."""
    if class_names is not None:
        if len(class_names) != len(ids):
            raise ValueError(f"expected {len(ids)} class_names, got {len(class_names)}; write one for each class.")
        return tuple(class_names)
    by_label = dict(zip(labels, names, strict=True)) if names is not None else {}
    return tuple(by_label.get(label) or wnid for label, wnid in enumerate(ids))
