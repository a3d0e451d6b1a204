"""The head of a gallery: units by category beside their null band, and the concepts they detect."""

from collections import Counter
from typing import Any

import numpy as np

from jaxinterp.report._categories import CATEGORY_NAMES
from jaxinterp.report._gallery_records import UnitGallery, UnitLabels, UnitSet

COLOURED = ("real", "adversarial", "noise")
"""The sets of images that have a colour of their own."""


def category_rows(gallery: UnitGallery) -> list[dict[str, Any]]:
    """One row a category, each with a bar for every set of images that is counted.

    Counts and bands are those of `gallery.counts`; without them, units are counted by their best concept.

    Args:
        gallery: the units.

    Returns:
        Dictionaries of `name` and `bars`; a bar has `set`, `kind`, `text` and its `width` in per cent, and with a null its band
        (`low`, `span`, in per cent) and that in words.
    """
    counted = _given(gallery) if gallery.counts is not None else _own(gallery)
    if not counted:
        return []
    names = list(dict.fromkeys(name for _, values in counted for name in values))
    ends = [max(value, high) for _, values in counted for value, _, high in values.values()]
    top = max([end for end in ends if np.isfinite(end)], default=0) or 1
    rows = []
    for name in names:
        bars = [_bar(kind, *values[name], top) for kind, values in counted if name in values and np.isfinite(values[name][0])]
        rows.append({"name": name, "bars": bars})
    return rows


def concept_lists(one: UnitSet) -> list[dict[str, Any]]:
    """The concepts that units of a set detect, by category: (concept, number of units), the commonest first."""
    labels = one.labels
    if labels is None:
        return []
    found = Counter(labels.concept[labels.detects & (labels.concept > 0)].tolist())
    order = sorted(found.items(), key=lambda pair: (-pair[1], labels.names[pair[0]]))
    rows = []
    for category in categories_of(labels):
        concepts = [(labels.names[number], count) for number, count in order if labels.categories[number] == category]
        if concepts:
            units = sum(count for _, count in concepts)
            rows.append({"category": category, "units": units, "concepts": concepts})
    return rows


def categories_of(labels: UnitLabels) -> list[str]:
    """The categories of the table of concepts, in its order; entry 0 is none."""
    return list(dict.fromkeys(labels.categories[1:]))


def _given(gallery: UnitGallery) -> list[tuple[str, dict[str, tuple[float, float, float]]]]:
    counts = gallery.counts
    assert counts is not None
    names = list(gallery.count_names or CATEGORY_NAMES)
    result = []
    for kind, values, null in counts.kinds:
        if values is None:
            continue
        if len(values) != len(names):
            raise ValueError(f"expected counts of {len(names)} categories, got {len(values)}; write count_names=.")
        bands = np.full((len(names), 2), np.nan) if null is None else null
        result.append((kind, {name: (float(v), *map(float, band)) for name, v, band in zip(names, values, bands, strict=True)}))
    return result


def _own(gallery: UnitGallery) -> list[tuple[str, dict[str, tuple[float, float, float]]]]:
    result = []
    for one in gallery.sets:
        if one.labels is not None:
            units = {row["category"]: row["units"] for row in concept_lists(one)}
            result.append((one.name, {name: (float(units.get(name, 0)), np.nan, np.nan) for name in categories_of(one.labels)}))
    return result


def _bar(kind: str, value: float, low: float, high: float, top: float) -> dict[str, Any]:
    bar: dict[str, Any] = {
        "set": kind,
        "kind": kind if kind in COLOURED else "other",
        "text": f"{value:.4g}",
        "width": round(100 * value / top, 2),
        "null": "",
    }
    if np.isfinite(low) and np.isfinite(high):
        bar |= {"low": round(100 * low / top, 2), "span": round(max(100 * (high - low) / top, 0.4), 2)}
        bar["null"] = f"{low:.3g} to {high:.3g}"
    return bar
