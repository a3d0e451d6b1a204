"""What the page shows of LC, CS1, CS2, r1 and r2."""

from typing import Any

import numpy as np

from jaxinterp import report
from jaxinterp.pipelines._consistency import ALL, SUCCESSES
from jaxinterp.pipelines._dissection import ADVERSARIAL, STALE
from jaxinterp.pipelines._results import Results

_CS1_CONTROLS = {"disjoint": "disjoint source images", "ceiling": "real-real ceiling"}
_CS2_CONTROLS = {
    "attack_free": "attack-free",
    "permuted": "permuted targets",
    "marginal": "target marginal",
    "random": "random targets",
}


def consistency_figure(results: Results, kind: str) -> tuple[report.Figure, ...]:
    """CS1 and CS2 against LC with their controls, one panel a network and state.

    None where no network has units to show, such as one whose training collapsed.
    """
    panels = []
    for phase in results.phases("consistency"):
        values, _ = results.load(f"consistency.{phase}")
        for member in results.members:
            summary = values["members"][member.name].get(kind, {}).get(ALL)
            if summary is None or not summary["effects"]:
                continue
            found, prefix = results.of(f"consistency.{phase}", member.name), f"{kind}/{ALL}/"
            curves = {
                name.removeprefix(f"{prefix}curve/"): curve
                for name, curve in found.items()
                if name.startswith(f"{prefix}curve/")
            }
            low, high = summary["lc_null"][1:]
            k = f"k = {summary['num_top_real']} + {summary['num_top_adversarial']}"
            note = f"{k}, LC floor {summary['floor']:.3f}, chance {low:.3f} to {high:.3f}"
            weak = ", under-powered" if summary["under_powered"] else ""
            panels.append(
                report.Consistency(
                    title=results.title(member.name, phase) + weak,
                    lc=found[f"{prefix}bin_lc"],
                    cs1=curves["cs1"][0],
                    cs2=curves["cs2"][0],
                    cs1_interval=curves["cs1"][1:].T,
                    cs2_interval=curves["cs2"][1:].T,
                    cs1_controls={label: curves[name][0] for name, label in _CS1_CONTROLS.items()},
                    cs2_controls={label: curves[name][0] for name, label in _CS2_CONTROLS.items()},
                    note=note,
                )
            )
    if not panels:
        return ()
    name, title = (
        ("consistency", "CS1 and CS2 against LC") if kind == ADVERSARIAL else ("consistency_old", "The same on the old set")
    )
    caption = (
        f"Units in bins of equal count by LC ({_measure(results)}). CS1 compares the classes of a "
        "unit's top real images with the original classes of its top adversarial images, CS2 with their targets. Bands: "
        "95 %, clustered on the real image. What an attack adds to CS2 is its distance from the attack-free curve, which "
        "clean images alone give. k: a unit's top real and adversarial images; chance: LC_U of random sets."
    )
    if kind == STALE:
        caption = (
            "The trained networks on the adversarial images that were made against the normal ones: consistent may only "
            f"mean that those attacks no longer work. {caption}"
        )
    png = report.consistency_curves(panels)
    return (report.Figure(name, png, title, caption=caption, paper="Answers Fig. 8 of arXiv 1708.05493"),)


def consistency_section(results: Results) -> report.Section:
    """The table of LC and CS, the old set beside the new one, and the r histograms."""
    items: list[report.Table | report.Figure] = [_table(results)]
    phases = results.phases("consistency")
    values, _ = results.load(f"consistency.{phases[-1]}")
    if any(STALE in values["members"][member.name] for member in results.members):
        items += consistency_figure(results, STALE)
    items += [*_ratios(results, "r1"), *_ratios(results, "r2"), _ratio_table(results)]
    classes = values["members"][results.members[0].name]["classes"]
    text = (
        "LC is the level and consistency of a unit's features: p'Dp over the classes p of its top images, D from shortest "
        "hypernym paths in WordNet. LC_U leaves out pairs of an image with itself, which the number of top images alone "
        "decides. Chance is LC_U of random sets of as many images. r1 and r2 below 1 mean that an adversarial image's "
        "representation is nearer to its original class than to its target; the source image is left out of every mean. r and "
        "all controls are our reading of the papers."
    )
    if classes["merged"]:
        named = ", ".join(classes["names"])
        text += f"\n\nWith few images a class, classes were merged along WordNet into {len(classes['names'])}: {named}."
    return report.Section("Level and consistency", text=text, links=results.pages("consistency"), items=tuple(items))


