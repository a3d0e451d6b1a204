"""The smallest move of a latent code into the cell of a class, where logits are linear in the code."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from jaxinterp.attacks._ball import Scalar

_HIGHEST = jax.lax.Precision.HIGHEST


class LatentMove(NamedTuple):
    """The smallest moves of latent codes.

    Attributes:
        change: `[n d]`, what is added to each code.
        distance: `[n]`, its length.
        towards: `[n]` int32, the class into whose cell it goes; without a target the nearest class, of which another may be
            ahead by then.
    """

    change: Float[Array, "n d"]
    distance: Float[Array, " n"]
    towards: Int[Array, " n"]


def smallest_latent_move(
    latent: Float[Array, "n d"],
    weight: Float[Array, "d k"],
    bias: Float[Array, " k"],
    labels: Int[Array, " n"],
    targets: Int[Array, "n m"],
    *,
    overshoot: Scalar = 0.0,
) -> LatentMove:
    """The smallest moves, in L2, after which codes are no longer given their label, or are given a target.

    Logits are `z = latent @ weight + bias`. Away from a label y, the move to the plane between y and the class t that is
    nearest, `min_t (z_y - z_t) / |w_y - w_t|`, in closed form: there y is not ahead any more, whichever class is. Into the
    cell of a target t all other classes have to be passed, also those that come ahead on the way: the nearest point of an
    intersection of half-spaces,

        minimise |v|^2 subject to (w_t - w_j) . v >= g_j, g_j = z_j - z_t, for all j,

    solved exactly through its multipliers, `v = sum_j m_j (w_t - w_j)` with m >= 0, by principal pivots in k dimensions. Of
    several targets the nearest is taken.

    With an overshoot s every g_j becomes `g_j + s max_j g_j`: the code ends beyond the boundary by s times what it was before
    it. Across a single plane that makes the move `1 + s` times as long.

    Args:
        latent: codes.
        weight: of the readout.
        bias: of the readout.
        labels: what codes move away from, in rows without any target.
        targets: classes, the nearest of which counts; -1 for none.
        overshoot: s, not negative.

    Returns:
        The moves; zero where the label, or the target's absence, is behind already.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxinterp import attacks
        >>> weight, bias = jnp.asarray([[2.0, 0.0], [0.0, 0.0]]), jnp.zeros(2)
        >>> move = attacks.smallest_latent_move(jnp.asarray([[3.0, 1.0]]), weight, bias, jnp.asarray([0]), jnp.asarray([[-1]]))
        >>> move.change.tolist(), move.distance.tolist()
        ([[-3.0, 0.0]], [3.0])

    References:
        K. G. Murty, "Note on a Bard-type scheme for solving the complementarity problem", Opsearch 11, 1974: the pivots.
        The problem is the latent attack of "Exploring Adversarial Examples via Invertible Neural Networks", 2020; the
        intersection of half-spaces is our own.
    """
    weight, bias = weight.astype(latent.dtype), bias.astype(latent.dtype)
    logits = jnp.matmul(latent, weight, precision=_HIGHEST) + bias[None]
    gram = jnp.matmul(weight.T, weight, precision=_HIGHEST)

    def towards(logits: Array, label: Array, target: Array) -> tuple[Array, Array]:
        """Coefficients of the columns of the weight, and the length of the move; infinite for no target."""
        found, distance = _into_cell(logits, gram, jnp.maximum(target, 0), overshoot)
        return found, jnp.where((target >= 0), distance, jnp.inf)

    def row(logits: Array, label: Array, targets: Array) -> tuple[Array, Array, Array]:
        away, nearest, least = _across(logits, gram, label, overshoot)
        found, distances = jax.vmap(towards, in_axes=(None, None, 0))(logits, label, targets)
        best = jnp.argmin(distances)
        pick = (jnp.arange(len(targets)) == best).astype(found.dtype)
        aimed = jnp.any(targets >= 0)
        coefficients = jnp.where(aimed, pick @ found, away)
        distance = jnp.where(aimed, jnp.min(distances), least)
        return coefficients, distance, jnp.where(aimed, jnp.sum(jnp.where(pick > 0, targets, 0)), nearest)

    coefficients, distance, chosen = jax.vmap(row)(logits, labels, targets)
    return LatentMove(jnp.matmul(coefficients, weight.T, precision=_HIGHEST), distance, chosen.astype(jnp.int32))


def _across(logits: Array, gram: Array, label: Array, overshoot: Scalar) -> tuple[Array, Array, Array]:
    """Across the nearest plane between the label and another class: coefficients, that class, the length."""
    classes = jnp.arange(len(logits))
    own = (classes == label).astype(logits.dtype)
    apart = jnp.diag(gram) - 2 * gram @ own + own @ gram @ own
    usable = (classes != label) & (apart > 0)
    gaps = own @ logits - logits
    distances = jnp.where(usable, gaps / jnp.sqrt(jnp.where(usable, apart, 1.0)), jnp.inf)
    nearest = jnp.argmin(distances)
    other = (classes == nearest).astype(logits.dtype)
    steps = jnp.where(usable, jnp.maximum(gaps, 0) / jnp.where(usable, apart, 1.0), 0.0)
    length = (1 + overshoot) * jnp.where(jnp.any(usable), jnp.maximum(jnp.sum(other * jnp.where(usable, distances, 0.0)), 0), 0)
    return (1 + overshoot) * jnp.sum(other * steps) * (other - own), nearest, length


def _into_cell(logits: Array, gram: Array, target: Array, overshoot: Scalar) -> tuple[Array, Array]:
    """Into the cell of a class: coefficients and the length."""
    here = (jnp.arange(len(logits)) == target).astype(logits.dtype)
    own = gram @ here
    matrix = gram - own[None, :] - own[:, None] + here @ own
    gaps = logits - here @ logits
    gaps = jnp.where(here > 0, 0.0, gaps + overshoot * jnp.max(gaps))
    multipliers = _complementary(matrix, -gaps)
    length = jnp.sqrt(jnp.maximum(multipliers @ matrix @ multipliers, 0))
    return jnp.sum(multipliers) * here - multipliers, length


def _complementary(matrix: Array, offset: Array) -> Array:
    """The `m >= 0` with `matrix @ m + offset >= 0` and one of both zero in every place; `matrix` is positive semidefinite.

    A pivot exchanges a multiplier and its slack; the largest place that is negative is taken, which ends in any case. So many
    pivots as are allowed were never needed; none is made where the diagonal is zero, as for classes of equal weights.
    """
    size = len(offset)
    tiny = jnp.finfo(offset.dtype).eps
    floor = 8 * tiny * jnp.max(jnp.abs(offset))
    flat = 8 * tiny * jnp.max(jnp.diag(matrix))
    places = jnp.arange(size)

    def pivot(_: Array | int, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        matrix, offset, basic = state
        diagonal = jnp.sum(jnp.where(places[:, None] == places[None], matrix, 0.0), axis=1)
        ready = (offset < -floor) & ((diagonal > flat) | basic)
        place = jnp.max(jnp.where(ready, places, -1))
        here = (places == place).astype(matrix.dtype)
        row, column = here @ matrix, matrix @ here
        middle = here @ column
        middle = jnp.where(middle != 0, middle, 1.0)
        turned = jnp.where(here > 0, 1 / middle, -row / middle)
        value = -(here @ offset) / middle
        others = 1 - here
        new = matrix * others[None] + column[:, None] * turned[None]
        new = jnp.where(here[:, None] > 0, turned[None], new)
        moved = jnp.where(here > 0, value, offset + column * value)
        found = place >= 0
        flipped = jnp.where(here > 0, ~basic, basic)
        return jnp.where(found, new, matrix), jnp.where(found, moved, offset), jnp.where(found, flipped, basic)

    start = (matrix, offset, offset < -jnp.inf)  # nowhere, and varying over devices as the offset does
    _, offset, basic = jax.lax.fori_loop(0, 6 * size, pivot, start)
    return jnp.where(basic, jnp.maximum(offset, 0.0), 0.0)
