"""The ensemble-optimization attack."""

from collections.abc import Sequence

import optax
from jax import Array

from jaxinterp._base import Attack
from jaxinterp.attacks._ball import Scalar, box, check_radius
from jaxinterp.attacks._criterion import least_distorted_success
from jaxinterp.attacks._gradient import gradient_attack
from jaxinterp.attacks._lattice import round_to_lattice
from jaxinterp.attacks._loss import Loss, cross_entropy, squared_distance
from jaxinterp.attacks._transform import ensemble, targeted, weighted_sum


def ensemble_optimization(
    *,
    distance_weight: Scalar = 1e5,
    step_size: Scalar = 5 / 255,
    num_steps: int = 20,
    decay: float = 0.9,
    weights: Sequence[float | int] | None = None,
    loss: Loss = cross_entropy,
    distance: Loss = squared_distance,
) -> Attack:
    """The ensemble-optimization attack: one image that several models take for the target, near to the clean one.

    Minimises over `x*`

        lambda d(x, x*) + 1/K sum_k CE(onehot(y*), f_k(x*))

    by Adam from `x* = x`, projected onto [0, 1]. The losses of the K models are averaged, not their logits.

    The answer is an 8-bit image, the least distorted iterate that all K models take for the target, or the last iterate where
    there was none. Distance, losses and success are all evaluated at the 8-bit rounding of the iterate, with a
    straight-through gradient. One evaluation of the networks per step serves the loss and the criterion; it scores the
    iterates 0 to `num_steps - 1`, the very last one is used only where none of these succeeded.

    Standing of the choices: the averaged losses and the use of several white-box models are the paper's. The formula, Adam
    with a step of 5 of 255 and 10 to 20 iterations are recalled, not checked against its text. Our reading: `d` is the mean
    squared difference in [0, 1] units, lambda is 1e5 for that `d`, the box is kept by projection, the least distorted joint
    success is kept, and success is that of the 8-bit image.

    Rows without a target (-1) are driven away from the label in all models.

    Args:
        distance_weight: lambda, not negative; larger = less distortion, later success.
        step_size: Adam's step, in [0, 1] units.
        num_steps: number of gradients.
        decay: Adam's decay of the mean gradient, in [0, 1); with few steps a shorter memory overshoots less.
        weights: one per model, divided by their sum; equal by default.
        loss: of one model, untargeted; it is aimed at the target here.
        distance: `d`, per example.

    Returns:
        An attack of kind "penalty" on a tuple of models (or on one).

    Raises:
        ValueError: a negative distance_weight, step_size outside (0, 1], decay outside [0, 1), num_steps below 1, or unusable
            weights.

    Example:
        >>> from jaxinterp import attacks
        >>> attacks.ensemble_optimization(num_steps=10).kind
        'penalty'

    References:
        Y. Dong, H. Su, J. Zhu, F. Bao, "Towards Interpretable Deep Neural Networks by Leveraging Adversarial Examples",
        arXiv 1708.05493, 2017, section 3.
    """
    if not isinstance(distance_weight, Array) and not 0 <= float(distance_weight) < float("inf"):
        raise ValueError(f"expected distance_weight >= 0, got {distance_weight}; write distance_weight=1e5.")
    check_radius(step_size, name="step_size")
    if not 0 <= decay < 1:
        raise ValueError(f"expected decay in [0, 1), got {decay}; write decay=0.9.")
    objective = weighted_sum((distance_weight, distance), (1.0, ensemble(targeted(loss), weights=weights)))
    return gradient_attack(
        objective,
        update_rule=optax.adam(step_size, b1=decay),
        ball=box(),
        num_steps=num_steps,
        decode=round_to_lattice,
        keep=least_distorted_success(distance=distance),
        kind="penalty",
    )
