"""What the page shows of single units: the featured one, the table of detectors, the best detectors."""

import numpy as np

from jaxinterp import report
from jaxinterp.data import CATEGORIES
from jaxinterp.pipelines._context import NORMAL
from jaxinterp.pipelines._counts import band_by_category, observed_by_category
from jaxinterp.pipelines._dissection import ADVERSARIAL, REAL, STALE
from jaxinterp.pipelines._results import WHEN, Results

LETTERS = "CTMSPO"


def featured_figure(results: Results) -> report.Figure:
    """One unit of the last member: its top real images above its top adversarial images."""
    member = results.members[-1]
    unit = results.featured_unit(member.name)
    real, real_masks, real_captions = results.top_pictures(NORMAL, REAL, member.name, unit, count=8)
    fake, fake_masks, fake_captions = results.top_pictures(NORMAL, ADVERSARIAL, member.name, unit, count=8)
    title = f"{member.name}, {member.layer}, unit {unit}{_concept_of(results, NORMAL, member.name, unit)}"
    png = report.unit_figure(
        real,
        fake,
        real_masks=real_masks,
        adversarial_masks=fake_masks,
        title=title,
        real_captions=real_captions,
        adversarial_captions=fake_captions,
    )
    caption = (
        "The images with the highest activation, one a real image among the adversarial ones. Bright: where the unit answers. "
        "Adversarial images are captioned with original and target class."
    )
    return report.Figure("unit", png, "One unit", caption=caption, paper="Answers Figs 2, 4 and 5 of arXiv 1708.05493")


def units_section(results: Results) -> report.Section:
    """The detectors of every network, on real and on adversarial images, beside what permuted labels give."""
    items: list[report.Table | report.Figure] = []
    study = results.run.study
    if results.run.source.concepts is None:
        text = "These images carry no concept labels, so units cannot be compared with concepts here."
        return report.Section("What units answer to", text=text)
    items += [table_one(results), _bars(results), _summary(results)]
    items += [_grid(results, index) for index in range(len(results.members))]
    text = (
        f"A unit detects a concept when the IoU of its mask with it exceeds {study.iou_threshold:g}, the papers' choice; "
        "its mask is "
        "where its map exceeds the upper 0.5 % quantile of the set. Each set of images has its own thresholds, and "
        "adversarial images "
        "carry the concept labels of the images they were made from. With few images that IoU is reached by chance: each "
        "count stands "
        "beside its null, the same count with the label maps permuted between images. What may be claimed is the excess."
    )
    return report.Section("What units answer to", text=text, items=tuple(items))


def table_one(results: Results) -> report.Table:
    """Ratio of units that align with a concept, by category; every count with its null."""
    rows = []
    for phase in results.phases("dissect"):
        values, _ = results.load(f"dissect.{phase}")
        for member in results.members:
            for kind in values["sets"]:
                counts = values["members"][member.name][kind]
                if "null" not in counts:
                    continue
                units = len(results.of(f"dissect.{phase}", member.name)[f"{kind}/survives"])
                cells = [
                    f"{100 * counts['by_category'].get(name, 0) / units:.0f} ({100 * _null(counts, name)['mean'] / units:.0f})"
                    for name in CATEGORIES
                ]
                rows.append((results.title(member.name, phase), _kind(kind), *cells, f"{100 * counts['ratio']:.0f}"))
    caption = (
        "Share of units (%) whose best IoU within a category exceeds the threshold; a unit can count in several. In "
        "brackets the mean of the same share with label maps permuted between images, on a sample of the images."
    )
    columns = ("network", "images", *LETTERS, "any")
    return report.Table(
        "Units that align with a concept", columns, tuple(rows), caption=caption, paper="Answers Table 1 of the journal version"
    )


