"""What the page of a comparison shows: means over the trainings, differences within pairs, and every network."""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from jaxinterp import metrics, report
from jaxinterp.pipelines._comparison_settings import Comparison
from jaxinterp.pipelines._page import recorded_provenance
from jaxinterp.pipelines._quantities import ACCURACIES, UNITS, Quantity
from jaxinterp.pipelines._workdir import WorkDir

Found = Mapping[tuple[str, int], Mapping[str, float]]
"""(contender, seed) -> figures."""

_TEXT = """Each contender was trained from {count} seeds: {seeds}. Intervals are Student's 95 % intervals over seeds; \
differences are taken between networks of the same seed, and one is called a rise or a fall only where its interval leaves out \
zero, from three seeds on. They say how far a new training would move the figures on these images, not what other images \
would do.

Accuracies are those of the held-out images that are attacked. LC, CS1 and CS2 are means over units, r1 and r2 over \
adversarial images made against the network itself; the excess of CS2 is what an attack adds to what clean images give. The \
differences of high and low LC compare the halves of the units. A dissection ratio stands beside what permuted label maps \
give."""

_ENOUGH = 3
"""With fewer pairs no direction is claimed."""


def comparison_page(comparison: Comparison, found: Found, workdir: WorkDir) -> report.Page:
    """The page of the networks that are finished.

    Args:
        comparison: the settings.
        found: figures of each network.
        workdir: of the run, for its manifest and the pages of the networks.
    """
    cells = [(contender.name, seed) for seed in comparison.seeds for contender in comparison.contenders]
    stages = [
        report.Stage(f"{name} {seed}", "done" if (name, seed) in found else "running" if index == len(found) else "to come")
        for index, (name, seed) in enumerate(cells)
    ]
    others = _others(found)
    groups = {"Accuracy": ACCURACIES, "Units": UNITS, "Further measurements": others}
    shown = {title: _measured(group, found) for title, group in groups.items()}
    sections = [_section(comparison, title, group, found) for title, group in shown.items() if group]
    links = [
        (f"{name}, seed {seed}", f"networks/{name}-{seed}/units/index.html") for name, seed in cells if (name, seed) in found
    ]
    every = [quantity for group in shown.values() for quantity in group]
    sections.append(report.Section("Every network", links=tuple(links), items=(_networks(found, every),)))
    text = _TEXT.format(count=len(comparison.seeds), seeds=", ".join(map(str, comparison.seeds)))
    return report.Page(
        title=comparison.title,
        subtitle=comparison.description,
        stages=tuple(stages),
        sections=(report.Section("What is compared", text=text), *sections),
        provenance=recorded_provenance(json.loads((workdir.path / "manifest.json").read_text())),
    )


def _others(found: Found) -> tuple[Quantity, ...]:
    """What readings measured."""
    known = {quantity.name for quantity in (*ACCURACIES, *UNITS)}
    names = dict.fromkeys(name for figures in found.values() for name in figures if name not in known)
    return tuple(Quantity(name, name.replace("_", " ")) for name in names)


def _measured(quantities: Sequence[Quantity], found: Found) -> tuple[Quantity, ...]:
    return tuple(one for one in quantities if any(one.name in figures for figures in found.values()))


def _section(comparison: Comparison, title: str, quantities: tuple[Quantity, ...], found: Found) -> report.Section:
    names = [contender.name for contender in comparison.contenders]
    means, differences = [], []
    for quantity in quantities:
        means.append((quantity.title, *(_mean(quantity, _values(comparison, found, name, quantity)) for name in names)))
        pairs = [_pairs(comparison, found, name, quantity) for name in names if name != comparison.against]
        differences.append((quantity.title, *(_difference(quantity, values) for values in pairs)))
    others = [name for name in names if name != comparison.against]
    caption = "Mean over seeds, its 95 % interval and the number of networks; accuracies and shares in per cent."
    paired = f"Minus {comparison.against}, within pairs of one seed; points where the figures are in per cent."
    points = {
        quantity.title: {
            name: np.asarray(
                [_scale(quantity) * found.get((name, seed), {}).get(quantity.name, np.nan) for seed in comparison.seeds]
            )
            for name in names
        }
        for quantity in quantities
    }
    items = (
        report.Figure(
            title.lower().replace(" ", "_"),
            report.paired_points(points),
            title,
            caption="A point is a network, a line joins those of one seed, a bar is the mean.",
        ),
        report.Table(title, ("", *names), tuple(means), caption=caption),
        report.Table(f"Differences to {comparison.against}", ("", *others), tuple(differences), caption=paired),
    )
    return report.Section(title, items=items)


def _values(comparison: Comparison, found: Found, name: str, quantity: Quantity) -> list[float]:
    figures = [found.get((name, seed), {}) for seed in comparison.seeds]
    return [_scale(quantity) * one[quantity.name] for one in figures if quantity.name in one]


def _pairs(comparison: Comparison, found: Found, name: str, quantity: Quantity) -> list[float]:
    both = [(found.get((name, seed), {}), found.get((comparison.against, seed), {})) for seed in comparison.seeds]
    return [
        _scale(quantity) * (one[quantity.name] - other[quantity.name])
        for one, other in both
        if quantity.name in one and quantity.name in other
    ]


def _scale(quantity: Quantity) -> float:
    return 100.0 if quantity.percent else 1.0


def _mean(quantity: Quantity, values: list[float]) -> str | None:
    if not values:
        return None
    interval, digits = metrics.mean_interval(np.asarray(values)), 1 if quantity.percent else 3
    return f"{interval.estimate:.{digits}f}{_band(interval, digits)}, n = {len(values)}"


def _difference(quantity: Quantity, values: list[float]) -> str | None:
    if not values:
        return None
    interval, digits = metrics.mean_interval(np.asarray(values)), 1 if quantity.percent else 3
    said = ""
    if len(values) >= _ENOUGH and interval.low > 0:
        said = ", rises"
    if len(values) >= _ENOUGH and interval.high < 0:
        said = ", falls"
    return f"{interval.estimate:+.{digits}f}{_band(interval, digits)}{said}"


def _band(interval: metrics.Interval, digits: int) -> str:
    return "" if np.isnan(interval.low) else f" ({interval.low:.{digits}f} to {interval.high:.{digits}f})"


def _networks(found: Found, quantities: list[Quantity]) -> report.Table:
    rows = [
        (f"{name}, seed {seed}", *(_cell(quantity, figures) for quantity in quantities))
        for (name, seed), figures in found.items()
    ]
    return report.Table("Every network", ("network", *(quantity.title for quantity in quantities)), tuple(rows))


def _cell(quantity: Quantity, figures: Mapping[str, float]) -> str | None:
    if quantity.name not in figures:
        return None
    return f"{_scale(quantity) * figures[quantity.name]:.{1 if quantity.percent else 3}f}"
