"""The example record and the protocol that every image source follows."""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from jaxinterp.data._concepts import ConceptTable


class Example(NamedTuple):
    """One image and what is known about it.

    Attributes:
        image: `[h w 3]` uint8, RGB.
        label: the true class, an index into the source's `classes`.
        target: the class an attack aims at; -1 where there is none.
        id: names the example in every output; of an adversarial image `source_id * num_targets + rank`.
        source_id: the id of the clean image that this one was made from (its own id when it is clean).
        concepts: `[h w l]` int32, up to `l` concept numbers per pixel, 0 = none; None where the source has no concepts.
        depth: `[h w]` metres, 0 = no value; None where the source has no depth.
    """

    image: UInt8[np.ndarray, "h w 3"]
    label: int
    target: int
    id: int
    source_id: int
    concepts: Int32[np.ndarray, "i j l"] | None
    depth: Float32[np.ndarray, "h w"] | None = None


@runtime_checkable
class Source(Protocol):
    """Random access to labelled images of one size: what every data set of the library is.

    `source[i]` is the same example each time it is asked for, in every process; nothing else is required, so a new
    source is a class with these six members. Reading is safe from several threads. A source that decodes images and concept
    maps one by one may have a method `read(index, *, image, concepts)` besides, see `read`.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """WordNet ids such as "n02084071"; a label is an index into this."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """What people call the classes, in the order of `classes`."""
        ...

    @property
    def image_size(self) -> int:
        """Side of every image in pixels."""
        ...

    @property
    def concepts(self) -> ConceptTable | None:
        """What the numbers in `Example.concepts` mean; None where the source has no concepts."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hex digest that changes whenever any example could change."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Example: ...


NO_IMAGE = np.zeros((0, 0, 3), np.uint8)
"""The image of an example that was read without one."""


def read(source: Source, index: int, *, image: bool = True, concepts: bool = True) -> Example:
    """An example of a source, as far as it is needed: decoding is most of the work of many sources.

    Args:
        source: any source. Where it has a method `read(index, *, image, concepts)`, that is asked; where it has none, the
            whole example is read.
        index: of the example.
        image: the image is needed.
        concepts: the concept maps are needed.

    Returns:
        The example. What is not needed may be missing: an image of no pixels, no concept maps.

    Example:
        >>> from jaxinterp import data
        >>> source = data.subset(data.concept_world(num_images=9, seed=0), [4, 7])
        >>> data.read(source, 1, image=False, concepts=False).id
        7
    """
    parts = getattr(source, "read", None)
    return source[index] if parts is None else parts(index, image=image, concepts=concepts)
