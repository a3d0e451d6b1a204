"""BIM: several small steps along the sign of the gradient."""

import optax

from jaxinterp._base import Attack
from jaxinterp.attacks._ball import Scalar, check_num_steps, check_radius, linf
from jaxinterp.attacks._gradient import gradient_attack
from jaxinterp.attacks._loss import Loss, cross_entropy


def bim(
    epsilon: Scalar,
    *,
    step_size: Scalar | None = None,
    num_steps: int = 10,
    loss: Loss = cross_entropy,
    keep: Loss | None = None,
) -> Attack:
    """Basic iterative method: `num_steps` sign steps from the clean image, each projected onto the ball and [0, 1].

    Unlike the paper, which fixes the step at 1/255 and ties the number of steps to epsilon, the default step is
    `epsilon / num_steps`, the smallest that can reach every corner of the ball.

    Args:
        epsilon: Linf radius in [0, 1] units, such as `8 / 255`.
        step_size: of one step, in [0, 1] units.
        num_steps: number of gradients.
        loss: minimised; the default drives away from the label, `targeted(cross_entropy)` towards the target.
        keep: score per example, lower = better; the answer is then the best-scored image, see `gradient_attack`.

    Returns:
        An attack of kind "fixed_radius".

    Raises:
        ValueError: epsilon or step_size outside (0, 1], num_steps below 1.

    References:
        A. Kurakin, I. Goodfellow, S. Bengio, "Adversarial Examples in the Physical World", ICLR workshop 2017, section 2.2.
    """
    check_radius(epsilon, name="epsilon")
    check_num_steps(num_steps)
    size = epsilon / num_steps if step_size is None else step_size
    check_radius(size, name="step_size")
    return gradient_attack(loss, update_rule=optax.sign_sgd(size), ball=linf(epsilon), num_steps=num_steps, keep=keep)
