"""Any transformation of the images in front of any network."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxinterp._base import Model
from jaxinterp.models._wrapped import Defended, Transform, inner


def defended(model: Model, transform: Transform, *, image_size: int | None = None) -> Model:
    """The same model behind a transformation of its images; `with_jpeg` and its like are instances.

    Layers, taps and weights stay. In evaluation, what the transformation draws it draws once for the whole batch, from the
    key of the call: `model(images, key=key)`. An image then gets the same answer alone, in a batch and in any order; without
    a key nothing is drawn. In training (`model.train`) every image has draws of its own.

    The gradient goes through the transformation, so an attack on the result is an adaptive one. Several defences
    are nested: the one added last sees the images first.

    Args:
        model: any model.
        transform: `(key, image) -> image`, of one image `[h w c]` in [0, 1]; the key is None where nothing is to be drawn. An
            instance of a frozen dataclass, whose fields say all that it depends on: they are part of the fingerprint.
        image_size: side of the images that the result takes, at most the model's own; by default the model's own.
            The transformation brings them to that.

    Returns:
        A model.

    Raises:
        ValueError: a transformation that is no such value, or one that returns another shape than the model takes.

    Example:
        >>> import dataclasses, jax, jaxinterp as ji
        >>> @dataclasses.dataclass(frozen=True)
        ... class Flip:
        ...     def __call__(self, key, image):
        ...         return image[:, ::-1]
        >>> model = ji.models.cifar_resnet20(key=jax.random.key(0))
        >>> ji.models.defended(model, Flip())(jax.numpy.zeros((2, 32, 32, 3)))[0].shape
        (2, 10)
    """
    if not _is_value(transform):
        raise ValueError(
            f"expected a transform that is an instance of a frozen dataclass, got {transform!r}; "
            "write @dataclasses.dataclass(frozen=True) with __call__(self, key, image)."
        )
    own = model.image_size
    size = own if image_size is None else image_size
    if not 1 <= size <= own:
        raise ValueError(f"expected image_size in 1 to {own}, got {size}; write models.at_size(model, {size}) to resize.")
    channels = getattr(inner(model.network), "num_channels", 3)
    images = [jax.ShapeDtypeStruct((side, side, channels), jnp.float32) for side in (size, own)]
    found = jax.eval_shape(lambda image: transform(None, image), images[0])
    if found.shape != images[1].shape:
        raise ValueError(f"expected a transform to images of {images[1].shape}, got {found.shape}.")
    return Model(model.params, model.stats, Defended(model.network, transform, size))


def _is_value(transform: Any) -> bool:
    """Whether it is an instance of a dataclass that can be hashed, fields included."""
    try:
        hash(transform)
    except TypeError:
        return False
    return dataclasses.is_dataclass(transform) and not isinstance(transform, type)
