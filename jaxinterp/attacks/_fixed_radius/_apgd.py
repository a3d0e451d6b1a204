"""Auto-PGD: projected gradient descent with momentum, whose step size follows from what has been gained."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._ball import Scalar, check_num_steps, l2, linf
from jaxinterp.attacks._criterion import joint_success, rms_distortion
from jaxinterp.attacks._gradient import GradientInfo, example_keys, value_gradient, where_rows
from jaxinterp.attacks._loss import Loss, cross_entropy


class ApgdState(NamedTuple):
    """State of Auto-PGD; every leaf has the leading axis `n`.

    Attributes:
        adversarial: `[n h w c]`, the answer so far: of the images that succeeded the one of the least loss, else `best`.
        found: `[n]`, the loss of the answer where it succeeded; infinite elsewhere.
        iterate: `[n h w c]`, where the next step starts.
        previous: `[n h w c]`, where the last step started.
        gradient: `[n h w c]`, of the loss at `iterate`.
        best: `[n h w c]`, the image of the least loss of all.
        best_gradient: `[n h w c]`, of the loss there.
        best_loss: `[n]`, the loss there.
        loss: `[n]`, of the newest image.
        step_size: `[n]`, in the units of epsilon.
        checked_loss: `[n]`, `best_loss` at the last checkpoint.
        halved: `[n]` bool, whether the step size was halved at the last checkpoint.
        gains: `[n]`, steps since the last checkpoint that lowered the loss.
        since: `[n]`, steps since the last checkpoint.
        window: `[n]`, steps from the last checkpoint to the next one.
        steps: `[n]`, how many there were.
    """

    adversarial: Array
    found: Array
    iterate: Array
    previous: Array
    gradient: Array
    best: Array
    best_gradient: Array
    best_loss: Array
    loss: Array
    step_size: Array
    checked_loss: Array
    halved: Array
    gains: Array
    since: Array
    window: Array
    steps: Array


def apgd(
    epsilon: Scalar,
    *,
    norm: str = "linf",
    num_steps: int = 100,
    momentum: float | int = 0.75,
    rho: float | int = 0.75,
    random_start: bool = True,
    loss: Loss = cross_entropy,
    success: Loss = joint_success,
) -> Attack:
    """Auto-PGD: momentum, and a step size that is halved where it gains too little; nothing is to be tuned.

    With the steepest direction `s` of the norm (the sign of the gradient, or the gradient divided by its norm),

        z <- project(x - step_size s),  x <- project(x + a (z - x) + (1 - a) (x - x_previous)),  a = momentum,

    from a first step size of 2 epsilon. At checkpoints, 0.22 of the steps after the start and then in windows that shrink by
    0.03 down to 0.06, an image's step size is halved where fewer than `rho` of the steps of the window lowered the loss, or
    where neither the step size nor the least loss has changed since the last checkpoint; the image then goes back to its best
    one. `apgd(epsilon, loss=dlr)` is the paper's APGD-DLR, and `apgd(epsilon, loss=targeted_dlr)` its APGD-T for the class
    `batch.target`.

    A step evaluates the networks and a gradient once, at the new image; `init` does so at the start.

    Unlike the paper, whose answer is the image of the least loss, that holds among the images that succeeded, where there are
    any. The authors' code gives the newest image that succeeded.

    Args:
        epsilon: radius in [0, 1] units: of the Linf norm, or of the Euclidean norm over all pixels and channels.
        norm: of the ball, "linf" or "l2".
        num_steps: number of steps.
        momentum: share of the projected step in the update, in (0, 1]; the rest is the last move. 1 is no momentum.
        rho: share of the steps of a window that must lower the loss, in [0, 1].
        random_start: start on the surface of the ball, cut off at [0, 1], as in the authors' code; every image draws from its
            own id.
        loss: minimised; the default drives away from the label, `targeted_dlr` towards the target.
        success: `(key, model, adversarial, batch) -> [n]` bool; `misclassified` counts any class but the label, as AutoAttack
            does with targets too.

    Returns:
        An attack of kind "fixed_radius"; its state is an `ApgdState`, its info a `GradientInfo`, whose score is the loss where
        the new image succeeded.

    Raises:
        ValueError: epsilon outside its range, another norm, num_steps below 1, momentum or rho outside their range.

    References:
        F. Croce, M. Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks",
        ICML 2020, algorithm 1.
    """
    if norm not in ("linf", "l2"):
        raise ValueError(f"expected norm 'linf' or 'l2', got {norm!r}; write norm='linf'.")
    check_num_steps(num_steps)
    if not 0 < momentum <= 1:
        raise ValueError(f"expected momentum in (0, 1], got {momentum}; write momentum=0.75.")
    if not 0 <= rho <= 1:
        raise ValueError(f"expected rho in [0, 1], got {rho}; write rho=0.75.")
    ball = linf(epsilon) if norm == "linf" else l2(epsilon)
    first, shorter, least = (max(int(share * num_steps), 1) for share in (0.22, 0.03, 0.06))

    def start(key: Array, clean: Array) -> Array:
        if not random_start:
            return clean
        if norm == "linf":
            draw = jax.random.uniform(key, clean.shape, clean.dtype, -1.0, 1.0)
            size = jnp.max(jnp.abs(draw))
        else:
            draw = jax.random.normal(key, clean.shape, clean.dtype)
            size = _norm(draw)
        return ball.project(clean + jnp.asarray(epsilon, clean.dtype) * (draw / size), clean)

    def move(clean: Array, iterate: Array, previous: Array, gradient: Array, step_size: Array, share: Array) -> Array:
        direction = jnp.sign(gradient) if norm == "linf" else gradient / _one_for_zero(_norm(gradient))
        projected = ball.project(iterate - step_size * direction, clean)
        return ball.project(iterate + share * (projected - iterate) + (1 - share) * (iterate - previous), clean)

    def evaluate(key: Array, model: Any, image: Array, batch: Batch) -> tuple[Array, Array, Array]:
        gradient, values = value_gradient(loss, key, model, image, batch)
        values = values.astype(image.dtype)
        reached = success(key, model, image, batch)
        return values, gradient, jnp.where(reached, values, jnp.inf)

    def init(key: Array, model: Any, batch: Batch) -> ApgdState:
        iterate = jax.vmap(start)(example_keys(key, batch), batch.image)
        values, gradient, found = evaluate(key, model, iterate, batch)
        zero = jnp.zeros(batch.id.shape, jnp.int32)
        return ApgdState(
            adversarial=iterate,
            found=found,
            iterate=iterate,
            previous=iterate,
            gradient=gradient,
            best=iterate,
            best_gradient=gradient,
            best_loss=values,
            loss=values,
            step_size=jnp.full(batch.id.shape, 2 * jnp.asarray(epsilon, iterate.dtype)),
            checked_loss=values,
            halved=zero == 0,
            gains=zero,
            since=zero,
            window=zero + first,
            steps=zero,
        )

    def step(key: Array, state: ApgdState, model: Any, batch: Batch) -> tuple[ApgdState, GradientInfo]:
        share = jnp.where(state.steps > 0, momentum, 1.0).astype(state.iterate.dtype)
        moved = jax.vmap(move)(batch.image, state.iterate, state.previous, state.gradient, state.step_size, share)
        values, gradient, succeeded = evaluate(key, model, moved, batch)

        better = values < state.best_loss
        best, best_gradient = where_rows(better, moved, state.best), where_rows(better, gradient, state.best_gradient)
        best_loss = jnp.where(better, values, state.best_loss)
        first_or_better = succeeded < state.found
        found = jnp.where(first_or_better, succeeded, state.found)
        adversarial = where_rows(first_or_better, moved, where_rows(jnp.isfinite(found), state.adversarial, best))

        gains, since = state.gains + (values < state.loss), state.since + 1
        due = since == state.window
        stuck = ~state.halved & (state.checked_loss <= best_loss)
        halve = due & ((gains <= rho * state.window) | stuck)
        new = ApgdState(
            adversarial=adversarial,
            found=found,
            iterate=where_rows(halve, best, moved),
            previous=state.iterate,
            gradient=where_rows(halve, best_gradient, gradient),
            best=best,
            best_gradient=best_gradient,
            best_loss=best_loss,
            loss=values,
            step_size=jnp.where(halve, state.step_size / 2, state.step_size),
            checked_loss=jnp.where(due, best_loss, state.checked_loss),
            halved=jnp.where(due, halve, state.halved),
            gains=jnp.where(due, 0, gains),
            since=jnp.where(due, 0, since),
            window=jnp.where(due, jnp.maximum(state.window - shorter, least), state.window),
            steps=state.steps + 1,
        )
        return new, GradientInfo(values, succeeded, rms_distortion(moved, batch.image))

    return Attack(init=init, step=step, num_steps=num_steps, kind="fixed_radius")


def _norm(image: Array) -> Array:
    return jnp.sqrt(jnp.sum(jnp.square(image)))


def _one_for_zero(norm: Array) -> Array:
    return jnp.where(norm > 0, norm, 1.0)
