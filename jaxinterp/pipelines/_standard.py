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

JUDGE = 2**31
"""Folded into the key for the draws by which images are judged; rounds fold in their own numbers."""

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
    A network that draws at random (`settings.num_draws`) is judged by its mean probability over draws of a key of their own.

    Args:
        key: of every draw; every image draws from its own id, so the same key gives the same verdicts.
        model: one that draws at random when it has a key, as the card's flags tell, wants `settings.num_draws`.
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
    mesh = _mesh.data_parallel(mesh)
    model = jax.device_put(model, _mesh.replicated(mesh))
    size = _mesh.rounded(min(settings.batch_size, len(source)), mesh)
    trials = settings.attacks(model.num_classes)
    rounds = [(number, rank) for number, trial in enumerate(trials) for rank in range(max(trial.num_targets, 1))]
    verdicts = begun or _first_look(_judge_key(key, 0), model, source, size, mesh, settings)
    for index in progress(range(verdicts.num_rounds, len(rounds)), title=title, unit="round"):
        number, rank = rounds[index]
        broken_by, distance, survives = (array.copy() for array in verdicts[1:])
        for rows, clean in sharded_batches(source, np.flatnonzero(broken_by == ROBUST), size, mesh):
            towards = _likeliest_wrong(model, clean, rank) if trials[number].num_targets else clean.target * 0 - 1
            batch = clean._replace(target=towards)
            state = attacks.run_batch(trials[number].attack, model, batch, key=jax.random.fold_in(key, index))
            judge_key = _judge_key(key, index + 1)
            found = _judge(
                judge_key, model, state.adversarial, batch, settings.epsilon, norm=settings.norm, num_draws=settings.num_draws
            )
            hit, far, kept = (np.asarray(part)[: len(rows)] for part in found)
            broken_by[rows[hit]], distance[rows[hit]], survives[rows[hit]] = number, far[hit], kept[hit]
        verdicts = Verdicts(index + 1, broken_by, distance, survives)
        save(verdicts)
    return verdicts


def _first_look(key: Array, model: Model, source: Source, size: int, mesh: Mesh, settings: Standard) -> Verdicts:
    """Which images are classified correctly before any attack."""
    broken_by = np.full(len(source), WRONG, np.int16)
    for rows, batch in sharded_batches(source, np.arange(len(source)), size, mesh):
        errs = np.asarray(_errs(key, model, batch, num_draws=settings.num_draws))[: len(rows)]
        broken_by[rows[~errs]] = ROBUST
    return Verdicts(0, broken_by, np.zeros(len(source), np.float32), np.zeros(len(source), bool))


def _judge_key(key: Array, index: int) -> Array:
    """Of the draws by which images are judged, which no attack has seen."""
    return jax.random.fold_in(jax.random.fold_in(key, np.uint32(JUDGE)), index)


def _criterion(num_draws: int) -> Callable[..., Array]:
    return attacks.misclassified_on_average(num_draws) if num_draws else _without_draws


def _without_draws(key: Array, model: Model, images: Array, batch: Batch) -> Array:
    return attacks.misclassified(None, model, images, batch)


@functools.partial(jax.jit, static_argnames="num_draws")
def _errs(key: Array, model: Model, batch: Batch, *, num_draws: int) -> Array:
    return _criterion(num_draws)(key, model, jnp.asarray(batch.image), batch)


@jax.jit
def _likeliest_wrong(model: Model, batch: Batch, rank: int | Array) -> Array:
    """The class of the `rank`-th largest clean logit, the label's left out."""
    logits, _ = model(batch.image)
    own = jax.nn.one_hot(batch.label, logits.shape[-1], dtype=bool)
    order = jnp.argsort(jnp.where(own, jnp.inf, -logits), axis=-1, stable=True)
    return jnp.take(order, rank, axis=1).astype(jnp.int32)


@functools.partial(jax.jit, static_argnames=("norm", "num_draws"))
def _judge(
    key: Array, model: Model, adversarial: Array, batch: Batch, epsilon: float | Array, *, norm: str, num_draws: int
) -> tuple[Array, Array, Array]:
    """Whether each image is a valid adversarial one, how far away it is, and whether its 8-bit rounding still errs."""
    errs = functools.partial(_criterion(num_draws), key, model)
    change = adversarial - batch.image
    distance = jnp.max(jnp.abs(change), (1, 2, 3)) if norm == "linf" else jnp.sqrt(jnp.sum(jnp.square(change), (1, 2, 3)))
    inside = (distance <= epsilon + SLACK) & (jnp.min(adversarial, (1, 2, 3)) >= 0) & (jnp.max(adversarial, (1, 2, 3)) <= 1)
    stored = attacks.round_to_lattice(adversarial, batch.image, epsilon=epsilon if norm == "linf" else None)
    return inside & errs(adversarial, batch), distance, errs(stored, batch)
