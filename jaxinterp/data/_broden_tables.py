"""The tables of Broden's format: which labels a category has, and what every cell must be."""

import csv
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from jaxinterp.data._concepts import ConceptTable, concept_table

INDEX_COLUMNS = ("image", "split", "ih", "iw", "sh", "sw")
"""The columns of `index.csv` that come before the categories."""

UNLABELLED = "-"
"""The name that Broden gives to label 0."""


def read_codes(folder: pathlib.Path, categories: Iterable[str]) -> tuple[dict[str, np.ndarray], ConceptTable]:
    """For each category the concept number of every label number, and the names of the concepts."""
    names: dict[str, tuple[str, ...]] = {}
    numbers: dict[str, np.ndarray] = {}
    first = 1
    for category in categories:
        path = folder / f"c_{category}.csv"
        found = read_csv(path, ("code", "number", "name"))
        rows = sorted((_number(row, "code", path), _number(row, "number", path), row["name"]) for row in found)
        rows = [row for row in rows if row[1] != 0]
        if not rows:
            raise ValueError(f"expected labels in {path}, got none; leave {category!r} out of categories=.")
        table = np.full(max(number for _, number, _ in rows) + 2, -1, np.int32)
        table[0] = 0
        for place, (_, number, name) in enumerate(rows):
            if table[number] >= 0 or not name:
                raise ValueError(f"expected one name for each label, got {name!r} for label {number} in {path}; correct it.")
            table[number] = first + place
        names[category], numbers[category] = tuple(name for *_, name in rows), table
        first += len(rows)
    return numbers, concept_table(names)


def read_csv(path: pathlib.Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """The rows of a table, each with a text in every column.

    Args:
        path: the file.
        columns: what it must have.
    """
    if not path.is_file():
        raise ValueError(f"expected {path.name} of a data set in Broden's format, found none in {path.parent}.")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
                raise ValueError(f"expected a column {missing[0]!r} in {path}, got: {', '.join(reader.fieldnames or ())}.")
            for row in reader:
                if None in row or None in row.values():
                    cells = f"expected {len(reader.fieldnames or ())} cells in line {reader.line_num} of {path}"
                    raise ValueError(f"{cells}, got {'more' if None in row else 'fewer'}; write the line again.")
                yield row
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(
                f"expected CSV in UTF-8, could not read line {reader.line_num + 1} of {path} ({error}); write the file again."
            ) from error


def _number(row: dict[str, str], column: str, path: pathlib.Path) -> int:
    if not row[column].isdecimal() or int(row[column]) >= 2**16:
        raise ValueError(f"expected a number up to 65535 in column {column} of {path}, got {row[column]!r}; correct it.")
    return int(row[column])


def pixels(row: dict[str, str], column: str) -> int:
    """A cell that holds a number of pixels."""
    if not row[column].isdecimal() or int(row[column]) == 0:
        raise ValueError(f"expected a number of pixels in column {column}, got {row[column]!r} for {row['image']}.")
    return int(row[column])
