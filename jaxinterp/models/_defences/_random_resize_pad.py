"""A random size at a random place."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Model
from jaxinterp.models._defences._defended import defended


@dataclasses.dataclass(frozen=True)
class RandomResizePad:
    """Resizes to a random side in `low` to `side - 1` and puts that at a random place of a black square of `side`."""

    low: int
    side: int

    def __call__(self, key: Array | None, image: Array) -> Array:
        """The square; without a key the image as it is, in the middle."""
        given, channels = image.shape[0], image.shape[-1]
        if key is None:
            before = (self.side - given) // 2
            pad = (before, self.side - given - before)
            return jnp.pad(image, (pad, pad, (0, 0)))
        size_key, place_key = jax.random.split(key)
        size = jax.random.randint(size_key, (), self.low, self.side)
        place = jax.random.randint(place_key, (2,), 0, self.side - size + 1).astype(image.dtype)
        scale = jnp.full(2, size.astype(image.dtype) / given)
        # Pixels that no pixel of the image falls on become 0, which is the padding.
        shape = (self.side, self.side, channels)
        return jax.image.scale_and_translate(image, shape, (0, 1), scale, place, method="linear", antialias=False)


def with_random_resize_pad(model: Model, *, image_size: int | None = None, low: int | None = None) -> Model:
    """The model behind a random resizing and a random zero padding to the size that it takes.

    The side is uniform in `low` to P - 1, where P is the model's own image size, and so is the place of the
    resized image among all those where it fits. Draws are made once for the whole batch; without a key the image stays at its
    size, in the middle of the padding.

    The paper's defence of images of 299 pixels is `with_random_resize_pad(inception_v3(image_size=331, ...), image_size=299)`.
    Resizing is bilinear (our reading; the authors' code takes the nearest pixel).

    Args:
        model: any model; where its layers were trained for another size than P, one that pools globally.
        image_size: side of the images that the result takes, at most P; P by default.
        low: smallest side; `image_size` by default, as in the paper, and 7/8 of P, rounded down, where `image_size` is P.

    Returns:
        A model; see `defended`.

    Raises:
        ValueError: an image larger than P, or low outside 1 to P - 1.

    References:
        C. Xie, J. Wang, Z. Zhang, Z. Ren, A. Yuille, "Mitigating Adversarial Effects Through Randomization", ICLR 2018,
        section 3.
    """
    side = model.image_size
    given = side if image_size is None else image_size
    smallest = low if low is not None else given if given < side else side * 7 // 8
    if not 1 <= smallest < side:
        raise ValueError(f"expected low in 1 to {side - 1}, got {smallest}; the model pads to its own {side} pixels.")
    return defended(model, RandomResizePad(smallest, side), image_size=given)
