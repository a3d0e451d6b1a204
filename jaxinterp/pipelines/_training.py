"""The training stage: members one after the other."""

import json
from typing import Any

import jax

from jaxinterp import data, models
from jaxinterp._base import Model
from jaxinterp.pipelines._context import NORMAL, Run
from jaxinterp.pipelines._loop import train_resumably
from jaxinterp.pipelines._study import Member, Training


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
) -> tuple[Model, list[dict[str, Any]]]:
    objective = settings.objective(member)
    batches = data.training_batches(
        source,
        batch_size=settings.batch_size,
        seed=settings.seed,
        flip=settings.flip,
        augment=settings.augment,
        repeats=objective.num_replays,
    )
    trained = train_resumably(
        jax.random.fold_in(jax.random.key(settings.seed), index),
        model,
        batches,
        workdir=run.workdir,
        mesh=run.mesh,
        name=f"{phase}/{member.name}",
        objective=objective,
        optimizer=settings.optimizer(member),
        num_steps=settings.num_steps(member),
        batch_size=settings.batch_size,
        num_checkpoints=settings.num_checkpoints,
    )
    return trained.model, trained.history
