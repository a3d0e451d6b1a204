"""Random crops: of any size and shape, resized, and of shifted images."""

import dataclasses
import math

import numpy as np
import PIL.Image

from jaxinterp.data._augment import Augment, sampled
from jaxinterp.data._source import Example

_TRIES = 10


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop:
    """Cuts a random rectangle and makes a square of it, as `random_resized_crop` makes it."""

    image_size: int | None
    scale: tuple[float, float]
    ratio: tuple[float, float]

    def __call__(self, generator: np.random.Generator, example: Example) -> Example:
        if example.depth is not None:
            raise ValueError(
                "expected images without depth for random_resized_crop, which changes the scale that depth is read from; "
                "write random_crop()."
            )
        height, width = example.image.shape[:2]
        top, left, rows, columns = self.rectangle(generator, height, width)
        size = min(height, width) if self.image_size is None else self.image_size
        pixels = PIL.Image.fromarray(np.ascontiguousarray(example.image[top : top + rows, left : left + columns]))
        image = np.array(pixels.resize((size, size), PIL.Image.Resampling.BILINEAR))
        if example.concepts is None:
            return example._replace(image=image)
        # A map that is coarser than the image stays so.
        down = _centres(round(size * example.concepts.shape[0] / height))
        right = _centres(round(size * example.concepts.shape[1] / width))
        concepts = sampled(example.concepts, (top + rows * down) / height, (left + columns * right) / width)
        return example._replace(image=image, concepts=concepts)

    def rectangle(self, generator: np.random.Generator, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width of the part that is kept."""
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(_TRIES):
            area = height * width * generator.uniform(*self.scale)
            shape = math.exp(generator.uniform(low, high))
            rows, columns = round(math.sqrt(area / shape)), round(math.sqrt(area * shape))
            if 0 < rows <= height and 0 < columns <= width:
                top, left = generator.integers(0, height - rows + 1), generator.integers(0, width - columns + 1)
                return int(top), int(left), rows, columns
        # The largest centred part of an allowed shape.
        shape = min(max(width / height, self.ratio[0]), self.ratio[1])
        rows, columns = min(height, max(1, round(width / shape))), min(width, max(1, round(height * shape)))
        return (height - rows) // 2, (width - columns) // 2, rows, columns


@dataclasses.dataclass(frozen=True)
class RandomCrop:
    """Shifts an image over a black ground, as `random_crop` makes it."""

    padding: int

    def __call__(self, generator: np.random.Generator, example: Example) -> Example:
        height, width = example.image.shape[:2]
        down, right = (int(place) - self.padding for place in generator.integers(0, 2 * self.padding + 1, 2))
        upper, lower = _overlap(height, down)
        first, last = _overlap(width, right)
        image = np.zeros_like(example.image)  # np.pad would take longer than all the rest
        image[upper:lower, first:last] = example.image[upper + down : lower + down, first + right : last + right]
        if example.depth is not None:
            depth = np.zeros_like(example.depth)
            depth[upper:lower, first:last] = example.depth[upper + down : lower + down, first + right : last + right]
            example = example._replace(depth=depth)
        if example.concepts is None:
            return example._replace(image=image)
        rows, columns = (_centres(length) for length in example.concepts.shape[:2])
        return example._replace(image=image, concepts=sampled(example.concepts, rows + down / height, columns + right / width))


def random_resized_crop(
    *, image_size: int | None = None, scale: tuple[float, float] = (0.08, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3)
) -> Augment:
    """Cuts out a random part of an image and resizes it to a square, as ImageNet networks are trained.

    The part has an area drawn uniformly from `scale` times that of the image, and a width over height whose logarithm is
    drawn uniformly between those of `ratio`; it lies anywhere in the image. After ten draws that do not fit, it is the
    largest centred part of an allowed shape. Pillow resizes it, bilinearly with antialiasing; of concepts the nearest is
    taken. For whole files instead of squares cut from them write `image_folder(..., crop=None)`.

    Args:
        image_size: side of the result in pixels; by default the short side of the image. Whole images of different sizes
            need it.
        scale: least and greatest part of the area.
        ratio: least and greatest width over height.

    Returns:
        An augmentation.

    Raises:
        ValueError: a range that is empty or not positive, or a part above the whole; and, when it is given one, for an example
            with depth, which another scale would make wrong.

    References:
        Szegedy et al.: "Going Deeper with Convolutions" (2015), section 6. The fallback is torchvision's.
    """
    if image_size is not None and image_size < 1:
        raise ValueError(f"expected an image_size of at least 1 pixel, got {image_size}; write image_size=224.")
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(f"expected scale to be two parts of 1, the smaller first, got {scale}; write scale=(0.08, 1.0).")
    if not 0 < ratio[0] <= ratio[1]:
        raise ValueError(f"expected ratio to be two shapes, the smaller first, got {ratio}; write ratio=(3 / 4, 4 / 3).")
    return RandomResizedCrop(image_size, (float(scale[0]), float(scale[1])), (float(ratio[0]), float(ratio[1])))


def random_crop(*, padding: int = 4) -> Augment:
    """Shifts an image by up to `padding` pixels each way, as CIFAR networks are trained; black comes in.

    Args:
        padding: black pixels put around the image before a part of its own size is cut out.

    Returns:
        An augmentation; where black comes in there is no concept and no depth.

    Raises:
        ValueError: a negative padding.

    References:
        He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition" (2016), section 4.2.
    """
    if padding < 0:
        raise ValueError(f"expected a padding of at least 0 pixels, got {padding}; write padding=4.")
    return RandomCrop(padding)


def _overlap(length: int, shift: int) -> tuple[int, int]:
    """The places that are inside before and after a shift."""
    start = min(length, max(0, -shift))
    return start, max(start, min(length, length - shift))


def _centres(count: int) -> np.ndarray:
    """Middles of `count` equal parts of [0, 1]."""
    return (np.arange(count) + 0.5) / count
