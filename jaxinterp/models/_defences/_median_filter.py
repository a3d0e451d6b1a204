"""The median of neighbouring pixels."""

import dataclasses

import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Model
from jaxinterp.models._defences._defended import defended


@dataclasses.dataclass(frozen=True)
class MedianFilter:
    """Replaces every value by the median of a square of its channel."""

    window: int

    def __call__(self, key: Array | None, image: Array) -> Array:
        """The filtered image."""
        (height, width, _), side = image.shape, self.window
        before = side // 2
        pad = (before, side - 1 - before)
        padded = jnp.pad(image, (pad, pad, (0, 0)), mode="symmetric")
        views = [padded[row : row + height, column : column + width] for row in range(side) for column in range(side)]
        return jnp.sort(jnp.stack(views), axis=0)[side * side // 2]


def with_median_filter(model: Model, window: int) -> Model:
    """The model behind a sliding median, channel by channel, the image mirrored at its border.

    Of an even number of values the median is the upper one of the two in the middle, and a window of even side reaches
    one pixel further up and left, as in SciPy. The gradient goes to the pixel that was the median.

    Args:
        model: any model.
        window: side of the square, in pixels; 2 in most of the paper's detectors.

    Returns:
        A model; see `defended`.

    Raises:
        ValueError: a window below 2, or larger than the image.

    References:
        W. Xu, D. Evans, Y. Qi, "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks", NDSS 2018,
        section III-B.
    """
    if not 2 <= window <= model.image_size:
        raise ValueError(f"expected window in 2 to {model.image_size}, got {window}; write window=2.")
    return defended(model, MedianFilter(window))
