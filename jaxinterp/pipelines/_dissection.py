"""The dissection stage: top images, thresholds, IoU tables and their null, on real and on adversarial images."""

from typing import Any

import numpy as np

from jaxinterp import activations, data, metrics
from jaxinterp._base import Model
from jaxinterp.data import Source
from jaxinterp.pipelines._context import NORMAL, ROBUST, Run
from jaxinterp.pipelines._counts import detector_counts, null_counts
from jaxinterp.pipelines._generation import adversarial_images
from jaxinterp.pipelines._passes import accumulate, outputs, renumbered, with_concepts
from jaxinterp.pipelines._study import Member

REAL, ADVERSARIAL, STALE = "real", "adversarial", "stale"
"""The sets of images that a network is dissected on; the stale one was made against the normal networks."""


def dissect(run: Run, phase: str) -> None:
    """Dissects every member of a phase on real images, on its adversarial images and, where it was retrained, on the old ones.

    Each set has thresholds of its own, the top 0.5 % of that set's positions (our reading). Adversarial images carry the
    concept maps of the images they were made from.

    Args:
        run: the run.
        phase: whose networks.
    """
    sets: dict[str, Source] = {REAL: run.source, ADVERSARIAL: _with_concepts(run, phase)}
    if phase == ROBUST:
        sets[STALE] = _with_concepts(run, NORMAL)
    arrays: dict[str, np.ndarray] = {}
    values: dict[str, dict[str, Any]] = {}
    for number, (member, model) in enumerate(zip(run.study.members, run.models(phase), strict=True)):
        for index, (name, source) in enumerate(sets.items()):
            title = f"dissect {phase} {member.name} {name}"
            found, counts = _dissect_set(run, member, model, source, title, (number, index))
            arrays |= {f"{member.name}/{name}/{key}": array for key, array in found.items()}
            values.setdefault(member.name, {})[name] = counts
    run.workdir.save(f"dissect.{phase}", {"members": values, "sets": list(sets)}, arrays)


def top_size(num_images: int) -> int:
    """How many images a unit's top set has: one per cent or 100, but no more than a tenth of the images, and at least 2.

    The papers take one per cent of 50 000; a tenth keeps the top sets of different units apart where there are few images.
    """
    return min(num_images, max(2, min(activations.top_count(num_images), num_images // 10)))


def _dissect_set(
    run: Run, member: Member, model: Model, source: Source, title: str, folds: tuple[int, int]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    layer = model.layer(member.layer)
    num_units = layer.shape[-1]
    said = outputs(run, model, member.layer, source, title=title)
    top = activations.top_k(member.layer, num_units=num_units, k=top_size(len(source)))
    position = {int(name): row for row, name in enumerate(said.id)}
    concepts = source.concepts
    if concepts is None:
        (best,) = accumulate(run, model, member.layer, source, (top,), title=title)
        dissected, counts = {}, {}
    else:
        coarse = activations.quantile_coarse(member.layer, num_units=num_units)
        best, high = accumulate(run, model, member.layer, source, (top, coarse), title=title)
        fine = activations.quantile_fine(member.layer, high)
        (thresholds,) = accumulate(run, model, member.layer, source, (fine,), title=title)
        dissected, counts = _overlaps(run, member, model, source, thresholds, title, folds)
    rows = np.vectorize(lambda name: position.get(int(name), 0))(best.id)
    found = {
        "id": said.id,
        "label": said.label,
        "predictions": said.predictions,
        "strongest": said.strongest,
        "features": said.mean,
        "top_ids": best.id,
        "top_values": best.value,
        "top_labels": np.where(best.id >= 0, said.label[rows], -1),
    }
    return found | dissected, {"num_images": len(source), "top_size": int(best.id.shape[1])} | counts


def _overlaps(
    run: Run, member: Member, model: Model, source: Source, thresholds: np.ndarray, title: str, folds: tuple[int, int]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """IoU table, detectors and their permuted-label null."""
    study, layer = run.study, model.layer(member.layer)
    table, example = source.concepts, source[0].concepts
    if table is None or example is None:
        raise ValueError(f"expected images with concept maps for {title}, got none; leave the dissection out.")
    label_size, label_layers = study.label_size or max(1, example.shape[0] // 2), example.shape[2]
    tally = activations.tally(
        layer,
        thresholds=thresholds,
        categories=table.categories,
        label_size=label_size,
        image_size=source.image_size,
    )
    (counted,) = accumulate(run, model, member.layer, source, (tally,), title=title)
    count = min(study.num_null_images, len(source))
    sample = renumbered(data.subset(source, np.arange(count) * len(source) // count))
    masks = activations.masks(
        layer,
        thresholds=thresholds,
        num_images=count,
        label_layers=label_layers,
        label_size=label_size,
        image_size=source.image_size,
    )
    (mask_set,) = accumulate(run, model, member.layer, sample, (masks,), title=title)
    null = metrics.permuted_null(
        run.key(3, *folds),
        mask_set,
        table.categories,
        num_draws=study.num_null_draws,
        threshold=study.iou_threshold,
    )
    found = metrics.detectors(counted, threshold=study.iou_threshold)
    arrays = {
        "thresholds": thresholds,
        "iou": metrics.iou_table(counted).astype(np.float32),
        "concept": found.concept,
        "best_iou": found.iou,
        "attainable": found.attainable,
        "p_value": null.p_value,
        "survives": null.survives,
        "null_detects": null.observed.detects,
        "null_rate": (null.draws > study.iou_threshold).mean(axis=0),
    }
    return arrays, detector_counts(found) | {"null": null_counts(null)}


def _with_concepts(run: Run, phase: str) -> Source:
    stored = adversarial_images(run, phase)
    return stored if run.source.concepts is None else with_concepts(stored, run.source)
