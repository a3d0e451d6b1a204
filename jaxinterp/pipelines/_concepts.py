"""The stage that dissects networks over a concept set: real images, adversarial versions, and the noise control."""

import dataclasses
from typing import Any

import numpy as np

from jaxinterp import metrics
from jaxinterp._base import Model
from jaxinterp.data import Source
from jaxinterp.pipelines._beyond_iou import beyond_arrays, beyond_counts
from jaxinterp.pipelines._concept_sets import ADVERSARIAL, NOISE, REAL, concept_sets, said_of
from jaxinterp.pipelines._context import Run
from jaxinterp.pipelines._counts import detector_counts, null_counts
from jaxinterp.pipelines._dissect_layers import LayerDissection, dissect_layers
from jaxinterp.pipelines._dissection_settings import Dissection
from jaxinterp.pipelines._unit_pages import concept_pages

Arrays = dict[str, np.ndarray]

_FOLD = 7


def dissect_concepts(run: Run, phase: str) -> None:
    """Dissects the layers of every member of a phase over the study's concept set.

    The thresholds T_k are those of the real images for all sets; as a second reading adversarial and noise images are counted
    with thresholds of their own. What the attack does is the difference between adversarial and noise. Each member is a part
    of its own, which a killed run keeps.

    Args:
        run: the run.
        phase: whose networks.
    """
    settings = run.study.dissection
    if settings is None:
        raise ValueError("this study has no concept set; give it dissection=pipelines.Dissection(...).")
    sets = concept_sets(run, phase, settings)
    values: dict[str, Any] = {}
    arrays: Arrays = {}
    for number, (member, model) in enumerate(zip(run.study.members, run.models(phase), strict=True)):
        part = f"concepts.{phase}.{member.name}"
        if not run.workdir.finished(part):
            layers = settings.layers_of(member.name, member.layer)
            found = _dissect_member(run, model, layers, sets, settings, number, f"dissect {phase} {member.name}")
            run.workdir.save(part, *found)
        values[member.name], saved = run.workdir.load(part)
        arrays |= {f"{member.name}/{name}": array for name, array in saved.items()}
    concepts = sets[REAL].concepts
    table = {} if concepts is None else {"names": list(concepts.names), "categories": list(concepts.categories)}
    pages = concept_pages(run, phase, sets, values, arrays, settings)
    counted = {"num_images": len(sets[REAL]), "sets": list(sets), "concepts": table, "members": values, "pages": pages}
    run.workdir.save(f"concepts.{phase}", counted, arrays)


def _dissect_member(
    run: Run,
    model: Model,
    layers: tuple[str, ...],
    sets: dict[str, Source],
    settings: Dissection,
    number: int,
    title: str,
) -> tuple[dict[str, Any], Arrays]:
    found: dict[str, dict[str, LayerDissection]] = {}
    knobs: dict[str, Any] = {"layers": layers, "mesh": run.mesh, "scratch": run.workdir.path}
    for fold, (name, source) in enumerate(sets.items()):
        thresholds = {layer: one.thresholds for layer, one in found[REAL].items()} if found else None
        key = run.key(_FOLD, number, fold)
        asked = settings if name == REAL else dataclasses.replace(settings, num_formula_draws=0)
        knobs |= {"settings": asked, "title": f"{title} {name}"}
        found[name] = dissect_layers(key, model, source, thresholds=thresholds, **knobs)
    predictions, arrays = _predictions(run, model, sets, settings, title)
    values: dict[str, Any] = {"predictions": predictions, "layers": {}}
    for layer in layers:
        entry: dict[str, Any] = {"num_units": len(found[REAL][layer].thresholds), "sets": {}, "own_thresholds": {}}
        for name, dissected in found.items():
            entry["sets"][name], saved = counts_of(dissected[layer]), arrays_of(dissected[layer])
            arrays |= {f"{layer}/{name}/{key}": array for key, array in saved.items()}
            if name != REAL:
                entry["own_thresholds"][name] = detector_counts(dissected[layer].own)
        beyond, concepts = found[REAL][layer].beyond, sets[REAL].concepts
        if beyond is not None and concepts is not None:
            entry["beyond"], saved = beyond_counts(beyond), beyond_arrays(beyond, concepts.names)
            arrays |= {f"{layer}/{REAL}/{key}": array for key, array in saved.items()}
        if ADVERSARIAL in sets:
            masks = {name: dissected[layer].masks for name, dissected in found.items()}
            entry["effect"] = _effect(run, masks, sets[REAL], settings, number)
        values["layers"][layer] = entry
    return values, arrays


