"""PGD: sign steps from a random point of the ball."""

import optax

from jaxinterp._base import Attack
from jaxinterp.attacks._ball import Scalar, check_radius, linf
from jaxinterp.attacks._gradient import gradient_attack
from jaxinterp.attacks._loss import Loss, cross_entropy


def pgd(
    epsilon: Scalar,
    *,
    step_size: Scalar | None = None,
    num_steps: int = 20,
    random_start: bool = True,
    loss: Loss = cross_entropy,
) -> Attack:
    """Projected gradient descent in the Linf ball; the default number of steps is that of "PGD-20".

    Args:
        epsilon: Linf radius in [0, 1] units, such as `8 / 255`.
        step_size: of one step, in [0, 1] units; a quarter of epsilon by default (2/255 at 8/255), our reading.
        num_steps: number of gradients.
        random_start: start at a uniform draw from the ball; every image draws from its own id.
        loss: minimised; the default drives away from the label, `targeted(cross_entropy)` towards the target.

    Returns:
        An attack of kind "fixed_radius".

    Raises:
        ValueError: epsilon or step_size outside (0, 1], num_steps below 1.

    References:
        A. Madry, A. Makelov, L. Schmidt, D. Tsipras, A. Vladu, "Towards Deep Learning Models Resistant to Adversarial
        Attacks", ICLR 2018, section 2.1.
    """
    check_radius(epsilon, name="epsilon")
    size = epsilon / 4 if step_size is None else step_size
    check_radius(size, name="step_size")
    ball = linf(epsilon, random_start=random_start)
    return gradient_attack(loss, update_rule=optax.sign_sgd(size), ball=ball, num_steps=num_steps)
