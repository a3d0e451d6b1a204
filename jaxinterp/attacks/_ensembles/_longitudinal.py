"""One member of an ensemble in each step."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Batch
from jaxinterp.attacks._loss import Loss, members
from jaxinterp.attacks._transform import check_weights, shares


def longitudinal(loss: Loss, *, weights: Sequence[float | int] | None = None) -> Loss:
    """The loss of one member of the ensemble, another in each step: K models at the price of one.

    The member is drawn by the key of the step, the same for the whole batch, so that only one network is evaluated. A loss
    is told the key of a step and not its number: members are drawn, not taken in turn. For scoring, without a key, use
    another loss.

    Args:
        loss: a loss of one model.
        weights: how often each member is drawn, not negative; they are divided by their sum. Equal by default.

    Returns:
        A loss of a tuple of models; one model counts as an ensemble of one.

    Raises:
        ValueError: weights that are negative, not finite or all zero; at tracing, another number of weights than members, or
            no key.

    Example:
        >>> from jaxinterp import attacks
        >>> attack = attacks.mi_fgsm(8 / 255, loss=attacks.longitudinal(attacks.cross_entropy))

    References:
        Y. Li, S. Bai, Y. Zhou, C. Xie, Z. Zhang, A. Yuille, "Learning Transferable Adversarial Examples via Ghost Networks",
        AAAI 2020, section "Longitudinal Ensemble", of which this is the form for given networks; `ghost` draws new ones.
    """
    check_weights(weights)

    def of_one_member(key: Array | None, model: Any, adversarial: Array, batch: Batch) -> Array:
        if key is None:
            raise ValueError("expected a key, got None; the member is drawn by it: write attacks.ensemble(loss) to score.")
        models = members(model)
        draw_key, loss_key = jax.random.split(key)
        ends = jnp.cumsum(jnp.asarray(shares(weights, len(models))))
        # Never the last one by a rounding of the sum where its weight is zero.
        index = jnp.minimum(jnp.sum(jax.random.uniform(draw_key) * ends[-1] >= ends), len(models) - 1)
        branches = [lambda image, member=member: loss(loss_key, member, image, batch) for member in models]
        return jax.lax.switch(index, branches, adversarial)

    return of_one_member
