"""VMI-FGSM: momentum of gradients that are corrected by those around the image."""

import optax

from jaxinterp._base import Attack
from jaxinterp.attacks._ball import Scalar
from jaxinterp.attacks._fixed_radius._momentum import Neighbours, momentum_attack
from jaxinterp.attacks._loss import Loss, cross_entropy


def vmi_fgsm(
    epsilon: Scalar,
    *,
    decay: Scalar = 1.0,
    step_size: Scalar | None = None,
    num_steps: int = 10,
    num_samples: int = 20,
    reach: Scalar = 1.5,
    loss: Loss = cross_entropy,
    smoothing: optax.GradientTransformation | None = None,
) -> Attack:
    """Variance-tuned momentum iterative FGSM: like `mi_fgsm`, each gradient corrected by those around the last image.

        g <- decay g + (grad(x) + v) / mean |grad(x) + v|
        v <- mean_i grad(x + r_i) - grad(x),  r_i uniform in [-reach epsilon, reach epsilon]
        x <- clip(x - step_size sign(g))

    `v` is zero at first, and images around `x` may lie outside [0, 1], as in the authors' code. A step costs
    `1 + num_samples` gradients.

    Args:
        epsilon: Linf radius in [0, 1] units, such as `8 / 255`.
        decay: of the accumulated gradient.
        step_size: of one step, in [0, 1] units; `epsilon / num_steps` by default, as in the paper.
        num_steps: number of steps.
        num_samples: N, images around the last one.
        reach: beta, how far they are, in units of epsilon.
        loss: minimised; `diverse_inputs` and `scale_invariant` map it to others.
        smoothing: a rule that each corrected gradient goes through before it is normalised; `smooth_gradient()` makes it TI.

    Returns:
        An attack of kind "fixed_radius"; its state is a `MomentumState`.

    Raises:
        ValueError: epsilon or step_size outside (0, 1], num_steps or num_samples below 1, a negative decay, a reach that is
            not positive.

    References:
        X. Wang, K. He, "Enhancing the Transferability of Adversarial Attacks through Variance Tuning", CVPR 2021, section 3.2
        and algorithm 1.
    """
    return momentum_attack(
        loss,
        epsilon=epsilon,
        decay=decay,
        step_size=step_size,
        num_steps=num_steps,
        looks_ahead=False,
        smoothing=smoothing,
        variance=Neighbours(num_samples, reach),
    )
