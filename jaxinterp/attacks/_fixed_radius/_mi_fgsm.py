"""MI-FGSM: sign steps along an accumulated gradient."""

import optax

from jaxinterp._base import Attack
from jaxinterp.attacks._ball import Scalar, check_decay, check_num_steps, check_radius, linf
from jaxinterp.attacks._gradient import gradient_attack
from jaxinterp.attacks._loss import Loss, cross_entropy
from jaxinterp.attacks._steps import normalize_l1


def mi_fgsm(
    epsilon: Scalar,
    *,
    decay: Scalar = 1.0,
    step_size: Scalar | None = None,
    num_steps: int = 10,
    loss: Loss = cross_entropy,
    smoothing: optax.GradientTransformation | None = None,
    keep: Loss | None = None,
) -> Attack:
    """Momentum iterative FGSM: `g <- decay g + grad / ||grad||_1`, `x <- clip(x - step_size sign(g))`.

    Args:
        epsilon: Linf radius in [0, 1] units, such as `8 / 255`.
        decay: of the accumulated gradient; 0 is BIM.
        step_size: of one step, in [0, 1] units; `epsilon / num_steps` by default, as in the paper.
        num_steps: number of gradients.
        loss: minimised; `ensemble_logits(cross_entropy)` for several models as in the paper, `ensemble` fuses losses.
        smoothing: a rule that each gradient goes through before it is normalised; `smooth_gradient()` makes it TI.
        keep: score per example, lower = better; the answer is then the best-scored image, see `gradient_attack`.

    Returns:
        An attack of kind "fixed_radius".

    Raises:
        ValueError: epsilon or step_size outside (0, 1], num_steps below 1, a negative decay.

    References:
        Y. Dong, F. Liao, T. Pang, H. Su, J. Zhu, X. Hu, J. Li, "Boosting Adversarial Attacks with Momentum", CVPR 2018,
        equations 6 and 7.
    """
    check_radius(epsilon, name="epsilon")
    check_num_steps(num_steps)
    check_decay(decay)
    size = epsilon / num_steps if step_size is None else step_size
    check_radius(size, name="step_size")
    rule = optax.chain(smoothing or optax.identity(), normalize_l1(), optax.trace(decay), optax.sign_sgd(size))
    return gradient_attack(loss, update_rule=rule, ball=linf(epsilon), num_steps=num_steps, keep=keep)
