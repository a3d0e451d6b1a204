"""One prediction explained by the units of a layer: weight times activation, with labels and masks."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Float32, Int, Int32

from jaxinterp._base import Model
from jaxinterp.activations import upsample


class Explanation(NamedTuple):
    """What the units of a layer add to a class's logit.

    Attributes:
        classes: the class of each image.
        logit: its logit.
        baseline: that logit with the whole layer set to 0; the bias of a linear head.
        contribution: of every unit to the logit.
        gap: `logit - baseline - sum of the contributions`; 0 for a linear head over pooled features.
        units: the units of largest contribution, largest first.
        weight: of those units, the derivative of the logit by the map's mean; a linear head's weight.
        activation: of those units, the mean of their map over positions.
        masks: where those units answer, on the image.
        labels: of those units, empty where none were given.
    """

    classes: Int32[np.ndarray, " n"]
    logit: Float32[np.ndarray, " n"]
    baseline: Float32[np.ndarray, " n"]
    contribution: Float32[np.ndarray, "n u"]
    gap: Float32[np.ndarray, " n"]
    units: Int32[np.ndarray, "n t"]
    weight: Float32[np.ndarray, "n t"]
    activation: Float32[np.ndarray, "n t"]
    masks: Bool[np.ndarray, "n s s t"]
    labels: tuple[tuple[str, ...], ...]


def explain(
    model: Model,
    images: Float[Array, "n h w c"] | Float[np.ndarray, "n h w c"],
    *,
    layer: str,
    classes: Int[Array, " j"] | Int[np.ndarray, " j"] | None = None,
    count: int = 8,
    labels: Sequence[str] | None = None,
    thresholds: Float[np.ndarray, " i"] | None = None,
    size: int | None = None,
) -> Explanation:
    """Ranks the units of a layer by what they add to a class's logit, `weight * activation`.

    A unit's contribution is `sum_p a_p dz/da_p` over the positions p of its map. Where the last layer is linear over the
    means of the maps, that is weight times mean activation, and contributions and bias add up to the logit exactly. For other
    networks it is the gradient of the logit, our reading; `gap` says what it leaves out.

    Args:
        model: the network.
        images: in [0, 1].
        layer: the layer whose units are asked, usually the last convolutional one.
        classes: one class an image; the predicted ones by default.
        count: units to name.
        labels: what every unit of the layer detects, such as the name of its concept in a dissection.
        thresholds: T_k of the dissection; masks are where the upsampled map exceeds them. Without them, where it exceeds half
            of its maximum on that image.
        size: side of the masks in pixels; None takes that of the images.

    Returns:
        Explanations, for `report.explanation_figure`.

    Raises:
        ValueError: unknown layer, or another number of units, classes, labels or thresholds than there are.

    References:
        David Bau, Bolei Zhou, Aditya Khosla, Aude Oliva, Antonio Torralba, "Network Dissection: Quantifying Interpretability
        of Deep Visual Representations", 2017, and Bolei Zhou, David Bau, Aude Oliva, Antonio Torralba, "Interpreting Deep
        Visual Representations via Network Dissection", 2018, the section on explaining predictions by units.

    Example:
        >>> import jax, jaxinterp as ji
        >>> model = ji.models.resnet18(num_classes=4, width=1 / 16, image_size=32, output_stride=4, key=jax.random.key(0))
        >>> found = ji.tracing.explain(model, jax.numpy.full((2, 32, 32, 3), 0.5), layer="layer4.1", count=3)
        >>> found.units.shape, found.masks.shape
        ((2, 3), (2, 32, 32, 3))
    """
    images, place = jnp.asarray(images), model.layer(layer)
    num_units = place.shape[2]
    for name, given in (("labels", labels), ("thresholds", thresholds)):
        if given is not None and len(given) != num_units:
            raise ValueError(f"expected {name} for {num_units} units of layer {layer!r}, got {len(given)}.")
    if not 1 <= count <= num_units:
        raise ValueError(f"expected a count from 1 to {num_units}, the units of layer {layer!r}, got {count}.")
    if classes is None:
        chosen = _predicted(model, images)
    elif len(classes) != len(images):
        raise ValueError(f"expected a class for each of {len(images)} images, got {len(classes)}.")
    else:
        chosen = jnp.asarray(classes, jnp.int32)
    logit, baseline, contribution, weight, maps = _parts(model, images, chosen, layer)
    contribution = np.asarray(contribution)
    units = np.argsort(-contribution, axis=1, kind="stable")[:, :count]
    row = np.arange(len(units))[:, None]
    shown = jnp.take_along_axis(maps, jnp.asarray(units)[:, None, None, :], axis=3)
    drawn = np.asarray(upsample(shown, place, size or model.image_size, image_size=model.image_size))
    limit = np.maximum(drawn.max(axis=(1, 2)), 0) / 2 if thresholds is None else np.asarray(thresholds)[units]
    return Explanation(
        classes=np.asarray(chosen),
        logit=np.asarray(logit),
        baseline=np.asarray(baseline),
        contribution=contribution,
        gap=np.asarray(logit) - np.asarray(baseline) - contribution.sum(axis=1),
        units=units.astype(np.int32),
        weight=np.asarray(weight)[row, units],
        activation=np.asarray(maps.mean(axis=(1, 2)))[row, units],
        masks=drawn > limit[:, None, None, :],
        labels=tuple(tuple("" if labels is None else labels[int(unit)] for unit in one) for one in units),
    )


@jax.jit
def _predicted(model: Model, images: Array) -> Array:
    return model(images)[0].argmax(axis=-1).astype(jnp.int32)


@functools.partial(jax.jit, static_argnums=3)
def _parts(model: Model, images: Array, classes: Array, layer: str) -> tuple[Array, Array, Array, Array, Array]:
    """Logit, logit without the layer, contributions, weights, and the maps `[n h w u]` in float32."""
    given = model(images)[1][layer]

    def scores(maps: Array) -> Array:
        # The tap looks at nothing that comes before the layer, so none of it is computed again.
        logits, _ = model(images, taps={layer: lambda _: maps})
        return jnp.take_along_axis(logits, classes[:, None], axis=-1)[:, 0]

    logit, backward = jax.vjp(scores, given)
    (gradient,) = backward(jnp.ones_like(logit))
    shape = (given.shape[0], -1, given.shape[-1])
    flat, gradient = given.reshape(shape).astype(jnp.float32), gradient.reshape(shape).astype(jnp.float32)
    maps = given if given.ndim == 4 else given[:, None, None, :]
    return (
        logit.astype(jnp.float32),
        scores(jnp.zeros_like(given)).astype(jnp.float32),
        (flat * gradient).sum(axis=1),
        gradient.sum(axis=1),
        maps.astype(jnp.float32),
    )
