"""Augmentation: random changes of one example, as values that compose."""

import dataclasses
import types
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int32

from jaxinterp.data._source import Example

Augment = Callable[[np.random.Generator, Example], Example]
"""`(generator, example) -> example`: every draw is from the generator, which is that of the example's place in the epoch."""


@dataclasses.dataclass(frozen=True)
class Composed:
    """One augmentation after the other, as `compose` makes it."""

    augments: tuple[Augment, ...]

    def __call__(self, generator: np.random.Generator, example: Example) -> Example:
        for augment in self.augments:
            example = augment(generator, example)
        return example


@dataclasses.dataclass(frozen=True)
class RandomFlip:
    """Mirrors left to right, as `random_flip` makes it."""

    probability: float

    def __call__(self, generator: np.random.Generator, example: Example) -> Example:
        if generator.random() >= self.probability:
            return example
        concepts, depth = (
            None if maps is None else np.ascontiguousarray(maps[:, ::-1]) for maps in (example.concepts, example.depth)
        )
        return example._replace(image=np.ascontiguousarray(example.image[:, ::-1]), concepts=concepts, depth=depth)


def compose(*augments: Augment) -> Augment:
    """Several augmentations, one after the other.

    Args:
        augments: the first comes first; all draw from the same generator.

    Returns:
        An augmentation; without any, the one that changes nothing.

    Example:
        >>> import numpy as np
        >>> from jaxinterp import data
        >>> augment = data.compose(data.random_resized_crop(image_size=48), data.random_flip())
        >>> example = data.concept_world(num_images=1, seed=0)[0]
        >>> augment(np.random.default_rng(0), example).image.shape
        (48, 48, 3)
    """
    return Composed(augments)


def random_flip(*, probability: float = 0.5) -> Augment:
    """Mirrors an image left to right, and its concept and depth maps with it.

    Args:
        probability: of being mirrored.

    Returns:
        An augmentation.

    Raises:
        ValueError: a probability outside [0, 1].
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"expected a probability from 0 to 1, got {probability}; write probability=0.5.")
    return RandomFlip(probability)


def describe(augment: Augment | None) -> str:
    """What tells an augmentation from others, the same in every process.

    Raises:
        ValueError: it is neither a value with a repr of its own nor a function of a module.
    """
    if isinstance(augment, Composed):
        return f"[{', '.join(describe(part) for part in augment.augments)}]"
    if isinstance(augment, types.FunctionType) and "<" not in augment.__qualname__:
        return f"{augment.__module__}.{augment.__qualname__}"
    if isinstance(augment, types.FunctionType) or " at 0x" in repr(augment):
        raise ValueError(
            f"expected an augment that is the same in every process, got {augment}; write a frozen dataclass with "
            f"__call__(generator, example), or a function of a module."
        )
    return repr(augment)


def sampled(
    concepts: Int32[np.ndarray, "i j l"] | None, rows: Float[np.ndarray, " a"], columns: Float[np.ndarray, " b"]
) -> Int32[np.ndarray, "a b l"] | None:
    """The nearest concepts at places of an image, 0 (none) outside of it.

    Args:
        concepts: the map of the image; it may be coarser than the image.
        rows: in heights of the image, 0 its upper and 1 its lower edge.
        columns: in widths of the image.
    """
    if concepts is None:
        return None
    down, right = np.floor(rows * concepts.shape[0]).astype(int), np.floor(columns * concepts.shape[1]).astype(int)
    found = concepts[np.clip(down, 0, concepts.shape[0] - 1)[:, None], np.clip(right, 0, concepts.shape[1] - 1)[None]]
    inside = ((rows >= 0) & (rows < 1))[:, None] & ((columns >= 0) & (columns < 1))[None]
    return np.where(inside[..., None], found, 0).astype(np.int32)
