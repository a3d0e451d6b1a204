"""The generation stage: an adversarial data set, shard by shard, re-read and re-scored."""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jaxinterp import attacks, data
from jaxinterp._base import Attack, Batch, Model
from jaxinterp.data import Source
from jaxinterp.pipelines._context import Run, evenly, progress, to_host
from jaxinterp.pipelines._passes import outputs

SPLIT = "adversarial"


@dataclasses.dataclass(frozen=True)
class Making:
    """Which adversarial images are made, and where they are kept.

    Attributes:
        source: the clean images, each with the class that its adversarial images leave.
        chosen: positions in `source` of those that are attacked.
        num_targets: least-likely classes each is driven to.
        folder: of the data set.
        fold: names the draws of the attack, apart from those of other sets.
    """

    source: Source
    chosen: np.ndarray
    num_targets: int
    folder: pathlib.Path
    fold: int = 1

    def __len__(self) -> int:
        return len(self.chosen) * self.num_targets


def making(run: Run, phase: str) -> Making:
    """The adversarial images of a study against the networks of a phase."""
    return Making(run.source, run.attacked, run.study.num_targets, run.adversarial_path(phase))


def generate(run: Run, phase: str) -> None:
    """Attacks the ensemble of a phase and writes the data set; finished shards of an earlier run are kept.

    The success that is recorded is that of the images as they are read back from the shards.

    Args:
        run: the run.
        phase: whose networks are attacked.
    """
    models, attack, made = run.models(phase), run.study.attack(phase), making(run, phase)
    form = write_images(run, made, attack, models, title=f"generate {phase}")
    arrays = rescore(run, phase, models) | trace_attack(run, made, attack, models)
    run.workdir.save(f"generate.{phase}", {"num_images": len(made), "models": form.models}, arrays)


