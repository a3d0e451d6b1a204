"""Ensemble adversarial training: adversarial images of other networks, from a stored set."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxinterp._base import Attack, Batch, Model, check_images
from jaxinterp.training._objectives import Objective, answer_of
from jaxinterp.training._robust import adversarial
from jaxinterp.training._weight import Weight, check_weight

EXTRA = "adversarial"


class StaticState(NamedTuple):
    """State of an attack that is over when it begins.

    Attributes:
        adversarial: `[n h w c]`, the answer.
    """

    adversarial: Array


def static_adversaries() -> Attack:
    """The attack of others: its answer is `batch.extra["adversarial"]` `[n h w c]`, whatever the network.

    `adversaries_of` fills that entry in a training by a recipe. A loop of one's own fills it with the adversarial image
    made from each row's image, in [0, 1], by an attack on a network that is not the one under training, for instance from a
    stored adversarial data set; and where clean images are flipped or cut out, with the same done to it. It fits wherever
    an objective takes an attack, such as `consistent`.

    Returns:
        An attack of no steps, of kind "penalty", which promises no radius.

    Raises:
        ValueError: when it is traced, where the batch has no such entry, or one of another shape or of whole numbers.

    Example:
        >>> from jaxinterp import training
        >>> objective = training.consistent(training.static_adversaries(), layer="layer4.1")
    """

    def init(key: Array, model: Model, batch: Batch) -> StaticState:
        return StaticState(_stored(batch))

    return _of_no_steps(init)


def ensemble_adversarial(
    attack: Attack,
    *,
    static_share: float = 0.75,
    clean_weight: Weight = 0.5,
    label_smoothing: float = 0.0,
    statistics: str = "mixed",
) -> Objective:
    """Ensemble adversarial training: x* of `adversarial` is made for other networks, or for the one under training.

    At each step it is drawn whether x* comes from the network under training, by `attack`, or from one of the static ones, by
    `static_adversaries`. With k static networks the paper's choice is a `static_share` of k / (k + 1).

    Unlike the paper, where one network makes a whole batch, each device of a mesh and each part of a batch draws for itself,
    and which static network made an image was decided when it was stored. A step with stored images makes no others.

    Args:
        attack: makes x* on the network under training.
        static_share: the probability of stored images, in [0, 1]; 0.75 is that of three static networks.
        clean_weight: share of the clean images in the loss, as in `adversarial`; half in the paper.
        label_smoothing: share of the target that is spread over all classes.
        statistics: what normalises the images, "mixed", "split" or "frozen", as in `consistent`.

    Returns:
        An objective with the metrics of `adversarial`, for batches with `extra["adversarial"]`.

    Raises:
        ValueError: a static_share outside [0, 1], or what `adversarial` and `static_adversaries` raise.

    Example:
        >>> from jaxinterp import attacks, training
        >>> objective = training.ensemble_adversarial(attacks.fgsm(8 / 255), static_share=2 / 3)

    References:
        F. Tramer, A. Kurakin, N. Papernot, I. Goodfellow, D. Boneh, P. McDaniel, "Ensemble Adversarial Training: Attacks and
        Defenses", ICLR 2018, the section on ensemble adversarial training.
    """
    check_weight(static_share, name="static_share", largest=1.0)

    def init(key: Array, model: Model, batch: Batch) -> StaticState:
        choice_key, attack_key = jax.random.split(key)
        stored = _stored(batch)
        chosen = jax.random.bernoulli(choice_key, static_share)
        images = jax.lax.cond(chosen, lambda: stored, lambda: answer_of(attack_key, attack, model, batch).astype(stored.dtype))
        return StaticState(images)

    return adversarial(_of_no_steps(init), clean_weight=clean_weight, label_smoothing=label_smoothing, statistics=statistics)


def _stored(batch: Batch) -> Float[Array, "n h w c"]:
    if EXTRA not in batch.extra:
        raise ValueError(
            f"expected adversarial images in batch.extra[{EXTRA!r}], got {sorted(batch.extra)}; "
            "write filling=lambda: training.adversaries_of(...), or fill it from a stored adversarial set."
        )
    images = jnp.asarray(batch.extra[EXTRA])
    if images.shape != batch.image.shape:
        raise ValueError(
            f"expected batch.extra[{EXTRA!r}] of shape {batch.image.shape}, got {images.shape}; resize the stored images."
        )
    check_images(images)
    return images.astype(batch.image.dtype)


def _of_no_steps(init: Callable[[Array, Model, Batch], StaticState]) -> Attack:
    return Attack(init=init, step=lambda key, state, model, batch: (state, ()), num_steps=0, kind="penalty")
