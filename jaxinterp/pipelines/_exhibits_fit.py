"""What the page of one training shows: accuracies with their intervals, and the curves."""

import json

import numpy as np

from jaxinterp import report
from jaxinterp.pipelines._fit_settings import Fit
from jaxinterp.pipelines._page import recorded_provenance
from jaxinterp.pipelines._workdir import WorkDir

_TITLES = {
    "clean": "clean, all held-out images",
    "clean_attacked": "clean, the attacked images",
    "fgsm": "under FGSM",
    "pgd": "under PGD",
    "transferred": "attacked on another network",
}


def fit_page(fit: Fit, workdir: WorkDir) -> report.Page:
    """The page of a training that has ended.

    Args:
        fit: the settings.
        workdir: of the run.
    """
    values, _ = workdir.load("fit")
    items: list[report.Table | report.Figure] = []
    if values["accuracy"]:
        items.append(_accuracies(values))
    items.append(_curves("metrics", "What was minimised", values["history"], "Means between points."))
    if values["evaluations"]:
        items.append(_curves("evaluations", "Held-out images on the way", values["evaluations"], ""))
    return report.Page(
        title=fit.title,
        subtitle=fit.description,
        stages=(report.Stage("train", "done"),),
        sections=(report.Section("Training", text=_text(fit), items=tuple(items)),),
        provenance=recorded_provenance(json.loads((workdir.path / "manifest.json").read_text())),
    )


def _text(fit: Fit) -> str:
    said = f"{fit.num_steps:,} steps of {fit.batch_size} images."
    if fit.options.ema_decay is not None:
        said += f" Accuracies are those of the averaged weights (decay {fit.options.ema_decay:g})."
    if fit.robustness is not None:
        said += (
            f" epsilon = {255 * fit.robustness.epsilon:.3g}/255 in the maximum norm, PGD with {fit.robustness.num_steps} steps,"
            f" the worst of {fit.robustness.num_restarts} random starts."
        )
    return said


def _accuracies(values: dict) -> report.Table:
    rows = []
    for name, interval in values["accuracy"].items():
        percent = {part: 100 * value for part, value in interval.items()}
        band = f"{percent['low']:.1f} to {percent['high']:.1f}"
        rows.append((_TITLES[name], f"{percent['estimate']:.1f} %", band, values["num_images"][name]))
    return report.Table("Accuracy", ("images", "right", "95 % interval", "n"), tuple(rows), caption="Wilson's intervals.")


def _curves(name: str, title: str, lines: list[dict], caption: str) -> report.Figure:
    steps = np.asarray([line["step"] for line in lines], np.float64)
    panels = {
        _TITLES.get(quantity) or quantity.replace("_", " "): {
            "": (steps, np.asarray([line[quantity] for line in lines], np.float64))
        }
        for quantity in lines[0]
        if quantity != "step"
    }
    return report.Figure(name, report.training_curves(panels), title, caption=caption)
