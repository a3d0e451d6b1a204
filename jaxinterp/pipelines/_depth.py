"""Depth selectivity: every way of training with every seed, read on held-out images, one part of the work directory each."""

import functools
import json
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from jaxinterp import _mesh, activations, data, metrics, models, report
from jaxinterp._base import Batch, Model
from jaxinterp.activations import DepthBins
from jaxinterp.data import Source
from jaxinterp.pipelines._depth_settings import DepthCondition, DepthStudy
from jaxinterp.pipelines._exhibits_depth import depth_page, held_out_sample, run_name
from jaxinterp.pipelines._identity import describe
from jaxinterp.pipelines._loop import train_resumably
from jaxinterp.pipelines._passes import fold, renumbered
from jaxinterp.pipelines._provenance import provenance
from jaxinterp.pipelines._workdir import WorkDir

_VERSION = 1


def run_depth(
    study: DepthStudy,
    workdir: WorkDir,
    *,
    mesh: Mesh | None = None,
    knobs: dict[str, Any] | None = None,
    recipe_text: str = "",
    fresh: bool = False,
    announce: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> str:
    """Trains and reads every network that is not finished yet; writes the page after each.

    Args:
        study: what the recipe built.
        workdir: where it is kept; a killed run goes on from there.
        mesh: the devices; all of them by default.
        knobs: the recipe's resolved knobs.
        recipe_text: kept in the manifest.
        fresh: discard what an earlier run left in the work directory.
        announce: gets a line for each training.

    Returns:
        The path of the page.

    Raises:
        ValueError: a work directory of another recipe, or networks, layers and images that do not fit each other.
        Stopped: after SIGTERM, when a training has saved itself.

    References:
        Zunzhi You, Yi-Hsuan Tsai, Wei-Chen Chiu, Guanbin Li, "Towards Interpretable Deep Networks for Monocular Depth
        Estimation", ICCV 2021.
    """
    mesh = _mesh.data_parallel(mesh)
    built = models.abstract(lambda: study.build(study.seed))
    for layer in study.layers:
        units = built.layer(layer).shape[2]
        if layer == study.ablated and units < study.ablations[-1]:
            raise ValueError(f"expected at most {units} ablated units, as {layer!r} has, got {study.ablations[-1]}.")
    source, held_out = study.source(), study.held_out()
    for name, images in (("training", source), ("held-out", held_out)):
        if images[0].depth is None or images.image_size != built.image_size:
            raise ValueError(f"expected {name} images with depth of {built.image_size} px; write depth=True and that size.")
    identity = {
        "knobs": describe(knobs or {}),
        "recipe": describe(study),
        "sources": [source.fingerprint, held_out.fingerprint, *(pairs.source().fingerprint for pairs in study.pairs)],
        "depth_version": _VERSION,
    }
    workdir.claim(identity, provenance(mesh, study, knobs or {}, recipe_text), fresh=fresh)
    shown = held_out_sample(held_out)
    cells = [(condition, seed) for seed in study.seeds for condition in study.conditions]
    for number, (condition, seed) in enumerate(cells, start=1):
        part = run_name(condition, seed)
        is_new = not workdir.finished(part)
        if is_new:
            announce(f"{condition.title}, seed {seed} ...")
            model = jax.device_put(_trained(study, workdir, condition, seed, source, mesh), _mesh.replicated(mesh))
            workdir.save(part, *_read(study, model, held_out, shown, mesh, seed))
        if is_new or number == len(cells):
            report.write(depth_page(study, workdir, shown), workdir.path)
    return str(workdir.path / "index.html")


def _trained(study: DepthStudy, workdir: WorkDir, condition: DepthCondition, seed: int, source: Source, mesh: Mesh) -> Model:
    """The network of a condition and seed, trained where that is not done yet."""
    built = study.build(seed)
    path = workdir.path / "weights" / condition.name / f"{seed}.safetensors"
    if path.exists():
        return models.load(path, built)
    batches = data.training_batches(source, batch_size=study.batch_size, seed=seed, augment=study.augment)
    try:
        trained = train_resumably(
            jax.random.key(seed),
            built,
            batches,
            workdir=workdir,
            mesh=mesh,
            name=f"depth/{condition.name}-{seed}",
            objective=condition.objective,
            optimizer=study.optimizer,
            num_steps=study.num_steps,
            batch_size=study.batch_size,
            num_checkpoints=study.num_checkpoints,
        )
    finally:
        batches.close()
    workdir.write_text(f"weights/{condition.name}/{seed}.history.json", json.dumps(trained.history))
    with workdir.replacing(path) as temporary:
        models.save(jax.device_get(trained.model), temporary)
    return trained.model


def _read(
    study: DepthStudy, model: Model, held_out: Source, shown: Batch, mesh: Mesh, seed: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a network answers at every depth and how far it errs, on held-out images and on the other pairs."""
    values, arrays = _measured(study, model, held_out, study.bins, mesh)
    selectivity = arrays[f"selectivity/{study.ablated}"]
    order = np.argsort(-np.nan_to_num(selectivity, nan=-2.0), kind="stable")
    rng = np.random.default_rng(seed)
    for size in study.ablations:
        chosen = [order[:size], *(rng.choice(len(order), size, replace=False) for _ in range(study.num_random))]
        found = [_ablated(study, model, held_out, units, mesh) for units in chosen]
        for name, some in (("selective", found[:1]), ("random", found[1:])):
            arrays[f"ablated/{size}/{name}"] = np.mean([one.per_image["abs_rel"] for one in some], axis=0)
            total, pixels = (np.sum([one[place].sum(axis=0) for one in some], axis=0) for place in range(2))
            arrays[f"ablated_bins/{size}/{name}"] = metrics.DepthErrors(total[None], pixels[None]).per_bin["abs_rel"]
    arrays["shown/depth"] = np.asarray(_predicted(model, jnp.asarray(shown.image)))
    for pairs in study.pairs:
        read, more = _measured(study, model, pairs.source(), pairs.bins, mesh)
        values[f"pairs/{pairs.name}"] = read
        arrays |= {f"pairs/{pairs.name}/{name}": array for name, array in more.items()}
    return values, arrays


def _measured(
    study: DepthStudy, model: Model, source: Source, bins: DepthBins, mesh: Mesh
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Responses, selectivity and errors in one pass."""
    statistics = [
        activations.depth_response(model.layer(layer), bins, image_size=model.image_size, anchor=study.anchor)
        for layer in study.layers
    ]
    errors = metrics.depth_errors(bins, num_images=len(source))
    *responses, found = fold(
        model,
        (*study.layers, "depth"),
        renumbered(source),
        (*statistics, errors),
        mesh=mesh,
        batch_size=_batch_size(study, source, mesh),
        title="read depth",
        read_concepts=False,
    )
    values: dict[str, Any] = {"num_images": len(source), "errors": found.overall, "selectivity": {}}
    arrays = {"errors/total": found.total.sum(axis=0), "errors/count": found.pixels.sum(axis=0)}
    arrays |= {f"per_image/{name}": value for name, value in found.per_image.items()}
    for layer, read in zip(study.layers, responses, strict=True):
        selectivity = activations.cross_validated_selectivity(read)
        known = np.isfinite(selectivity)
        values["selectivity"][layer] = {
            "cross_validated": float(selectivity[known].mean()) if known.any() else None,
            "same_images": float(np.nanmean(np.asarray(activations.depth_selectivity(read.response)))),
            "num_units": len(selectivity),
            "num_known": int(known.sum()),
        }
        arrays |= {f"selectivity/{layer}": selectivity, f"response/{layer}": read.response}
    return values, arrays


def _ablated(study: DepthStudy, model: Model, held_out: Source, units: np.ndarray, mesh: Mesh) -> metrics.DepthErrors:
    """The errors with some units of the ablated layer set to 0."""
    keep = np.ones(model.layer(study.ablated).shape[2], np.float32)
    keep[units] = 0
    sums = []
    for batch in data.batches(held_out, batch_size=_batch_size(study, held_out, mesh), read_concepts=False):
        there = jax.device_put(batch, _mesh.sharded(mesh))
        found = _error_sums(model, study.ablated, study.bins, jnp.asarray(keep), there.image, there.extra["depth"])
        sums.append(np.asarray(found).astype(np.float64)[np.asarray(batch.mask)])
    whole = np.concatenate(sums)
    return metrics.DepthErrors(whole[..., :-1], whole[..., -1])


@functools.partial(jax.jit, static_argnums=(1, 2))
def _error_sums(model: Model, layer: str, bins: DepthBins, keep: Array, images: Array, truth: Array) -> Array:
    taps = {layer: lambda maps: maps * keep[None, None, None]}
    return metrics.depth_error_sums(model(images, taps=taps)[1]["depth"][..., 0], truth, bins)


@jax.jit
def _predicted(model: Model, images: Array) -> Array:
    return model(images)[1]["depth"][..., 0]


def _batch_size(study: DepthStudy, source: Source, mesh: Mesh) -> int:
    return _mesh.rounded(min(study.batch_size, len(source)), mesh)
