"""The nearest point of a hyperplane, and of an L1 ball; of one image `[h w c]`."""

import jax
import jax.numpy as jnp
from jax import Array

NEGLIGIBLE = 1e-8
"""Part of the largest slope below which a pixel is left alone in L2: it would need a move that no float can follow."""

NEWTON_STEPS = 24
"""Of `_level`; random problems of 150 000 pixels are solved after a dozen."""


def to_hyperplane(image: Array, gradient: Array, gap: Array, norm: str) -> Array:
    """The smallest change with `gap + gradient . change = 0` that leaves the image in [0, 1].

    Where the box does not meet the hyperplane, every pixel goes to the end of the box on the way to it.

    Every pixel helps by moving in one direction, by at most its room in the box. In Linf all move by one and the same amount,
    in L2 in proportion to their slope, both cut off at their room; in L1 those of the largest slope move first.

    Args:
        image: in [0, 1].
        gradient: of the gap.
        gap: a number.
        norm: of the change, "linf", "l2" or "l1".

    Returns:
        The change.

    References:
        F. Croce, M. Hein, "Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack", ICML 2020,
        the projection onto a hyperplane within a box; the solution without a sort is our own.
    """
    shape, steepest = image.shape, jnp.max(jnp.abs(gradient))
    scale = jnp.where(steepest > 0, steepest, 1.0)
    direction = (-jnp.sign(gap) * gradient / scale).ravel()
    slope, height, pixels = jnp.abs(direction), jnp.abs(gap) / scale, image.ravel()
    room = jnp.where(direction > 0, 1 - pixels, jnp.where(direction < 0, pixels, 0.0))
    if norm == "linf":
        move = jnp.minimum(_level(slope, room, height), room)
    elif norm == "l2":
        slope = jnp.where(slope > NEGLIGIBLE, slope, 0.0)
        knots = jnp.where(slope > 0, room / jnp.where(slope > 0, slope, 1.0), 0.0)
        move = jnp.minimum(_level(jnp.square(slope), knots, height) * slope, room)
    else:
        order = jnp.argsort(-slope)
        sorted_slope, worth = slope[order], (slope * room)[order]
        before = jnp.cumsum(worth) - worth
        wanted = (height - before) / jnp.where(sorted_slope > 0, sorted_slope, 1.0)
        move = jnp.zeros_like(room).at[order].set(jnp.clip(wanted, 0.0, room[order]))
    return (jnp.sign(direction) * move).reshape(shape)


def onto_l1_ball(change: Array, radius: Array) -> Array:
    """The nearest point of the L1 ball around zero, in L2: all values shrink by one and the same amount, down to zero.

    References:
        J. Duchi, S. Shalev-Shwartz, Y. Singer, T. Chandra, "Efficient Projections onto the l1-Ball for Learning in High
        Dimensions", ICML 2008, figure 1.
    """
    size = jnp.abs(change)
    largest_first = -jnp.sort(-size.ravel())
    excess = (jnp.cumsum(largest_first) - radius) / jnp.arange(1, size.size + 1, dtype=size.dtype)
    shrink = jnp.maximum(jnp.max(excess), 0.0)
    return jnp.sign(change) * jnp.maximum(size - shrink, 0.0)


def _level(slopes: Array, knots: Array, height: Array) -> Array:
    """The least `level` with `sum(slopes * minimum(level, knots)) = height`; the largest knot where there is none.

    By Newton's method from 0: the sum is concave in the level, so the levels rise towards the solution, and are exact once no
    further knot is passed. That takes some ten sums of those allowed, where sorting the knots takes as long as hundreds.
    Their number is fixed, since a loop that ends when all rows are done would make devices wait for each other.
    """

    def rise(_: Array | int, level: Array) -> Array:
        free = knots > level
        slope = jnp.sum(jnp.where(free, slopes, 0.0))
        rest = height - jnp.sum(jnp.where(free, 0.0, slopes * knots))
        return jnp.where(slope > 0, rest / jnp.where(slope > 0, slope, 1.0), jnp.max(knots))

    level = jax.lax.fori_loop(0, NEWTON_STEPS, rise, jnp.zeros((), knots.dtype))
    return jnp.clip(level, 0.0, jnp.max(knots))
