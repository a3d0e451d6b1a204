"""The table behind a gallery: every column of every unit, of the sets of images and of what was given besides."""

import dataclasses
import math
import re
from typing import Any, Literal

import numpy as np

from jaxinterp.report._gallery_records import Column, UnitGallery, UnitLabels
from jaxinterp.report._tables import cell_text, decimals_of

Kind = Literal["number", "chance", "text", "flag"]


@dataclasses.dataclass(frozen=True)
class Field:
    """One column.

    Attributes:
        name: its heading within its group.
        group: the set of images it belongs to; empty for further columns.
        kind: "number", "chance" (a p-value), "text" or "flag" (yes or no).
        values: one a unit, plain Python; None where missing.
        decimals: of numbers.
        note: what it is.
    """

    name: str
    group: str
    kind: Kind
    values: list[Any]
    decimals: int = 0
    note: str = ""

    @property
    def title(self) -> str:
        """Its heading on its own."""
        return f"{self.name} ({self.group})" if self.group else self.name

    @property
    def slug(self) -> str:
        """Its name in the address of the page: letters, digits, `.` and `-`."""
        parts = [re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in (self.group, self.name)]
        return ".".join(part for part in parts if part) or "column"

    def text(self, unit: int) -> str:
        """The unit's entry as one reads it."""
        value = self.values[unit]
        if value is None:
            return "–"
        if self.kind == "flag":
            return "yes" if value else "no"
        if self.kind == "chance":
            return chance(value)
        return cell_text(value, self.decimals)


def chance(value: float) -> str:
    """A p-value: three decimals, or its power of ten where that would be zero."""
    return f"{value:.3f}" if value >= 0.001 else "0" if value == 0 else f"{value:.0e}".replace("e-0", "e-").replace("-", "−")


def fields(gallery: UnitGallery) -> list[Field]:
    """Every column of the table of units, those of the sets of images first."""
    result = [field for one in gallery.sets if one.labels is not None for field in _of_labels(one.name, one.labels)]
    if gallery.dead is not None:
        result.append(Field("dead", "", "flag", gallery.dead.tolist(), note="The unit answers to no image."))
    return result + [_of_column(column) for column in gallery.columns]


def _of_labels(group: str, labels: UnitLabels) -> list[Field]:
    named = [number or None for number in labels.concept.tolist()]
    found = [
        Field("concept", group, "text", [number and labels.names[number] for number in named], note="Concept of highest IoU."),
        Field("category", group, "text", [number and labels.categories[number] for number in named]),
        Field("IoU", group, "number", _numbers(labels.iou), 3, "Of the unit's mask with the concept."),
        Field("detects", group, "flag", labels.detects.tolist(), note="Its IoU exceeds the threshold."),
    ]
    if labels.attainable is not None:
        note = "The highest IoU that a mask of the unit's area could have with any concept."
        found.append(Field("attainable IoU", group, "number", _numbers(labels.attainable), 3, note))
    if labels.p_value is not None:
        found.append(Field("p", group, "chance", _numbers(labels.p_value), note="Chance of so high an IoU, labels permuted."))
    if labels.survives is not None:
        note = "More than chance at the false discovery rate of the layer."
        found.append(Field("survives", group, "flag", labels.survives.tolist(), note=note))
    return found


def _of_column(column: Column) -> Field:
    values = [_plain(value) for value in (column.values.tolist() if isinstance(column.values, np.ndarray) else column.values)]
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, bool) for value in present):
        return Field(column.name, "", "flag", values, note=column.note)
    if all(isinstance(value, int | float) for value in present):
        decimals = _decimals(present) if column.decimals is None else column.decimals
        return Field(column.name, "", "number", values, decimals, column.note)
    texts = [None if value is None else str(value) for value in values]
    return Field(column.name, "", "text", texts, note=column.note)


def _decimals(values: list[Any]) -> int:
    """Decimals at which the typical number of a column has three significant digits."""
    sizes = sorted(abs(value) for value in values if isinstance(value, float) and value)
    return decimals_of(sizes[len(sizes) // 2]) if sizes else 0


def _numbers(values: np.ndarray) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.astype(np.float64).tolist()]


def _plain(value: Any) -> Any:
    """A cell as plain Python; what is missing is None."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if value == "" or (isinstance(value, float) and not math.isfinite(value)) else value
