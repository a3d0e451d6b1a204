"""Batches of a source, in order; how examples become a batch."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from jaxinterp._base import Batch
from jaxinterp.data._source import Example, Source
from jaxinterp.data._source import read as read_example
from jaxinterp.data._subset import check_indices


def batches(
    source: Source,
    *,
    batch_size: int,
    indices: Iterable[int] | None = None,
    read_concepts: bool = True,
    read_images: bool = True,
    num_threads: int = 2,
) -> Iterator[Batch]:
    """All examples of a source in order, in batches of NumPy arrays of one size.

    The last batch is filled up with rows whose `mask` is False, with label, target, id and source_id -1 and image 0.

    Args:
        source: any source.
        batch_size: rows of every batch.
        indices: the examples wanted, in the order wanted; by default all. On several hosts, host `p` of `q` takes
            `range(p, len(source), q)`.
        read_concepts: put the concept maps of a source that has them in `extra["concepts"]`.
        read_images: False where nobody looks at the images, which then may have no pixels.
        num_threads: threads that read ahead, each one batch; 0 reads only when asked. Decoding JPEG gains from two,
            drawing in Python does not.

    Returns:
        The batches; memory grows with `batch_size` alone.

    Raises:
        ValueError: a batch size below 1, or indices outside the source.

    Example:
        >>> from jaxinterp import data
        >>> source = data.concept_world(num_images=5, seed=0)
        >>> [int(batch.mask.sum()) for batch in data.batches(source, batch_size=2, num_threads=0)]
        [2, 2, 1]
    """
    import grain

    chosen = chosen_indices(source, batch_size, indices)
    rows = [chosen[start : start + batch_size] for start in range(0, len(chosen), batch_size)]

    def read(row: Sequence[int]) -> Batch:
        examples = [read_example(source, index, image=read_images, concepts=read_concepts) for index in row]
        return collate(examples, batch_size=batch_size, read_concepts=read_concepts)

    return iter(grain.MapDataset.source(rows).map(read).to_iter_dataset(thread_options(num_threads)))


def collate(examples: Sequence[Example], *, batch_size: int, read_concepts: bool = True) -> Batch:
    """A batch of NumPy arrays, filled up to `batch_size` rows with rows whose `mask` is False.

    Args:
        examples: at least one, at most `batch_size`.
        batch_size: rows of the batch.
        read_concepts: put concept maps in `extra["concepts"]`, where the examples have them.

    Returns:
        Images as float32 `pixel / 255`; depth maps, where the examples have them, in `extra["depth"]`.

    Raises:
        ValueError: no example, more than `batch_size`, or images of different sizes.
    """
    return as_floats(stacked(examples, batch_size=batch_size, read_concepts=read_concepts))


def stacked(examples: Sequence[Example], *, batch_size: int, read_concepts: bool) -> Batch:
    """What `collate` returns, but with the images as 8-bit `pixel`; a fourth of the memory."""
    count = len(examples)
    if not 1 <= count <= batch_size:
        raise ValueError(f"expected 1 to {batch_size} examples, got {count}; use data.batches for a whole source.")

    other = next((example.image.shape for example in examples if example.image.shape != examples[0].image.shape), None)
    if other is not None:
        raise ValueError(
            f"expected images of one size, got {examples[0].image.shape} and {other}; "
            f"cut them to one, as augment=data.random_resized_crop(image_size=224) or image_folder(..., crop=224 / 256) do."
        )

    def column(values: list[int]) -> np.ndarray:
        return np.array(values + [-1] * (batch_size - count), np.int32)

    image = np.zeros((batch_size, *examples[0].image.shape), np.uint8)
    for row, example in enumerate(examples):
        image[row] = example.image
    extra: dict[str, Any] = {}
    if read_concepts and examples[0].concepts is not None:
        maps = np.zeros((batch_size, *examples[0].concepts.shape), np.int32)
        maps[:count] = np.stack([example.concepts for example in examples if example.concepts is not None])
        extra["concepts"] = maps
    if examples[0].depth is not None:
        depth = np.zeros((batch_size, *examples[0].depth.shape), np.float32)
        depth[:count] = np.stack([example.depth for example in examples if example.depth is not None])
        extra["depth"] = depth
    fields: dict[str, Any] = {
        "image": image,
        "label": column([int(example.label) for example in examples]),
        "target": column([int(example.target) for example in examples]),
        "id": column([int(example.id) for example in examples]),
        "source_id": column([int(example.source_id) for example in examples]),
        "mask": np.arange(batch_size) < count,
        "extra": extra,
    }
    return Batch(**fields)


def as_floats(batch: Batch) -> Batch:
    """A batch of `stacked` with its images as float32 `pixel / 255`."""
    return batch._replace(image=np.divide(batch.image, np.float32(255)))


def chosen_indices(source: Source, batch_size: int, indices: Iterable[int] | None) -> tuple[int, ...]:
    """The examples wanted of a source; raises `ValueError` on a batch size below 1 and on indices outside the source."""
    if batch_size < 1:
        raise ValueError(f"expected a batch_size of at least 1, got {batch_size}; write batch_size=32.")
    return check_indices(range(len(source)) if indices is None else indices, len(source))


def thread_options(num_threads: int) -> Any:
    """How grain is to read ahead in threads; 0 threads read only when asked. Raises `ValueError` on less."""
    import grain

    if num_threads < 0:
        raise ValueError(f"expected num_threads of at least 0, got {num_threads}; 0 reads only when asked.")
    return grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * num_threads)
