"""The galleries of a study: one of each dissected layer of the concept set, one of each member's own layer."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxinterp import metrics, report
from jaxinterp.data import Source
from jaxinterp.pipelines._beyond_iou import beyond_columns
from jaxinterp.pipelines._concept_sets import ADVERSARIAL, NOISE, REAL
from jaxinterp.pipelines._context import NORMAL, Run
from jaxinterp.pipelines._counts import band_by_category, observed_by_category
from jaxinterp.pipelines._dissection_settings import Dissection
from jaxinterp.pipelines._galleries import UnitImages, write_gallery
from jaxinterp.pipelines._generation import adversarial_images
from jaxinterp.pipelines._workdir import below

Arrays = Mapping[str, np.ndarray]

_CONCEPTS = (
    "A unit's mask, bright in the pictures, is where its map exceeds its upper quantile on the real images. Its label is the "
    "concept of highest IoU with that mask over all images; p is the chance of so high an IoU with label maps permuted between "
    "images, and units that survive have more at a false discovery rate of 5 %. Adversarial images leave what the networks "
    "predict for the real ones; the noise control carries another image's perturbation of the same norm."
)

_STUDY = (
    "The images to which each unit answers most, real above adversarial, with the class of each, and of adversarial ones the "
    "class that was aimed at. LC says how close in WordNet the classes of a unit's top real images are, LC_U the same without "
    "its floor; CS1 how alike the classes of its top real images and the original classes of its top adversarial images are, "
    "CS2 the same with the target classes. LC and CS of a single unit are estimates from as many images as its top set has."
)
_SCORES = {
    "LC": ("lc", "Level of the unit's features: p^T D p over the classes of its top real images."),
    "LC_U": ("lc_u", "The mean similarity of the classes of two different top images."),
    "CS1": ("cs1", "Cosine of the classes of top real images and the original classes of top adversarial images."),
    "CS2": ("cs2", "Cosine of the classes of top real images and the target classes of top adversarial images."),
    "CS2 - attack-free": ("excess", "CS2 minus that of the clean images with the same targets."),
}


def concept_pages(
    run: Run, phase: str, sets: Mapping[str, Source], values: Mapping[str, Any], arrays: Arrays, settings: Dissection
) -> dict[str, str]:
    """Writes a gallery of every layer that was dissected over the concept set.

    Args:
        run: the run.
        phase: of the networks.
        sets: what they were dissected on.
        values: the counts, by member.
        arrays: the figures of every unit, by member, layer and set.
        settings: of the dissection.

    Returns:
        What the page calls a gallery -> its path in the work directory.
    """
    pages, concepts = {}, sets[REAL].concepts
    for member, model in zip(run.study.members, run.models(phase), strict=True):
        own = below(arrays, member.name)
        for layer, counts in values[member.name]["layers"].items():
            images = {
                name: UnitImages(source, own["ids"], below(own, f"{layer}/{name}"), _captions(settings, own, name))
                for name, source in sets.items()
            }
            title = f"{member.name}, {layer}"
            pages[title] = write_gallery(
                run,
                f"concepts {phase} {title}",
                model,
                model.layer(layer),
                images,
                title=title,
                subtitle=f"{len(sets[REAL]):,} concept images, {phase} network",
                text=_CONCEPTS,
                concepts=concepts,
                anchor=settings.anchor,
                columns=_constancy(images) + beyond_columns(images[REAL].arrays, concepts.names if concepts else ()),
                counts=_counts(counts["sets"]),
                iou_threshold=settings.iou_threshold,
            )
    return pages


def _captions(settings: Dissection, own: Arrays, name: str) -> Callable[[int], str]:
    """What the network predicts; of a perturbed image also what it predicted for the real one."""
    clean, said = own[f"predictions/{REAL}"], own[f"predictions/{name}"]

    def called(label: int) -> str:
        return settings.class_names[label] if settings.class_names else f"class {label}"

    def caption(row: int) -> str:
        after, before = called(int(said[row])), called(int(clean[row]))
        return after if name == REAL or after == before else f"{before} → {after}"

    return caption


def _constancy(images: Mapping[str, UnitImages]) -> tuple[report.Column, ...]:
    """How often a unit has its concept when images are resampled, and whether it keeps it when they are perturbed."""
    detects, concept = (images[REAL].arrays[name] for name in ("detects", "concept"))
    note = "Share of the resamples of the images in which the unit has the same concept on real images."
    columns = [report.Column("stability", images[REAL].arrays["kept"], note=note, decimals=2)]
    for name in (ADVERSARIAL, NOISE):
        if name in images:
            same = images[name].arrays["detects"] & (images[name].arrays["concept"] == concept)
            kept = [bool(one) if found else None for one, found in zip(same, detects, strict=True)]
            note = f"It detects on {name} images the concept that it detects on real ones."
            columns.append(report.Column(f"kept ({name})", kept, note=note))
    return tuple(columns)


def _counts(sets: Mapping[str, Any]) -> report.CategoryCounts:
    observed = {name: observed_by_category(counts) for name, counts in sets.items()}
    bands = {name: band_by_category(counts) for name, counts in sets.items()}
    return report.CategoryCounts(
        "",
        observed[REAL],
        observed.get(ADVERSARIAL),
        real_null=bands[REAL],
        adversarial_null=bands.get(ADVERSARIAL),
        noise=observed.get(NOISE),
        noise_null=bands.get(NOISE),
    )


def study_pages(run: Run, phase: str, measured: Arrays) -> dict[str, str]:
    """Writes a gallery of every member's own layer over the images of the study, with LC, CS1 and CS2 of each unit.

    Args:
        run: the run; the dissection of the phase is finished.
        phase: of the networks.
        measured: what the stage of consistency found.

    Returns:
        What the page calls a gallery -> its path in the work directory.
    """
    dissected, arrays = run.workdir.load(f"dissect.{phase}")
    pages = {}
    for member, model in zip(run.study.members, run.models(phase), strict=True):
        own, scores = below(arrays, member.name), below(measured, member.name)
        layer = model.layer(member.layer)
        images = {name: _study_images(run, phase, name, own) for name in dissected["sets"]}
        title = f"{member.name}, {member.layer}"
        pages[title] = write_gallery(
            run,
            f"{phase} {title}",
            model,
            layer,
            images,
            title=title,
            subtitle=f"{len(own[f'{REAL}/id']):,} real images, {phase} network",
            text=f"{_STUDY} {_marks(run)}",
            concepts=run.source.concepts,
            columns=_scores(scores, layer.shape[2]),
            classes=_classes(run, phase, own),
            iou_threshold=run.study.iou_threshold if run.source.concepts else None,
            occlusion=run.study.occlusion,
        )
    return pages


def _marks(run: Run) -> str:
    """What the bright pixels of a picture are."""
    settings = run.study.occlusion
    if settings is not None:
        return (
            f"Bright, in the first {settings.num_pictures} pictures, is what the unit needs: there an occluder of "
            f"{settings.occluder} px of random pixels, slid by {settings.stride} px, lowers its answer by more than "
            f"{settings.share:.0%} of the largest drop."
        )
    if run.source.concepts is not None:
        return "Bright is where the unit's map exceeds its upper quantile on the real images."
    return "Bright is where the unit's map exceeds half of its maximum over its top images."


def _scores(measured: Arrays, num_units: int) -> tuple[report.Column, ...]:
    columns, alive = [], measured.get(f"{ADVERSARIAL}/all/alive", np.zeros(num_units, bool))
    for title, (name, note) in _SCORES.items():
        if f"{ADVERSARIAL}/all/score/{name}" in measured:
            values = np.full(num_units, np.nan)
            values[alive] = measured[f"{ADVERSARIAL}/all/score/{name}"]
            columns.append(report.Column(title, values, note=note, decimals=3))
    return tuple(columns)


def _study_images(run: Run, phase: str, name: str, own: Arrays) -> UnitImages:
    """One of the sets of the study's own dissection."""
    arrays = {key: array for key, array in below(own, name).items() if key != "detects"}
    if "best_iou" in arrays:
        arrays["detects"] = arrays["best_iou"] > run.study.iou_threshold
    stored = None if name == REAL else adversarial_images(run, phase if name == ADVERSARIAL else NORMAL)
    names, labels = run.source.class_names, arrays["label"]
    targets = None if stored is None else stored.table["target"]

    def caption(row: int) -> str:
        label = names[int(labels[row])]
        return label if targets is None else f"{label} → {names[int(targets[row])]}"

    return UnitImages(run.source if stored is None else stored, arrays["id"], arrays, caption)


def _classes(run: Run, phase: str, own: Arrays) -> report.UnitClasses:
    """Classes of the top real images, original and target classes of the top adversarial images."""
    count, stored = len(run.source.class_names), adversarial_images(run, phase)
    target = dict(zip(own[f"{ADVERSARIAL}/id"].tolist(), stored.table["target"].tolist(), strict=True))
    aimed = np.vectorize(lambda name: target.get(int(name), -1))(own[f"{ADVERSARIAL}/top_ids"])
    shares = {
        "real": own[f"{REAL}/top_labels"],
        "adversarial, original class": own[f"{ADVERSARIAL}/top_labels"],
        "adversarial, target class": aimed,
    }
    return report.UnitClasses(
        run.source.class_names, {title: metrics.class_distribution(labels.T, count) for title, labels in shares.items()}
    )
