"""Where in an image a class's units see it: class activation maps and gradient maps of some units of a layer."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jaxtyping import Bool, Float, Float32, Int

from jaxinterp import _mesh
from jaxinterp._base import Model
from jaxinterp.activations import upsample


class ClassMaps(NamedTuple):
    """Maps of the evidence for one class an image, for `metrics.localization`.

    Attributes:
        activation: sum over the units of activation times derivative of the class's logit, upsampled to the image; where the
            last layer is linear over the means of the maps this is the class activation map (CAM), divided by the number of
            positions.
        gradient: sum over channels of the absolute derivative of the logit by the image, as far as it passes through the units.
    """

    activation: Float32[np.ndarray, "n h w"]
    gradient: Float32[np.ndarray, "n h w"]


def class_maps(
    model: Model,
    images: Float[Array, "n h w c"] | Float[np.ndarray, "n h w c"],
    classes: Int[Array, " n"] | Int[np.ndarray, " n"],
    *,
    layer: str,
    units: Bool[np.ndarray, "n u"] | None = None,
    mesh: Mesh | None = None,
) -> ClassMaps:
    """Maps of the evidence that the units of a layer give for a class.

    Args:
        model: the network.
        images: in [0, 1], of one batch.
        classes: one an image.
        layer: whose units, `[n h w u]`.
        units: which units of it on each image; all by default.
        mesh: devices over which the images are split; None for where the model is.

    Returns:
        Maps of the images' size.

    Raises:
        ValueError: an unknown layer, or another number of units than it has.

    References:
        Bolei Zhou, Aditya Khosla, Agata Lapedriza, Aude Oliva, Antonio Torralba, "Learning Deep Features for Discriminative
        Localization", CVPR 2016 (CAM).
        Karen Simonyan, Andrea Vedaldi, Andrew Zisserman, "Deep Inside Convolutional Networks: Visualising Image Classification
        Models and Saliency Maps", 2013 (the gradient).

    Example:
        >>> import jax, jaxinterp as ji
        >>> model = ji.models.resnet18(num_classes=4, width=1 / 16, image_size=32, output_stride=4, key=jax.random.key(0))
        >>> images, classes = jax.numpy.full((2, 32, 32, 3), 0.5), jax.numpy.asarray([0, 1])
        >>> maps = ji.tracing.class_maps(model, images, classes, layer="layer4.1")
        >>> maps.activation.shape, maps.gradient.shape
        ((2, 32, 32), (2, 32, 32))
    """
    place = model.layer(layer)
    num_units = place.shape[2]
    chosen = np.ones((len(images), num_units), bool) if units is None else units
    if chosen.shape[1] != num_units:
        raise ValueError(f"expected a choice among {num_units} units, as layer {layer!r} has, got {chosen.shape[1]}.")
    if mesh is not None:
        mesh = _mesh.data_parallel(mesh)
        model = jax.device_put(model, _mesh.replicated(mesh))
    summed, gradient = _maps(model, *(_mesh.split_rows(mesh, rows) for rows in (images, classes, chosen)), layer)
    count, size = len(images), model.image_size
    evidence = np.asarray(upsample(summed, place, size, image_size=size))[:count, ..., 0]
    return ClassMaps(evidence, np.asarray(gradient)[:count])


@functools.partial(jax.jit, static_argnums=4)
def _maps(model: Model, images: Array, classes: Array, units: Array, layer: str) -> tuple[Array, Array]:
    """Activation times derivative summed over the units, `[n i j 1]`, and the size of the image's derivative, `[n h w]`."""

    def maps(images: Array) -> Array:
        return model(images)[1][layer]

    def scores(given: Array) -> Array:
        # The tap looks at nothing that comes before the layer, so none of it is computed again.
        return jnp.take_along_axis(model(images, taps={layer: lambda _: given})[0], classes[:, None], axis=-1)[:, 0]

    given, to_images = jax.vjp(maps, images)
    logit, to_maps = jax.vjp(scores, given)
    (slope,) = to_maps(jnp.ones_like(logit))
    slope = slope * units.astype(slope.dtype)[:, None, None, :]
    (through,) = to_images(slope)
    summed = jnp.sum(given * slope, axis=-1, keepdims=True)
    return summed.astype(jnp.float32), jnp.sum(jnp.abs(through), axis=-1).astype(jnp.float32)
