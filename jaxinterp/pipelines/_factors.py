"""Factors of interpretability: every condition trained, dissected and probed, one part of the work directory each."""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxinterp import _mesh, data, metrics, models, report, training
from jaxinterp._base import Model
from jaxinterp.data import Source
from jaxinterp.pipelines._dissect_layers import dissect_layers
from jaxinterp.pipelines._exhibits_factors import factors_page
from jaxinterp.pipelines._factors_settings import Condition, Factors
from jaxinterp.pipelines._identity import describe
from jaxinterp.pipelines._loop import Watch, train_resumably
from jaxinterp.pipelines._passes import forward
from jaxinterp.pipelines._provenance import provenance
from jaxinterp.pipelines._workdir import WorkDir

_VERSION = 1


def run_factors(
    factors: Factors,
    workdir: WorkDir,
    *,
    mesh: Mesh | None = None,
    knobs: dict[str, Any] | None = None,
    recipe_text: str = "",
    fresh: bool = False,
    announce: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> str:
    """Trains, dissects and probes every condition that is not finished yet; writes the page after each.

    Args:
        factors: what the recipe built.
        workdir: where it is kept; a killed run goes on from there.
        mesh: the devices; all of them by default.
        knobs: the recipe's resolved knobs.
        recipe_text: kept in the manifest.
        fresh: discard what an earlier run left in the work directory.
        announce: gets a line for each condition.

    Returns:
        The path of the page.

    Raises:
        ValueError: a work directory of another recipe, or networks, layers and images that do not fit each other.

    References:
        Bolei Zhou, David Bau, Aude Oliva, Antonio Torralba, "Interpreting Deep Visual Representations via Network
        Dissection", 2019, the sections on training conditions and on self-supervised networks.
    """
    mesh = _mesh.data_parallel(mesh)
    concepts = factors.dissection.source()
    for condition in factors.conditions:
        if condition.build is not None:
            built = models.abstract(condition.build)
            for layer in condition.layers:
                built.layer(layer)
    identity = {
        "knobs": describe(knobs or {}),
        "recipe": describe(factors),
        "concepts": concepts.fingerprint,
        "factors_version": _VERSION,
    }
    workdir.claim(identity, provenance(mesh, factors, knobs or {}, recipe_text), fresh=fresh)
    probed = (factors.probe_training(), factors.held_out())
    found: dict[str, dict[str, Any]] = {}
    for number, condition in enumerate(factors.conditions):
        part = f"condition.{condition.name}"
        if not workdir.finished(part):
            announce(f"{condition.group}: {condition.title or condition.name} ...")
            if condition.of is not None and condition.at_step is None and not condition.layers:
                read = found[condition.of]
            else:
                read = _read(factors, workdir, condition, mesh, concepts, probed, number)
            workdir.save(part, read, {})
        found[condition.name] = workdir.load(part)[0]
        report.write(factors_page(factors, found, workdir), workdir.path)
    return str(workdir.path / "index.html")


def _read(
    factors: Factors,
    workdir: WorkDir,
    condition: Condition,
    mesh: Mesh,
    concepts: Source,
    probed: tuple[Source, Source],
    number: int,
) -> dict[str, Any]:
    """What a condition's network answers to, and what can be told from it, as JSON has it."""
    trained = factors.trained(condition)
    step = trained.num_steps if condition.at_step is None else condition.at_step
    model = jax.device_put(_network(factors, workdir, trained, step, mesh), _mesh.replicated(mesh))
    layers = condition.layers or trained.layers
    dissected = dissect_layers(
        jax.random.fold_in(jax.random.key(factors.seed), number),
        model,
        concepts,
        layers=layers,
        settings=dataclasses.replace(factors.dissection, num_formula_draws=0),
        mesh=mesh,
        scratch=workdir.path,
        title=f"dissect {condition.name}",
    )
    values: dict[str, Any] = {"num_steps": step, "num_images": len(concepts), "layers": {}}
    answers = not isinstance(trained.objective, training.Pretext)
    for layer in layers:
        (fit_rows, fit_labels, _), (rows, labels, predicted) = (
            _pooled(model, layer, source, mesh, factors.dissection.batch_size) for source in probed
        )
        probe = metrics.linear_probe(fit_rows, fit_labels, rows, labels)
        null = dissected[layer].null
        values["layers"][layer] = {
            "num_units": len(null.p_value),
            "ratio": null.observed.ratio,
            "survivors": int(null.survives.sum()),
            "unique": null.unique._asdict(),
            "number": null.number._asdict(),
            "unique_by_best": {name: one._asdict() for name, one in null.unique_by_best.items()},
            "probe": probe._asdict() | {"accuracy": probe.accuracy._asdict()},
        }
        if answers and model.num_classes == len(probed[1].classes):
            values["accuracy"] = metrics.wilson_interval(int((predicted == labels).sum()), len(labels))._asdict()
    return values


def _network(factors: Factors, workdir: WorkDir, condition: Condition, step: int, mesh: Mesh) -> Model:
    """The network of a condition after so many steps, trained where that is not done yet."""
    if condition.build is None:
        raise ValueError(f"{condition.name!r} has no network of its own.")
    finish = condition.finish or (lambda model: model)
    built = condition.build()
    if condition.start is not None:
        earlier = next(one for one in factors.conditions if one.name == condition.start)
        _network(factors, workdir, earlier, earlier.num_steps, mesh)
        built = models.load(_weights(workdir, earlier, earlier.num_steps, raw=True), built)
    if step == 0:
        return finish(built)
    path = _weights(workdir, condition, step)
    if not path.exists():
        _train(factors, workdir, condition, built, mesh)
    return models.load(path, finish(built))


def _train(factors: Factors, workdir: WorkDir, condition: Condition, built: Model, mesh: Mesh) -> None:
    if condition.source is None:
        raise ValueError(f"{condition.name!r}: expected source= the training images, got none.")
    kept = factors.kept_steps(condition)
    key = jax.random.key(factors.seed)
    objective, begun = condition.objective, built
    if isinstance(objective, training.Pretext):
        begun, objective = objective.start(jax.random.fold_in(key, 1), built), objective.objective

    def save(number: int, model: Model) -> None:
        if number not in kept and number != condition.num_steps:
            return
        network = training.without_head(model) if isinstance(condition.objective, training.Pretext) else model
        for raw in (True, False):
            finished = network if raw or condition.finish is None else condition.finish(network)
            with workdir.replacing(_weights(workdir, condition, number, raw=raw)) as temporary:
                models.save(finished, temporary)

    batches = data.training_batches(
        condition.source(),
        batch_size=factors.batch_size,
        seed=factors.seed,
        flip=factors.flip,
        repeats=objective.num_replays,
    )
    trained = train_resumably(
        jax.random.fold_in(key, 0),
        begun,
        batches,
        workdir=workdir,
        mesh=mesh,
        name=f"factors/{condition.name}",
        objective=objective,
        optimizer=condition.optimizer(condition.num_steps),
        num_steps=condition.num_steps,
        batch_size=factors.batch_size,
        num_checkpoints=factors.num_checkpoints,
        watch=Watch(keep=save),
    )
    workdir.write_text(f"weights/{condition.name}/history.json", json.dumps(trained.history))


def _weights(workdir: WorkDir, condition: Condition, step: int, *, raw: bool = False) -> pathlib.Path:
    """Where weights lie: as they are read, or raw, as they were trained."""
    return workdir.path / "weights" / condition.name / f"{step}{'.raw' if raw else ''}.safetensors"


def _pooled(model: Model, layer: str, source: Source, mesh: Mesh, batch_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every image: the mean of the layer's map, the label, and the class of highest logit."""
    size = _mesh.rounded(batch_size, mesh)
    rows, labels, predicted = [], [], []
    for batch in data.batches(source, batch_size=size, read_concepts=False):
        logits, maps = forward(model, layer, jax.device_put(batch, _mesh.sharded(mesh)).image)
        keep = np.asarray(batch.mask)
        rows.append(np.asarray(maps).reshape(size, -1, maps.shape[-1]).mean(axis=1)[keep])
        labels.append(np.asarray(batch.label)[keep])
        predicted.append(np.asarray(logits).argmax(axis=-1)[keep])
    return np.concatenate(rows), np.concatenate(labels), np.concatenate(predicted)
