"""FAB: the fast adaptive boundary attack."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._ball import check_num_steps
from jaxinterp.attacks._criterion import misclassified
from jaxinterp.attacks._minimum_norm._boundary import boundary_towards, nearest_boundary
from jaxinterp.attacks._minimum_norm._projection import to_hyperplane
from jaxinterp.attacks._nearest import MinimumNormInfo, check_norm, keep_nearest, length, none_yet, reached

NORMS = ("linf", "l2", "l1")


class FabState(NamedTuple):
    """State of FAB; every leaf has the leading axis `n`.

    Attributes:
        adversarial: `[n h w c]`, the nearest adversarial image so far; the clean one where there is none.
        distance: `[n]`, of it; infinite where there is none.
        iterate: `[n h w c]`, where the network is linearised next.
    """

    adversarial: Array
    distance: Array
    iterate: Array


def fab(
    *,
    norm: str = "linf",
    num_steps: int = 100,
    towards: str = "nearest",
    num_candidates: int | None = None,
    largest_bias: float = 0.1,
    overshoot: float = 1.05,
    backward: float = 0.9,
) -> Attack:
    """FAB, and FAB-T, its form for many classes: the nearest image beyond a decision boundary.

    A step linearises the network at the iterate `x`, projects `x` and the clean image `x0` onto the nearest linearised
    boundary within [0, 1], by the changes `d` and `d0`, and moves to

        clip((1 - a) (x + eta d) + a (x0 + eta d0)),   a = min(|d| / (|d| + |d0|), largest_bias).

    Where this is adversarial, it is a candidate for the answer, and the next iterate is drawn back to `x0 + beta (x - x0)`.

    With `towards="target"` (FAB-T) the only boundary is the one between the label and `batch.target`. The target is then a
    direction and no aim: *success is any prediction other than the label*, on every row, in `attacks.run` too. A standard
    evaluation runs it once for each of the nine likeliest wrong classes, by the same compiled program. Rows without a target
    approach the wrong class of the largest logit at the iterate.

    With `towards="nearest"` a row without a target leaves its label across the nearest of all boundaries, at the cost of one
    gradient for each class; a row with a target has to reach it, and approaches the furthest boundary that it has still to
    cross (our reading, the paper has no such attack).

    Unlike the paper, there is no random restart and no final search, as in the authors' own standard evaluation, where FAB-T
    runs once for each class.

    Args:
        norm: what is minimised: "linf", "l2" or "l1", over all pixels and channels, in [0, 1] units.
        num_steps: number of linearisations.
        towards: "nearest" or "target".
        num_candidates: with `towards="nearest"`, only so many classes, those of the largest logits at the iterate; all by
            default, which for a thousand classes is slow, most of all on CPU.
        largest_bias: alpha_max, how far towards the projection of the clean image, in [0, 1].
        overshoot: eta, at least 1.
        backward: beta, in (0, 1).

    Returns:
        An attack of kind "minimum_norm" on one model; its state is a `FabState`.

    Raises:
        ValueError: an unknown norm or direction, or a number outside the range stated.

    References:
        F. Croce, M. Hein, "Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack", ICML 2020,
        algorithm 1; FAB-T: F. Croce, M. Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse
        Parameter-free Attacks", ICML 2020.
    """
    check_norm(norm, NORMS)
    check_num_steps(num_steps)
    if towards not in ("nearest", "target"):
        raise ValueError(f"expected towards 'nearest' or 'target', got {towards!r}; write towards='nearest'.")
    if num_candidates is not None and num_candidates < 1:
        raise ValueError(f"expected num_candidates >= 1, got {num_candidates}; write num_candidates=9.")
    if not 0 <= largest_bias <= 1:
        raise ValueError(f"expected largest_bias in [0, 1], got {largest_bias}; write largest_bias=0.1.")
    if not 1 <= overshoot < float("inf"):
        raise ValueError(f"expected overshoot >= 1, got {overshoot}; write overshoot=1.05.")
    if not 0 < backward < 1:
        raise ValueError(f"expected backward in (0, 1), got {backward}; write backward=0.9.")
    # Of the iterates and of the clean images at once, onto the same hyperplanes.
    project = jax.vmap(jax.vmap(functools.partial(to_hyperplane, norm=norm)), in_axes=(0, None, 0))

    def init(key: Array, model: Any, batch: Batch) -> FabState:
        return FabState(*none_yet(batch), iterate=batch.image)

    def step(key: Array, state: FabState, model: Any, batch: Batch) -> tuple[FabState, MinimumNormInfo]:
        clean, iterate = batch.image, state.iterate
        if towards == "target":
            boundary, aimed = boundary_towards(model, iterate, batch), batch._replace(target=jnp.full_like(batch.target, -1))
        else:
            boundary, aimed = nearest_boundary(model, iterate, batch, norm=norm, num_candidates=num_candidates), batch
        errs = reached(boundary.logits, aimed) & (length(iterate - clean, norm) == 0)
        kept = state.adversarial, jnp.where(errs, 0.0, state.distance)

        gap_at_clean = boundary.gap + jnp.sum(boundary.gradient * (clean - iterate), axis=(1, 2, 3))
        points, gaps = jnp.stack([iterate, clean]), jnp.stack([boundary.gap, gap_at_clean])
        change, change_at_clean = project(points, boundary.gradient, gaps)
        far = jnp.maximum(length(change, norm), 1e-8)
        far_at_clean = jnp.maximum(length(change_at_clean, norm), 1e-8)
        bias = jnp.minimum(far / (far + far_at_clean), largest_bias)[:, None, None, None]
        moved = (1 - bias) * (iterate + overshoot * change) + bias * (clean + overshoot * change_at_clean)
        moved = jnp.clip(moved, 0.0, 1.0)

        found = reached(model(moved, key=None)[0], aimed)
        distance = length(moved - clean, norm)
        kept = keep_nearest(kept, moved, distance, found)
        drawn_back = jnp.where(found[:, None, None, None], clean + backward * (moved - clean), moved)
        return FabState(*kept, iterate=drawn_back), MinimumNormInfo(distance, found)

    criterion = misclassified if towards == "target" else None
    return Attack(init=init, step=step, num_steps=num_steps, kind="minimum_norm", criterion=criterion)
