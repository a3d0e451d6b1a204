"""The attacks of the standard evaluation of robustness, in their order."""

from typing import NamedTuple

from jaxinterp._base import Attack
from jaxinterp.attacks._ball import check_num_steps
from jaxinterp.attacks._criterion import misclassified
from jaxinterp.attacks._dlr import targeted_dlr
from jaxinterp.attacks._fixed_radius._apgd import apgd
from jaxinterp.attacks._minimum_norm._fab import fab
from jaxinterp.attacks._query._square import square


class StandardAttack(NamedTuple):
    """One attack of an evaluation.

    Attributes:
        name: as tables have it: "apgd-ce", "apgd-t", "fab-t", "square".
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
