"""NI-FGSM: momentum whose gradient is taken ahead."""

import optax

from jaxinterp._base import Attack
from jaxinterp.attacks._ball import Scalar
from jaxinterp.attacks._fixed_radius._momentum import momentum_attack
from jaxinterp.attacks._loss import Loss, cross_entropy


def ni_fgsm(
    epsilon: Scalar,
    *,
    decay: Scalar = 1.0,
    step_size: Scalar | None = None,
    num_steps: int = 10,
    loss: Loss = cross_entropy,
    smoothing: optax.GradientTransformation | None = None,
) -> Attack:
    """Nesterov iterative FGSM: like `mi_fgsm`, with the gradient taken where the momentum alone would lead.

        g <- decay g + grad(x - step_size decay g) / mean |grad|
        x <- clip(x - step_size sign(g))

    Unlike the paper's equation, which divides by the L1 norm, a gradient is divided by its mean absolute value, as in the
    authors' code: by the L1 norm, a sum over all pixels, the look-ahead would be some 1e-5 of a step.

    Args:
        epsilon: Linf radius in [0, 1] units, such as `8 / 255`.
        decay: of the accumulated gradient; 0 is BIM.
        step_size: of one step, in [0, 1] units; `epsilon / num_steps` by default, as in the paper.
        num_steps: number of gradients.
        loss: minimised; `scale_invariant(cross_entropy)` makes it SI-NI-FGSM.
        smoothing: a rule that each gradient goes through before it is normalised; `smooth_gradient()` makes it TI.

    Returns:
        An attack of kind "fixed_radius"; its state is a `MomentumState`.

    Raises:
        ValueError: epsilon or step_size outside (0, 1], num_steps below 1, a negative decay.

    References:
        J. Lin, C. Song, K. He, L. Wang, J. E. Hopcroft, "Nesterov Accelerated Gradient and Scale Invariance for Adversarial
        Attacks", ICLR 2020, section 3.1.
    """
    return momentum_attack(
        loss,
        epsilon=epsilon,
        decay=decay,
        step_size=step_size,
        num_steps=num_steps,
        looks_ahead=True,
        smoothing=smoothing,
    )
