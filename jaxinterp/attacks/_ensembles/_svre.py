"""SVRE: the variance of an ensemble's gradients is reduced in an inner loop over single members."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._ball import Scalar, check_decay, check_num_steps, check_radius, linf
from jaxinterp.attacks._ensembles._fusion import ensemble_logits
from jaxinterp.attacks._gradient import value_gradient
from jaxinterp.attacks._loss import Loss, cross_entropy, member_keys, members


class SVREState(NamedTuple):
    """State of SVRE.

    Attributes:
        adversarial: `[n h w c]`, the answer so far.
        iterate: `[n h w c]`, the same.
        momentum: `[n h w c]`, the accumulated outer gradient.
    """

    adversarial: Array
    iterate: Array
    momentum: Array


class SVREInfo(NamedTuple):
    """What one step of SVRE saw, at the iterate it started from.

    Attributes:
        loss: `[n]`, of the whole ensemble.
    """

    loss: Array


def svre(
    epsilon: Scalar,
    *,
    decay: Scalar = 1.0,
    inner_decay: Scalar = 1.0,
    step_size: Scalar | None = None,
    inner_step_size: Scalar | None = None,
    num_steps: int = 10,
    num_inner_steps: int | None = None,
    loss: Loss = cross_entropy,
    fusion: Callable[[Loss], Loss] = ensemble_logits,
) -> Attack:
    """Stochastic variance reduced ensemble attack: MI-FGSM along a direction that an inner loop over single members finds.

    With the loss `J` of the ensemble and `J_k` of its member `k`, a step from `x` runs `m = 1, ..., M` inner steps from
    `u = x` and `H = 0`, each with a member `k` drawn anew:

        h <- grad J_k(u) - (grad J_k(x) - grad J(x))
        H <- inner_decay H + h / ||h||_1
        u <- project(u - inner_step_size sign(H))

    and then moves by what the inner loop accumulated:

        G <- decay G + H / ||H||_1
        x <- project(x - step_size sign(G))

    With one inner step and one member it is `mi_fgsm`. Steps and normalisation are those of the authors' code, whose I-FGSM
    form is `decay=0`; the L1 norm is that of each image there too. The gradients of the members at `x` are taken once a step
    and not once an inner step, which changes nothing: a step costs `1 + K + M` evaluations instead of `1 + 2 M`, one of them
    of all K networks. The inner loop is a compiled loop in any case. Members are drawn by the key of the step, the same for
    the whole batch. Members that draw at random draw the same at `u` and at `x`.

    Args:
        epsilon: Linf radius in [0, 1] units, such as `8 / 255`.
        decay: of the accumulated outer gradient.
        inner_decay: of the accumulated inner gradient.
        step_size: of one step, in [0, 1] units; `epsilon / num_steps` by default.
        inner_step_size: of one inner step, in [0, 1] units; `step_size` by default.
        num_steps: number of outer steps.
        num_inner_steps: M; by default four times the number of members, the authors' 16 for four.
        loss: of one model, minimised; the default drives away from the label, `targeted(cross_entropy)` towards the target.
        fusion: maps `loss` to that of the ensemble; the authors' average of the logits by default.

    Returns:
        An attack of kind "fixed_radius" on a tuple of models (or on one).

    Raises:
        ValueError: epsilon or a step size outside (0, 1], num_steps or num_inner_steps below 1, a negative decay.

    References:
        Y. Xiong, J. Lin, M. Zhang, J. E. Hopcroft, K. He, "Stochastic Variance Reduced Ensemble Adversarial Attack for Boosting
        the Adversarial Transferability", CVPR 2022, algorithm 1.
    """
    check_radius(epsilon, name="epsilon")
    check_num_steps(num_steps)
    if num_inner_steps is not None and num_inner_steps < 1:
        raise ValueError(f"expected num_inner_steps >= 1, got {num_inner_steps}; write num_inner_steps=1 or more.")
    check_decay(decay)
    check_decay(inner_decay, name="inner_decay")
    size = epsilon / num_steps if step_size is None else step_size
    inner_size = size if inner_step_size is None else inner_step_size
    check_radius(size, name="step_size")
    check_radius(inner_size, name="inner_step_size")
    ball, fused = linf(epsilon), fusion(loss)

    def init(key: Array, model: Any, batch: Batch) -> SVREState:
        return SVREState(adversarial=batch.image, iterate=batch.image, momentum=jnp.zeros_like(batch.image))

    def step(key: Array, state: SVREState, model: Any, batch: Batch) -> tuple[SVREState, SVREInfo]:
        models = members(model)
        choice_key, loss_key = jax.random.split(key)
        start = state.iterate
        whole, values = value_gradient(fused, loss_key, models, start, batch)
        branches = [
            lambda image, member=member, key=key: value_gradient(loss, key, member, image, batch)[0]
            for member, key in zip(models, member_keys(loss_key, len(models)), strict=True)
        ]
        at_start = jnp.stack([branch(start) for branch in branches])

        def inner(carry: tuple[Array, Array], member: Array) -> tuple[tuple[Array, Array], None]:
            image, momentum = carry
            reduced = jax.lax.switch(member, branches, image) - (at_start[member] - whole)
            momentum = _moved(inner_decay, momentum, reduced)
            return (moved(image, inner_size, momentum, batch), momentum), None

        count = 4 * len(models) if num_inner_steps is None else num_inner_steps
        chosen = jax.random.randint(choice_key, (count,), 0, len(models))
        (_, found), _ = jax.lax.scan(inner, (start, jnp.zeros_like(start)), chosen)
        momentum = _moved(decay, state.momentum, found)
        image = moved(start, size, momentum, batch)
        return SVREState(image, image, momentum), SVREInfo(values)

    def moved(image: Array, length: Scalar, direction: Array, batch: Batch) -> Array:
        length = jnp.asarray(length, image.dtype)
        return jax.vmap(ball.project)(image - length * jnp.sign(direction), batch.image)

    return Attack(init=init, step=step, num_steps=num_steps, kind="fixed_radius")


def normalized(direction: Array, *, order: int) -> Array:
    """Each image's direction over its norm of order 1 or 2; zero stays zero."""
    powers = jnp.sum(jnp.abs(direction) ** order, axis=(1, 2, 3), keepdims=True)
    norm = powers if order == 1 else jnp.sqrt(powers)
    return direction / jnp.where(norm > 0, norm, 1.0)


def _moved(decay: Scalar, momentum: Array, gradients: Array) -> Array:
    """The momentum after gradients, each image's divided by its L1 norm."""
    return jnp.asarray(decay, momentum.dtype) * momentum + normalized(gradients, order=1)