def counts_of(found: LayerDissection) -> dict[str, Any]:
    """The counts of a dissection, and the same on the sample beside their null, as JSON has them."""
    counted = {"num_images": found.tally.num_images, "null": null_counts(found.null)}
    return detector_counts(found.detectors) | counted


def arrays_of(found: LayerDissection) -> Arrays:
    """The figures of every unit."""
    return {
        "thresholds": found.thresholds,
        "iou": metrics.iou_table(found.tally).astype(np.float32),
        "concept": found.detectors.concept,
        "best_iou": found.detectors.iou,
        "detects": found.detectors.detects,
        "attainable": found.detectors.attainable,
        "p_value": found.null.p_value,
        "survives": found.null.survives,
        "kept": found.stability.kept,
        "iou_low": found.stability.low,
        "iou_high": found.stability.high,
        "top_ids": found.top.id,
        "top_values": found.top.value,
    }


def _effect(run: Run, masks: dict[str, Any], clean: Source, settings: Dissection, number: int) -> dict[str, Any]:
    """What the attack does to the counts, beside what the same noise does, as JSON has it."""
    if clean.concepts is None:
        raise ValueError("expected images with concept labels, got none.")
    effect = metrics.dissection_effect(
        run.rng(_FOLD, number),
        masks,
        clean.concepts.categories,
        reference=REAL,
        first=ADVERSARIAL,
        second=NOISE,
        threshold=settings.iou_threshold,
        min_images=settings.min_images,
        num_draws=settings.num_bootstrap_draws,
    )
    return {
        "number": effect.number._asdict(),
        "unique": effect.unique._asdict(),
        "by_category": {name: one._asdict() for name, one in effect.by_category.items()},
        "kept": {name: one._asdict() for name, one in effect.kept.items()},
        "kept_difference": effect.kept_difference._asdict(),
        "num_reference": effect.num_reference,
        "num_images": effect.num_images,
        "num_draws": effect.num_draws,
    }


def _predictions(
    run: Run, model: Model, sets: dict[str, Source], settings: Dissection, title: str
) -> tuple[dict[str, Any], Arrays]:
    """What the network says of every image, how many predictions change, and how large the perturbations are."""
    said = {
        name: said_of(run, (model,), source, batch_size=settings.batch_size, title=f"{title} predict {name}")
        for name, source in sets.items()
    }
    arrays = {f"predictions/{name}": one.prediction for name, one in said.items()} | {"ids": said[REAL].id}
    if ADVERSARIAL not in sets:
        return {}, arrays
    sizes: dict[str, list[float]] = {ADVERSARIAL: [], NOISE: []}
    for index in range(len(sets[REAL])):
        clean = sets[REAL][index].image.astype(np.float64)
        for name, values in sizes.items():
            values.append(float(np.sqrt(np.mean(np.square((sets[name][index].image - clean) / 255)))))
    values = {
        "target": float((said[ADVERSARIAL].prediction == said[ADVERSARIAL].target).mean()),
        "changed": {name: float((said[name].prediction != said[REAL].prediction).mean()) for name in sizes},
        "rms": {name: float(np.mean(found)) for name, found in sizes.items()},
    }
    return values, arrays
