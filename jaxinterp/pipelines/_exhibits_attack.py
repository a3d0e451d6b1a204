"""What the page shows of the images and of the attack."""

import numpy as np

from jaxinterp import data, metrics, report
from jaxinterp.pipelines._context import NORMAL
from jaxinterp.pipelines._dissection import ADVERSARIAL
from jaxinterp.pipelines._results import Results

DISTORTION = 4 / 255
"""The distortion that the success curve marks."""


def images_section(results: Results) -> report.Section:
    """A contact sheet of the analysed images, and the accuracy of the networks on held-out ones."""
    source = results.run.source
    count = min(24, len(source))
    examples = [source[int(index)] for index in np.arange(count) * len(source) // count]
    examples = _one_a_class(results, examples)
    sheet = report.Figure(
        "images",
        report.contact_sheet(
            np.stack([example.image for example in examples]),
            titles=[results.class_name(example.label) for example in examples],
        ),
        "Images",
        caption=f"{len(examples)} of the {len(source):,} analysed images.",
    )
    items: list[report.Table | report.Figure] = [sheet]
    if results.has("inspect"):
        items.append(_accuracy_table(results))
    return report.Section("Images and networks", text=results.run.study.description, items=tuple(items))


def attack_section(results: Results) -> report.Section:
    """Real, adversarial and perturbation side by side; success rates and their curve."""
    items: list[report.Table | report.Figure] = []
    for phase in results.phases("generate"):
        items += [_sheet(results, phase), _success(results, phase), _curve(results, phase), *_steps(results, phase)]
    text = (
        "Success is that of the stored 8-bit image, read back from disk. Joint means that every network at once predicts the "
        "target. The denominator is named in each row; intervals are clustered on the real image."
    )
    return report.Section("The adversarial images", text=text, items=tuple(items))


def scored(results: Results, phase: str) -> metrics.Scored:
    """A phase's adversarial set as the success table takes it."""
    _, arrays = results.load(f"generate.{phase}")
    return metrics.Scored(
        predictions=arrays["predictions"].astype(np.int64),
        targets=arrays["target"].astype(np.int64),
        labels=arrays["label"].astype(np.int64),
        clean_correct=arrays["clean_predictions"] == arrays["label"][:, None],
        source_ids=arrays["source_id"],
        rms=arrays["rms"].astype(np.float64),
    )


def _one_a_class(results: Results, examples: list) -> list:
    """One example of each class where there are at most 24 classes and a first lap over the source has them all."""
    source, classes = results.run.source, len(results.run.source.classes)
    if classes > 24:
        return examples
    first: dict[int, int] = {}
    for index in range(len(source)):
        first.setdefault(data.read(source, index, image=False, concepts=False).label, index)
        if len(first) == classes:
            return [source[first[label]] for label in sorted(first)]
    return examples


def _accuracy_table(results: Results) -> report.Table:
    values, _ = results.load("inspect")
    study, chance = results.run.study, f"{100 / len(results.run.source.classes):.2f}"
    kinds = {"clean": "images"} | ({"background": "background only"} if study.background else {})
    caption = f"{values['num_images']:,} " + ("held-out images." if study.held_out else "images, those that are analysed.")
    if study.background:
        caption += " The background column shows the same images without their object."
    rows = tuple((name, *(f"{100 * entry[kind]:.1f}" for kind in kinds), chance) for name, entry in values["accuracy"].items())
    columns = ("network", *kinds.values(), "chance")
    return report.Table("Accuracy before anything else (%)", columns, rows, caption=caption)


def _sheet(results: Results, phase: str) -> report.Figure:
    _, arrays = results.load(f"generate.{phase}")
    stored = results.images(phase, ADVERSARIAL)
    joint = (arrays["predictions"] == arrays["target"][:, None]).all(axis=1)
    rows = np.flatnonzero(joint) if joint.any() else np.arange(len(joint))
    rows = rows[np.arange(min(12, len(rows))) * len(rows) // min(12, len(rows))]
    examples = [stored[int(row)] for row in rows]
    clean = [results.run.clean_image(int(row)) for row in rows]
    titles = [f"{results.class_name(example.label)} → {results.class_name(example.target)}" for example in examples]
    name = "adversarial" if phase == NORMAL else "adversarial_after"
    return report.Figure(
        name,
        report.adversarial_sheet(np.stack(clean), np.stack([example.image for example in examples]), titles=titles),
        f"Real and adversarial images{_when(results, phase)}",
        caption=f"Joint successes, taken evenly from {len(joint):,} adversarial images. Mean RMS distortion of all of them "
        f"{255 * arrays['rms'].mean():.2f}/255.",
        paper="Answers Fig. 1a of arXiv 1708.05493",
    )


def _success(results: Results, phase: str) -> report.Table:
    names = tuple(member.name for member in results.members)
    found = scored(results, phase)
    table = metrics.success_table(found, names=names)
    rows = tuple(
        (rate.name, rate.denominator, f"{rate.successes:,} of {rate.trials:,}", *_percent(rate.interval))
        for rate in table.rates
        if rate.kind == "targeted"
    )
    mean, joint = 255 * found.rms.mean(), 255 * found.rms[table.joint].mean() if table.joint.any() else float("nan")
    caption = f"Mean RMS distortion {mean:.2f}/255 over all images, {joint:.2f}/255 over joint successes."
    columns = ("predicts the target", "denominator", "successes", "%", "95 % interval")
    return report.Table(f"Targeted success{_when(results, phase)}", columns, rows, caption=caption)


def _curve(results: Results, phase: str) -> report.Figure:
    found = scored(results, phase)
    hits = found.predictions == found.targets[:, None]
    thresholds = np.arange(33) / 4 / 255
    curves = {"joint (every network)": hits.all(axis=1)} | {
        member.name: hits[:, index] for index, member in enumerate(results.members)
    }
    png = report.success_curve(
        thresholds, {name: metrics.success_curve(hit, found.rms, thresholds) for name, hit in curves.items()}, budget=DISTORTION
    )
    name = "success" if phase == NORMAL else "success_after"
    caption = f"Share of all {len(found.rms):,} adversarial images that succeed within an RMS distortion."
    return report.Figure(name, png, f"Success against distortion{_when(results, phase)}", caption=caption)


def _steps(results: Results, phase: str) -> list[report.Figure]:
    """The loss and the distortion step by step, where the attack tells them."""
    _, arrays = results.load(f"generate.{phase}")
    units = {"loss": 1, "distortion": 255}
    panels = {
        name if unit == 1 else f"{name} (RMS, of {unit})": unit * arrays[f"trace/{name}"].astype(np.float64)
        for name, unit in units.items()
        if f"trace/{name}" in arrays and np.isfinite(arrays[f"trace/{name}"]).any(axis=1).all()
    }
    if not panels:
        return []
    count = next(iter(panels.values())).shape[1]
    caption = f"{count} adversarial images, taken evenly: the median and the middle half of them, before each step."
    name = "attack_steps" if phase == NORMAL else "attack_steps_after"
    return [
        report.Figure(name, report.attack_curves(panels), f"The attack step by step{_when(results, phase)}", caption=caption)
    ]


def _percent(interval: metrics.Interval) -> tuple[str, str]:
    return f"{100 * interval.estimate:.1f}", f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"


def _when(results: Results, phase: str) -> str:
    if not results.run.study.finetuning:
        return ""
    return ", against the normal networks" if phase == NORMAL else ", made anew against the trained networks"
