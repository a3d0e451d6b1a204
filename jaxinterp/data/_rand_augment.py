"""RandAugment: a few operations of Pillow, drawn for each image, all of one magnitude."""

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageOps

from jaxinterp.data._augment import Augment
from jaxinterp.data._source import Example

STRONGEST = 30
"""The largest magnitude."""

Affine = tuple[float, float, float, float, float, float]
"""`(a, b, c, d, e, f)`: the pixel at (x, y) is taken from (a x + b y + c, d x + e y + f)."""


def _enhanced(enhancer: Callable, pixels: PIL.Image.Image, level: float) -> PIL.Image.Image:
    return enhancer(pixels).enhance(1 + 0.9 * level)


COLOURS: dict[str, Callable[[PIL.Image.Image, float], PIL.Image.Image]] = {
    "identity": lambda pixels, level: pixels,
    "brightness": functools.partial(_enhanced, PIL.ImageEnhance.Brightness),
    "colour": functools.partial(_enhanced, PIL.ImageEnhance.Color),
    "contrast": functools.partial(_enhanced, PIL.ImageEnhance.Contrast),
    "sharpness": functools.partial(_enhanced, PIL.ImageEnhance.Sharpness),
    "posterize": lambda pixels, level: PIL.ImageOps.posterize(pixels, 8 - round(4 * abs(level))),
    "solarize": lambda pixels, level: PIL.ImageOps.solarize(pixels, round(256 * (1 - abs(level)))),
    "autocontrast": lambda pixels, level: PIL.ImageOps.autocontrast(pixels),
    "equalize": lambda pixels, level: PIL.ImageOps.equalize(pixels),
}
"""Name -> `(pixels, level) -> pixels`, with a level from -1 to 1."""


def _rotated(height: int, width: int, level: float) -> Affine:
    cosine, sine = math.cos(math.radians(30 * level)), math.sin(math.radians(30 * level))
    x, y = width / 2, height / 2
    return cosine, -sine, x - cosine * x + sine * y, sine, cosine, y - sine * x - cosine * y


PLACES: dict[str, Callable[[int, int, float], Affine]] = {
    "shear x": lambda height, width, level: (1, 0.3 * level, -0.3 * level * height / 2, 0, 1, 0),
    "shear y": lambda height, width, level: (1, 0, 0, 0.3 * level, 1, -0.3 * level * width / 2),
    "translate x": lambda height, width, level: (1, 0, 150 / 331 * level * width, 0, 1, 0),
    "translate y": lambda height, width, level: (1, 0, 0, 0, 1, 150 / 331 * level * height),
    "rotate": _rotated,
}
"""Name -> `(height, width, level) -> where pixels are taken from`; the centre of the image stays, but for translations."""

OPERATIONS = (*COLOURS, *PLACES)


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """Draws operations and does them, as `rand_augment` makes it."""

    num_ops: int
    magnitude: float

    def __call__(self, generator: np.random.Generator, example: Example) -> Example:
        kinds = generator.integers(0, len(OPERATIONS), self.num_ops)
        signs = generator.choice((-1, 1), self.num_ops)
        for kind, sign in zip(kinds, signs, strict=True):
            example = changed(example, OPERATIONS[kind], float(sign) * self.magnitude / STRONGEST)
        return example


def changed(example: Example, operation: str, level: float) -> Example:
    """One operation on an example; one that moves pixels moves concepts and depth with them.

    Args:
        example: of any size.
        operation: one of `OPERATIONS`.
        level: from -1 to 1; operations without a direction take its size.
    """
    pixels = PIL.Image.fromarray(example.image)
    if operation in COLOURS:
        return example._replace(image=np.array(COLOURS[operation](pixels, level)))
    affine = PLACES[operation](pixels.height, pixels.width, level)
    concepts, depth = example.concepts, example.depth
    if concepts is not None:
        planes = [_moved(concepts[..., index], affine, pixels) for index in range(concepts.shape[-1])]
        concepts = np.stack(planes, axis=-1)
    if depth is not None:
        depth = _moved(depth, affine, pixels)
    image = np.array(pixels.transform(pixels.size, PIL.Image.Transform.AFFINE, affine, PIL.Image.Resampling.BILINEAR))
    return example._replace(image=image, concepts=concepts, depth=depth)


def _moved(plane: np.ndarray, affine: Affine, pixels: PIL.Image.Image) -> np.ndarray:
    """A map of the image, which may be coarser than it, with the nearest values moved along; 0 comes in."""
    down, right = pixels.height / plane.shape[0], pixels.width / plane.shape[1]
    a, b, c, d, e, f = affine
    own = (a, b * down / right, c / right, d * right / down, e, f / down)
    whole = PIL.Image.fromarray(plane)
    return np.array(whole.transform(whole.size, PIL.Image.Transform.AFFINE, own, PIL.Image.Resampling.NEAREST), plane.dtype)


def rand_augment(*, num_ops: int = 2, magnitude: float = 9) -> Augment:
    """RandAugment: `num_ops` of fourteen operations, drawn for each image with replacement, one after the other.

    Shear by up to .3, translation by up to 150/331 of the side, rotation by up to 30 degrees, brightness, colour, contrast and
    sharpness by factors up to .9 from 1, posterisation down to 4 bits and solarisation of all above 256 (1 - M / 30) are of
    the size M / 30 of what is most, towards either side with probability 1/2; beside autocontrast, equalisation and nothing.
    Black comes in where pixels are moved.

    Args:
        num_ops: N; 2 for ImageNet in the paper, 2 or 3 for CIFAR.
        magnitude: M, 0 to 30; 9 for a ResNet-50 on ImageNet in the paper.

    Returns:
        An augmentation; where black comes in there is no concept and no depth.

    Raises:
        ValueError: no operation, or a magnitude outside [0, 30].

    References:
        E. D. Cubuk, B. Zoph, J. Shlens, Q. V. Le, "RandAugment: Practical automated data augmentation with a reduced search
        space", CVPR Workshops 2020, section 3 and its Figure 2; the ranges are torchvision's.
    """
    if num_ops < 1:
        raise ValueError(f"expected at least one operation, got num_ops={num_ops}; write num_ops=2.")
    if not 0 <= magnitude <= STRONGEST:
        raise ValueError(f"expected a magnitude from 0 to {STRONGEST}, got {magnitude}; write magnitude=9.")
    return RandAugment(num_ops, float(magnitude))
