"""The evaluation stages: accuracy on clean images and on their backgrounds, and the table under FGSM and PGD."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxinterp import _mesh, attacks, data
from jaxinterp._base import Attack, Model
from jaxinterp.data import Source
from jaxinterp.pipelines._context import NORMAL, Run, progress
from jaxinterp.pipelines._passes import outputs
from jaxinterp.pipelines._study import Robustness

TRANSFERRED = "transferred"
"""What accuracies on another network's adversarial images are called."""


def inspect(run: Run) -> None:
    """Accuracy of every member on the held-out images and on their backgrounds alone."""
    values: dict[str, Any] = {}
    background = run.study.background() if run.study.background else None
    for member, model in zip(run.study.members, run.models(NORMAL), strict=True):
        entry = {"clean": _accuracy(run, model, member.layer, run.held_out, f"inspect {member.name}")}
        if background is not None:
            entry["background"] = _accuracy(run, model, member.layer, background, f"background {member.name}")
        values[member.name] = entry
    run.workdir.save("inspect", {"accuracy": values, "num_images": len(run.held_out)}, {})


def evaluate(run: Run, phase: str) -> None:
    """Top-1 and top-5 accuracy on clean images, under FGSM and under PGD, and each image's correctness for intervals."""
    settings = run.study.robustness
    if settings is None:
        raise ValueError("this study has no robustness settings; give it some.")
    source = run.some_held_out(settings.num_images)
    arrays = {}
    for member, model in zip(run.study.members, run.models(phase), strict=True):
        shared: dict[str, Any] = {"mesh": run.mesh, "batch_size": run.rounded(run.study.batch_size)}
        title = f"evaluate {phase} {member.name}"
        arrays[f"{member.name}/clean"] = ranks(run.key(2), model, source, None, **shared, title=f"{title} clean")
        found = ranks_under(run.key(2), model, source, settings, **shared, title=title)
        arrays |= {f"{member.name}/{name}": rank for name, rank in found.items()}
    values = {
        "epsilon": settings.epsilon,
        "num_steps": settings.num_steps,
        "num_restarts": settings.num_restarts,
        "num_images": len(source),
    }
    run.workdir.save(f"evaluate.{phase}", values, arrays)


def ranks_under(
    key: jax.Array, model: Model, source: Source, settings: Robustness, *, mesh: Mesh, batch_size: int, title: str
) -> dict[str, np.ndarray]:
    """The ranks of the true classes under each attack, see `ranks`.

    Args:
        key: of the attacks.
        model: the network, on every device.
        source: the images.
        settings: which attacks.
        mesh: the devices.
        batch_size: images in a batch; the devices divide it.
        title: of the progress bars.

    Returns:
        `[n]` under "fgsm", "pgd" and, where the settings name a black box, "transferred".
    """
    other = _black_box(settings, mesh, model)
    found = {}
    for name, attack in _attacks(settings).items():
        seen = other if name == TRANSFERRED else model
        found[name] = ranks(
            key, model, source, attack, attacked=seen, mesh=mesh, batch_size=batch_size, title=f"{title} {name}"
        )
    return found


@functools.lru_cache(maxsize=8)
def _attacks(settings: Robustness) -> dict[str, Attack]:
    """The attacks of the table, the same objects for every phase, so that what was compiled for them is used again."""
    step_size = 2.5 * settings.epsilon / settings.num_steps
    pgd = attacks.pgd(settings.epsilon, step_size=step_size, num_steps=settings.num_steps)
    if settings.num_restarts > 1:
        pgd = attacks.with_restarts(pgd, settings.num_restarts)
    found = {"fgsm": attacks.fgsm(settings.epsilon), "pgd": pgd}
    if settings.transferred_from is not None:
        found[TRANSFERRED] = attacks.mi_fgsm(settings.epsilon)
    return found


def _black_box(settings: Robustness, mesh: Mesh, model: Model) -> Model | None:
    """The network whose adversarial images are tried on `model`, on every device."""
    if settings.transferred_from is None:
        return None
    other = settings.transferred_from()
    for name in ("image_size", "num_classes"):
        expected, got = getattr(model, name), getattr(other, name)
        if expected != got:
            raise ValueError(f"expected transferred_from= a network of {name} {expected}, as the attacked one has, got {got}.")
    return jax.device_put(other, _mesh.replicated(mesh))


def _accuracy(run: Run, model: Model, layer: str, source: Source, title: str) -> float:
    return outputs(run, model, layer, source, title=title).accuracy


def ranks(
    key: jax.Array,
    model: Model,
    source: Source,
    attack: Attack | None,
    *,
    attacked: Model | None = None,
    mesh: Mesh,
    batch_size: int,
    title: str,
) -> np.ndarray:
    """How many classes a network prefers to the true one, image by image: top-1 is rank 0, top-5 below 5.

    Of equal logits it prefers the first, as its prediction does, and a logit that is not a number counts as preferred: a
    network that says the same of all classes is right by chance, and one that diverged never.

    Args:
        key: of the attack.
        model: the network, on every device.
        source: the images.
        attack: on them; None for clean images.
        attacked: the network that the attack sees; the same one by default.
        mesh: the devices.
        batch_size: images in a batch; the devices divide it.
        title: of the progress bar.
    """
    found, masks = [], []
    for host_batch in progress(data.batches(source, batch_size=batch_size, read_concepts=False), title=title):
        batch = jax.device_put(host_batch, _mesh.sharded(mesh))
        images = batch.image if attack is None else attacks.run_batch(attack, attacked or model, batch, key=key).adversarial
        found.append(_whole(_rank(model, images, batch.label), mesh))
        masks.append(host_batch.mask)
    return np.concatenate([np.asarray(rank) for rank in found])[np.concatenate(masks)]


def _whole(rows: jax.Array, mesh: Mesh) -> jax.Array | np.ndarray:
    """Rows that this host can read, where others hold some of them."""
    if jax.process_count() == 1:
        return rows
    # Waited for: on CPU two collectives in flight can wait for each other's threads.
    return np.asarray(jax.device_put(rows, _mesh.replicated(mesh)))


@jax.jit
def _rank(model: Model, images: jax.Array, labels: jax.Array) -> jax.Array:
    logits, _ = model(images)
    own = jnp.take_along_axis(logits, labels[:, None], axis=1)
    before = (logits == own) & (jnp.arange(logits.shape[1])[None] < labels[:, None])
    return jnp.sum(~(logits <= own) | before, axis=1).astype(jnp.int32)
