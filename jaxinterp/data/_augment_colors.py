"""Random changes of brightness, contrast, saturation and hue."""

import dataclasses

import numpy as np
import PIL.Image
import PIL.ImageEnhance

from jaxinterp.data._augment import Augment
from jaxinterp.data._source import Example

_ENHANCERS = (PIL.ImageEnhance.Brightness, PIL.ImageEnhance.Contrast, PIL.ImageEnhance.Color)


@dataclasses.dataclass(frozen=True)
class ColorJitter:
    """Changes colours, as `color_jitter` makes it."""

    brightness: float
    contrast: float
    saturation: float
    hue: float

    def __call__(self, generator: np.random.Generator, example: Example) -> Example:
        spread = (self.brightness, self.contrast, self.saturation)
        order = generator.permutation(4)
        factors = [generator.uniform(max(0.0, 1 - width), 1 + width) for width in spread]
        turn = generator.uniform(-self.hue, self.hue)
        pixels = PIL.Image.fromarray(example.image)
        for kind in order:
            if kind == 3 and self.hue:
                pixels = turned(pixels, turn)
            elif kind < 3 and spread[kind]:
                pixels = _ENHANCERS[kind](pixels).enhance(factors[kind])
        return example._replace(image=np.array(pixels))


def turned(pixels: PIL.Image.Image, turn: float) -> PIL.Image.Image:
    """Every hue moved on by a part of the colour circle, in 8 bits."""
    hue, saturation, value = pixels.convert("HSV").split()
    moved = (np.asarray(hue).astype(np.int32) + round(turn * 255)) % 256
    return PIL.Image.merge("HSV", (PIL.Image.fromarray(moved.astype(np.uint8)), saturation, value)).convert("RGB")


def color_jitter(*, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0, hue: float = 0.0) -> Augment:
    """Changes brightness, contrast, saturation and hue by random amounts, in random order.

    A factor is drawn uniformly from `1 - width` (at least 0) to `1 + width`: brightness multiplies the pixels, contrast
    their distance from the mean grey of the image, saturation that from their own grey, as `PIL.ImageEnhance` does. What is 0
    is left alone.

    Args:
        brightness: width of its factors; 0.4 is usual.
        contrast: width of its factors.
        saturation: width of its factors.
        hue: the furthest that hues are moved, in parts of the colour circle, at most 1/2.

    Returns:
        An augmentation.

    Raises:
        ValueError: a negative width, or a hue above 1/2.
    """
    if min(brightness, contrast, saturation, hue) < 0 or hue > 0.5:
        raise ValueError(
            f"expected widths of at least 0 and a hue of at most 0.5, got brightness={brightness}, contrast={contrast}, "
            f"saturation={saturation}, hue={hue}; write 0.4, 0.4, 0.4, 0.1."
        )
    return ColorJitter(float(brightness), float(contrast), float(saturation), float(hue))
