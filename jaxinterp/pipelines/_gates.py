"""The stage of class-specific gates: how far the units of every member belong to classes, with a control for each figure."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import optax
from jax.sharding import Mesh

from jaxinterp import data, metrics, models, tracing, training
from jaxinterp._base import Model
from jaxinterp.data import Source
from jaxinterp.pipelines._context import Run, progress
from jaxinterp.pipelines._gates_settings import Gates
from jaxinterp.pipelines._generation import adversarial_images
from jaxinterp.pipelines._loop import train_resumably
from jaxinterp.pipelines._passes import Outputs, outputs, source_ids
from jaxinterp.pipelines._study import Member

OWN, FITTED = "own", "fitted"
"""A gate that was trained with the weights, and one that was fitted to them afterwards."""
MASKED, KEPT = "masked", "kept"
"""What is done to the filters of a class: they are set to 0, or all others are."""
EVERY, FILTERS, RANDOM = "every", "filters", "random"
"""The units that a map of the evidence for a class is made of."""

_BATCH_SIZE = 50
"""Images at once, where sets of units are tried on each."""


class _Subject(NamedTuple):
    """A member's network, the images it is read on, what it says of them, the filters `[units classes]`, and the devices."""

    member: Member
    model: Model
    source: Source
    said: Outputs
    filters: np.ndarray
    mesh: Mesh


def measure_gates(run: Run, phase: str) -> None:
    """Gates, mutual information, masked and kept filters, similarity, localisation and detection, member by member."""
    settings = _settings(run)
    source = run.some_held_out(settings.num_images)
    arrays: dict[str, np.ndarray] = {}
    values: dict[str, Any] = {}
    for index, (member, model) in enumerate(zip(run.study.members, run.models(phase), strict=True)):
        found, kept = _measured(run, phase, index, member, model, source, settings)
        values[member.name] = found
        arrays |= {f"{member.name}/{name}": array for name, array in kept.items()}
    run.workdir.save(f"gates.{phase}", {"num_images": len(source), "members": values}, arrays)


