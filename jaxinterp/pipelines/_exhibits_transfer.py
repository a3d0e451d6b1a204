"""What the page shows of transfer."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxinterp import report
from jaxinterp.pipelines._context import NORMAL
from jaxinterp.pipelines._results import WHEN, Results
from jaxinterp.pipelines._threat import threat_in_words
from jaxinterp.pipelines._transfer_card import MARKS


def transfer_section(results: Results) -> report.Section:
    """The matrix of success rates as a heat map and, with intervals, as tables."""
    items: list[report.Table | report.Figure] = []
    card: dict[str, Any] = {}
    for phase in results.phases("transfer"):
        card = results.load(f"transfer.{phase}")[0]
        when = f", {WHEN[phase]} training" if results.run.study.finetuning else ""
        items.append(_heatmap(card, phase, when))
        items += [_table(card, kind, f"Transfer, {kind}{when}") for kind in card["kinds"]]
    steps = ", ".join(f"{kind} {count} steps" for kind, count in card["num_steps"].items())
    text = (
        f"Threat model: {threat_in_words(card['threat_model'])}; {card['num_images']} held-out images; {steps}. Each source is "
        "a network, or several attacked together. Its adversarial images are rounded to 8 bits inside the ball and shown to "
        "every network. Networks that are attacked themselves, and versions of them, do not count as black boxes. The control "
        f"is {card['control']}, as large and as structured."
    )
    if card["targets"]:
        text += f" Targets: {card['targets']}."
    return report.Section("Transfer", text=text, items=tuple(items))


def _heatmap(card: Mapping[str, Any], phase: str, when: str) -> report.Figure:
    panels = []
    for kind, found in card["kinds"].items():
        rows = found["sources"].values()
        means = [row["black_boxes"]["success"]["estimate"] if row["black_boxes"] else None for row in rows]
        panels.append(
            report.TransferMatrix(
                title=kind,
                sources=tuple(found["sources"]),
                networks=tuple(card["networks"]),
                success=_rates(rows, "success"),
                control=_rates(rows, "control"),
                relations=tuple(tuple(cell["relation"] for cell in row["networks"].values()) for row in rows),
                black_box=np.asarray(means, np.float64),
                note=f"{found['success']}; n = {card['num_correct']} images that all classify correctly",
            )
        )
    caption = (
        f"Per cent of the {card['num_correct']} of {card['num_images']} {card['denominator']}. Rows are what was attacked, "
        "columns what was shown the images; the last column is the mean over the black boxes of its row. "
        "Rows have different black boxes, so sources are compared within a column."
    )
    name = "transfer" if phase == NORMAL else "transfer_after"
    return report.Figure(name, report.transfer_heatmap(panels), f"Transfer{when}", caption=caption)


def _rates(rows: Any, what: str) -> np.ndarray:
    return np.asarray([[cell[what]["estimate"] for cell in row["networks"].values()] for row in rows], np.float64)


def _table(card: Mapping[str, Any], kind: str, title: str) -> report.Table:
    found, rows = card["kinds"][kind], []
    for name, row in found["sources"].items():
        cells = [_interval(cell["success"]) + MARKS[cell["relation"]] for cell in row["networks"].values()]
        black, points = row["black_boxes"], row["points"]
        rows.append(
            (
                name,
                *cells,
                f"{_interval(black['success'])}, {black['num_networks']} networks" if black else None,
                _interval(black["control"]) if black else None,
                f"{points['scored']} of {points['of']}",
            )
        )
    held = [f"{points['scored']} of {points['of']}" for points in found["networks"].values()]
    rows.append(("points of the network", *held, None, None, None))
    columns = ("source", *card["networks"], "black boxes", "control on them", "points")
    caption = (
        f"Success: {found['success']}. Per cent of the {card['num_correct']} of {card['num_images']} {card['denominator']}, "
        "with 95 % intervals (Wilson; that of the black boxes clustered on the image). * attacked itself, ~ a version of one "
        "that is attacked. Points are counted over all images and black boxes: successes of an attack, images that a network "
        "still classifies correctly."
    )
    return report.Table(title, columns, tuple(rows), caption=caption)


def _interval(rate: Mapping[str, Any]) -> str:
    if rate["estimate"] is None:
        return "–"
    return f"{100 * rate['estimate']:.1f} ({100 * rate['low']:.0f} to {100 * rate['high']:.0f})"
