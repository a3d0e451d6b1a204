"""One training of one network: the loop, its evaluations, the weights, the page."""

import dataclasses
import functools
import json
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxinterp import _mesh, data, metrics, models, report, training
from jaxinterp._base import Model
from jaxinterp.data import Source
from jaxinterp.pipelines._evaluation import ranks, ranks_under
from jaxinterp.pipelines._exhibits_fit import fit_page
from jaxinterp.pipelines._fit_settings import Fit
from jaxinterp.pipelines._identity import describe
from jaxinterp.pipelines._loop import Trained, Watch, train_resumably
from jaxinterp.pipelines._provenance import provenance
from jaxinterp.pipelines._workdir import WorkDir

STAGE = "fit"
_NAME, _VERSION, _EVALUATED_AT_ONCE = "network", 1, 128


def run_fit(
    fit: Fit,
    workdir: WorkDir,
    *,
    mesh: Mesh | None = None,
    knobs: dict[str, Any] | None = None,
    recipe_text: str = "",
    fresh: bool = False,
    log_ids: bool = False,
    profile: tuple[int, int] | None = None,
    announce: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> str:
    """Trains a network, evaluates it, and writes `weights/network.safetensors`, the curves and the page.

    With moving averages it is the averaged weights that are evaluated and saved. On several hosts each of them calls this
    with the same arguments and a work directory that all can see; the first one writes.

    Args:
        fit: what the recipe built.
        workdir: where it is kept; a killed or stopped run goes on from there.
        mesh: the devices, of all hosts; all of them by default.
        knobs: the recipe's resolved knobs.
        recipe_text: kept in the manifest.
        fresh: discard what an earlier run left in the work directory.
        log_ids: write the ids of the images of every step into `logs/`.
        profile: (first, last) step of a trace for TensorBoard's profiler; None writes none.
        announce: gets a line as training ends.

    Returns:
        The path of the page.

    Raises:
        ValueError: a work directory of another recipe, or a network and images that do not fit each other.
        Stopped: after SIGTERM, when the training has saved itself.
    """
    mesh = _mesh.data_parallel(mesh)
    built, source, filling = fit.build(), fit.source(), fit.filling() if fit.filling else None
    held_out = fit.held_out() if fit.held_out else None
    _check(fit, built, source, held_out, mesh)
    identity = {
        "knobs": describe(knobs or {}),
        "weights": models.fingerprint(built),
        "source": source.fingerprint,
        "held_out": held_out.fingerprint if held_out else None,
        "recipe": describe(fit),
        **({"filling": [models.fingerprint(one) for one in filling.networks]} if filling else {}),
        "fit_version": _VERSION,
    }
    _first_host_first(lambda: workdir.claim(identity, provenance(mesh, fit, knobs or {}, recipe_text), fresh=fresh))
    if not workdir.finished(STAGE):
        trained, found = _train(fit, workdir, built, source, held_out, filling, mesh, log_ids, profile)
        model = fit.finish(trained.averaged) if fit.finish else trained.averaged
        if held_out and not found:
            found = evaluated(fit, model, held_out, mesh)
        if jax.process_index() == 0:
            _save(workdir, model, trained, found, fit)
            announce(_said(fit, trained))
    page = workdir.path / "index.html"
    if jax.process_index() == 0:
        page = report.write(fit_page(fit, workdir), workdir.path)
    return str(page)


def evaluated(fit: Fit, model: Model, held_out: Source, mesh: Mesh) -> dict[str, np.ndarray]:
    """Which held-out images a network gets right: clean, and with `robustness` under FGSM and PGD on some of them.

    Args:
        fit: the settings.
        model: the network.
        held_out: the images.
        mesh: the devices.

    Returns:
        `[n]` bool under "clean"; with attacks also under "clean_attacked", the clean ones of those attacked, and
        what else `ranks_under` has.
    """
    model = jax.device_put(model, _mesh.replicated(mesh))
    size = _mesh.rounded(min(_EVALUATED_AT_ONCE, len(held_out)), mesh)

    answers = {
        "clean": ranks(_key(fit, 1), model, held_out, None, mesh=mesh, batch_size=size, title="evaluate clean") < 1,
    }
    if fit.robustness is not None:
        some = data.spread(held_out, fit.robustness.num_images)
        found = ranks_under(_key(fit, 1), model, some, fit.robustness, mesh=mesh, batch_size=size, title="evaluate")
        answers |= {"clean_attacked": answers["clean"][list(some.indices)]} | {name: rank < 1 for name, rank in found.items()}
    return answers


def _train(
    fit: Fit,
    workdir: WorkDir,
    built: Model,
    source: Source,
    held_out: Source | None,
    filling: training.Filling | None,
    mesh: Mesh,
    log_ids: bool,
    profile: tuple[int, int] | None,
) -> tuple[Trained, dict[str, np.ndarray]]:
    """What was trained, and what the evaluation of the last step found; nothing where there are none on the way."""
    batches = data.training_batches(
        source,
        batch_size=fit.batch_size,
        seed=fit.seed,
        augment=fit.augment,
        repeats=fit.objective.num_replays,
        host=(jax.process_index(), jax.process_count()),
        num_threads=fit.num_threads,
        num_workers=fit.num_workers,
    )

    found: dict[str, np.ndarray] = {}

    def accuracies(images: Source, model: Model) -> dict[str, float]:
        found.update(evaluated(fit, fit.finish(model) if fit.finish else model, images, mesh))
        return {name: float(right.mean()) for name, right in found.items()}

    watch = Watch(
        num_points=fit.num_points,
        evaluate=functools.partial(accuracies, held_out) if held_out and fit.evaluate_every else None,
        evaluate_every=fit.evaluate_every,
        events=True,
        log_ids=log_ids,
        profile=profile,
    )
    try:
        trained = train_resumably(
            _key(fit, 0),
            built,
            batches,
            workdir=workdir,
            mesh=mesh,
            name=_NAME,
            objective=fit.objective,
            optimizer=fit.optimizer,
            num_steps=fit.num_steps,
            batch_size=fit.batch_size,
            num_checkpoints=fit.num_checkpoints,
            options=dataclasses.replace(fit.options, unroll=_mesh.prefers_unrolled(mesh)),
            filling=filling,
            watch=watch,
        )
    finally:
        batches.close()
    return trained, found


def _save(workdir: WorkDir, model: Model, trained: Trained, found: dict[str, np.ndarray], fit: Fit) -> None:
    with workdir.replacing(workdir.path / "weights" / f"{_NAME}.safetensors") as temporary:
        models.save(jax.device_get(model), temporary)
    accuracies = {name: metrics.wilson_interval(float(right.sum()), len(right))._asdict() for name, right in found.items()}
    values = {"accuracy": accuracies, "num_images": {name: len(right) for name, right in found.items()}}
    history = {"history": trained.history, "evaluations": trained.evaluations, "num_steps": fit.num_steps}
    workdir.write_text("speed.json", json.dumps({**trained.speed._asdict(), "batch_size": fit.batch_size}, indent=1))
    workdir.save(STAGE, {**values, **history}, found)


def _said(fit: Fit, trained: Trained) -> str:
    readings = trained.speed.readings(fit.batch_size)
    if not readings:
        return "trained."
    return f"trained: {readings['images_per_second']:,.0f} images/s, {readings['waiting']:.1%} of the time waiting for them."


def _check(fit: Fit, model: Model, source: Source, held_out: Source | None, mesh: Mesh) -> None:
    """Raises `ValueError` where network, images and devices do not fit each other."""
    if fit.batch_size % mesh.size:
        raise ValueError(f"expected a batch_size that {mesh.size} devices share, got {fit.batch_size}; write a multiple.")
    for title, images in (("training", source), ("held-out", held_out)):
        if images is None:
            continue
        if len(images.classes) != model.num_classes:
            raise ValueError(
                f"expected {title} images of {model.num_classes} classes, as the network has, got {len(images.classes)}."
            )
        if title == "held-out" and images.image_size != model.image_size:
            raise ValueError(f"expected held-out images of {model.image_size} px, as the network has, got {images.image_size}.")


def _first_host_first(claim: Callable[[], None]) -> None:
    """Lets the first host write; the others go on when it has."""
    if jax.process_index() == 0:
        claim()
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("claimed")


def _key(fit: Fit, fold: int) -> jax.Array:
    return jax.random.fold_in(jax.random.key(fit.seed), fold)
