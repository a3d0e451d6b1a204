"""The one driver of gradient attacks: a loss, an update rule, a ball."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._ball import Ball, check_num_steps
from jaxinterp.attacks._criterion import rms_distortion
from jaxinterp.attacks._loss import Loss, gradient_of


class GradientState(NamedTuple):
    """State of a gradient attack; every leaf has the leading axis `n`.

    Attributes:
        adversarial: `[n h w c]`, the answer so far: the best-scored image if any was acceptable, else the newest.
        iterate: `[n h w c]`, what the update rule moves.
        rule: states of the update rule, one per example.
        score: `[n]`, of the kept image; infinite where none is kept.
    """

    adversarial: Array
    iterate: Array
    rule: Any
    score: Array


class GradientInfo(NamedTuple):
    """What one step of a gradient attack saw, at the iterate it started from.

    Attributes:
        loss: `[n]`.
        score: `[n]`, infinite where the image was not acceptable or nothing is kept.
        distortion: `[n]`, RMS difference of the image from the clean one, in [0, 1] units.
    """

    loss: Array
    score: Array
    distortion: Array


def gradient_attack(
    loss: Loss,
    *,
    update_rule: optax.GradientTransformation,
    ball: Ball,
    num_steps: int,
    decode: Callable[[Array, Array], Array] | None = None,
    keep: Loss | None = None,
    kind: str = "fixed_radius",
) -> Attack:
    """An attack that moves each image along an update of its own loss gradient and projects it.

    One step is `x <- project(x + update_rule(gradient of loss at decode(x)))`. The update rule is mapped over the examples:
    norms, clipping and counters are each image's own, and an image gets the same answer alone, in a batch and in any order.
    Random starts are drawn from the key folded with `batch.id`.

    Build an attack once and use it often: a compiled program belongs to the attack object.

    Args:
        loss: minimised, lower = more adversarial.
        update_rule: any optax transformation that minimises; it also gets `value`, the loss of the example.
        ball: where iterates start and what they are projected onto.
        num_steps: number of gradient evaluations.
        decode: `(iterate, clean) -> image`, of one image `[h w c]`. Loss, `keep` and answer see the decoded image; the gradient
            goes through it. By default the iterate is the image. `round_to_lattice` makes the answer an 8-bit image.
        keep: score per example, lower = better, infinite = not acceptable. The answer is then the best-scored image; an image
            is scored at the beginning of a step, by the same evaluation of the networks as its loss, so the very last one
            counts only where no earlier one was acceptable. By default the answer is the newest image.
        kind: what the attack promises, see `Attack`.

    Returns:
        The attack; its state is a `GradientState`, its info a `GradientInfo`.

    Raises:
        ValueError: `num_steps` below 1.

    Example:
        >>> import optax
        >>> from jaxinterp import attacks
        >>> attack = attacks.gradient_attack(
        ...     attacks.margin, update_rule=optax.sign_sgd(1 / 255), ball=attacks.linf(4 / 255), num_steps=10
        ... )
    """
    check_num_steps(num_steps)
    rule = optax.with_extra_args_support(update_rule)

    def image_of(iterate: Array, batch: Batch) -> Array:
        return iterate if decode is None else jax.vmap(decode)(iterate, batch.image)

    def init(key: Array, model: Any, batch: Batch) -> GradientState:
        iterate = jax.vmap(ball.start)(example_keys(key, batch), batch.image)
        return GradientState(
            adversarial=image_of(iterate, batch),
            iterate=iterate,
            rule=jax.vmap(rule.init)(iterate),
            score=jnp.full(batch.id.shape, jnp.inf, iterate.dtype),
        )

    def step(key: Array, state: GradientState, model: Any, batch: Batch) -> tuple[GradientState, GradientInfo]:
        def total(iterate: Array) -> tuple[Array, tuple[Array, Array]]:
            image = image_of(iterate, batch)
            values = loss(key, model, image, batch)
            return jnp.sum(values), (values, image)

        gradient, (values, image) = jax.grad(total, has_aux=True)(state.iterate)
        update, rule_state = jax.vmap(_update_with(rule))(gradient, state.rule, state.iterate, values)
        moved = jnp.asarray(optax.apply_updates(state.iterate, update))
        iterate = jax.vmap(ball.project)(moved, batch.image)

        seen = jnp.full_like(state.score, jnp.inf)
        if keep is not None:
            seen = keep(key, model, image, batch).astype(state.score.dtype)
        better = seen < state.score
        score = jnp.where(better, seen, state.score)
        best = where_rows(better, image, state.adversarial)
        adversarial = where_rows(jnp.isfinite(score), best, image_of(iterate, batch))
        info = GradientInfo(values, seen, rms_distortion(image, batch.image))
        return GradientState(adversarial, iterate, rule_state, score), info

    return Attack(init=init, step=step, num_steps=num_steps, kind=kind)


def value_gradient(loss: Loss, key: Array | None, model: Any, images: Array, batch: Batch) -> tuple[Array, Array]:
    """The gradient of each image's loss `[n h w c]`, and the losses `[n]`."""
    return gradient_of(lambda images: loss(key, model, images, batch), images)


def example_keys(key: Array, batch: Batch) -> Array:
    """One key for each example, of its id alone: the same draws alone, in a batch and in any order."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch.id)


def _update_with(rule: optax.GradientTransformationExtraArgs) -> Callable[..., tuple[Any, Any]]:
    return lambda gradient, state, iterate, value: rule.update(gradient, state, iterate, value=value, grad=gradient)


def where_rows(rows: Array, first: Array, second: Array) -> Array:
    """`first` in the rows `[n]` that are true, else `second`, both of any shape `[n ...]`."""
    return jnp.where(rows.reshape(-1, *[1] * (first.ndim - 1)), first, second)
