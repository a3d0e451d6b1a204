"""An attack that is run several times, the best answer of each image being kept."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._criterion import joint_margin
from jaxinterp.attacks._loss import Loss

FRESH = 2**32 - 2
"""Folded into the key of a step for the `init` of the run that begins with it."""


class RestartsState(NamedTuple):
    """State of an attack with restarts; every leaf but one has the leading axis `n`.

    Attributes:
        adversarial: `[n h w c]`, the answer so far: the best of the finished runs, or that of the first run.
        score: `[n]`, of the best of the finished runs; infinite where none is.
        steps: how many there were: one number, since devices that looked at rows would wait for each other.
        inner: of the run that is under way.
    """

    adversarial: Array
    score: Array
    steps: Array
    inner: Any


def with_restarts(attack: Attack, num_restarts: int, *, score: Loss = joint_margin) -> Attack:
    """The attack that runs `attack` several times, with other draws, and gives the best answer of each image.

    The runs follow one another within one program: a run ends after `attack.num_steps` steps, its answer is scored, and the
    next step begins with a new `init`. `init` and score are evaluated only there. The steps of all images are in time with one
    another. A state's `done` and `queries` are not passed on.

    Args:
        attack: one that draws at random; without draws every run is the same.
        num_restarts: number of runs, the first one included.
        score: `(key, model, adversarial, batch) -> [n]`, lower = better, without draws (`key` is None). The default prefers
            success, which it shows by its sign, and then the smallest margin of the least deceived model. Of equal scores
            the first is kept.

    Returns:
        An attack of the same kind, of `num_restarts * attack.num_steps` steps; its info is that of `attack`.

    Raises:
        ValueError: num_restarts below 1.

    Example:
        >>> from jaxinterp import attacks
        >>> attacks.with_restarts(attacks.pgd(8 / 255, num_steps=20), 5).num_steps
        100
    """
    if num_restarts < 1:
        raise ValueError(f"expected num_restarts >= 1, got {num_restarts}; write num_restarts=5.")

    def init(key: Array, model: Any, batch: Batch) -> RestartsState:
        inner = attack.init(key, model, batch)
        unknown = jnp.full(batch.id.shape, jnp.inf, inner.adversarial.dtype)
        return RestartsState(inner.adversarial, unknown, jnp.zeros((), jnp.int32), inner)

    def step(key: Array, state: RestartsState, model: Any, batch: Batch) -> tuple[RestartsState, Any]:
        begins = (state.steps > 0) & (state.steps % attack.num_steps == 0)
        inner = jax.lax.cond(begins, lambda: attack.init(jax.random.fold_in(key, FRESH), model, batch), lambda: state.inner)
        inner, info = attack.step(key, inner, model, batch)
        steps = state.steps + 1
        scores = jax.lax.cond(
            steps % attack.num_steps == 0,
            lambda: score(None, model, inner.adversarial, batch).astype(state.score.dtype),
            lambda: jnp.full_like(state.score, jnp.inf),
        )
        better = scores < state.score
        best = jnp.where(better[:, None, None, None], inner.adversarial, state.adversarial)
        adversarial = jnp.where(steps <= attack.num_steps, inner.adversarial, best)
        return RestartsState(adversarial, jnp.where(better, scores, state.score), steps, inner), info

    return Attack(init=init, step=step, num_steps=num_restarts * attack.num_steps, kind=attack.kind, criterion=attack.criterion)
