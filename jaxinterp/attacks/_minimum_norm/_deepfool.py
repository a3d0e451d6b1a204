"""DeepFool: steps across the nearest linearised boundary."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._ball import check_num_steps
from jaxinterp.attacks._minimum_norm._boundary import nearest_boundary
from jaxinterp.attacks._nearest import MinimumNormInfo, check_norm, dual_length, length, reached

NORMS = ("l2", "linf")


class DeepFoolState(NamedTuple):
    """State of DeepFool; every leaf has the leading axis `n`.

    Attributes:
        adversarial: `[n h w c]`, the first adversarial image; the clean image until then.
        iterate: `[n h w c]`, where the network is linearised next.
        done: `[n]` bool, adversarial already.
    """

    adversarial: Array
    iterate: Array
    done: Array


def deepfool(*, norm: str = "l2", num_steps: int = 50, overshoot: float = 0.02, num_candidates: int | None = 9) -> Attack:
    """DeepFool: the first iterate beyond a boundary, by the shortest step to the nearest linearised one.

    With `f_k` the logits, `w_k` the gradient of `f_k - f_label` and `q` dual to the norm, a step goes to the class `k` of least
    `|f_k - f_label| / |w_k|_q`: by `|f_k - f_label| w_k / |w_k|_2^2` in L2, by `|f_k - f_label| sign(w_k) / |w_k|_1` in Linf.
    The answer is `image + (1 + overshoot) (x - image)` with `x` the iterate, as soon as this is adversarial. On a linear model
    one step is enough, and nearest up to the overshoot.

    A row with a target goes to the target: each step crosses the furthest boundary that the target has still to cross (our
    reading, the paper has no such attack).

    Unlike the paper, each iterate is tested with its overshoot, since without it iterates may come ever nearer to the boundary
    and never cross, and all images are kept in [0, 1]. The label is the true one, not the one predicted. A row is done once an
    image is adversarial, and the run ends once all are.

    Args:
        norm: of the steps, "l2" or "linf", over all pixels and channels.
        num_steps: at most so many linearisations.
        overshoot: eta, not negative; at 0 a row may stay on the boundary for ever.
        num_candidates: only so many classes, those of the largest logits at the iterate, each at the cost of one gradient; None
            takes all. The authors' code takes 9, those at the clean image.

    Returns:
        An attack of kind "minimum_norm" on one model; its state is a `DeepFoolState`.

    Raises:
        ValueError: an unknown norm, a negative overshoot, num_steps or num_candidates below 1.

    References:
        S.-M. Moosavi-Dezfooli, A. Fawzi, P. Frossard, "DeepFool: a simple and accurate method to fool deep neural networks",
        CVPR 2016, algorithm 2, and its extension to other norms.
    """
    check_norm(norm, NORMS)
    check_num_steps(num_steps)
    if num_candidates is not None and num_candidates < 1:
        raise ValueError(f"expected num_candidates >= 1, got {num_candidates}; write num_candidates=9.")
    if not 0 <= overshoot < float("inf"):
        raise ValueError(f"expected overshoot >= 0, got {overshoot}; write overshoot=0.02.")

    def init(key: Array, model: Any, batch: Batch) -> DeepFoolState:
        return DeepFoolState(batch.image, batch.image, jnp.zeros(batch.id.shape, bool))

    def step(key: Array, state: DeepFoolState, model: Any, batch: Batch) -> tuple[DeepFoolState, MinimumNormInfo]:
        boundary = nearest_boundary(model, state.iterate, batch, norm=norm, num_candidates=num_candidates)
        inside = reached(boundary.logits, batch) & ~state.done
        adversarial = jnp.where(inside[:, None, None, None], state.iterate, state.adversarial)
        done = state.done | inside
        slope = dual_length(boundary.gradient, norm)
        size = boundary.gap / jnp.where(slope > 0, slope, 1.0)
        if norm == "linf":
            change = size[:, None, None, None] * jnp.sign(boundary.gradient)
        else:
            change = (size / jnp.where(slope > 0, slope, 1.0))[:, None, None, None] * boundary.gradient
        iterate = jnp.where(done[:, None, None, None], state.iterate, jnp.clip(state.iterate - change, 0.0, 1.0))
        beyond = jnp.clip(batch.image + (1 + overshoot) * (iterate - batch.image), 0.0, 1.0)

        found = reached(model(beyond, key=None)[0], batch) & ~done
        adversarial = jnp.where(found[:, None, None, None], beyond, adversarial)
        info = MinimumNormInfo(length(beyond - batch.image, norm), found | done)
        return DeepFoolState(adversarial, iterate, done | found), info

    return Attack(init=init, step=step, num_steps=num_steps, kind="minimum_norm")
