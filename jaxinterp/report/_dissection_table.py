"""The table of a dissection: detectors by category beside their null, for every network and set of images."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from jaxinterp.report._records import Cell, Table

Count = tuple[float | int, float | int, float | int, float | int]
"""(observed, null mean, low, high); a `metrics.NullCount` is one."""

_RULES = {
    "category": "A unit counts in every category in which its best IoU exceeds the threshold.",
    "best": "A unit counts once, in the category of its best concept.",
}


@dataclasses.dataclass(frozen=True, eq=False)
class SetCounts:
    """Detectors of one network on one set of images.

    Attributes:
        images: the set: "real", "adversarial", "noise".
        number: (observed, null mean, low, high) of units that detect; low and high hold 95 % of the draws.
        unique: the same for distinct concepts; a lone observed number where no null was counted for them. The table shows
            the sum over the categories where these are counted, as the paper does.
        by_category: category -> the same for units whose best IoU in that category exceeds the threshold.
        by_best: category -> the same for units whose best concept lies in it, each unit counted once.
        unique_by_category: category -> distinct concepts behind `by_category`.
        unique_by_best: category -> distinct concepts behind `by_best`.
    """

    images: str
    number: Count
    unique: Count | int
    _: dataclasses.KW_ONLY
    by_category: Mapping[str, Count] = dataclasses.field(default_factory=dict)
    by_best: Mapping[str, Count] = dataclasses.field(default_factory=dict)
    unique_by_category: Mapping[str, int] = dataclasses.field(default_factory=dict)
    unique_by_best: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkCounts:
    """Detectors of one network: one row of blocks of the table.

    Attributes:
        title: the network, its layer and its state.
        num_units: units of the layer.
        sets: its counts, one a set of images.
    """

    title: str
    num_units: int
    sets: tuple[SetCounts, ...]


def dissection_table(
    networks: Sequence[NetworkCounts],
    *,
    rule: str = "category",
    compact: bool = False,
    categories: Sequence[str] = ("color", "texture", "material", "scene", "part", "object"),
    title: str = "Detectors by category",
    caption: str = "",
    paper: str = "",
) -> Table:
    """Detectors by category: observed, null mean, band, excess and distinct concepts, one block of columns a set of images.

    `latex_table`, `markdown_table` and `csv_table` turn it into text; a `Page` shows it as it is.

    Args:
        networks: one block of rows each, with a last row for all categories together.
        rule: "category" is the rule of the paper's table, "best" counts each unit once.
        compact: write null and band in one column and leave the excess out, so that three sets fit on a printed page.
        categories: the rows, in order; one that a set does not count prints as a dash.
        title: heading of the table.
        caption: what is printed under it, before the sentence that says the rule.
        paper: the table of the paper that it answers.

    Returns:
        The table; its `groups` name the sets of images over the columns.

    Raises:
        ValueError: no network, an unknown rule, or a set of images that comes twice in a network.

    References:
        David Bau, Bolei Zhou, Aditya Khosla, Aude Oliva, Antonio Torralba, "Network Dissection: Quantifying
        Interpretability of Deep Visual Representations", 2017, section 3.
    """
    if rule not in _RULES:
        raise ValueError(f"expected rule to be 'category' or 'best', got {rule!r}.")
    if not networks:
        raise ValueError("expected at least one network, got none; leave the table out.")
    for network in networks:
        names = [one.images for one in network.sets]
        if len(set(names)) != len(names):
            raise ValueError(f"{network.title!r}: expected sets of different names, got {', '.join(names)}.")
    sets = list(dict.fromkeys(one.images for network in networks for one in network.sets))
    rows = []
    for network in networks:
        found = {one.images: one for one in network.sets}
        for name in (*categories, ""):
            cells: list[Cell] = [network.title, name or "any"]
            for kind in sets:
                cells += _cells(found.get(kind), name, rule, compact)
            rows.append(tuple(cells))
    names = ("units", "null (95 %)", "concepts") if compact else ("units", "null", "95 % band", "excess", "concepts")
    return Table(
        title,
        ("network", "category", *(name for _ in sets for name in names)),
        tuple(rows),
        caption=f"{caption} {_RULES[rule]}".strip(),
        paper=paper,
        groups=(("", 2), *((kind, len(names)) for kind in sets)),
    )


def _cells(counts: SetCounts | None, category: str, rule: str, compact: bool) -> list[Cell]:
    """Observed, null mean, band, excess and distinct concepts; of all categories where `category` is empty."""
    if counts is None:
        return [None] * (3 if compact else 5)
    units, concepts = counts.by_category, counts.unique_by_category
    if rule == "best":
        units, concepts = counts.by_best, counts.unique_by_best
    if category:
        count, unique = units.get(category), concepts.get(category)
    else:
        lone = counts.unique if isinstance(counts.unique, int) else int(counts.unique[0])
        count, unique = counts.number, sum(concepts.values()) if concepts else lone
    observed, mean, low, high = count or (math.nan,) * 4
    known = math.isfinite(mean)
    band = f"{low:g} to {high:g}" if known else None
    cells: list[Cell] = [int(observed) if math.isfinite(observed) else None]
    if compact:
        return [*cells, f"{mean:.1f} ({band})" if known else None, unique]
    return [*cells, float(mean) if known else None, band, float(observed - mean) if known else None, unique]
