"""What the page shows of networks dissected over a concept set."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxinterp import report
from jaxinterp.data import CATEGORIES
from jaxinterp.pipelines._concept_sets import ADVERSARIAL, NOISE, REAL
from jaxinterp.pipelines._counts import band_by_category, observed_by_category
from jaxinterp.pipelines._results import Results

LETTERS = "CTMSPO"
NAMES = {REAL: "real", ADVERSARIAL: "adversarial", NOISE: "noise control"}
"""What the page calls the sets."""


class Entry(NamedTuple):
    """One layer of one network in one phase.

    Attributes:
        phase: of the network.
        member: its name.
        layer: the layer's name.
        title: what tables call it.
        counts: what was counted of it.
    """

    phase: str
    member: str
    layer: str
    title: str
    counts: dict[str, Any]


def entries(results: Results) -> Iterator[Entry]:
    """Every dissected layer, those before training first."""
    for phase in results.phases("concepts"):
        values, _ = results.load(f"concepts.{phase}")
        for member, found in values["members"].items():
            for layer, counts in found["layers"].items():
                yield Entry(phase, member, layer, f"{results.title(member, phase)}, {layer}", counts)


def concepts_section(results: Results) -> report.Section:
    """Detectors of every layer on real, adversarial and noise images, each count beside its null."""
    study = results.run.study
    settings = study.dissection
    values, _ = results.load(f"concepts.{results.phases('concepts')[0]}")
    items: list[report.Table | report.Figure] = [_ratios(results), _bars(results), _detectors(results)]
    if ADVERSARIAL in values["sets"]:
        items += [_effects(results), _perturbations(results)]
    if any("beyond" in entry.counts for entry in entries(results)):
        items.append(_beyond(results))
    if settings is None:
        raise ValueError("this study has no concept set.")
    names = values["concepts"]["names"]
    text = (
        f"{values['num_images']:,} images with {len(names) - 1:,} concepts. A unit's mask is where its map exceeds T_k, the "
        f"upper {100 * settings.quantile:g} % quantile on the real images; it detects a concept when the IoU of its mask with "
        f"the concept over all images exceeds {settings.iou_threshold:g}. Concepts that fewer than {settings.min_images} "
        "images carry are left out. With few images that IoU is reached by chance: each count stands beside the same count "
        "with label maps permuted between images, on a sample of the images and at half the resolution, and what may be "
        "claimed is the excess."
    )
    if ADVERSARIAL in values["sets"]:
        text += (
            " These images have no class: adversarial versions leave what the ensemble predicts for the clean image and are "
            "driven to its least likely class. The noise control carries another image's perturbation of the same norm; what "
            "the attack does is adversarial minus noise."
        )
    return report.Section("Concept images", text=text, links=results.pages("concepts"), items=tuple(items))


def _ratios(results: Results) -> report.Table:
    rows = []
    for entry in entries(results):
        units = entry.counts["num_units"]
        for kind, counts in entry.counts["sets"].items():
            null = counts["null"]["by_category"]
            cells = [
                f"{100 * null[name]['observed'] / units:.1f} ({100 * null[name]['mean'] / units:.1f})" if name in null else None
                for name in CATEGORIES
            ]
            rows.append((entry.title, NAMES[kind], *cells))
        rows += [
            (
                entry.title,
                f"{NAMES[kind]}, own T_k",
                *(
                    f"{100 * counts['by_category'][name] / units:.1f} *" if name in counts["by_category"] else None
                    for name in CATEGORIES
                ),
            )
            for kind, counts in entry.counts["own_thresholds"].items()
        ]
    caption = (
        "Share of units (%) whose best IoU within a category exceeds the threshold; a unit can count in several. In brackets "
        "the mean of the same share with label maps permuted between images; both on the sample. * over all images, with "
        "thresholds of that set."
    )
    return report.Table(
        "Units that align with a concept",
        ("network and layer", "images", *LETTERS),
        tuple(rows),
        caption=caption,
        paper="Answers Table 1 of the journal version",
    )


def _detectors(results: Results) -> report.Table:
    rows = []
    for entry in entries(results):
        for kind, counts in entry.counts["sets"].items():
            null = counts["null"]
            rows.append(
                (
                    entry.title,
                    NAMES[kind],
                    f"{counts['number']} of {entry.counts['num_units']}",
                    counts["unique"],
                    _beside(null["number"]),
                    _excess(null["number"]),
                    _beside(null["unique"]),
                    _excess(null["unique"]),
                    null["survivors"],
                    f"{counts['excluded']} of {counts['excluded'] + counts['eligible']}",
                )
            )
    columns = (
        "network and layer",
        "images",
        "detectors",
        "unique",
        "detectors in the sample, null",
        "excess",
        "unique in the sample, null",
        "excess",
        "units surviving 5 % FDR",
        "concepts left out",
    )
    caption = "The null is the mean of the count with permuted label maps, with the band that holds 95 % of the permutations."
    return report.Table("Detectors and their null", columns, tuple(rows), caption=caption)


def _effects(results: Results) -> report.Table:
    rows = []
    for entry in entries(results):
        effect = entry.counts["effect"]
        kept = effect["kept"]
        rows.append(
            (
                entry.title,
                effect["num_reference"],
                _interval(effect["number"]),
                _interval(effect["unique"]),
                *(_interval(effect["by_category"][name]) if name in effect["by_category"] else None for name in CATEGORIES),
                _interval(kept[ADVERSARIAL], 100.0),
                _interval(kept[NOISE], 100.0),
                _interval(effect["kept_difference"], 100.0),
            )
        )
    columns = (
        "network and layer",
        "detectors on real images",
        "detectors",
        "unique",
        *LETTERS,
        "keep their concept (%): adversarial",
        "noise",
        "difference",
    )
    caption = (
        "Adversarial minus noise, in units, with 95 % intervals over the images of the sample; an effect is claimed only where "
        "its interval excludes zero. Units keep their concept when the label searched anew is the one found on real images."
    )
    return report.Table("What the attack does beyond noise", columns, tuple(rows), caption=caption)


def _beyond(results: Results) -> report.Table:
    rows = []
    for entry in entries(results):
        found = entry.counts.get("beyond")
        if found is None:
            continue
        pair, precise, units = found["formulas"], found["precise"], entry.counts["num_units"]
        rows.append(
            (
                entry.title,
                f"{found['num_images']:,}",
                f"{pair['single_iou']:.3f}",
                f"{pair['iou']:.3f}",
                _against(pair["gain"], pair["null_gain"]),
                f"{pair['survivors']} of {units}",
                f"{precise['average_precision']:.3f}",
                _against(precise["lift"], precise["null_lift"]),
                f"{precise['survivors']} of {units}",
                f"{100 * precise['same_concept']:.0f}",
            )
        )
    columns = (
        "network and layer",
        "images",
        "IoU of one concept",
        "of a formula",
        "gain, null",
        "formulas above chance",
        "average precision",
        "lift, null",
        "units above chance",
        "same concept as by IoU (%)",
    )
    caption = (
        "Means over the units on real images. A formula joins two concepts by and, or, and not; a longer one fits any mask "
        "better, so that its gain in IoU stands beside that of the same search in permuted label maps. Average precision is of "
        "ranking images by the unit's maximum, for concepts that at most half of them carry; its lift over the share of images "
        "that carry one is 0 at random, 1 at best, and the best over all concepts lies above 0 by chance. Brackets hold 95 % "
        "of the permutations; units above chance survive a false discovery rate of 5 %."
    )
    return report.Table("Beyond one concept by IoU", columns, tuple(rows), caption=caption)


def _against(value: float, null: Mapping[str, float]) -> str:
    return f"{value:.3f} against {null['mean']:.3f} ({null['low']:.3f} to {null['high']:.3f})"


def _perturbations(results: Results) -> report.Table:
    rows = []
    for phase in results.phases("concepts"):
        for member, found in results.load(f"concepts.{phase}")[0]["members"].items():
            said = found["predictions"]
            sizes = [f"{255 * said['rms'][kind]:.2f}" for kind in (ADVERSARIAL, NOISE)]
            shares = [100 * said["target"], *(100 * said["changed"][kind] for kind in (ADVERSARIAL, NOISE))]
            rows.append((results.title(member, phase), *sizes, *(f"{share:.1f}" for share in shares)))
    columns = (
        "network",
        "RMS of 255: adversarial",
        "noise",
        "predicts the target (%)",
        "changes its prediction (%): adversarial",
        "noise",
    )
    return report.Table("The perturbed concept images", columns, tuple(rows), caption="Of the stored 8-bit images.")


def _bars(results: Results) -> report.Figure:
    panels = []
    for entry in entries(results):
        units, sets = entry.counts["num_units"], entry.counts["sets"]
        fake, noise = sets.get(ADVERSARIAL), sets.get(NOISE)
        panels.append(
            report.CategoryCounts(
                title=entry.title,
                real=_shares(sets[REAL], units),
                adversarial=None if fake is None else _shares(fake, units),
                real_null=_bands(sets[REAL], units),
                adversarial_null=None if fake is None else _bands(fake, units),
                noise=None if noise is None else _shares(noise, units),
                noise_null=None if noise is None else _bands(noise, units),
                note=f"{units} units, null from {sets[REAL]['null']['num_draws']} permutations",
            )
        )
    caption = "Counts on the sample of images on which the null was drawn; the bands hold 95 % of the permutations."
    return report.Figure(
        "concept_categories",
        report.bar_categories(panels),
        "Detectors by category, over concept images",
        caption=caption,
        paper="Answers Table 1 of the journal version",
    )


def _shares(counts: Mapping[str, Any], units: int) -> np.ndarray:
    return 100 * observed_by_category(counts) / units


def _bands(counts: Mapping[str, Any], units: int) -> np.ndarray:
    return 100 * band_by_category(counts) / units


def _beside(count: Mapping[str, Any]) -> str:
    return f"{count['observed']} against {count['mean']:.1f} ({count['low']:.0f} to {count['high']:.0f})"


def _excess(count: Mapping[str, Any]) -> str:
    return f"{count['observed'] - count['mean']:.1f}"


def _interval(interval: Mapping[str, Any], scale: float = 1.0) -> str | None:
    low, estimate, high = (scale * interval[name] for name in ("low", "estimate", "high"))
    return f"{estimate:.3g} ({low:.1f} to {high:.1f})" if np.isfinite(estimate) else None
