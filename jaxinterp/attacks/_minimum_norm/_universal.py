"""One perturbation for many images."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._ball import Scalar, check_num_steps, check_radius
from jaxinterp.attacks._loss import Loss, cross_entropy
from jaxinterp.attacks._nearest import check_norm, check_positive

NORMS = ("linf", "l2")


class UniversalState(NamedTuple):
    """State of a universal perturbation.

    Attributes:
        adversarial: `[n h w c]`, the images of the batch with the perturbation, cut off at [0, 1].
        perturbation: `[h w c]`, the same for all images, within the ball.
    """

    adversarial: Array
    perturbation: Array


class UniversalInfo(NamedTuple):
    """What one step saw, before it moved the perturbation.

    Attributes:
        loss: `[n]`, after the bound.
    """

    loss: Array


def universal_perturbation(
    epsilon: Scalar,
    *,
    norm: str = "linf",
    num_steps: int = 100,
    step_size: Scalar | None = None,
    loss: Loss = cross_entropy,
    largest_gain: float = 9.0,
) -> Attack:
    """One perturbation that fools the network on as many images as it can.

    Minimises the mean over the images of `max(loss(clip(image + perturbation)), -largest_gain)` over all perturbations of at
    most `epsilon`, by projected steps: `step_size` times the sign of the gradient in Linf, times the gradient of unit length
    in L2. The bound keeps a few images from taking all of the gradient. Rows whose mask is False do not count.

    Such steps take the place of the accumulated DeepFool steps by which universal perturbations were found first: those go
    from image to image, one after the other.

    On a batch, an attack makes `num_steps` steps. For a data set, call `step` with one batch after the other of equal size:

        state = attack.init(key, model, first)
        for batch in batches:
            state, info = step(key, state, model, batch)   # step = jax.jit(attack.step)

    and add `state.perturbation` to any image.

    Args:
        epsilon: radius in [0, 1] units.
        norm: of the ball, "linf" or "l2", over all pixels and channels.
        num_steps: number of gradients, each of the whole batch.
        step_size: in the units of epsilon; a tenth of epsilon by default, our reading.
        loss: minimised; the default drives away from the label, `targeted(cross_entropy)` all images towards their targets.
        largest_gain: beta, minus the least value of the loss that an image can contribute.

    Returns:
        An attack of kind "universal"; its state is a `UniversalState`.

    Raises:
        ValueError: an unknown norm, epsilon, step_size or largest_gain not positive, num_steps below 1.

    References:
        A. Shafahi, M. Najibi, Z. Xu, J. Dickerson, L. S. Davis, T. Goldstein, "Universal Adversarial Training", AAAI 2020,
        its attack with a clipped loss; the problem: S.-M. Moosavi-Dezfooli, A. Fawzi, O. Fawzi, P. Frossard,
        "Universal adversarial perturbations", CVPR 2017.
    """
    check_norm(norm, NORMS)
    check_radius(epsilon, name="epsilon", largest=1.0 if norm == "linf" else float("inf"))
    check_num_steps(num_steps)
    size = epsilon / 10 if step_size is None else step_size
    check_radius(size, name="step_size", largest=1.0 if norm == "linf" else float("inf"))
    check_positive(largest_gain, name="largest_gain", instead=9.0)

    def apply(perturbation: Array, batch: Batch) -> Array:
        return jnp.clip(batch.image + perturbation[None], 0.0, 1.0)

    def init(key: Array, model: Any, batch: Batch) -> UniversalState:
        perturbation = jnp.zeros(batch.image.shape[1:], batch.image.dtype)
        return UniversalState(apply(perturbation, batch), perturbation)

    def step(key: Array, state: UniversalState, model: Any, batch: Batch) -> tuple[UniversalState, UniversalInfo]:
        def mean(perturbation: Array) -> tuple[Array, Array]:
            image = apply(perturbation, batch)
            values = jnp.maximum(loss(key, model, image, batch), -largest_gain)
            counted = jnp.sum(jnp.where(batch.mask, values, 0.0))
            return counted / jnp.maximum(jnp.sum(batch.mask), 1).astype(values.dtype), values

        gradient, values = jax.grad(mean, has_aux=True)(state.perturbation)
        radius, stride = jnp.asarray(epsilon, gradient.dtype), jnp.asarray(size, gradient.dtype)
        if norm == "linf":
            perturbation = jnp.clip(state.perturbation - stride * jnp.sign(gradient), -radius, radius)
        else:
            perturbation = state.perturbation - stride * gradient / _positive(_length(gradient))
            perturbation = perturbation * jnp.minimum(radius / _positive(_length(perturbation)), 1.0)
        return UniversalState(apply(perturbation, batch), perturbation), UniversalInfo(values)

    return Attack(init=init, step=step, num_steps=num_steps, kind="universal")


def _length(change: Array) -> Array:
    return jnp.sqrt(jnp.sum(jnp.square(change)))


def _positive(number: Array) -> Array:
    return jnp.where(number > 0, number, 1.0)
