"""What the page of a depth study shows: errors and selectivity, response curves, ablations, where errors lie."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxinterp import data, metrics, report
from jaxinterp._base import Batch
from jaxinterp.pipelines._depth_settings import DepthCondition, DepthStudy
from jaxinterp.pipelines._page import recorded_provenance
from jaxinterp.pipelines._workdir import WorkDir

Runs = dict[tuple[str, int], tuple[dict[str, Any], dict[str, np.ndarray]]]
"""(condition, seed) -> what was read of it."""

_SHOWN = 8


def run_name(condition: DepthCondition, seed: int) -> str:
    """The part of the work directory of one training.

    Args:
        condition: the way of training.
        seed: of it.
    """
    return f"depth.{condition.name}.{seed}"


def held_out_sample(held_out: data.Source) -> Batch:
    """A batch of a few held-out images, spread evenly, for pictures.

    Args:
        held_out: the images.
    """
    count = min(_SHOWN, len(held_out))
    return data.collate([held_out[number * len(held_out) // count] for number in range(count)], batch_size=count)


def depth_page(study: DepthStudy, workdir: WorkDir, shown: Batch) -> report.Page:
    """The page of the trainings that are finished.

    Args:
        study: the settings.
        workdir: of the run.
        shown: the images of `held_out_sample`.
    """
    names = [(one, seed) for seed in study.seeds for one in study.conditions]
    done = [workdir.finished(run_name(*pair)) for pair in names]
    runs: Runs = {
        (one.name, seed): workdir.load(run_name(one, seed)) for (one, seed), there in zip(names, done, strict=True) if there
    }
    first = done.index(False) if not all(done) else len(done)
    stages = [
        report.Stage(f"{one.name} {seed}", "done" if there else "running" if place == first else "to come")
        for place, ((one, seed), there) in enumerate(zip(names, done, strict=True))
    ]
    sections: tuple[report.Section, ...] = ()
    if runs:
        sections = (_results(study, runs), _responses(study, runs), _ablations(study, runs), _where(study, runs, shown))
        sections += (_pairs(study, runs),) if study.pairs else ()
    edges = study.bins.edges
    methods = report.depth_paragraph(num_bins=len(edges) - 1, nearest=float(edges[0]), farthest=float(edges[-1]))
    return report.Page(
        title=study.title,
        subtitle=study.description,
        stages=tuple(stages),
        sections=sections,
        methods=methods,
        bibtex=report.bibliography(report.citations(methods)),
        provenance=recorded_provenance(json.loads((workdir.path / "manifest.json").read_text())),
    )


def depth_differences(study: DepthStudy, runs: Runs) -> dict[str, dict[str, Any]]:
    """Every later condition minus the first, over the seeds that both have.

    Args:
        study: the settings.
        runs: what was read.

    Returns:
        Condition -> `selectivity`, the difference of mean DS (cross-validated, mean of layers), t interval over seeds;
        `abs_rel_seeds`, the same of the error; `abs_rel_images`, its bootstrap interval over held-out images, seeds averaged;
        `plain_abs_rel` and `plain_selectivity`, means of the first condition; and `num_seeds`.
    """
    base, *others = study.conditions
    found = {}
    for other in others:
        seeds = [seed for seed in study.seeds if (base.name, seed) in runs and (other.name, seed) in runs]
        if not seeds:
            continue
        pairs = [(runs[base.name, seed], runs[other.name, seed]) for seed in seeds]
        score = [[_mean_selectivity(study, one[0]) for one in pair] for pair in pairs]
        error = np.asarray([[one[1]["per_image/abs_rel"] for one in pair] for pair in pairs])
        change = (error[:, 1] - error[:, 0]).mean(axis=0)
        known = np.isfinite(change)
        rng = np.random.default_rng(0)
        found[other.name] = {
            "selectivity": _over_seeds(np.diff(score, axis=1)[:, 0]),
            "abs_rel_seeds": _over_seeds(np.nanmean(error[:, 1] - error[:, 0], axis=1)),
            "abs_rel_images": metrics.bootstrap_interval(rng, change[known], np.flatnonzero(known)),
            "plain_abs_rel": float(np.nanmean(error[:, 0])),
            "plain_selectivity": float(np.mean(score, axis=0)[0]),
            "num_seeds": len(seeds),
        }
    return found


def _mean_selectivity(study: DepthStudy, values: Mapping[str, Any]) -> float:
    found = [values["selectivity"][layer]["cross_validated"] for layer in study.layers]
    return float(np.mean([np.nan if one is None else one for one in found]))


def _over_seeds(values: np.ndarray) -> metrics.Interval:
    """The interval over trainings; NaN where one of them has no value."""
    return metrics.mean_interval(values) if np.isfinite(values).all() else metrics.Interval(*(3 * [float("nan")]))


def _of(study: DepthStudy, runs: Runs, condition: DepthCondition) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    return [runs[condition.name, seed] for seed in study.seeds if (condition.name, seed) in runs]


def _results(study: DepthStudy, runs: Runs) -> report.Section:
    rows = []
    for condition in study.conditions:
        for seed in study.seeds:
            if (condition.name, seed) in runs:
                values = runs[condition.name, seed][0]
                errors = [_number(values["errors"][name]) for name in metrics.DEPTH_METRICS]
                scores = [_number(values["selectivity"][layer]["cross_validated"]) for layer in study.layers]
                rows.append((f"{condition.title}, seed {seed}", *errors, *scores))
    columns = (
        "training",
        "abs-rel",
        "RMSE (m)",
        "RMSE log",
        "< 1.25",
        "< 1.25²",
        "< 1.25³",
        *(f"DS {one}" for one in study.layers),
    )
    number = next(iter(runs.values()))[0]["num_images"]
    caption = (
        f"Errors over all pixels of {number} held-out images. DS: mean over units, bin chosen on one half of the images and "
    )
    tables = [report.Table("Every training", columns, tuple(rows), caption=caption + "scored on the other.")]
    lines = []
    for name, found in depth_differences(study, runs).items():
        for title, key in (
            ("mean DS, 95 % over seeds (t)", "selectivity"),
            ("abs-rel, 95 % over seeds (t)", "abs_rel_seeds"),
            ("abs-rel, 95 % over images (bootstrap)", "abs_rel_images"),
        ):
            one, before = found[key], found["plain_selectivity" if key == "selectivity" else "plain_abs_rel"]
            lines.append((f"{name}: {title}", _number(before), *map(_number, one), found["num_seeds"]))
    if lines:
        head = ("change against the first condition", "before", "change", "low", "high", "seeds")
        tables.append(report.Table("What assignment changes", head, tuple(lines), caption="Same seeds on both sides, paired."))
    return report.Section("Errors and selectivity", text=_TEXT, items=tuple(tables))


_TEXT = """DS_k = (|R_max| - mean |R_others|) / (|R_max| + mean |R_others|), where R_kd is the mean response of unit k over \
all pixels of depth bin d. A bin without a pixel in a half of the images is left out there."""


def _responses(study: DepthStudy, runs: Runs) -> report.Section:
    items = []
    for place, layer in enumerate(study.layers):
        panels = {
            f"{condition.title}": found[0][1][f"response/{layer}"]
            for condition in study.conditions
            if (found := _of(study, runs, condition))
        }
        png = report.depth_responses(panels, study.bins.edges)
        caption = "First seed. Below: the units that stand farthest above their mean."
        items.append(report.Figure(f"responses-{place}", png, f"Responses against depth, {layer}", caption=caption))
    return report.Section("What units answer to", items=tuple(items))


def _ablations(study: DepthStudy, runs: Runs) -> report.Section:
    rows, panels = [], {}
    for condition in study.conditions:
        found = _of(study, runs, condition)
        if not found:
            continue
        whole = np.mean([arrays["per_image/abs_rel"] for _, arrays in found], axis=0)
        for size in study.ablations:
            cells: list[report.Cell] = []
            both = {}
            for kind in ("selective", "random"):
                both[kind] = np.mean([arrays[f"ablated/{size}/{kind}"] for _, arrays in found], axis=0) - whole
            for change in (*both.values(), both["selective"] - both["random"]):
                known = np.isfinite(change)
                interval = metrics.bootstrap_interval(np.random.default_rng(0), change[known], np.flatnonzero(known))
                cells.append(f"{interval.estimate:+.4f} ({interval.low:+.4f} to {interval.high:+.4f})")
            rows.append((f"{condition.title}, {size} units", *cells, len(found)))
        size = study.ablations[-1]
        whole_bins = np.mean([_per_bin(arrays) for _, arrays in found], axis=0)
        panels[f"{condition.title}: change of abs-rel, {size} units off"] = {
            kind: np.mean([arrays[f"ablated_bins/{size}/{kind}"] for _, arrays in found], axis=0) - whole_bins
            for kind in ("selective", "random")
        }
    columns = ("units set to 0", "most selective", "as many random ones", "difference", "seeds")
    caption = f"Change of abs-rel per image, layer {study.ablated}; 95 % over images, seeds averaged; {study.num_random} draws."
    table = report.Table("Depth error after ablation", columns, tuple(rows), caption=caption)
    figure = report.Figure("ablation", report.depth_curves(panels, study.bins.edges), "Where ablation hurts")
    return report.Section("Ablation", items=(table, figure))


def _per_bin(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    return metrics.DepthErrors(arrays["errors/total"][None], arrays["errors/count"][None]).per_bin["abs_rel"]


def _where(study: DepthStudy, runs: Runs, shown: Batch) -> report.Section:
    errors, shares, predicted = {}, {}, {}
    for condition in study.conditions:
        found = _of(study, runs, condition)
        if found:
            errors[condition.title] = np.mean([_per_bin(arrays) for _, arrays in found], axis=0)
            total = np.mean([arrays["errors/total"][:, 0] for _, arrays in found], axis=0)
            shares[condition.title] = total / total.sum()
            predicted[condition.title] = found[0][1]["shown/depth"]
    count = next(iter(runs.values()))[1]["errors/count"]
    shares["pixels"] = count / count.sum()
    panels = {"abs-rel by depth": errors, "share of all error, and of all pixels": shares}
    curves = report.Figure(
        "errors", report.depth_curves(panels, study.bins.edges), "Errors by depth", caption="Mean over seeds."
    )
    truth = np.asarray(shown.extra["depth"])
    png = report.depth_sheet(np.asarray(shown.image), truth, predicted, depths=(study.bins.smallest, study.bins.largest))
    sheet = report.Figure("pictures", png, "Held-out pictures", caption="First seed. Blue: too near, red: too far.")
    return report.Section("Where errors lie", items=(curves, sheet))


def _pairs(study: DepthStudy, runs: Runs) -> report.Section:
    rows = []
    for condition in study.conditions:
        found = _of(study, runs, condition)
        for pairs in study.pairs if found else ():
            values = found[0][0][f"pairs/{pairs.name}"]
            errors = [_number(values["errors"][name]) for name in ("abs_rel", "rmse", "within_1")]
            score = values["selectivity"][study.ablated]
            rows.append(
                (
                    f"{pairs.name}, {condition.title}",
                    values["num_images"],
                    *errors,
                    _number(score["cross_validated"]),
                    score["num_known"],
                )
            )
    columns = ("pairs", "images", "abs-rel", "RMSE (m)", "< 1.25", f"DS {study.ablated}", "units scored")
    caption = "First seed. The networks never saw a photograph: these figures say that pairs run through, and nothing more."
    return report.Section("Real pairs", items=(report.Table("Pairs on disk", columns, tuple(rows), caption=caption),))


def _number(value: float | None) -> str | None:
    return None if value is None or not np.isfinite(value) else f"{value:.4f}"
