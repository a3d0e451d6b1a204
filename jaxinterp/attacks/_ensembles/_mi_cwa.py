"""MI-CWA: a flat maximum that the members of an ensemble have in common."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._ball import Scalar, check_decay, check_num_steps, check_radius, linf
from jaxinterp.attacks._ensembles._fusion import ensemble_logits
from jaxinterp.attacks._ensembles._svre import normalized
from jaxinterp.attacks._gradient import value_gradient
from jaxinterp.attacks._loss import Loss, cross_entropy, member_keys, members


class CWAState(NamedTuple):
    """State of MI-CWA.

    Attributes:
        adversarial: `[n h w c]`, the answer so far.
        iterate: `[n h w c]`, the same.
        momentum: `[n h w c]`, of the outer steps.
        inner_momentum: `[n h w c]`, of the steps along the members; it goes on from step to step.
    """

    adversarial: Array
    iterate: Array
    momentum: Array
    inner_momentum: Array


class CWAInfo(NamedTuple):
    """What one step of MI-CWA saw, at the iterate it started from.

    Attributes:
        loss: `[n]`, of the whole ensemble.
    """

    loss: Array


def mi_cwa(
    epsilon: Scalar,
    *,
    decay: Scalar = 1.0,
    step_size: Scalar | None = None,
    reverse_step_size: Scalar | None = None,
    inner_step_size: Scalar = 250.0,
    num_steps: int = 10,
    loss: Loss = cross_entropy,
    fusion: Callable[[Loss], Loss] = ensemble_logits,
) -> Attack:
    """Common weakness attack with momentum: seeks a point that is flat for every member and near the optima of all.

    A step from `x`, with the loss `J` of the ensemble and `J_k` of its K members, first goes the wrong way (sharpness-aware
    minimisation) and then along the members one after the other, whose gradients of length 1 add up to what they have in
    common (the cosine similarity encourager):

        u <- project(x + reverse_step_size sign(grad J(x)))
        for k = 1, ..., K:
            h <- decay h + grad J_k(u) / ||grad J_k(u)||_2
            u <- project(u - inner_step_size h)
        m <- decay m - (u - x) / ||u - x||_1
        x <- project(x - step_size sign(m))

    Without momentum, `decay=0`, it is the plain CWA with a sign step. The members are evaluated in their order, each once a
    step; with the first evaluation of all that is `2 K` networks. Constants are those of the authors' code, recorded there for
    a radius of 16/255: steps of a fifth of it, reverse steps of a fifteenth, decay 1, and inner steps so long that
    most pixels reach the boundary of the ball. As in that code the inner momentum is never reset.

    Unlike the authors' code, which divides `u - x` by its norm over the whole batch, the norm is each image's own. Unlike that
    code, which clips the reversed image only after the first member, it is clipped at once. Unlike that code, the reverse
    step is also made with a targeted loss.

    Args:
        epsilon: Linf radius in [0, 1] units, such as `8 / 255`.
        decay: of both momenta.
        step_size: of one step, in [0, 1] units; `epsilon / 5` by default.
        reverse_step_size: of the step the wrong way, in [0, 1] units; `epsilon / 15` by default.
        inner_step_size: Euclidean length, over all pixels and channels in [0, 1] units, of the step along one member's
            gradient; it may exceed 1.
        num_steps: number of outer steps.
        loss: of one model, minimised; the default drives away from the label, `targeted(cross_entropy)` towards the target.
        fusion: maps `loss` to that of the ensemble; the authors' average of the logits by default (theirs is the sum).

    Returns:
        An attack of kind "fixed_radius" on a tuple of models (or on one).

    Raises:
        ValueError: epsilon, step_size or reverse_step_size outside (0, 1], inner_step_size not positive, num_steps below 1, a
            negative decay.

    References:
        H. Chen, Y. Zhang, Y. Dong, X. Yang, H. Su, J. Zhu, "Rethinking Model Ensemble in Transfer-based Adversarial Attacks",
        ICLR 2024 (arXiv 2303.09105, 2023), the algorithm MI-CWA.
    """
    check_radius(epsilon, name="epsilon")
    check_num_steps(num_steps)
    check_decay(decay)
    size = epsilon / 5 if step_size is None else step_size
    reverse_size = epsilon / 15 if reverse_step_size is None else reverse_step_size
    check_radius(size, name="step_size")
    check_radius(reverse_size, name="reverse_step_size")
    check_radius(inner_step_size, name="inner_step_size", largest=float("inf"))
    ball, fused = linf(epsilon), fusion(loss)

    def init(key: Array, model: Any, batch: Batch) -> CWAState:
        still = jnp.zeros_like(batch.image)
        return CWAState(adversarial=batch.image, iterate=batch.image, momentum=still, inner_momentum=still)

    def step(key: Array, state: CWAState, model: Any, batch: Batch) -> tuple[CWAState, CWAInfo]:
        models = members(model)
        start, inner_momentum = state.iterate, state.inner_momentum
        whole, values = value_gradient(fused, key, models, start, batch)
        image = moved(start, -reverse_size, jnp.sign(whole), batch)
        for member, member_key in zip(models, member_keys(key, len(models)), strict=True):
            ascent, _ = value_gradient(loss, member_key, member, image, batch)
            inner_momentum = decayed(inner_momentum) + normalized(ascent, order=2)
            image = moved(image, inner_step_size, inner_momentum, batch)
        momentum = decayed(state.momentum) - normalized(image - start, order=1)
        image = moved(start, size, jnp.sign(momentum), batch)
        return CWAState(image, image, momentum, inner_momentum), CWAInfo(values)

    def decayed(momentum: Array) -> Array:
        return jnp.asarray(decay, momentum.dtype) * momentum

    def moved(image: Array, length: Scalar, direction: Array, batch: Batch) -> Array:
        return jax.vmap(ball.project)(image - jnp.asarray(length, image.dtype) * direction, batch.image)

    return Attack(init=init, step=step, num_steps=num_steps, kind="fixed_radius")
