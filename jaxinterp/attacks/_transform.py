"""Transforms that map a loss to a loss; most variants of attacks are one of these."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Batch, Taps
from jaxinterp.attacks._ball import Scalar
from jaxinterp.attacks._loss import Loss, member_keys, members


def targeted(loss: Loss) -> Loss:
    """The loss that drives towards `batch.target`: minus `loss` with the target in the place of the label.

    Rows without a target (-1) keep the untargeted loss.

    Args:
        loss: an untargeted loss, which drives away from `batch.label`.

    Returns:
        A loss; `targeted(cross_entropy)` is the cross-entropy of the target.
    """

    def towards_target(key: Array | None, model: Any, adversarial: Array, batch: Batch) -> Array:
        aimed = batch.target >= 0
        values = loss(key, model, adversarial, batch._replace(label=jnp.where(aimed, batch.target, batch.label)))
        return jnp.where(aimed, -values, values)

    return towards_target


def ensemble(loss: Loss, *, weights: Sequence[float | int] | None = None) -> Loss:
    """The weighted mean of a loss over the members of an ensemble: losses are fused, not logits.

    Args:
        loss: a loss of one model.
        weights: one per member, not negative; they are divided by their sum. Equal by default.

    Returns:
        A loss of a tuple of models; one model counts as an ensemble of one.

    Raises:
        ValueError: weights that are negative, not finite or all zero; at tracing, another number of weights than members.
    """
    check_weights(weights)

    def mean_over_members(key: Array | None, model: Any, adversarial: Array, batch: Batch) -> Array:
        models = members(model)
        values = [
            share * loss(member_key, member, adversarial, batch)
            for share, member_key, member in zip(
                shares(weights, len(models)), member_keys(key, len(models)), models, strict=True
            )
        ]
        return sum(values[1:], start=values[0])

    return mean_over_members


def check_weights(weights: Sequence[float | int] | None) -> None:
    """Raises `ValueError` for weights of which no mean can be made."""
    if weights is not None and not (all(math.isfinite(w) and w >= 0 for w in weights) and sum(weights) > 0):
        raise ValueError(f"expected finite weights >= 0 with a positive sum, got {list(weights)}; write one per model.")


def shares(weights: Sequence[float | int] | None, count: int) -> list[float]:
    """The weights of `count` members, which sum to 1; equal where none are given.

    Raises:
        ValueError: another number of weights than members.
    """
    if weights is None:
        return [1 / count] * count
    if len(weights) != count:
        raise ValueError(f"expected one weight per model, got {len(weights)} for {count}; write one per model.")
    return [weight / sum(weights) for weight in weights]


def weighted_sum(*terms: tuple[Scalar, Loss]) -> Loss:
    """The sum of losses, each times its weight; all of them get the same key and the same model.

    Args:
        terms: pairs (weight, loss), at least one.

    Returns:
        A loss.

    Raises:
        ValueError: no terms.

    Example:
        >>> from jaxinterp import attacks
        >>> loss = attacks.weighted_sum((1e5, attacks.squared_distance), (1.0, attacks.targeted(attacks.margin)))
    """
    if not terms:
        raise ValueError("expected at least one term, got none; write weighted_sum((1.0, loss)).")

    def total(key: Array | None, model: Any, adversarial: Array, batch: Batch) -> Array:
        values = [weight * loss(key, model, adversarial, batch) for weight, loss in terms]
        return sum(values[1:], start=values[0])

    return total


def with_taps(loss: Loss, make_taps: Callable[[Array | None, Any, Batch], Taps]) -> Loss:
    """The loss of a network some of whose activations are replaced on the way through.

    Where two of these are nested and tap the same layer, the outer one acts on the activation first.

    Args:
        loss: a loss of one model or of a tuple of models.
        make_taps: `(key, model, batch) -> taps`, called for each member.

    Returns:
        A loss.
    """

    def tapped(key: Array | None, model: Any, adversarial: Array, batch: Batch) -> Array:
        loss_key, tap_key = (None, None) if key is None else jax.random.split(key)
        if isinstance(model, (tuple, list)):
            keys = member_keys(tap_key, len(model))
            wrapped = tuple(Tapped(m, make_taps(k, m, batch)) for k, m in zip(keys, model, strict=True))
        else:
            wrapped = Tapped(model, make_taps(tap_key, model, batch))
        return loss(loss_key, wrapped, adversarial, batch)

    return tapped


@dataclasses.dataclass(frozen=True)
class Tapped:
    """A model some of whose activations are replaced; it lives inside a trace.

    Attributes:
        model: what is evaluated.
        taps: act before those that a call brings along.
    """

    model: Any
    taps: Taps

    def __call__(self, images: Array, *, key: Array | None = None, taps: Taps | None = None) -> tuple[Array, Any]:
        own, later = dict(self.taps), dict(taps or {})
        for name in own.keys() & later.keys():
            later[name] = _chain(own[name], later[name])
        return self.model(images, key=key, taps={**own, **later})

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


def _chain(first: Callable[[Array], Array], second: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return lambda activation: second(first(activation))
