"""BIM towards the class that the model finds least likely."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._ball import Scalar
from jaxinterp.attacks._fixed_radius._bim import bim
from jaxinterp.attacks._gradient import GradientInfo, GradientState
from jaxinterp.attacks._loss import Loss, cross_entropy, members
from jaxinterp.attacks._transform import targeted


class LeastLikelyState(NamedTuple):
    """State of the iterative least-likely-class method; every leaf has the leading axis `n`.

    Attributes:
        adversarial: `[n h w c]`, the answer so far.
        target: `[n]`, the class that is aimed at.
        inner: of the gradient attack.
    """

    adversarial: Array
    target: Array
    inner: GradientState


def iterative_least_likely(
    epsilon: Scalar, *, step_size: Scalar | None = None, num_steps: int = 10, loss: Loss = cross_entropy
) -> Attack:
    """Iterative least-likely-class method: sign steps towards the class of least probability for the clean image.

    The class is found by one evaluation in `init`, and `batch.target` is not looked at. For several models (with
    `loss=ensemble(cross_entropy)`) it is the class of least mean probability, our reading. Of equally unlikely classes it is
    the one of the smallest number.

    Unlike the paper, which fixes the step at 1/255 and ties the number of steps to epsilon, the default step is
    `epsilon / num_steps`.

    Args:
        epsilon: Linf radius in [0, 1] units, such as `8 / 255`.
        step_size: of one step, in [0, 1] units.
        num_steps: number of gradients.
        loss: untargeted; it is aimed at the least likely class here.

    Returns:
        An attack of kind "fixed_radius"; its state is a `LeastLikelyState`, its info a `GradientInfo`.

    Raises:
        ValueError: epsilon or step_size outside (0, 1], num_steps below 1.

    References:
        A. Kurakin, I. Goodfellow, S. Bengio, "Adversarial Examples in the Physical World", ICLR workshop 2017, section 2.3.
    """
    attack = bim(epsilon, step_size=step_size, num_steps=num_steps, loss=targeted(loss))

    def init(key: Array, model: Any, batch: Batch) -> LeastLikelyState:
        total = sum(jax.nn.softmax(member(batch.image)[0]) for member in members(model))
        target = jnp.argmin(jnp.asarray(total), axis=-1).astype(jnp.int32)
        inner = attack.init(key, model, batch)
        return LeastLikelyState(inner.adversarial, target, inner)

    def step(key: Array, state: LeastLikelyState, model: Any, batch: Batch) -> tuple[LeastLikelyState, GradientInfo]:
        inner, info = attack.step(key, state.inner, model, batch._replace(target=state.target))
        return LeastLikelyState(inner.adversarial, state.target, inner), info

    return Attack(init=init, step=step, num_steps=num_steps, kind="fixed_radius")
