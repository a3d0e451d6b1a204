"""NES: sign steps along a gradient estimated from Gaussian directions."""

import jax
import optax

from jaxinterp._base import Attack
from jaxinterp.attacks._ball import Scalar, check_radius, linf
from jaxinterp.attacks._loss import cross_entropy
from jaxinterp.attacks._query._estimate import estimate_attack
from jaxinterp.attacks._transform import targeted


def nes(
    epsilon: Scalar,
    *,
    step_size: Scalar = 0.01,
    probe_size: float | int = 0.001,
    num_directions: int = 25,
    decay: float | int = 0.0,
    max_queries: int = 10_000,
) -> Attack:
    """NES attack in the Linf ball: sign steps along a gradient from antithetic Gaussian directions.

    `g = sum_i (L(x + s u_i) - L(x - s u_i)) u_i / (2 s m)`, u_i ~ N(0, I), `x <- clip(x - step_size sign(g))`. An image is done
    once it is adversarial. The `2 m` queries of a step go through the network at once, as so many more rows of the batch.

    Unlike the paper, whose L is the probability of a class, it is the log-probability, as in the authors' code: minus that of
    the target, or of the label in rows without one.

    Args:
        epsilon: Linf radius in [0, 1] units, such as `8 / 255`.
        step_size: of one step, in [0, 1] units.
        probe_size: s, the standard deviation of the images that are asked for, in [0, 1] units.
        num_directions: m, pairs of queries in a step; the paper's population of 50 is 25 pairs.
        decay: of the accumulated gradient; the rule above is that of 0, the authors' code has 0.9.
        max_queries: per image; a step takes `2 m + 1`, and the clean image one before.

    Returns:
        An attack of kind "query".

    Raises:
        ValueError: `epsilon` or `step_size` outside (0, 1], a `probe_size` that is not positive, `num_directions` below 1, a
            negative `decay`, a budget below one step.

    References:
        A. Ilyas, L. Engstrom, A. Athalye, J. Lin, "Black-box Adversarial Attacks with Limited Queries and Information",
        ICML 2018, algorithm 1 and section 2.2.
    """
    check_radius(epsilon, name="epsilon")
    check_radius(step_size, name="step_size")
    if not decay >= 0:
        raise ValueError(f"expected decay >= 0, got {decay}; write decay=0.9.")
    return estimate_attack(
        targeted(cross_entropy),
        draw=jax.random.normal,
        probe_size=probe_size,
        num_directions=num_directions,
        update_rule=optax.chain(optax.trace(decay), optax.sign_sgd(step_size)),
        ball=linf(epsilon),
        max_queries=max_queries,
    )
