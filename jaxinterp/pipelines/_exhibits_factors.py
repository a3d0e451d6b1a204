"""What the page of factors shows: bars of unique detectors over their null, and tables with probes beside them."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxinterp import metrics, report
from jaxinterp.pipelines._factors_settings import Factors
from jaxinterp.pipelines._page import recorded_provenance
from jaxinterp.pipelines._workdir import WorkDir

_TEXT = """Unique detectors are the distinct concepts that units name by their best label, {images} images, IoU above \
{threshold:g}; the null pairs every image's masks with another image's label map, {draws} times. A bar is the excess over \
the mean of the null, its interval the band that holds 95 % of the draws: how far chance alone moves the count.

The interval is not one over trainings: each condition was trained once, and two conditions differ by more than this \
interval only where their bands part. {repeats} The probe is a logistic regression on the mean of the layer's map, its \
interval over the held-out images."""

_ONCE = "Networks trained twice from different weights show how much a training moves by itself."

_REPEATED = """How much a training moves by itself, the group "{group}" shows: the grey band is where one more start of it \
would lie (Student's 95 % prediction interval of {count} trainings). A condition beyond it owes that to more than its start; \
one within it may yet differ."""


class _Repeats(NamedTuple):
    """How many trainings from several starts are finished, and where one more of them would lie."""

    num_trainings: int
    excess: metrics.Interval
    probe: metrics.Interval


def factors_page(factors: Factors, found: Mapping[str, dict[str, Any]], workdir: WorkDir) -> report.Page:
    """The page of the conditions that are finished.

    Args:
        factors: the settings.
        found: condition -> what was read of it.
        workdir: of the run, for its manifest.
    """
    done = [condition for condition in factors.conditions if condition.name in found]
    stages = [
        report.Stage(one.name, "done" if one.name in found else "running" if index == len(done) else "to come")
        for index, one in enumerate(factors.conditions)
    ]
    repeats = _repeats(factors, found)
    text = _TEXT.format(
        images=f"{next(iter(found.values()))['num_images']:,}",
        threshold=factors.dissection.iou_threshold,
        draws=factors.dissection.num_null_draws,
        repeats=_REPEATED.format(group=factors.repeats, count=repeats.num_trainings) if repeats else _ONCE,
    )
    figure = report.Figure("factors", _bars(factors, found, repeats), "Unique detectors of each condition")
    items = (figure, *([_beyond(factors, found, repeats)] if repeats else ()), *_tables(factors, found))
    return report.Page(
        title=factors.title,
        subtitle=factors.description,
        stages=tuple(stages),
        sections=(report.Section("Factors of interpretability", text=text, items=items),),
        provenance=recorded_provenance(json.loads((workdir.path / "manifest.json").read_text())),
    )


def _repeats(factors: Factors, found: Mapping[str, dict[str, Any]]) -> _Repeats | None:
    """What the trainings from several starts say; None where fewer than two are finished."""
    names = [one.name for one in factors.conditions if one.group == factors.repeats and one.name in found]
    if len(names) < 2:
        return None
    read = [_last(found[name]) for name in names]
    values = np.asarray([_measured(one) for one in read])
    return _Repeats(len(names), *map(metrics.prediction_interval, values.T))


def _last(values: Mapping[str, Any]) -> dict[str, Any]:
    """What was read of a condition's last layer."""
    return list(values["layers"].values())[-1]


def _excess(read: Mapping[str, Any]) -> float:
    return read["unique"]["observed"] - read["unique"]["mean"]


def _measured(read: Mapping[str, Any]) -> tuple[float, float]:
    """Excess and accuracy of the probe."""
    return _excess(read), read["probe"]["accuracy"]["estimate"]


def _beyond(factors: Factors, found: Mapping[str, dict[str, Any]], repeats: _Repeats) -> report.Table:
    """What of every other condition is beyond another start of the same training."""
    _, excess, probe = repeats
    same = {factors.trained(one).name for one in factors.conditions if one.group == factors.repeats}
    rows = []
    for condition in factors.conditions:
        repeated = factors.trained(condition).name in same and condition.at_step is None
        if condition.name not in found or condition.group == factors.repeats or repeated:
            continue
        values = zip(_measured(_last(found[condition.name])), (excess, probe), (1, 100), strict=True)
        cells = [f"{scale * value:.1f}, {_side(value, interval)}" for value, interval, scale in values]
        rows.append((condition.group, condition.title or condition.name, *cells))
    caption = (
        f"One more start would lie at {excess.low:.1f} to {excess.high:.1f} and at {100 * probe.low:.0f} to "
        f"{100 * probe.high:.0f} % (Student's 95 % prediction intervals). One training a condition; one in twenty is beyond by "
        "chance."
    )
    return report.Table("Beyond another start", ("factor", "condition", "excess", "probe, %"), tuple(rows), caption=caption)


def _side(value: float, interval: metrics.Interval) -> str:
    return "above" if value > interval.high else "below" if value < interval.low else "within"


def _bars(factors: Factors, found: Mapping[str, dict[str, Any]], repeats: _Repeats | None) -> bytes:
    bars, names = [], ()
    for condition in factors.conditions:
        if condition.name not in found:
            continue
        read = _last(found[condition.name])
        names = tuple(read["unique_by_best"])
        counts, null = (
            np.asarray([one[part] for one in read["unique_by_best"].values()], float) for part in ("observed", "mean")
        )
        total = read["unique"]
        interval = (total["observed"] - total["high"], total["observed"] - total["low"])
        title = condition.title or condition.name
        bars.append(report.NetworkBar(title, counts, null=null, interval=interval, group=condition.group))
    title, band = "Unique detectors over their null", repeats.excess[1:] if repeats else None
    note = "grey: where one more start of the same training would lie (95 %)" if repeats else ""
    return report.bar_networks(bars, names=names, subtract_null=True, band=band, title=title, note=note)


def _tables(factors: Factors, found: Mapping[str, dict[str, Any]]) -> tuple[report.Table, ...]:
    last, every = [], []
    for condition in factors.conditions:
        if condition.name not in found:
            continue
        values = found[condition.name]
        accuracy = _percent(values["accuracy"]) if "accuracy" in values else None
        for place, (layer, read) in enumerate(values["layers"].items()):
            unique, probe = read["unique"], read["probe"]
            row = (
                condition.title or condition.name,
                condition.group,
                values["num_steps"],
                layer,
                read["num_units"],
                unique["observed"],
                f"{unique['mean']:.1f} ({unique['low']:.0f} to {unique['high']:.0f})",
                f"{_excess(read):.1f}",
                read["survivors"],
                _percent(probe["accuracy"]),
            )
            every.append(row)
            if place == len(values["layers"]) - 1:
                last.append((*row, accuracy))
    columns = ("condition", "factor", "steps", "layer", "units", "unique", "null", "excess", "surviving units", "probe")
    tables = [report.Table("Conditions", (*columns, "accuracy"), tuple(last), caption=_CAPTION)]
    if len(every) > len(last):
        tables.append(report.Table("Layer by layer", columns, tuple(every), caption=_CAPTION))
    return tuple(tables)


_CAPTION = (
    "Null: mean of the draws and the band that holds 95 % of them. Surviving units: more than chance at a false discovery "
    "rate of 5 %. Probe and accuracy in per cent with Wilson's 95 % interval over the held-out images."
)


def _percent(interval: Mapping[str, float]) -> str:
    return f"{100 * interval['estimate']:.1f} ({100 * interval['low']:.0f} to {100 * interval['high']:.0f})"
