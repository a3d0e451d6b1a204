"""PGD: steepest descent from a random point of the ball."""

import optax

from jaxinterp._base import Attack
from jaxinterp.attacks._ball import Scalar, check_radius, l1, l2, linf
from jaxinterp.attacks._gradient import gradient_attack
from jaxinterp.attacks._loss import Loss, cross_entropy
from jaxinterp.attacks._steps import normalize_l2, sparse_sign


def pgd(
    epsilon: Scalar,
    *,
    norm: str = "linf",
    step_size: Scalar | None = None,
    num_steps: int = 20,
    random_start: bool = True,
    loss: Loss = cross_entropy,
    keep: Loss | None = None,
) -> Attack:
    """Projected gradient descent in a ball; the default number of steps is that of "PGD-20".

    A step goes `step_size` along the steepest direction of the norm: the sign of the gradient ("linf"), the gradient divided by
    its norm ("l2"), or, for "l1", the signs of its largest hundredth (`sparse_sign`), since a step along the single largest
    entry changes one pixel only.

    Args:
        epsilon: radius in [0, 1] units, such as `8 / 255` for "linf"; in the other norms over all pixels and channels.
        norm: "linf", "l2" or "l1".
        step_size: of one step, in the units of epsilon; a quarter of epsilon by default (2/255 at 8/255), our reading.
        num_steps: number of gradients.
        random_start: start at a uniform draw from the ball; every image draws from its own id.
        loss: minimised; the default drives away from the label, `targeted(cross_entropy)` towards the target.
        keep: score per example, lower = better; the answer is then the best-scored image, see `gradient_attack`.

    Returns:
        An attack of kind "fixed_radius".

    Raises:
        ValueError: another norm, epsilon or step_size outside (0, 1] (not positive in the other norms), num_steps below 1.

    References:
        A. Madry, A. Makelov, L. Schmidt, D. Tsipras, A. Vladu, "Towards Deep Learning Models Resistant to Adversarial
        Attacks", ICLR 2018, section 2.1, for "linf" and "l2".
        F. Tramer, D. Boneh, "Adversarial Training and Robustness for Multiple Perturbations", NeurIPS 2019, section
        3, for "l1".
    """
    if norm not in ("linf", "l2", "l1"):
        raise ValueError(f"expected norm 'linf', 'l2' or 'l1', got {norm!r}; write norm='linf'.")
    make_ball = {"linf": linf, "l2": l2, "l1": l1}[norm]
    ball = make_ball(epsilon, random_start=random_start)
    size = epsilon / 4 if step_size is None else step_size
    check_radius(size, name="step_size", largest=1.0 if norm == "linf" else float("inf"))
    direction = {"linf": optax.identity(), "l2": normalize_l2(), "l1": sparse_sign(0.01)}[norm]
    rule = optax.chain(direction, optax.sign_sgd(size) if norm == "linf" else optax.sgd(size))
    return gradient_attack(loss, update_rule=rule, ball=ball, num_steps=num_steps, keep=keep)
