"""The attacks of the standard evaluation of robustness, in their order."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._ball import check_num_steps
from jaxinterp.attacks._criterion import misclassified
from jaxinterp.attacks._dlr import dlr, targeted_dlr
from jaxinterp.attacks._fixed_radius._apgd import apgd
from jaxinterp.attacks._inputs import expectation
from jaxinterp.attacks._loss import Loss, cross_entropy
from jaxinterp.attacks._minimum_norm._fab import fab
from jaxinterp.attacks._query._square import square


class StandardAttack(NamedTuple):
    """One attack of an evaluation.

    Attributes:
        name: as tables have it: "apgd-ce", "apgd-t", "fab-t", "square", "apgd-dlr".
        attack: it succeeds wherever the label is no longer predicted and the image lies in the ball.
        num_targets: it is run once towards each of so many likeliest wrong classes; 0: once, without a target.
    """

    name: str
    attack: Attack
    num_targets: int


def standard_attacks(
    epsilon: float, *, norm: str = "linf", num_steps: int = 100, num_targets: int = 9, max_queries: int = 5000
) -> tuple[StandardAttack, ...]:
    """The four attacks of AutoAttack, of which each gets the images that the earlier ones left.

    APGD on the cross-entropy; APGD on the targeted difference of logits ratio, towards one class after the other; FAB-T,
    likewise; and Square, which looks at no gradient. Nothing is to be tuned, so defences can be compared.

    Unlike the paper, where FAB is not targeted, FAB-T takes its place as in the authors' code, and there are no restarts.

    Args:
        epsilon: radius in [0, 1] units, such as `8 / 255`; with "l2" the Euclidean norm over the image, such as 0.5.
        norm: "linf" or "l2".
        num_steps: of APGD and of FAB.
        num_targets: classes that APGD-T and FAB-T are driven to.
        max_queries: of Square, for an image.

    Returns:
        The attacks in their order.

    Raises:
        ValueError: a number out of range, or another norm.

    References:
        F. Croce, M. Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks",
        ICML 2020, section 6.
    """
    check_num_steps(num_steps)
    if num_targets < 1:
        raise ValueError(f"expected num_targets >= 1, got {num_targets}; write num_targets=9.")
    targeted = apgd(epsilon, norm=norm, num_steps=num_steps, loss=targeted_dlr, success=misclassified)
    return (
        StandardAttack("apgd-ce", apgd(epsilon, norm=norm, num_steps=num_steps), 0),
        StandardAttack("apgd-t", targeted, num_targets),
        StandardAttack("fab-t", fab(norm=norm, num_steps=num_steps, towards="target"), num_targets),
        StandardAttack("square", square(epsilon, norm=norm, max_queries=max_queries), 0),
    )


def standard_attacks_on_draws(
    epsilon: float, *, norm: str = "linf", num_steps: int = 100, num_samples: int = 20
) -> tuple[StandardAttack, ...]:
    """The attacks of AutoAttack's version "rand" for networks that draw at random: APGD along mean gradients over draws.

    APGD on the cross-entropy and on the difference of logits ratio, each the mean over `num_samples` draws, new ones in every
    step. FAB and Square suppose a network that gives the same answer twice, and are left out.

    Unlike the authors' code, which keeps an image as soon as a single draw errs, the answer is the image of the least mean
    loss: with many draws, one that errs is found by chance.

    Args:
        epsilon: radius in [0, 1] units, as for `standard_attacks`.
        norm: "linf" or "l2".
        num_steps: of APGD.
        num_samples: draws for one gradient.

    Returns:
        The attacks in their order.

    Raises:
        ValueError: a number out of range, or another norm.

    References:
        F. Croce, M. Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks",
        ICML 2020, section 6.
    """

    def unknown(key: Array | None, model: Any, adversarial: Array, batch: Batch) -> Array:
        return jnp.zeros(batch.id.shape, bool)

    def along(loss: Loss) -> Attack:
        mean = expectation(loss, num_samples=num_samples)
        return apgd(epsilon, norm=norm, num_steps=num_steps, loss=mean, success=unknown)

    return StandardAttack("apgd-ce", along(cross_entropy), 0), StandardAttack("apgd-dlr", along(dlr), 0)
