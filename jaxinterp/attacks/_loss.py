"""Base losses of attacks: per example, minimised, lower = more adversarial."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxinterp._base import Batch, did_you_mean

Loss = Callable[[Array | None, Any, Array, Batch], Array]
"""`loss(key, model, adversarial, batch) -> [n]`: minimised, lower = more adversarial; `batch.image` is the clean image."""


def members(model: Any) -> tuple[Any, ...]:
    """The models of an ensemble; one model is an ensemble of one."""
    return tuple(model) if isinstance(model, (tuple, list)) else (model,)


def member_keys(key: Array | None, count: int) -> list[Array | None]:
    """One key for each of `count` members, so that networks which draw at random draw differently."""
    return [None if key is None else jax.random.fold_in(key, index) for index in range(count)]


def cross_entropy(key: Array | None, model: Any, adversarial: Float[Array, "n h w c"], batch: Batch) -> Float[Array, "n"]:
    """Minus the cross-entropy of the true label, `log p(label)`: drives away from `batch.label`.

    `targeted(cross_entropy)` is the cross-entropy of the target, and drives towards it.

    Args:
        key: for networks that draw at random.
        model: one model; `ensemble` makes the loss one of several.
        adversarial: in [0, 1].
        batch: its labels are used.

    Returns:
        Natural logarithms, at most 0.
    """
    log_probabilities = jax.nn.log_softmax(logits_of(key, model, adversarial))
    return jnp.sum(one_hot(batch.label, log_probabilities) * log_probabilities, axis=-1)


def margin(key: Array | None, model: Any, adversarial: Float[Array, "n h w c"], batch: Batch) -> Float[Array, "n"]:
    """How far the logit of the label is above the largest other one; negative once the model errs.

    Its gradient does not vanish on confident images, where that of `cross_entropy` is below float32.

    Args:
        key: for networks that draw at random.
        model: one model; `ensemble` makes the loss one of several.
        adversarial: in [0, 1].
        batch: its labels are used.

    Returns:
        Differences of logits.
    """
    logits = logits_of(key, model, adversarial)
    here = one_hot(batch.label, logits)
    return jnp.sum(here * logits, axis=-1) - jnp.max(jnp.where(here > 0, -jnp.inf, logits), axis=-1)


def squared_distance(key: Array | None, model: Any, adversarial: Float[Array, "n h w c"], batch: Batch) -> Float[Array, "n"]:
    """Mean squared difference between the adversarial and the clean image, in [0, 1] units; looks at no model.

    The root of it is the RMS distortion. It is the `d(x, x*)` of `ensemble_optimization`, our reading.

    Args:
        key: not used; a loss has it.
        model: not used; a loss has it.
        adversarial: in [0, 1].
        batch: holds the clean images.

    Returns:
        One value per example.
    """
    return jnp.mean(jnp.square(adversarial - batch.image), axis=(1, 2, 3))


def logit(key: Array | None, model: Any, adversarial: Float[Array, "n h w c"], batch: Batch) -> Float[Array, "n"]:
    """The logit of the label, whatever the others are; `targeted(logit)` is minus that of the target.

    Args:
        key: for networks that draw at random.
        model: one model; `ensemble` makes the loss one of several.
        adversarial: in [0, 1].
        batch: its labels are used.

    Returns:
        Logits.

    References:
        Z. Zhao, Z. Liu, M. Larson, "On Success and Simplicity: A Second Look at Transferable Targeted Attacks", NeurIPS 2021,
        section 3, for the targeted loss.
    """
    logits = logits_of(key, model, adversarial)
    return jnp.sum(one_hot(batch.label, logits) * logits, axis=-1)


def feature_distance(layer: str) -> Loss:
    """Minus the mean squared difference between the activations of the adversarial and of the clean image at a layer.

    Looks at no class. Its gradient is zero at the clean image: start at random. The clean image is evaluated anew in every
    call, with the same key, and without a gradient.

    Args:
        layer: name of an activation.

    Returns:
        A loss of one model; `ensemble` makes it one of several that all have the layer.

    Raises:
        ValueError: at tracing, a layer that the model does not have.

    Example:
        >>> from jaxinterp import attacks
        >>> attack = attacks.pgd(8 / 255, loss=attacks.feature_distance("block4"))
    """

    def distance(key: Array | None, model: Any, adversarial: Array, batch: Batch) -> Array:
        difference = _activation(key, model, adversarial, layer) - _activation(key, model, batch.image, layer)
        return -jnp.mean(jnp.square(difference), axis=tuple(range(1, difference.ndim)))

    return distance


def logits_of(key: Array | None, model: Any, images: Array) -> Array:
    """The logits of one model; a tuple of models is refused."""
    if isinstance(model, (tuple, list)):
        raise ValueError(f"expected one model, got {len(model)}; wrap the loss: attacks.ensemble(loss).")
    return model(images, key=key)[0]


def gradient_of(values_at: Callable[[Array], Array], images: Array) -> tuple[Array, Array]:
    """The gradient of each image's value `[n h w c]`, and the values `[n]`."""

    def total(images: Array) -> tuple[Array, Array]:
        values = values_at(images)
        return jnp.sum(values), values

    return jax.grad(total, has_aux=True)(images)


def _activation(key: Array | None, model: Any, images: Array, layer: str) -> Array:
    if isinstance(model, (tuple, list)):
        raise ValueError(f"expected one model, got {len(model)}; wrap the loss: attacks.ensemble(loss).")
    activations = model(images, key=key)[1]
    if layer not in activations:
        names = list(activations)
        raise ValueError(f"unknown layer {layer!r}; this model has: {', '.join(names)}{did_you_mean(layer, names)}")
    return activations[layer]


def one_hot(label: Array, logits: Array) -> Array:
    """Ones at the labels, of the shape and type of the logits."""
    return jax.nn.one_hot(label, logits.shape[-1], dtype=logits.dtype)