def _table(results: Results) -> report.Table:
    rows = []
    for phase in results.phases("consistency"):
        values, _ = results.load(f"consistency.{phase}")
        for member in results.members:
            arrays = results.of(f"consistency.{phase}", member.name)
            measured = values["members"][member.name]
            for kind, which in _shown(measured):
                found = measured[kind]
                summary, count = found[which], found["num_adversarial" if which == ALL else "num_successes"]
                name = _title(results, member.name, phase, kind)
                if not summary["effects"]:
                    rows.append((name, which, f"{count:,}", *(None,) * 8, _counts(summary)))
                    continue
                scores, means = f"{kind}/{which}/score", summary["means"]
                rows.append(
                    (
                        name,
                        which,
                        f"{count:,}",
                        f"{np.nanmean(arrays[f'{scores}/lc']):.3f}",
                        f"{np.nanmean(arrays[f'{scores}/lc_u']):.3f} ({summary['lc_null'][1]:.3f} to "
                        f"{summary['lc_null'][2]:.3f})",
                        f"{summary['reliability']:.2f}",
                        *(_interval(means[score]) for score in ("cs1", "cs2", "attack_free", "excess")),
                        f"{summary['num_top_real']}, {summary['num_top_adversarial']}",
                        _counts(summary),
                    )
                )
    columns = (
        "network",
        "adversarial images",
        "n",
        "LC",
        "LC_U (chance)",
        "reliability",
        "CS1",
        "CS2",
        "attack-free CS2",
        "CS2 minus attack-free",
        "k real, adv.",
        "units (silent)",
    )
    caption = (
        "Means over units, with 95 % intervals clustered on the real image. Reliability is that of LC_U between halves of "
        "the images. Rows of successes keep only the adversarial images that the network itself takes for their targets; top "
        "sets are a tenth of the images at most, and small ones lower every cosine: compare with attack-free CS2 of that row."
    )
    return report.Table("LC, CS1 and CS2", columns, tuple(rows), caption=caption, paper="Answers Fig. 8 of arXiv 1708.05493")


def _ratios(results: Results, name: str) -> tuple[report.Figure, ...]:
    """The histograms of the networks that have ratios: one whose images all have one representation has none."""
    ratios, controls = {}, {}
    for phase in results.phases("consistency"):
        for member in results.members:
            found = results.of(f"consistency.{phase}", member.name)
            title, ratio = results.title(member.name, phase), found[f"{ADVERSARIAL}/{ALL}/{name}"]
            if np.isfinite(ratio).any():
                ratios[title], controls[title] = ratio, found[f"{ADVERSARIAL}/{ALL}/clean_{name}"]
    if not ratios:
        return ()
    what = "mean distances to the images" if name == "r1" else "distances to the mean"
    caption = (
        f"{name}: {what} of the original class over the same of the target class. "
        "Outline: the clean source images, the control."
    )
    png, title = report.ratio_histogram(ratios, controls=controls, label=name), f"Representation consistency {name}"
    return (report.Figure(name, png, title, caption=caption, paper="Answers Fig. 9 of arXiv 1708.05493"),)


def _ratio_table(results: Results) -> report.Table:
    rows = []
    for phase in results.phases("consistency"):
        values, _ = results.load(f"consistency.{phase}")
        for member in results.members:
            found = results.of(f"consistency.{phase}", member.name)
            for kind, which in _shown(values["members"][member.name]):
                part = {name: found[f"{kind}/{which}/{name}"] for name in ("r1", "r2", "clean_r1", "clean_r2")}
                count = int(np.isfinite(part["r1"]).sum())
                means = [f"{np.nanmean(value):.3f}" if count else None for value in part.values()]
                rows.append((_title(results, member.name, phase, kind), which, count, *means))
    columns = ("network", "adversarial images", "n", "r1", "r2", "r1 of clean images", "r2 of clean images")
    return report.Table("r1 and r2", columns, tuple(rows), caption="Means.", paper="Answers Fig. 9 of arXiv 1708.05493")


def _shown(measured: dict[str, Any]) -> list[tuple[str, str]]:
    """The sets of a member and which of their images: the successes apart only where there are others."""
    kinds = [kind for kind in (ADVERSARIAL, STALE) if kind in measured]
    apart = {kind: measured[kind]["num_successes"] < measured[kind]["num_adversarial"] for kind in kinds}
    return [(kind, which) for kind in kinds for which in (ALL, SUCCESSES) if which == ALL or apart[kind]]


def _title(results: Results, member: str, phase: str, kind: str) -> str:
    return results.title(member, phase) + (" (old set)" if kind == STALE else "")


def _counts(summary: dict[str, Any]) -> str:
    return f"{summary['num_units']} ({summary['num_dead']})"


def _interval(values: list[float]) -> str:
    return f"{values[0]:.3f} ({values[1]:.3f} to {values[2]:.3f})"


def _measure(results: Results) -> str:
    """How alike two classes are, in words."""
    study = results.run.study
    by = {"path": f"sigma = {study.sigma:g}, our choice", "wu_palmer": "Wu and Palmer's similarity", "lin": "Lin's similarity"}
    return by[study.similarity] + (", over a hierarchy of its own" if study.hierarchy else "")
