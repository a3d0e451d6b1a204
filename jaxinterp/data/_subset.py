"""A selection of the examples of a source."""

import dataclasses
import operator
from collections.abc import Iterable

from jaxinterp.data._concepts import ConceptTable
from jaxinterp.data._fingerprint import digest
from jaxinterp.data._source import Example, Source, read


@dataclasses.dataclass(frozen=True)
class Subset:
    """The examples of `source` at `indices`, in that order; they keep their ids. Made by `subset`."""

    source: Source
    indices: tuple[int, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """WordNet ids; a label is an index into this."""
        return self.source.classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """What people call the classes."""
        return self.source.class_names

    @property
    def image_size(self) -> int:
        """Side of every image in pixels."""
        return self.source.image_size

    @property
    def concepts(self) -> ConceptTable | None:
        """What concept numbers mean; None where the source has no concepts."""
        return self.source.concepts

    @property
    def fingerprint(self) -> str:
        """Digest of the source's fingerprint and the selection."""
        return digest("subset", self.source.fingerprint, self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int, /) -> Example:
        return self.source[self.indices[index]]

    def read(self, index: int, *, image: bool, concepts: bool) -> Example:
        """The example as far as it is needed, see `data.read`."""
        return read(self.source, self.indices[index], image=image, concepts=concepts)


def subset(source: Source, indices: Iterable[int]) -> Subset:
    """The examples of a source at `indices`, as a source: `subset(source, range(3, 1000, 4))`.

    Args:
        source: any source.
        indices: positions in it, in the order wanted; no position twice, since ids name examples.

    Returns:
        A source that reads nothing until it is asked.

    Raises:
        ValueError: no position, one outside the source, or one twice.
    """
    chosen = check_indices(indices, len(source))
    return Subset(source=source, indices=chosen)


def spread(source: Source, count: int | None) -> Subset:
    """So many examples of a source, spread evenly over it: every class of a source that is sorted by class keeps its share.

    Args:
        source: any source.
        count: how many; all of them for None, or where there are fewer.

    Returns:
        A source that reads nothing until it is asked.

    Raises:
        ValueError: a count below 1, or a source without examples.

    Example:
        >>> from jaxinterp import data
        >>> [example.id for example in data.spread(data.concept_world(seed=0, num_images=10), 4)]
        [0, 2, 5, 7]
    """
    if count is not None and count < 1:
        raise ValueError(f"expected a count of at least 1, got {count}; write None for all.")
    total = len(source)
    chosen = total if count is None else min(count, total)
    return subset(source, [index * total // chosen for index in range(chosen)])


def check_indices(indices: Iterable[int], length: int) -> tuple[int, ...]:
    """The positions as a tuple; raises `ValueError` on none, on one outside `0 .. length - 1` and on one twice."""
    chosen = tuple(operator.index(index) for index in indices)
    if not chosen:
        raise ValueError("expected at least one index, got none; write indices=range(len(source)).")
    low, high = min(chosen), max(chosen)
    if low < 0 or high >= length:
        wrong = low if low < 0 else high
        raise ValueError(f"expected indices from 0 to {length - 1}, got {wrong}; the source has {length} examples.")
    if len(set(chosen)) != len(chosen):
        raise ValueError(
            f"expected every index once, got {len(chosen) - len(set(chosen))} repeated; write sorted(set(indices))."
        )
    return chosen
