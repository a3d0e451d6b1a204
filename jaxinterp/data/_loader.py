"""Batches of a source: in order for evaluation, shuffled and resumable for training."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from jaxinterp._base import Batch
from jaxinterp.data._fingerprint import digest
from jaxinterp.data._source import Example, Source
from jaxinterp.data._subset import check_indices


def batches(
    source: Source,
    *,
    batch_size: int,
    indices: Iterable[int] | None = None,
    read_concepts: bool = True,
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

    chosen = _chosen(source, batch_size, indices)
    rows = [chosen[start : start + batch_size] for start in range(0, len(chosen), batch_size)]

    def read(row: Sequence[int]) -> Batch:
        return collate([source[index] for index in row], batch_size=batch_size, read_concepts=read_concepts)

    return iter(_iterate(grain.MapDataset.source(rows).map(read), num_threads))


class TrainingBatches:
    """Shuffled full batches that can be resumed, as `training_batches` makes them."""

    def __init__(self, iterator: Any, identity: str, batches_per_epoch: int) -> None:
        self._iterator = iterator
        self._identity = identity
        self._batches_per_epoch = batches_per_epoch

    @property
    def batches_per_epoch(self) -> int:
        """How many full batches an epoch has."""
        return self._batches_per_epoch

    def __iter__(self) -> "TrainingBatches":
        return self

    def __next__(self) -> Batch:
        return next(self._iterator)

    def get_state(self) -> dict[str, Any]:
        """Where the iterator stands; JSON can write it."""
        return {"identity": self._identity, "iterator": self._iterator.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to where an iterator made with the same arguments stood; what follows is the same, byte for byte.

        Raises:
            ValueError: the state is of another source, seed, batch size or choice of images.
        """
        if state["identity"] != self._identity:
            raise ValueError(
                f"expected a state of these batches ({self._identity[:12]}), got one of others ({state['identity'][:12]}); "
                f"use the source, seed, batch_size, indices and flip it was made with."
            )
        self._iterator.set_state(state["iterator"])


def training_batches(
    source: Source,
    *,
    batch_size: int,
    seed: int,
    num_epochs: int | None = None,
    indices: Iterable[int] | None = None,
    flip: bool = False,
    read_concepts: bool = False,
    num_threads: int = 2,
) -> TrainingBatches:
    """Full batches of a source, shuffled anew in every epoch.

    The same arguments give the same batches, whatever `num_threads` is. The examples that do not fill a batch at the end
    of an epoch are left out; they are others in every epoch.

    Args:
        source: any source; `cached(source)` where reading is slow and memory suffices.
        batch_size: rows of every batch.
        seed: chooses the order and the flips, 0 to 2**32 - 1.
        num_epochs: passes over the source; by default without end.
        indices: the examples wanted; by default all.
        flip: mirror every image left to right with probability 1/2, and its concept map with it.
        read_concepts: put the concept maps of a source that has them in `extra["concepts"]`.
        num_threads: threads that read ahead, each one batch; 0 reads only when asked.

    Returns:
        An iterator with `get_state` and `set_state`.

    Raises:
        ValueError: a batch size below 1 or above the number of examples, a seed or number of epochs out of range.
    """
    import grain

    chosen = _chosen(source, batch_size, indices)
    if batch_size > len(chosen):
        raise ValueError(f"expected a batch_size of at most {len(chosen)}, the number of examples, got {batch_size}; lower it.")
    if not 0 <= seed < 2**32:
        raise ValueError(f"expected a seed from 0 to {2**32 - 1}, got {seed}; write seed=0.")
    if num_epochs is not None and num_epochs < 1:
        raise ValueError(f"expected at least one epoch, got num_epochs={num_epochs}; write None for no end.")

    def read(index: int, generator: np.random.Generator) -> Example:
        example = source[index]
        return _mirrored(example) if flip and generator.random() < 0.5 else example

    examples = grain.MapDataset.source(chosen).seed(seed).shuffle().random_map(read)

    def stack(members: Sequence[Example]) -> Batch:
        return collate(members, batch_size=batch_size, read_concepts=read_concepts)

    full = examples.batch(batch_size, drop_remainder=True, batch_fn=stack)
    iterator = iter(_iterate(full.repeat(num_epochs), num_threads))
    identity = digest("training", source.fingerprint, chosen, batch_size, seed, num_epochs, flip, read_concepts)
    return TrainingBatches(iterator, identity, len(full))


def collate(examples: Sequence[Example], *, batch_size: int, read_concepts: bool = True) -> Batch:
    """A batch of NumPy arrays, filled up to `batch_size` rows with rows whose `mask` is False.

    Args:
        examples: at least one, at most `batch_size`.
        batch_size: rows of the batch.
        read_concepts: put concept maps in `extra["concepts"]`, where the examples have them.

    Returns:
        Images as float32 `pixel / 255`.

    Raises:
        ValueError: no example, or more than `batch_size`.
    """
    count = len(examples)
    if not 1 <= count <= batch_size:
        raise ValueError(f"expected 1 to {batch_size} examples, got {count}; use data.batches for a whole source.")

    def column(values: list[int]) -> np.ndarray:
        return np.array(values + [-1] * (batch_size - count), np.int32)

    image = np.zeros((batch_size, *examples[0].image.shape), np.float32)
    for row, example in enumerate(examples):
        np.divide(example.image, np.float32(255), out=image[row])
    extra: dict[str, Any] = {}
    if read_concepts and examples[0].concepts is not None:
        maps = np.zeros((batch_size, *examples[0].concepts.shape), np.int32)
        maps[:count] = np.stack([example.concepts for example in examples if example.concepts is not None])
        extra["concepts"] = maps
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


def _chosen(source: Source, batch_size: int, indices: Iterable[int] | None) -> tuple[int, ...]:
    if batch_size < 1:
        raise ValueError(f"expected a batch_size of at least 1, got {batch_size}; write batch_size=32.")
    return check_indices(range(len(source)) if indices is None else indices, len(source))


def _iterate(dataset: Any, num_threads: int) -> Any:
    import grain

    if num_threads < 0:
        raise ValueError(f"expected num_threads of at least 0, got {num_threads}; 0 reads only when asked.")
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * num_threads)
    return dataset.to_iter_dataset(options)


def _mirrored(example: Example) -> Example:
    concepts = None if example.concepts is None else np.ascontiguousarray(example.concepts[:, ::-1])
    return example._replace(image=np.ascontiguousarray(example.image[:, ::-1]), concepts=concepts)
