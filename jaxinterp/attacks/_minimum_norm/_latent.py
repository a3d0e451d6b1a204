"""The latent attack: the smallest move of a latent code across a linear boundary, then one inversion."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._ball import check_num_steps
from jaxinterp.attacks._minimum_norm._half_spaces import smallest_latent_move
from jaxinterp.attacks._nearest import MinimumNormInfo, check_at_least_zero, length

OVERSHOOT = 1.0


class LatentState(NamedTuple):
    """State of the latent attack; every leaf has the leading axis `n`.

    Attributes:
        adversarial: `[n h w c]`, the first adversarial image; the clean one where there is none yet.
        iterate: `[n h w c]`, the last image that was tried, adversarial or not.
        distance: `[n]`, from the latent code of the clean image to where the last move aimed, before inversion and clipping.
        done: `[n]` bool, an adversarial image was found.
    """

    adversarial: Array
    iterate: Array
    distance: Array
    done: Array


def latent_attack(
    encode: Callable[[Any, Array], Array],
    decode: Callable[[Any, Array], Array],
    readout: Callable[[Any], tuple[Array, Array]],
    *,
    overshoot: float = OVERSHOOT,
    num_steps: int = 1,
    among: Sequence[int] | None = None,
) -> Attack:
    """The latent attack on an invertible network with a linear readout: no gradients, one move of the code, one inversion.

    The answer is `clip(decode(encode(image) + v))`, v the smallest move of the code (in L2) that changes the answer of the
    readout, in closed form: away from the label; in rows with a target into the cell of the target; with `among`, in rows
    without one, into the nearest cell of those classes. See `smallest_latent_move`. On a linear model with the image as
    its own code it is the nearest adversarial image, up to the overshoot. On a deep one the smallest move of the code is not
    the smallest move of the image.

    Cutting the image off at [0, 1] moves the code again, and may undo what the move did: the overshoot is for that. Further
    steps go on from the image that was cut off.

    An image on which the model errs already is left alone, and so is one where nothing was found.

    Args:
        encode: `(model, images) -> latent [n d]`, such as `models.encode`.
        decode: `(model, latent) -> images`, its inverse.
        readout: `(model) -> (weight [d k], bias [k])`, the linear map from codes to logits.
        overshoot: by how much a move goes beyond the boundary, in parts of what the code was before it.
        num_steps: moves; the attack of the paper makes one.
        among: classes to aim at, the nearest of them, the label excepted; success is then to be taken for one of them.

    Returns:
        An attack of kind "minimum_norm" on one model; its state is a `LatentState`.

    Raises:
        ValueError: a negative overshoot, num_steps below 1, or no class to aim at.

    Example:
        >>> import jax, numpy as np
        >>> from jaxinterp import attacks, models
        >>> model = models.iresnet(blocks=(1,), hidden=(4,), image_size=8, key=jax.random.key(0))
        >>> attack = attacks.latent_attack(models.encode, models.decode, models.readout)
        >>> images, labels = np.full((2, 8, 8, 3), 0.5, np.float32), np.array([3, 7])
        >>> attacks.run(attack, model, images, labels, key=jax.random.key(1)).success.tolist()
        [True, True]

    References:
        "Exploring Adversarial Examples via Invertible Neural Networks", arXiv 2012.13111, 2020. Several targets, the exact
        cell of a target and further steps are our own.
    """
    check_at_least_zero(overshoot, name="overshoot")
    check_num_steps(num_steps)
    if among is not None and len(among) == 0:
        raise ValueError("expected at least one class in among, got none; write among=None for any class but the label.")

    def targets_of(batch: Batch) -> Array:
        own = batch.target[:, None]
        if among is None:
            return own
        others = jnp.broadcast_to(jnp.asarray(among, own.dtype)[None], (len(own), len(among)))
        return jnp.where(own >= 0, own, jnp.where(others == batch.label[:, None], -1, others))

    def succeeded(logits: Array, batch: Batch) -> Array:
        prediction = jnp.argmax(logits, axis=-1)
        targets = targets_of(batch)
        hit = jnp.any(targets == prediction[:, None].astype(targets.dtype), axis=1)
        return jnp.where(jnp.any(targets >= 0, axis=1), hit, prediction != batch.label)

    def criterion(key: Array | None, model: Any, adversarial: Array, batch: Batch) -> Array:
        return succeeded(model(adversarial, key=key)[0], batch)

    def init(key: Array, model: Any, batch: Batch) -> LatentState:
        nothing = jnp.zeros(batch.id.shape, batch.image.dtype)
        return LatentState(batch.image, batch.image, nothing, jnp.zeros(batch.id.shape, bool))

    def step(key: Array, state: LatentState, model: Any, batch: Batch) -> tuple[LatentState, MinimumNormInfo]:
        here = succeeded(model(state.iterate, key=None)[0], batch) & ~state.done
        adversarial = jnp.where(here[:, None, None, None], state.iterate, state.adversarial)
        done = state.done | here
        weight, bias = readout(model)
        latent = encode(model, state.iterate)
        move = smallest_latent_move(latent, weight, bias, batch.label, targets_of(batch), overshoot=overshoot)
        tried = jnp.clip(decode(model, latent + move.change), 0.0, 1.0).astype(batch.image.dtype)
        # A move of no length is no reason to round the image; and what is no number is no image.
        stay = done | ~(move.distance > 0) | ~jnp.all(jnp.isfinite(tried), axis=(1, 2, 3))
        tried = jnp.where(stay[:, None, None, None], state.iterate, tried)
        found = succeeded(model(tried, key=None)[0], batch) & ~done
        distance = jnp.where(stay, state.distance, move.distance.astype(state.distance.dtype))
        answer = jnp.where(found[:, None, None, None], tried, adversarial)
        info = MinimumNormInfo(length(tried - batch.image, "l2"), found | done)
        return LatentState(answer, tried, distance, done | found), info

    return Attack(
        init=init,
        step=step,
        num_steps=num_steps,
        kind="minimum_norm",
        criterion=None if among is None else criterion,
    )
