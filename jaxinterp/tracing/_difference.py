"""Tracing a prediction to the units that made it."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxinterp._base import Model

UNITS_AT_ONCE = 8
"""Copies of a layer's activation that are held at once."""


def prediction_difference(
    model: Model, images: Float[Array, "n h w c"], classes: Int[Array, " n"], *, layer: str
) -> Float[Array, "n u"]:
    """What every unit of a layer contributes to a class: `p(y | phi) - p(y | phi with unit i set to 0)`.

    The units are set to 0 one at a time, all in one program: what lies before the layer is computed once, and memory grows
    with 8 copies of the layer's activation, not with the number of units.

    Args:
        model: the network.
        images: in [0, 1].
        classes: y, one class an image: the predicted, the true or the target class.
        layer: the layer whose units are asked.

    Returns:
        The difference in probability; positive where the unit speaks for the class.

    Raises:
        ValueError: unknown layer.

    References:
        Y. Dong, H. Su, J. Zhu, F. Bao, "Towards Interpretable Deep Neural Networks by Leveraging Adversarial Examples",
        2017, the section on tracing predictions to influential neurons.

    Example:
        >>> import jax, jaxinterp as ji
        >>> model = ji.models.resnet18(num_classes=4, width=1 / 16, image_size=64, output_stride=8, key=jax.random.key(0))
        >>> images, classes = jax.numpy.zeros((2, 64, 64, 3)), jax.numpy.array([0, 1])
        >>> ji.tracing.prediction_difference(model, images, classes, layer="layer4.1").shape
        (2, 32)
    """
    num_units = model.layer(layer).shape[-1]
    given = model(images)[1][layer]

    def probability(keep: Array) -> Array:
        # The tap looks at nothing that comes before the layer, so none of it is computed again.
        logits, _ = model(images, taps={layer: lambda _: given * _over_map(keep[None], given)})
        return jnp.take_along_axis(jax.nn.softmax(logits), classes[:, None], axis=-1)[:, 0]

    whole = probability(jnp.ones(num_units, given.dtype))
    without = jax.lax.map(probability, 1 - jnp.eye(num_units, dtype=given.dtype), batch_size=min(num_units, UNITS_AT_ONCE))
    return whole[:, None] - without.T


def ablate(model: Model, images: Float[Array, "n h w c"], units: Bool[Array, "n u"], *, layer: str) -> Float[Array, "n k"]:
    """The logits with some units of a layer set to 0.

    Args:
        model: the network.
        images: in [0, 1].
        units: True where a unit of an image is silenced.
        layer: the layer they belong to.

    Returns:
        Logits.

    Raises:
        ValueError: unknown layer.
    """
    return model(images, taps={layer: lambda activation: jnp.where(_over_map(units, activation), 0.0, activation)})[0]


def patch(
    model: Model,
    images: Float[Array, "n h w c"],
    donors: Float[Array, "n h w c"],
    units: Bool[Array, "n u"],
    *,
    layer: str,
) -> Float[Array, "n k"]:
    """The logits with some units' activations taken from another image.

    Args:
        model: the network.
        images: in [0, 1], such as adversarial images.
        donors: in [0, 1], such as the clean images they were made from.
        units: True where a unit's map is the donor's.
        layer: the layer they belong to.

    Returns:
        Logits.

    Raises:
        ValueError: unknown layer.
    """
    _, activations = model(donors)
    given = activations[model.layer(layer).name]
    return model(images, taps={layer: lambda activation: jnp.where(_over_map(units, activation), given, activation)})[0]


def _over_map(units: Array, activation: Array) -> Array:
    return units.reshape(units.shape[0], *(1,) * (activation.ndim - 2), units.shape[-1])
