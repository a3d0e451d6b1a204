"""The standard evaluation of one network: attack after attack on the images that are still classified correctly."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jaxtyping import Bool, Float, Int16

from jaxinterp import _mesh, attacks
from jaxinterp._base import Batch, Model
from jaxinterp.data import Source
from jaxinterp.pipelines._context import progress
from jaxinterp.pipelines._passes import check_fits, sharded_batches
from jaxinterp.pipelines._study import Standard

WRONG, ROBUST = -2, -1
"""What `Verdicts.broken_by` says of images that were never classified correctly, and of those that no attack broke."""

SLACK = 1e-6
"""How far beyond the ball float32 may put an image that still counts, in [0, 1] units."""


class Verdicts(NamedTuple):
    """What is known of every image so far.

    Attributes:
        num_rounds: how many rounds are over; a round is one attack towards one rank of targets.
        broken_by: the number of the attack that broke it, `ROBUST` or `WRONG`.
        distance: in the norm, of the adversarial image that was found; 0 where none was.
        survives: whether that image is still misclassified once it is rounded to 8 bits, within the ball where that is Linf.
    """

    num_rounds: int
    broken_by: Int16[np.ndarray, " n"]
    distance: Float[np.ndarray, " n"]
    survives: Bool[np.ndarray, " n"]


def standard_evaluation(
    key: Array,
    model: Model,
    source: Source,
    settings: Standard,
    *,
    mesh: Mesh | None = None,
    begun: Verdicts | None = None,
    save: Callable[[Verdicts], None] = lambda verdicts: None,
    title: str = "standard evaluation",
) -> Verdicts:
    """Robust accuracy: the images that a network classifies correctly whatever the standard attacks try.

    Every attack gets the images that the earlier ones left, in batches of one size, so each compiles once. An image counts as
    broken where it lies in [0, 1] and in the ball and its label is not predicted. The images are those of `source` as 8-bit
    images; adversarial ones are scored as floats, as in the reference, and `Verdicts.survives` tells what rounding leaves.

    Args:
        key: of every draw; every image draws from its own id, so the same key gives the same verdicts.
        model: draws nothing at random when it is evaluated, as the card's flags tell.
        source: labelled images of the model's size.
        settings: the threat model.
        mesh: the devices; all of them by default.
        begun: what an earlier call saved; the rounds that are over are not run again.
        save: gets the verdicts after every round.
        title: of the progress bar.

    Returns:
        The verdicts after the last round.

    Raises:
        ValueError: images of another size or of other classes than the model's, or `begun` of another number of images.
    """
    check_fits(model, source)
    if begun is not None and len(begun.broken_by) != len(source):
        raise ValueError(f"expected verdicts of {len(source)} images, got {len(begun.broken_by)}; begin anew.")
    mesh = mesh or _mesh.data_mesh()
    model = jax.device_put(model, _mesh.replicated(mesh))
    size = -(-min(settings.batch_size, len(source)) // mesh.size) * mesh.size
    trials = settings.attacks(model.num_classes)
    rounds = [(number, rank) for number, trial in enumerate(trials) for rank in range(max(trial.num_targets, 1))]
    verdicts = begun or _first_look(model, source, size, mesh)
    for index in progress(range(verdicts.num_rounds, len(rounds)), title=title, unit="round"):
        number, rank = rounds[index]
        broken_by, distance, survives = (array.copy() for array in verdicts[1:])
        for rows, clean in sharded_batches(source, np.flatnonzero(broken_by == ROBUST), size, mesh):
            towards = _likeliest_wrong(model, clean, rank) if trials[number].num_targets else clean.target * 0 - 1
            batch = clean._replace(target=towards)
            state = attacks.run_batch(trials[number].attack, model, batch, key=jax.random.fold_in(key, index))
            found = _judge(model, state.adversarial, batch, settings.epsilon, norm=settings.norm)
            hit, far, kept = (np.asarray(part)[: len(rows)] for part in found)
            broken_by[rows[hit]], distance[rows[hit]], survives[rows[hit]] = number, far[hit], kept[hit]
        verdicts = Verdicts(index + 1, broken_by, distance, survives)
        save(verdicts)
    return verdicts


def _first_look(model: Model, source: Source, size: int, mesh: Mesh) -> Verdicts:
    """Which images are classified correctly before any attack."""
    broken_by = np.full(len(source), WRONG, np.int16)
    for rows, batch in sharded_batches(source, np.arange(len(source)), size, mesh):
        broken_by[rows[np.asarray(_correct(model, batch))[: len(rows)]]] = ROBUST
    return Verdicts(0, broken_by, np.zeros(len(source), np.float32), np.zeros(len(source), bool))


@jax.jit
def _correct(model: Model, batch: Batch) -> Array:
    return jnp.argmax(model(batch.image)[0], axis=-1) == batch.label


@jax.jit
def _likeliest_wrong(model: Model, batch: Batch, rank: int | Array) -> Array:
    """The class of the `rank`-th largest clean logit, the label's left out."""
    logits, _ = model(batch.image)
    own = jax.nn.one_hot(batch.label, logits.shape[-1], dtype=bool)
    order = jnp.argsort(jnp.where(own, jnp.inf, -logits), axis=-1, stable=True)
    return jnp.take(order, rank, axis=1).astype(jnp.int32)


@functools.partial(jax.jit, static_argnames="norm")
def _judge(model: Model, adversarial: Array, batch: Batch, epsilon: float | Array, *, norm: str) -> tuple[Array, Array, Array]:
    """Whether each image is a valid adversarial one, how far away it is, and whether its 8-bit rounding still errs."""
    change = adversarial - batch.image
    distance = jnp.max(jnp.abs(change), (1, 2, 3)) if norm == "linf" else jnp.sqrt(jnp.sum(jnp.square(change), (1, 2, 3)))
    inside = (distance <= epsilon + SLACK) & (jnp.min(adversarial, (1, 2, 3)) >= 0) & (jnp.max(adversarial, (1, 2, 3)) <= 1)
    stored = attacks.round_to_lattice(adversarial, batch.image, epsilon=epsilon if norm == "linf" else None)
    hit = inside & attacks.misclassified(None, model, adversarial, batch)
    return hit, distance, attacks.misclassified(None, model, stored, batch)