def _measured(
    run: Run, phase: str, index: int, member: Member, model: Model, source: Source, settings: Gates
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The figures of one member, and the arrays that they come from."""
    rng, num_classes = run.rng(7, index), model.num_classes
    gates = {FITTED: _fitted(run, phase, index, member, model, settings)}
    if models.has_gate(model) and models.gated_layer(model) == member.layer:
        gates = {OWN: np.asarray(models.gate_of(model)), **gates}
    gate = next(iter(gates.values()))
    filters = metrics.class_filters(gate, threshold=settings.threshold)
    said = outputs(run, model, member.layer, source, title=f"gates {member.name}")
    information = metrics.mutual_information(
        rng,
        said.mean,
        said.label,
        num_classes=num_classes,
        num_permutations=settings.num_permutations,
        num_groups=settings.num_groups,
    )
    similarity, groups = metrics.filter_similarity(said.mean), gate.argmax(axis=1)
    null = [metrics.block_score(similarity, rng.permutation(groups)) for _ in range(settings.num_null_draws)]
    arrays = {f"gate/{name}": one for name, one in gates.items()} | {
        "mutual_information": information.by_class,
        "permuted": information.permuted,
        "similarity": similarity,
        "label": said.label,
        "predictions": said.predictions,
        "block_null": np.asarray(null),
    }
    values: dict[str, Any] = {
        "score": list(information.score),
        "permuted": float(information.permuted.mean()),
        "densities": {name: metrics.gate_density(one) for name, one in gates.items()},
        "block_score": metrics.block_score(similarity, groups),
        "accuracy": list(metrics.wilson_interval(int((said.predictions == said.label).sum()), len(said.label))),
    }
    subject = _Subject(member, model, source, said, filters, run.mesh)
    values["without"], without = _without(rng, subject, num_controls=settings.num_controls)
    arrays |= {f"without/{name}": one for name, one in without.items()}
    if settings.category is not None:
        values["localised"], localised = _localised(rng, subject, *_places(subject, settings))
        arrays |= {f"localised/{name}": one for name, one in localised.items()}
    if run.study.source is not None:
        values["detection"] = list(_detection(run, rng, phase, member, model))
    return values, arrays


def _fitted(run: Run, phase: str, index: int, member: Member, model: Model, settings: Gates) -> np.ndarray:
    """A gate for the member's layer, fitted to its frozen weights on the study's images."""
    bare = models.without_gate(model) if models.has_gate(model) else model
    always = training.gate_schedule(1, warm_up=0, period=1)
    trained = train_resumably(
        run.key(7, index),
        run.replicate(models.gated(bare, layer=member.layer)),
        data.training_batches(
            run.source if run.study.source else run.held_out, batch_size=settings.batch_size, seed=run.study.seed
        ),
        workdir=run.workdir,
        mesh=run.mesh,
        name=f"gates/{phase}/{member.name}",
        objective=training.class_specific(
            gated=always,
            regulariser_weight=settings.regulariser_weight,
            density=settings.density,
            statistics="frozen",
        ),
        optimizer=training.gate_optimizer(optax.set_to_zero(), optax.sgd(settings.learning_rate), gated=always),
        num_steps=settings.num_steps,
        batch_size=settings.batch_size,
        num_checkpoints=1,
    )
    return np.asarray(models.gate_of(trained.model))


def _without(rng: np.random.Generator, subject: _Subject, *, num_controls: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Accuracy of a class and of all others with the filters of that class masked, or kept alone, beside random units.

    A control permutes the units, so that every class has as many filters as before.
    """
    member, filters, label = subject.member, subject.filters, subject.said.label
    num_classes = filters.shape[1]
    tables = [filters, *(filters[rng.permutation(len(filters))] for _ in range(num_controls))]
    sets = np.concatenate([np.concatenate([table.T, ~table.T]) for table in tables])
    parts = [
        tracing.ablated_predictions(subject.model, images, sets, layer=member.layer, batch_size=_BATCH_SIZE, mesh=subject.mesh)
        for images in _images(subject.source, np.arange(len(label)), f"masked filters {member.name}")
    ]
    # [1 + controls, masked or kept, class whose filters they are, image]
    predicted = np.concatenate(parts, axis=1).reshape(len(tables), 2, num_classes, len(label))
    right = predicted == label
    own = label == np.arange(num_classes)[:, None]
    has = filters.any(axis=0) & own.any(axis=1)
    confusion = {
        name: np.stack([metrics.confusion(label, row, num_classes=num_classes) for row in predicted[0, place]])
        for place, name in enumerate((MASKED, KEPT))
    }
    shares: dict[str, Any] = {"num_classes": int(has.sum())}
    for place, name in enumerate((MASKED, KEPT)):
        for group, rows in (("own", own), ("others", ~own)):
            among = rows & has[:, None]
            if among.any():
                by_table = right[:, place][:, among].mean(axis=1)
                shares[f"{name}/{group}"] = {
                    "accuracy": float(by_table[0]),
                    "random": float(by_table[1:].mean()),
                    "random_spread": [float(q) for q in np.quantile(by_table[1:], (0.025, 0.975))],
                }
    return shares, confusion


def _localised(
    rng: np.random.Generator, subject: _Subject, chosen: np.ndarray, known: np.ndarray
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """How well maps of the class's filters, of every unit and of random units find the pixels `known` of the class."""
    member = subject.member
    found: dict[str, list[np.ndarray]] = {}
    for number, images in enumerate(_images(subject.source, chosen, f"localisation {member.name}")):
        rows = slice(number * _BATCH_SIZE, number * _BATCH_SIZE + len(images))
        label, place = subject.said.label[chosen[rows]], known[rows]
        own = subject.filters[:, label].T
        units = {EVERY: np.ones_like(own), FILTERS: own, RANDOM: rng.permuted(own, axis=1)}
        for name, one in units.items():
            maps = tracing.class_maps(subject.model, images, label, layer=member.layer, units=one, mesh=subject.mesh)
            for kind, drawn in maps._asdict().items():
                found.setdefault(f"{kind}/{name}", []).append(metrics.localization(drawn, place).iou)
    arrays = {name: np.concatenate(parts) for name, parts in found.items()}
    values: dict[str, Any] = {"num_images": len(chosen), "area": float(known.mean()) if len(chosen) else None}
    for name, iou in arrays.items():
        values[name] = list(metrics.bootstrap_interval(rng, iou, np.arange(len(iou))))
    for kind in tracing.ClassMaps._fields:
        for other in (EVERY, RANDOM) if len(chosen) else ():
            difference = arrays[f"{kind}/{FILTERS}"] - arrays[f"{kind}/{other}"]
            values[f"{kind}/{FILTERS} minus {other}"] = list(
                metrics.bootstrap_interval(rng, difference, np.arange(len(difference)))
            )
    return values, arrays


def _places(subject: _Subject, settings: Gates) -> tuple[np.ndarray, np.ndarray]:
    """The images whose class has filters, is predicted and is seen, and its pixels on them."""
    source, said = subject.source, subject.said
    if source.concepts is None:
        raise ValueError("expected held-out images with concept maps for localisation, got none; write category=None.")
    assert settings.category is not None
    rows, places = [], []
    for index in np.flatnonzero((said.predictions == said.label) & np.any(subject.filters, axis=0)[said.label]):
        if len(rows) == settings.num_localised:
            break
        example = data.read(source, int(index), image=False)
        number = source.concepts.number(settings.category, source.class_names[example.label])
        place = (np.asarray(example.concepts) == number).any(axis=-1)
        if place.any() and not place.all():
            rows.append(index)
            places.append(place)
    side = source.image_size
    return np.asarray(rows, np.int64), np.asarray(places, bool).reshape(-1, side, side)


def _detection(run: Run, rng: np.random.Generator, phase: str, member: Member, model: Model) -> metrics.Interval:
    """Area under the curve of telling adversarial images from clean ones by the layer's pooled activations."""
    clean, attacked = data.subset(run.source, run.attacked.tolist()), adversarial_images(run, phase)
    sides = [outputs(run, model, member.layer, images, title=f"detection {member.name}") for images in (clean, attacked)]
    read = (data.read(attacked, index, image=False, concepts=False) for index in range(len(attacked)))
    ids = np.asarray([example.source_id for example in read])
    found = metrics.feature_detection(rng, sides[0].mean, sides[1].mean, clean_ids=source_ids(clean), adversarial_ids=ids)
    return found.auroc


def _images(source: Source, rows: np.ndarray, title: str) -> Iterator[np.ndarray]:
    """The images of some rows, a batch at a time."""
    for start in progress(range(0, len(rows), _BATCH_SIZE), title=title):
        pixels = [data.read(source, int(row), concepts=False).image for row in rows[start : start + _BATCH_SIZE]]
        yield np.stack(pixels).astype(np.float32) / np.float32(255)


def _settings(run: Run) -> Gates:
    if run.study.gates is None:
        raise ValueError("this study measures no gates; give it gates=pipelines.Gates().")
    return run.study.gates
