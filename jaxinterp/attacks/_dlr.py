"""The difference of logits ratio: a loss that neither the scale nor the shift of the logits changes."""

from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxinterp._base import Batch
from jaxinterp.attacks._loss import logits_of, one_hot


def dlr(key: Array | None, model: Any, adversarial: Float[Array, "n h w c"], batch: Batch) -> Float[Array, "n"]:
    """Difference of logits ratio: `(z_label - max_other z) / (z_(1) - z_(3))`, `z_(1) >= z_(2) >= ...` being sorted logits.

    It is the paper's loss with the sign turned, since losses are minimised here. Negative once the model errs; at most 1.
    Where the three largest logits are equal, the ratio is 0.

    Args:
        key: for networks that draw at random.
        model: one model, of at least 3 classes; `ensemble` makes the loss one of several.
        adversarial: in [0, 1].
        batch: its labels are used.

    Returns:
        Ratios.

    Raises:
        ValueError: at tracing, fewer than 3 classes.

    References:
        F. Croce, M. Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks",
        ICML 2020, equation 6.
    """
    logits = logits_of(key, model, adversarial)
    _check_classes(logits, least=3, name="dlr")
    ordered = jnp.sort(logits, axis=-1)
    return _ratio(*_over_others(logits, batch), ordered[:, -1] - ordered[:, -3])


def targeted_dlr(key: Array | None, model: Any, adversarial: Float[Array, "n h w c"], batch: Batch) -> Float[Array, "n"]:
    """Targeted difference of logits ratio: `(z_label - z_target) / (z_(1) - (z_(3) + z_(4)) / 2)`.

    Unlike `targeted(dlr)` it uses the label and the target both: it drives from the one to the other. Rows without a target
    (-1) have `dlr`. Where the four largest logits are equal, the ratio is 0.

    Args:
        key: for networks that draw at random.
        model: one model, of at least 4 classes; `ensemble` makes the loss one of several.
        adversarial: in [0, 1].
        batch: its labels and targets are used.

    Returns:
        Ratios; negative where the target's logit is above the label's.

    Raises:
        ValueError: at tracing, fewer than 4 classes.

    References:
        F. Croce, M. Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks",
        ICML 2020, equation 7.
    """
    logits = logits_of(key, model, adversarial)
    _check_classes(logits, least=4, name="targeted_dlr")
    ordered = jnp.sort(logits, axis=-1)
    aimed = batch.target >= 0
    own, other = _over_others(logits, batch)
    goal = jnp.sum(one_hot(batch.target, logits) * logits, axis=-1)
    scale = jnp.where(aimed, (ordered[:, -3] + ordered[:, -4]) / 2, ordered[:, -3])
    return _ratio(own, jnp.where(aimed, goal, other), ordered[:, -1] - scale)


def _over_others(logits: Array, batch: Batch) -> tuple[Array, Array]:
    """The logit of the label and the largest other one."""
    here = one_hot(batch.label, logits)
    return jnp.sum(here * logits, axis=-1), jnp.max(jnp.where(here > 0, -jnp.inf, logits), axis=-1)


def _ratio(high: Array, low: Array, scale: Array) -> Array:
    return (high - low) / jnp.where(scale > 0, scale, 1.0)


def _check_classes(logits: Array, *, least: int, name: str) -> None:
    if logits.shape[-1] < least:
        raise ValueError(f"expected at least {least} classes for {name}, got {logits.shape[-1]}; write loss=attacks.margin.")
