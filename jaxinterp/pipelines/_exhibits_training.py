"""What the page shows of training and of accuracy under attack."""

import numpy as np

from jaxinterp import metrics, report
from jaxinterp.pipelines._context import ROBUST
from jaxinterp.pipelines._evaluation import TRANSFERRED
from jaxinterp.pipelines._results import Results

KINDS = ("clean", "fgsm", "pgd")


def accuracy_section(results: Results) -> report.Section:
    """Accuracy on clean images, under FGSM and under PGD, before and after, and the training curves."""
    items: list[report.Table | report.Figure] = []
    text = ""
    phases = results.phases("evaluate")
    if phases:
        settings, _ = results.load(f"evaluate.{phases[0]}")
        items.append(_table_two(results, settings))
        text = (
            f"epsilon = {255 * settings['epsilon']:.3g}/255 in the maximum norm, PGD with {settings['num_steps']} steps, "
            f"the worst of {settings['num_restarts']} random starts, "
            f"{settings['num_images']} held-out images. A gain under FGSM without one under PGD, or more than ten points "
            "between "
            "the two, would be a sign of masked gradients."
        )
    if results.has(f"train.{ROBUST}"):
        items.append(_curves(results))
    return report.Section("Accuracy under attack", text=text, items=tuple(items))


def correct(results: Results, phase: str, member: str, kind: str, *, top: int = 1) -> np.ndarray:
    """Which held-out images a network gets right under a kind of attack."""
    _, arrays = results.load(f"evaluate.{phase}")
    return arrays[f"{member}/{kind}"] < top


def _table_two(results: Results, settings: dict) -> report.Table:
    rows = []
    transferred = (TRANSFERRED,) if results.run.study.robustness and results.run.study.robustness.transferred_from else ()
    for phase in results.phases("evaluate"):
        for member in results.members:
            cells: list[str] = []
            for kind in (*KINDS, *transferred):
                right = correct(results, phase, member.name, kind)
                interval = metrics.wilson_interval(float(right.sum()), float(len(right)))
                five = 100 * correct(results, phase, member.name, kind, top=5).mean()
                cells.append(
                    f"{100 * interval.estimate:.1f} / {five:.1f} ({100 * interval.low:.0f} to {100 * interval.high:.0f})"
                )
            fgsm, pgd = (100 * correct(results, phase, member.name, kind).mean() for kind in KINDS[1:])
            rows.append((results.title(member.name, phase), *cells, "yes" if fgsm - pgd > 10 else "no"))
    columns = ("network", "clean", "FGSM", f"PGD-{settings['num_steps']}", *transferred, "masking suspected")
    caption = "Top-1 / top-5 accuracy in per cent, with the 95 % interval of top-1."
    if transferred:
        caption += " Transferred: on images attacked on another network."
    return report.Table("Accuracy", columns, tuple(rows), caption=caption, paper="Answers Table 2 of the journal version")


def _curves(results: Results) -> report.Figure:
    values, _ = results.load(f"train.{ROBUST}")
    panels: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for member, history in values["history"].items():
        read = {name: np.asarray([entry[name] for entry in history], np.float64) for name in history[0]}
        found = {"accuracy on training images": read.get("accuracy"), "the same under FGSM": read.get("adversarial_accuracy")}
        if "feature_distance" in read:
            found["feature distance, relative to the features"] = read["feature_distance"] / read["feature_square"]
        for title, curve in found.items():
            if curve is not None:
                panels.setdefault(title, {})[member] = (read["step"], curve)
    return report.Figure(
        "training",
        report.training_curves(panels),
        "Adversarial training with the consistent loss",
        caption="Means between points.",
    )
