"""The training stage: members one after the other, checkpointed, resumed where a killed run stopped."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from jaxinterp import _mesh, data, models, training
from jaxinterp._base import Model
from jaxinterp.pipelines._context import NORMAL, Run, progress
from jaxinterp.pipelines._study import Member, Training
from jaxinterp.pipelines._workdir import WorkDir

HISTORY_POINTS = 60


def train(run: Run, phase: str) -> None:
    """Trains every member for a phase and saves its weights in torchvision's layout.

    Args:
        run: the run.
        phase: "normal" trains the members as built, "robust" fine-tunes the normal ones.
    """
    settings = run.study.pretraining if phase == NORMAL else run.study.finetuning
    if settings is None:
        raise ValueError(f"this study has no training for the phase {phase!r}.")
    start = run.built if phase == NORMAL else run.models(NORMAL)
    histories = {}
    source = settings.source()
    for index, (member, model) in enumerate(zip(run.study.members, start, strict=True)):
        path, log = run.weights_path(phase, member.name), f"weights/{phase}/{member.name}.json"
        if not path.exists():
            begun = run.replicate(settings.start(member, model)) if settings.start else model
            trained, history = _train_member(run, phase, settings, source, member, begun, index)
            run.workdir.write_text(log, json.dumps(history))
            with run.workdir.replacing(path) as temporary:
                models.save(settings.finish(member, trained) if settings.finish else trained, temporary)
        histories[member.name] = json.loads((run.workdir.path / log).read_text())
    run.workdir.save(f"train.{phase}", {"history": histories}, {})


def _train_member(
    run: Run, phase: str, settings: Training, source: data.Source, member: Member, model: Model, index: int
) -> tuple[Model, list[dict[str, float | int]]]:
    batches = data.training_batches(source, batch_size=settings.batch_size, seed=settings.seed, flip=settings.flip)
    return train_resumably(
        jax.random.fold_in(jax.random.key(settings.seed), index),
        model,
        batches,
        workdir=run.workdir,
        mesh=run.mesh,
        name=f"{phase}/{member.name}",
        objective=settings.objective(member),
        optimizer=settings.optimizer(member),
        num_steps=settings.num_steps(member),
        num_checkpoints=settings.num_checkpoints,
    )


def train_resumably(
    key: jax.Array,
    model: Model,
    batches: data.TrainingBatches,
    *,
    workdir: WorkDir,
    mesh: Mesh,
    name: str,
    objective: training.Objective,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    num_checkpoints: int,
    keep: Callable[[int, Model], None] | None = None,
) -> tuple[Model, list[dict[str, float | int]]]:
    """Trains a network over a mesh, with checkpoints in a work directory; goes on where a killed run stopped.

    Args:
        key: of the steps.
        model: where training starts.
        batches: the training images.
        workdir: where checkpoints lie.
        mesh: the devices.
        name: folder of the checkpoints, and title of the progress bar.
        objective: what is minimised.
        optimizer: turns gradients into updates.
        num_steps: how many in all.
        num_checkpoints: how many are written on the way, evenly spaced.
        keep: called with the number of steps taken and the model after each of them, before the checkpoint is written, so
            that what it keeps of a step is never behind the checkpoint.

    Returns:
        The trained model and the history: means of the metrics between points.
    """
    import orbax.checkpoint as ocp

    step = training.sharded_step(objective, optimizer, mesh)
    state = jax.device_put(jax.tree.map(jax.numpy.array, training.init_state(optimizer, model)), _mesh.replicated(mesh))
    history: list[dict[str, float | int]] = []
    every = max(1, num_steps // num_checkpoints)
    options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
    folder = (workdir.folder(f"checkpoints/{name}")).resolve()
    with ocp.CheckpointManager(folder, options=options) as manager:
        done = manager.latest_step() or 0
        if done:
            restored = manager.restore(
                done,
                args=ocp.args.Composite(state=ocp.args.StandardRestore(_arrays(state)), rest=ocp.args.JsonRestore()),
            )
            state = _with_arrays(state, restored["state"])
            history = restored["rest"]["history"]
            batches.set_state(json.loads(restored["rest"]["batches"]))
        recent: list[dict[str, jax.Array]] = []
        on_host = _mesh.prefers_unrolled(mesh)
        point = max(1, num_steps // HISTORY_POINTS)
        title = f"train {name.replace('/', ' ')}"
        for number in progress(range(done + 1, num_steps + 1), title=title, unit="step"):
            state, metrics = step(key, state, jax.device_put(next(batches), _mesh.sharded(mesh)))
            recent.append(metrics)
            if mesh.size > 1 and on_host:
                # Two steps in flight can wait for each other's threads in a collective.
                jax.block_until_ready(metrics)
            if number % point == 0 or number % every == 0 or number == num_steps:
                history.append({"step": number, **_mean(recent)})
                recent = []
            if keep is not None:
                keep(number, state.model)
            if number % every == 0 and number < num_steps:
                workdir.expect_room(_checkpoint_size(state), f"a checkpoint of {name.rpartition('/')[2]}")
                rest = {"history": history, "batches": json.dumps(batches.get_state())}
                manager.save(
                    number,
                    args=ocp.args.Composite(state=ocp.args.StandardSave(_arrays(state)), rest=ocp.args.JsonSave(rest)),
                )
    return state.model, history


def _arrays(state: training.TrainState) -> dict[str, Any]:
    """What of a state goes into a checkpoint: all but the architecture, which the recipe builds."""
    return {
        "params": state.model.params,
        "stats": state.model.stats,
        "optimizer_state": state.optimizer_state,
        "step": state.step,
    }


def _checkpoint_size(state: training.TrainState) -> int:
    """Bytes of a checkpoint, from above: the arrays, the history, and a MiB for what Orbax writes about them."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(_arrays(state))) * 11 // 10 + 2**20


def _with_arrays(state: training.TrainState, stored: dict[str, Any]) -> training.TrainState:
    model = dataclasses.replace(state.model, params=stored["params"], stats=stored["stats"])
    return training.TrainState(model, stored["optimizer_state"], stored["step"])


def _mean(metrics: list[dict[str, jax.Array]]) -> dict[str, float]:
    return {name: float(np.mean([np.asarray(entry[name]) for entry in metrics])) for name in metrics[0]}
