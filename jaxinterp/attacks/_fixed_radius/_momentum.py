"""Sign steps along an accumulated gradient that is taken ahead of the image, or corrected by gradients around it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._ball import Scalar, check_decay, check_num_steps, check_radius, linf
from jaxinterp.attacks._criterion import rms_distortion
from jaxinterp.attacks._gradient import example_keys, value_gradient
from jaxinterp.attacks._loss import Loss
from jaxinterp.attacks._samples import check_samples, mean_gradient


class MomentumState(NamedTuple):
    """State of NI-, VMI- and VNI-FGSM; every leaf has the leading axis `n`.

    Attributes:
        adversarial: `[n h w c]`, the newest image.
        momentum: `[n h w c]`, the accumulated gradient, of images whose own have a mean absolute value of 1.
        variance: `[n h w c]`, the mean gradient around the last image less the gradient there; None without samples.
        smoothing: states of the rule that smooths gradients, one per example.
    """

    adversarial: Array
    momentum: Array
    variance: Array | None
    smoothing: Any


class Neighbours(NamedTuple):
    """The images around the newest one whose mean gradient corrects the next step.

    Attributes:
        num_samples: how many.
        reach: how far they are, per pixel, in units of epsilon.
    """

    num_samples: int
    reach: Scalar


class MomentumInfo(NamedTuple):
    """What one step saw, where its gradient was taken.

    Attributes:
        loss: `[n]`.
        distortion: `[n]`, RMS difference of the image that the step started from to the clean one, in [0, 1] units.
    """

    loss: Array
    distortion: Array


def momentum_attack(
    loss: Loss,
    *,
    epsilon: Scalar,
    decay: Scalar,
    step_size: Scalar | None,
    num_steps: int,
    looks_ahead: bool,
    smoothing: optax.GradientTransformation | None,
    variance: Neighbours | None = None,
) -> Attack:
    """The attack that the public ones are cases of; see them for what they have in common.

    Args:
        loss: minimised.
        epsilon: Linf radius.
        decay: of the accumulated gradient.
        step_size: of one step; `epsilon / num_steps` by default.
        num_steps: number of steps.
        looks_ahead: take the gradient where the momentum alone would lead.
        smoothing: a rule that gradients go through before they are normalised.
        variance: what corrects the gradients; None for no correction.

    Returns:
        An attack of kind "fixed_radius".

    Raises:
        ValueError: a number out of range.
    """
    check_radius(epsilon, name="epsilon")
    check_num_steps(num_steps)
    check_decay(decay)
    size = epsilon / num_steps if step_size is None else step_size
    check_radius(size, name="step_size")
    if variance is not None:
        check_samples(variance.num_samples)
        check_radius(variance.reach, name="reach", largest=float("inf"))
    ball, smooth = linf(epsilon), smoothing or optax.identity()

    def init(key: Array, model: Any, batch: Batch) -> MomentumState:
        still = jnp.zeros_like(batch.image)
        return MomentumState(batch.image, still, still if variance else None, jax.vmap(smooth.init)(still))

    def step(key: Array, state: MomentumState, model: Any, batch: Batch) -> tuple[MomentumState, MomentumInfo]:
        image, correction = state.adversarial, state.variance
        length, kept = jnp.asarray(size, image.dtype), jnp.asarray(decay, image.dtype)
        ahead = image - length * kept * state.momentum if looks_ahead else image
        gradient, values = value_gradient(loss, key, model, ahead, batch)
        corrected = gradient if correction is None else gradient + correction
        smoothed, smoothing_state = jax.vmap(smooth.update)(corrected, state.smoothing)
        momentum = kept * state.momentum + _normalized(jnp.asarray(smoothed))
        moved = jax.vmap(ball.project)(image - length * jnp.sign(momentum), batch.image)
        if variance is not None:
            correction = around(variance, key, model, image, batch) - gradient
        info = MomentumInfo(values, rms_distortion(image, batch.image))
        return MomentumState(moved, momentum, correction, smoothing_state), info

    def around(variance: Neighbours, key: Array, model: Any, image: Array, batch: Batch) -> Array:
        far = jnp.asarray(variance.reach, image.dtype) * jnp.asarray(epsilon, image.dtype)

        def values_at(index: Array, images: Array) -> Array:
            loss_key, draw_key = jax.random.split(jax.random.fold_in(key, index))
            noise = jax.vmap(lambda key: jax.random.uniform(key, image.shape[1:], image.dtype, -1.0, 1.0))
            return loss(loss_key, model, images + far * noise(example_keys(draw_key, batch)), batch)

        return mean_gradient(values_at, image, num_samples=variance.num_samples)[0]

    return Attack(init=init, step=step, num_steps=num_steps, kind="fixed_radius")


def _normalized(gradient: Array) -> Array:
    """Each image's gradient over its mean absolute value; a zero gradient stays zero."""
    mean = jnp.mean(jnp.abs(gradient), axis=(1, 2, 3), keepdims=True)
    return gradient / jnp.where(mean > 0, mean, 1.0)