def _bars(results: Results) -> report.Figure:
    panels = []
    for phase in results.phases("dissect"):
        values, _ = results.load(f"dissect.{phase}")
        for member in results.members:
            real, fake = (values["members"][member.name][kind] for kind in (REAL, ADVERSARIAL))
            units = len(results.of(f"dissect.{phase}", member.name)[f"{REAL}/survives"])
            panels.append(
                report.CategoryCounts(
                    title=results.title(member.name, phase),
                    real=_observed(real, units),
                    adversarial=_observed(fake, units),
                    real_null=_band(real, units),
                    adversarial_null=_band(fake, units),
                    note=f"{units} units, null from {real['null']['num_draws']} permutations",
                )
            )
    png = report.bar_categories(panels)
    caption = "Counts on the sample of images on which the null was drawn; the bands hold 95 % of the permutations."
    return report.Figure(
        "categories", png, "Detectors by category", caption=caption, paper="Answers Table 1 of the journal version"
    )


def _summary(results: Results) -> report.Table:
    rows = []
    for phase in results.phases("dissect"):
        values, _ = results.load(f"dissect.{phase}")
        for member in results.members:
            for kind in values["sets"]:
                counts = values["members"][member.name][kind]
                if "null" not in counts:
                    continue
                null = counts["null"]
                number = null["number"]
                rows.append(
                    (
                        results.title(member.name, phase),
                        _kind(kind),
                        counts["num_images"],
                        counts["number"],
                        counts["unique"],
                        f"{number['observed']} against {number['mean']:.1f} ({number['low']:.0f} to {number['high']:.0f})",
                        null["survivors"],
                        counts["excluded"],
                    )
                )
    columns = (
        "network",
        "images",
        "number of images",
        "detectors",
        "unique concepts",
        "on the sample, against the null (95 %)",
        "units surviving 5 % FDR",
        "concepts left out",
    )
    caption = "Concepts that fewer than ten images carry are left out."
    return report.Table("Detectors and their null", columns, tuple(rows), caption=caption)


def _grid(results: Results, index: int) -> report.Figure:
    member = results.members[index]
    part = results.of(f"dissect.{NORMAL}", member.name)
    rank = np.argsort(-part[f"{REAL}/best_iou"] * part[f"{REAL}/survives"], kind="stable")
    detectors, seen = [], set()
    for unit in rank:
        concept = int(part[f"{REAL}/concept"][unit])
        if concept in seen or len(detectors) == 6:
            continue
        seen.add(concept)
        pixels, masks, _ = results.top_pictures(NORMAL, REAL, member.name, int(unit), count=5)
        detail = f"IoU {part[f'{REAL}/best_iou'][unit]:.3f}, p = {part[f'{REAL}/p_value'][unit]:.2g} against permuted labels"
        title = f"unit {unit}{_concept_of(results, NORMAL, member.name, int(unit))}"
        detectors.append(report.Detector(title, pixels, masks, detail=detail))
    return report.Figure(
        f"detectors_{index}",
        report.detector_grid(detectors),
        f"Best detectors of {member.name}, {member.layer}",
        caption="One unit a concept, in order of IoU, those that survive the false discovery rate first.",
    )


def _concept_of(results: Results, phase: str, member: str, unit: int) -> str:
    part, table = results.of(f"dissect.{phase}", member), results.run.source.concepts
    if table is None or f"{REAL}/concept" not in part:
        return ""
    concept = int(part[f"{REAL}/concept"][unit])
    return f" · {table.names[concept]} ({table.categories[concept]})"


def _null(counts: dict, name: str) -> dict:
    return counts["null"]["by_category"].get(name, {"observed": 0, "mean": 0.0, "low": 0.0, "high": 0.0})


def _observed(counts: dict, units: int) -> np.ndarray:
    return 100 * observed_by_category(counts) / units


def _band(counts: dict, units: int) -> np.ndarray:
    return 100 * band_by_category(counts) / units


def _kind(kind: str) -> str:
    names = {REAL: "real", ADVERSARIAL: "adversarial", STALE: f"adversarial, made {WHEN[NORMAL]} training"}
    return names[kind]
