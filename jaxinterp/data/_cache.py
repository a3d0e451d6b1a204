"""A source held in memory."""

import concurrent.futures
import dataclasses
import multiprocessing
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, Int32, Integer, UInt8

from jaxinterp.data._concepts import ConceptTable
from jaxinterp.data._source import Example, Source, read


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class CachedSource:
    """The examples of a source as arrays in memory, which nobody can write to. Made by `cached`.

    Attributes:
        images: `[n h w 3]`.
        rows: label, target, id and source_id of every example.
        maps: `[n i j l]` concept numbers, in 16 bits where they fit; None where they are not kept.
        classes: WordNet ids; a label is an index into this.
        class_names: what people call them.
        concepts: what concept numbers mean.
        fingerprint: that of the source, whose examples these are.
        depth: metres; None where the source has no depth.
    """

    images: UInt8[np.ndarray, "n h w 3"]
    rows: Int32[np.ndarray, "n 4"]
    maps: Integer[np.ndarray, "n i j l"] | None
    classes: tuple[str, ...]
    class_names: tuple[str, ...]
    concepts: ConceptTable | None
    fingerprint: str
    depth: Float32[np.ndarray, "n h w"] | None = None

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return self.images.shape[1]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int, /) -> Example:
        label, target, name, source_id = (int(value) for value in self.rows[index])
        maps = None if self.maps is None else self.maps[index].astype(np.int32)
        depth = None if self.depth is None else self.depth[index]
        return Example(self.images[index], label, target, name, source_id, maps, depth)


def cached(source: Source, *, keep_concepts: bool = True, num_processes: int = 0) -> CachedSource:
    """A source whose examples are read once and then held in memory.

    Memory grows with the source: an image takes `3 h w` bytes, its concept map `2 l h w` more, its depth `4 h w`; 10 000 images
    of 64 pixels take 0.12 GB without and 0.61 GB with six layers of concepts.

    Args:
        source: any source that pickles.
        keep_concepts: hold the concept maps too; without them the examples have none.
        num_processes: processes that read in parallel; 0 reads in this one. They are started afresh ("spawn"), so a
            script that asks for them keeps its work under `if __name__ == "__main__":`.

    Returns:
        A source with the same examples.

    Raises:
        ValueError: images of another size than the source says.
    """
    size, concepts = source.image_size, source.concepts if keep_concepts else None
    images = np.empty((len(source), size, size, 3), np.uint8)
    rows = np.empty((len(source), 4), np.int32)
    maps: np.ndarray | None = None
    depth: np.ndarray | None = None
    kind = np.int32 if concepts is None or len(concepts.names) > 2**15 else np.int16
    for index, example in enumerate(_read_all(source, concepts is not None, num_processes)):
        if example.image.shape != images.shape[1:]:
            raise ValueError(
                f"expected images of {size} x {size}, got shape {example.image.shape} at {index}; "
                f"whole images cannot be held, write image_folder(..., crop=224 / 256)."
            )
        images[index] = example.image
        rows[index] = (example.label, example.target, example.id, example.source_id)
        if concepts is not None and example.concepts is not None:
            if maps is None:
                maps = np.zeros((len(source), *example.concepts.shape), kind)
            maps[index] = example.concepts
        if example.depth is not None:
            depth = np.zeros((len(source), *example.depth.shape), np.float32) if depth is None else depth
            depth[index] = example.depth
    for array in (images, rows, maps, depth):
        if array is not None:
            array.setflags(write=False)
    return CachedSource(
        images=images,
        rows=rows,
        maps=maps,
        classes=source.classes,
        class_names=source.class_names,
        concepts=concepts,
        fingerprint=source.fingerprint,
        depth=depth,
    )


def _read_all(source: Source, concepts: bool, num_processes: int) -> Iterator[Example]:
    if num_processes <= 0:
        for index in range(len(source)):
            yield read(source, index, concepts=concepts)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        num_processes, mp_context=context, initializer=_keep, initargs=(source, concepts)
    ) as pool:
        yield from pool.map(_read_kept, range(len(source)), chunksize=max(1, min(64, len(source) // (4 * num_processes))))


_KEPT: list[tuple[Source, bool]] = []  # what a reading process reads, and whether with concept maps; empty everywhere else


def _keep(source: Source, concepts: bool) -> None:
    _KEPT[:] = [(source, concepts)]


def _read_kept(index: int) -> Example:
    source, concepts = _KEPT[0]
    return read(source, index, concepts=concepts)
