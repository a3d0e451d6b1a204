"""When an attack has succeeded, and which of its iterates is worth keeping."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from jaxinterp._base import Batch
from jaxinterp.attacks._loss import Loss, logits_of, margin, member_keys, members, squared_distance
from jaxinterp.attacks._samples import check_samples, over_samples
from jaxinterp.attacks._transform import targeted


def joint_success(key: Array | None, model: Any, adversarial: Float[Array, "n h w c"], batch: Batch) -> Bool[Array, "n"]:
    """Whether every member predicts the target, or, in rows without one, no member predicts the label.

    Args:
        key: for networks that draw at random; None evaluates without any draw.
        model: a model or a tuple of models.
        adversarial: in [0, 1].
        batch: its targets (-1: none) and labels are used.

    Returns:
        One value per example.
    """
    models = members(model)
    # Spelt as the losses spell it, so that the compiler evaluates each network once for both.
    keys = [key] if not isinstance(model, (tuple, list)) else member_keys(key, len(models))
    reached = jnp.ones(adversarial.shape[:1], bool)
    for member_key, member in zip(keys, models, strict=True):
        prediction = jnp.argmax(member(adversarial, key=member_key)[0], axis=-1)
        reached &= jnp.where(batch.target >= 0, prediction == batch.target, prediction != batch.label)
    return reached


def misclassified(key: Array | None, model: Any, adversarial: Float[Array, "n h w c"], batch: Batch) -> Bool[Array, "n"]:
    """Whether no member predicts the label; targets are not looked at.

    Args:
        key: for networks that draw at random; None evaluates without any draw.
        model: a model or a tuple of models.
        adversarial: in [0, 1].
        batch: its labels are used.

    Returns:
        One value per example.
    """
    return joint_success(key, model, adversarial, batch._replace(target=jnp.full_like(batch.target, -1)))


def misclassified_on_average(num_samples: int) -> Loss:
    """Whether the label is not the likeliest class of a network that draws at random: by the mean probability over draws.

    A single draw errs now and then, and an attack that tries many images needs only one such draw.

    Args:
        num_samples: how many draws, one after the other.

    Returns:
        A criterion `(key, model, adversarial, batch) -> [n]` bool of one model; it needs a key.

    Raises:
        ValueError: num_samples below 1.
    """
    check_samples(num_samples)

    def errs(key: Array | None, model: Any, adversarial: Array, batch: Batch) -> Array:
        if key is None:
            raise ValueError("expected a key, got None; the draws are made by it.")

        def add(total: Array, index: Array) -> tuple[Array, Array]:
            found = jax.nn.softmax(logits_of(jax.random.fold_in(key, index), model, adversarial)).astype(total.dtype)
            return total + found, jnp.zeros(())

        start = jnp.zeros((len(adversarial), model.num_classes), adversarial.dtype)
        total, _ = over_samples(add, start, num_samples)
        return jnp.argmax(total, axis=-1) != batch.label

    return errs


def joint_margin(key: Array | None, model: Any, adversarial: Float[Array, "n h w c"], batch: Batch) -> Float[Array, "n"]:
    """How far the least deceived member is from success: negative just where `joint_success` holds, up to ties.

    Args:
        key: for networks that draw at random.
        model: a model or a tuple of models.
        adversarial: in [0, 1].
        batch: its targets (-1: none) and labels are used.

    Returns:
        The largest `targeted(margin)` of the members, one value per example.
    """
    models = members(model)
    keys = [key] if not isinstance(model, (tuple, list)) else member_keys(key, len(models))
    aimed = targeted(margin)
    values = [aimed(k, member, adversarial, batch) for k, member in zip(keys, models, strict=True)]
    return functools.reduce(jnp.maximum, values)


def least_distorted_success(*, distance: Loss = squared_distance) -> Loss:
    """The distance from the clean image where the attack succeeded jointly, infinity elsewhere.

    As the `keep` of an attack it makes the answer the least distorted joint success among the iterates.

    Args:
        distance: per example, lower = better.

    Returns:
        A score per example, lower = better, infinite = not acceptable.
    """

    def score(key: Array | None, model: Any, adversarial: Array, batch: Batch) -> Array:
        reached = joint_success(key, model, adversarial, batch)
        return jnp.where(reached, distance(key, model, adversarial, batch), jnp.inf)

    return score


def rms_distortion(adversarial: Float[Array, "n h w c"], clean: Float[Array, "n h w c"]) -> Float[Array, "n"]:
    """Root of the mean squared difference of each image from its clean one.

    Args:
        adversarial: in [0, 1].
        clean: in [0, 1].

    Returns:
        One value per image, in [0, 1] units.
    """
    return jnp.sqrt(jnp.mean(jnp.square(adversarial - clean), axis=(1, 2, 3)))
