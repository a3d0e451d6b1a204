"""The figures of one network's study, a number each, as networks are compared by them."""

from typing import Any, NamedTuple

import numpy as np

from jaxinterp.pipelines._consistency import ALL
from jaxinterp.pipelines._context import NORMAL, Run
from jaxinterp.pipelines._dissection import ADVERSARIAL, REAL
from jaxinterp.pipelines._gates import FITTED, KEPT, MASKED, OWN
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
    Quantity("distortion", "RMS distortion, /255"),
    Quantity("detectors", "dissection ratio", True),
    Quantity("detectors_null", "the same by chance", True),
    Quantity("mis", "MIS"),
    Quantity("mis_excess", "MIS beyond permuted labels"),
    Quantity("gate_density", "density of the gate"),
    Quantity("fitted_density", "density of a gate fitted afterwards"),
    Quantity("block_score", "block score"),
    Quantity("masked_own", "own class, its filters masked", True),
    Quantity("masked_others", "other classes, filters masked", True),
    Quantity("kept_own", "own class, its filters alone", True),
    Quantity("detection", "detection from features, AUROC"),
)
"""Every figure that `figures_of` can find, in the order of the page."""


def figures_of(run: Run) -> dict[str, float]:
    """The figures of the one network of a finished study, of the stages that it has.

    Accuracies are over the held-out images that are attacked. LC, CS1 and CS2 are means over the units that answer to all of
    their top images, r1, r2 and the distortion means over all adversarial images.

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
    if run.workdir.finished(f"generate.{NORMAL}"):
        found["distortion"] = 255 * float(run.workdir.load(f"generate.{NORMAL}")[1]["rms"].mean())
    if run.workdir.finished(f"consistency.{NORMAL}"):
        found |= _consistency(run, member.name)
    found |= _dissection(run, member.name, member.layer)
    if run.workdir.finished(f"gates.{NORMAL}"):
        found |= _gates(run.workdir.load(f"gates.{NORMAL}")[0]["members"][member.name])
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


def _gates(measured: dict[str, Any]) -> dict[str, float]:
    """What the stage of gates found; the density is that of the network's own gate where it was trained with one."""
    densities, without = measured["densities"], measured["without"]
    found = {
        "mis": measured["score"][0],
        "mis_excess": measured["score"][0] - measured["permuted"],
        "gate_density": densities.get(OWN, densities[FITTED]),
        "fitted_density": densities[FITTED],
        "block_score": measured["block_score"],
    }
    shares = (("masked_own", f"{MASKED}/own"), ("masked_others", f"{MASKED}/others"), ("kept_own", f"{KEPT}/own"))
    found |= {name: without[key]["accuracy"] for name, key in shares if key in without}
    return found | ({"detection": measured["detection"][0]} if "detection" in measured else {})
