"""The figures of one network's study, a number each, as networks are compared by them."""

from typing import NamedTuple

import numpy as np

from jaxinterp.pipelines._consistency import ALL
from jaxinterp.pipelines._context import NORMAL, Run
from jaxinterp.pipelines._dissection import ADVERSARIAL, REAL
from jaxinterp.pipelines._workdir import below


class Quantity(NamedTuple):
    """A figure that networks are compared by.

    Attributes:
        name: names it in files.
        title: heads its column.
        percent: it is a share, printed in per cent.
    """

    name: str
    title: str
    percent: bool = False


ACCURACIES = (
    Quantity("clean", "clean", True),
    Quantity("fgsm", "FGSM", True),
    Quantity("pgd", "PGD", True),
    Quantity("transferred", "black box", True),
    Quantity("standard", "standard evaluation", True),
)
UNITS = (
    Quantity("lc", "LC"),
    Quantity("lc_u", "LC_U"),
    Quantity("cs1", "CS1"),
    Quantity("cs2", "CS2"),
    Quantity("excess", "CS2 excess"),
    Quantity("cs1_high_minus_low", "CS1, high minus low LC"),
    Quantity("excess_high_minus_low", "CS2 excess, high minus low LC"),
    Quantity("r1", "r1"),
    Quantity("r2", "r2"),
    Quantity("success", "attacks that succeed", True),
    Quantity("detectors", "dissection ratio", True),
    Quantity("detectors_null", "the same by chance", True),
)
"""Every figure that `figures_of` can find, in the order of the page."""


def figures_of(run: Run) -> dict[str, float]:
    """The figures of the one network of a finished study, of the stages that it has.

    Accuracies are over the held-out images that are attacked. LC, CS1 and CS2 are means over the units that answer to all of
    their top images, r1 and r2 means over all adversarial images.

    Args:
        run: of a study with one member.

    Returns:
        Name -> number, by the names of `ACCURACIES` and `UNITS`; what a study does not measure, or could not, is left out.
    """
    (member,) = run.study.members
    found: dict[str, float] = {}
    if run.workdir.finished(f"evaluate.{NORMAL}"):
        _, arrays = run.workdir.load(f"evaluate.{NORMAL}")
        found |= {name: float((rank < 1).mean()) for name, rank in below(arrays, member.name).items()}
    if run.workdir.finished(f"robustness.{NORMAL}"):
        values, _ = run.workdir.load(f"robustness.{NORMAL}")
        found["standard"] = values["cards"][member.name]["robust_accuracy"]["estimate"]
    if run.workdir.finished(f"consistency.{NORMAL}"):
        found |= _consistency(run, member.name)
    found |= _dissection(run, member.name, member.layer)
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _consistency(run: Run, member: str) -> dict[str, float]:
    values, arrays = run.workdir.load(f"consistency.{NORMAL}")
    measured, units = values["members"][member][ADVERSARIAL], below(arrays, f"{member}/{ADVERSARIAL}/{ALL}")
    found = {"success": measured["num_successes"] / measured["num_adversarial"]}
    summary = measured[ALL]
    found |= {name: float(np.nanmean(units[f"score/{name}"])) for name in ("lc", "lc_u") if f"score/{name}" in units}
    found |= {name: summary["means"][name][0] for name in ("cs1", "cs2", "excess") if name in summary.get("means", {})}
    for name in ("cs1", "excess"):
        if name in summary["effects"]:
            found[f"{name}_high_minus_low"] = summary["effects"][name]["difference"][0]
    for name in ("r1", "r2"):
        finite = units[name][np.isfinite(units[name])]
        if len(finite):
            found[name] = float(finite.mean())
    return found


def _dissection(run: Run, member: str, layer: str) -> dict[str, float]:
    """The share of units that detect a concept, and the same by chance, of the concept set or of the study's own images."""
    if run.workdir.finished(f"concepts.{NORMAL}"):
        layers = run.workdir.load(f"concepts.{NORMAL}")[0]["members"][member]["layers"]
        if layer not in layers:
            return {}
        counts, num_units = layers[layer]["sets"][REAL], layers[layer]["num_units"]
    elif run.workdir.finished(f"dissect.{NORMAL}"):
        values, arrays = run.workdir.load(f"dissect.{NORMAL}")
        counts = values["members"][member][REAL]
        if "null" not in counts:
            return {}
        num_units = len(below(arrays, f"{member}/{REAL}")["thresholds"])
    else:
        return {}
    return {"detectors": counts["ratio"], "detectors_null": counts["null"]["number"]["mean"] / num_units}
