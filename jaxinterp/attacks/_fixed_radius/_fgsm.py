"""FGSM: one step along the sign of the gradient."""

import optax

from jaxinterp._base import Attack
from jaxinterp.attacks._ball import Scalar, linf
from jaxinterp.attacks._gradient import gradient_attack
from jaxinterp.attacks._loss import Loss, cross_entropy


def fgsm(epsilon: Scalar, *, loss: Loss = cross_entropy) -> Attack:
    """Fast gradient sign method: `x* = clip(x - epsilon sign(grad_x loss(x)))`, one gradient.

    Args:
        epsilon: Linf radius in [0, 1] units, such as `8 / 255`.
        loss: minimised; the default drives away from the label, `targeted(cross_entropy)` towards the target.

    Returns:
        An attack of kind "fixed_radius".

    Raises:
        ValueError: epsilon outside (0, 1].

    Example:
        >>> from jaxinterp import attacks
        >>> attacks.fgsm(8 / 255).num_steps
        1

    References:
        I. J. Goodfellow, J. Shlens, C. Szegedy, "Explaining and Harnessing Adversarial Examples", ICLR 2015, section 4.
    """
    return gradient_attack(loss, update_rule=optax.sign_sgd(epsilon), ball=linf(epsilon), num_steps=1)
