"""SPSA: Adam along a gradient estimated from directions of signs."""

import jax
import optax

from jaxinterp._base import Attack
from jaxinterp.attacks._ball import Scalar, check_radius, linf
from jaxinterp.attacks._loss import margin
from jaxinterp.attacks._query._estimate import estimate_attack
from jaxinterp.attacks._transform import targeted


def spsa(
    epsilon: Scalar,
    *,
    step_size: Scalar = 0.01,
    probe_size: float | int = 0.01,
    num_directions: int = 128,
    max_queries: int = 10_000,
) -> Attack:
    """SPSA attack in the Linf ball: Adam on the margin, along a gradient from random directions of signs.

    `g = sum_i (L(x + s v_i) - L(x - s v_i)) v_i / (2 s m)`, each v_i a vector of independent, equally likely -1 and 1; L is the
    margin `z_label - max z_other`, or `max z_other - z_target` in rows with a target. After each step of Adam the image is
    projected onto the ball. An image is done once it is adversarial. The `2 m` queries of a step go through the network at
    once, as so many more rows of the batch.

    Args:
        epsilon: Linf radius in [0, 1] units, such as `8 / 255`.
        step_size: of Adam, in [0, 1] units.
        probe_size: s, how far every pixel of the images that are asked for is off, in [0, 1] units.
        num_directions: m, pairs of queries in a step; the paper takes up to 8192 queries.
        max_queries: per image; a step takes `2 m + 1`, and the clean image one before.

    Returns:
        An attack of kind "query".

    Raises:
        ValueError: `epsilon` or `step_size` outside (0, 1], a `probe_size` that is not positive, `num_directions` below 1, a
            budget below one step.

    References:
        J. Uesato, B. O'Donoghue, A. van den Oord, P. Kohli, "Adversarial Risk and the Dangers of Evaluating Against Weak
        Attacks", ICML 2018, section 3.2 and algorithm 1.
    """
    check_radius(epsilon, name="epsilon")
    check_radius(step_size, name="step_size")
    return estimate_attack(
        targeted(margin),
        draw=jax.random.rademacher,
        probe_size=probe_size,
        num_directions=num_directions,
        update_rule=optax.adam(step_size),
        ball=linf(epsilon),
        max_queries=max_queries,
    )