def write_images(run: Run, made: Making, attack: Attack, models: tuple[Model, ...], *, title: str) -> data.AdversarialFormat:
    """Attacks an ensemble and writes the data set, shard by shard; finished shards of an earlier run are kept.

    Args:
        run: the run.
        made: which images.
        attack: on the tuple of models.
        models: the ensemble.
        title: of the progress bar.

    Returns:
        What all records share.
    """
    form = data.AdversarialFormat(
        image_size=made.source.image_size,
        classes=made.source.classes,
        class_names=made.source.class_names,
        models=tuple(member.name for member in run.study.members),
        num_targets=made.num_targets,
    )
    count, size = len(made), run.study.shard_size
    num_shards = -(-count // size)
    data.remove_unfinished(made.folder)
    finished = data.finished_shards(made.folder, split=SPLIT, num_shards=num_shards)
    for shard in progress(range(num_shards), title=title, unit="shard"):
        if shard not in finished:
            rows = np.arange(shard * size, min((shard + 1) * size, count))
            records = _records(run, made, attack, models, rows)
            data.write_shard(made.folder, records, form, split=SPLIT, shard=shard, num_shards=num_shards)
    data.finish(made.folder, form, {SPLIT: num_shards})
    return form


def adversarial_images(run: Run, phase: str) -> data.AdversarialSet:
    """The stored adversarial data set that was made against a phase's networks."""
    return data.adversarial_set(run.adversarial_path(phase), split=SPLIT)


def rescore(run: Run, phase: str, models: tuple[Model, ...]) -> dict[str, np.ndarray]:
    """What networks say of a stored adversarial data set, read back from disk.

    Args:
        run: the run.
        phase: whose data set.
        models: the networks that are asked.

    Returns:
        `predictions` `[n m]` of the stored images, `clean_predictions` `[n m]` of the images they were made from, `id`,
        `source_id`, `label`, `target`, and `rms`, `linf` in [0, 1] units.
    """
    stored = adversarial_images(run, phase)
    clean = data.subset(run.source, run.attacked.tolist())
    repeat = np.repeat(np.arange(len(clean)), run.study.num_targets)
    layers = [member.layer for member in run.study.members]
    pairs = list(zip(models, layers, strict=True))
    read = [outputs(run, model, layer, stored, title=f"re-score {phase}").predictions for model, layer in pairs]
    before = [outputs(run, model, layer, clean, title=f"score {phase}").predictions for model, layer in pairs]
    examples = [stored[index] for index in range(len(stored))]
    difference = [
        (example.image.astype(np.float64) - clean[int(index)].image) / 255
        for example, index in zip(examples, repeat, strict=True)
    ]
    return {
        "predictions": np.stack(read, axis=1),
        "clean_predictions": np.stack(before, axis=1)[repeat],
        "id": np.asarray([example.id for example in examples]),
        "source_id": np.asarray([example.source_id for example in examples]),
        "label": np.asarray([example.label for example in examples]),
        "target": np.asarray([example.target for example in examples]),
        "rms": np.asarray([np.sqrt(np.mean(np.square(delta))) for delta in difference]),
        "linf": np.asarray([np.abs(delta).max() for delta in difference]),
    }


def trace_attack(run: Run, made: Making, attack: Attack, models: tuple[Model, ...]) -> dict[str, np.ndarray]:
    """What the attack sees step by step on one batch of rows, taken evenly.

    Args:
        run: the run.
        made: which images are attacked.
        attack: of the study.
        models: the networks that it attacks.

    Returns:
        `trace/NAME` `[s n]` for each number that the info of a step has for an image, as `GradientInfo.loss`.
    """
    size, count = run.rounded(run.study.attack_batch_size), len(made)
    rows = evenly(size, count)
    batch, _ = _batch(run, made, models, rows, size)
    _, info = attacks.run_with_info(attack, models, batch, key=run.key(made.fold))
    named = info._asdict() if hasattr(info, "_asdict") else {}
    shape = (attack.num_steps, size)
    return {f"trace/{name}": np.asarray(leaf)[:, : len(rows)] for name, leaf in named.items() if np.shape(leaf) == shape}


def _records(
    run: Run, made: Making, attack: Attack, models: tuple[Model, ...], rows: np.ndarray
) -> Iterator[data.AdversarialRecord]:
    """The records of the rows of one shard; row r is target `r % num_targets` of attacked image `r // num_targets`."""
    size = run.rounded(run.study.attack_batch_size)
    for start in range(0, len(rows), size):
        chunk = rows[start : start + size]
        batch, rank = _batch(run, made, models, chunk, size)
        state = attacks.run_batch(attack, models, batch, key=run.key(made.fold))
        pixels = np.asarray(_pixels(state.adversarial))
        stored = run.shard(batch._replace(image=pixels.astype(np.float32) / np.float32(255)))
        predictions, clean_predictions = (np.asarray(_predictions(models, images)) for images in (stored.image, batch.image))
        host = to_host(batch)
        for index in range(len(chunk)):
            delta = pixels[index].astype(np.float64) / 255 - np.round(host.image[index].astype(np.float64) * 255) / 255
            yield data.AdversarialRecord(
                image=pixels[index],
                source_id=int(host.source_id[index]),
                rank=int(rank[index]),
                label=int(host.label[index]),
                target=int(host.target[index]),
                clean_predictions=clean_predictions[index],
                predictions=predictions[index],
                rms=float(np.sqrt(np.mean(np.square(delta)))),
                linf=float(np.abs(delta).max()),
            )


def _batch(run: Run, made: Making, models: tuple[Model, ...], rows: np.ndarray, size: int) -> tuple[Batch, np.ndarray]:
    """The clean images of some rows with their targets, filled up to `size`, and the rank of each target."""
    num_targets = made.num_targets
    rank = np.zeros(size, np.int32)
    rank[: len(rows)] = rows % num_targets
    clean = data.collate(
        [data.read(made.source, int(made.chosen[row // num_targets]), concepts=False) for row in rows],
        batch_size=size,
        read_concepts=False,
    )
    batch = run.shard(clean._replace(id=np.where(clean.mask, clean.source_id * num_targets + rank, -1)))
    return batch._replace(target=_targets(models, batch, jnp.asarray(rank), num_targets)), rank


@functools.partial(jax.jit, static_argnums=3)
def _targets(models: tuple[Model, ...], batch: Batch, rank: jax.Array, num_targets: int) -> jax.Array:
    """The `rank`-th least likely class of every image over the ensemble."""
    classes = attacks.least_likely(models, batch.image, num_targets=num_targets)
    return jnp.take_along_axis(classes, rank[:, None], axis=1)[:, 0]


@jax.jit
def _pixels(adversarial: jax.Array) -> jax.Array:
    return jnp.round(adversarial * 255).astype(jnp.uint8)


@jax.jit
def _predictions(models: tuple[Model, ...], images: jax.Array) -> jax.Array:
    """What every member predicts, `[n m]`."""
    return jnp.stack([model(images)[0].argmax(axis=-1) for model in models], axis=1).astype(jnp.int32)
