"""Batches for training: shuffled, split over hosts, replayed where asked, resumable anywhere."""

import dataclasses
import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from jaxinterp._base import Batch
from jaxinterp.data._augment import Augment, compose, describe, random_flip
from jaxinterp.data._fingerprint import digest
from jaxinterp.data._loader import as_floats, chosen_indices, stacked, thread_options
from jaxinterp.data._source import Example, Source, read
from jaxinterp.data._workers import in_processes


class TrainingBatches:
    """Shuffled full batches that can be resumed, as `training_batches` makes them."""

    def __init__(self, start: Callable[[int], Iterator[Batch]], identity: str, full_batches: int, repeats: int) -> None:
        self._start = start  # number of a batch -> that batch and those after it
        self._identity = identity
        self._full_batches = full_batches
        self._repeats = repeats
        self._step = 0
        self._reading: Iterator[Batch] | None = None
        self._batch: Batch | None = None

    @property
    def batches_per_epoch(self) -> int:
        """How many batches an epoch gives, each repeat counted."""
        return self._full_batches * self._repeats

    def __iter__(self) -> "TrainingBatches":
        return self

    def __next__(self) -> Batch:
        if self._batch is None or self._step % self._repeats == 0:
            self._batch = self._read()
        self._step += 1
        return self._batch

    def get_state(self) -> dict[str, Any]:
        """Where the iterator stands; JSON can write it. It is the same on every host."""
        return {"identity": self._identity, "step": self._step}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to where an iterator made with the same arguments stood; what follows is the same, byte for byte.

        How many hosts, threads, workers and epochs there were makes no difference.

        Raises:
            ValueError: the state is of another source, seed, batch size or choice of images.
        """
        if state["identity"] != self._identity:
            raise ValueError(
                f"expected a state of these batches ({self._identity[:12]}), got one of others ({state['identity'][:12]}); "
                f"use the source, seed, batch_size, indices, flip, augment, repeats and read_concepts it was made with."
            )
        self.close()
        self._step = state["step"]

    def close(self) -> None:
        """Stops the threads and processes that read ahead; the next batch starts them again."""
        close = getattr(self._reading, "close", None)
        self._reading, self._batch = None, None
        if close is not None:
            close()

    def _read(self) -> Batch:
        if self._reading is None:
            self._reading = self._start(self._step // self._repeats)
        try:
            return next(self._reading)
        except BaseException:  # the end, or an image that cannot be read: asked again, the same batch is tried
            self.close()
            raise


def training_batches(
    source: Source,
    *,
    batch_size: int,
    seed: int,
    num_epochs: int | None = None,
    indices: Iterable[int] | None = None,
    flip: bool = False,
    augment: Augment | None = None,
    repeats: int = 1,
    read_concepts: bool = False,
    host: tuple[int, int] = (0, 1),
    num_threads: int = 2,
    num_workers: int = 0,
) -> TrainingBatches:
    """Full batches of a source, shuffled anew in every epoch.

    The same arguments give the same batches, whatever `num_threads` and `num_workers` are. The examples that do not fill a
    batch at the end of an epoch are left out; they are others in every epoch.

    On several hosts each reads its own rows: host `p` of `q` those from `p * batch_size / q` on, so that the batches of all
    hosts, one below the other in the order of the hosts, are the batch of a single one, byte for byte. Their states are equal,
    and one of them restores any number of hosts. `jax.make_array_from_process_local_data` makes them one array.

    Args:
        source: any source; `cached(source)` where reading is slow and memory suffices.
        batch_size: rows of every batch, those of all hosts together.
        seed: chooses the order and every draw of the augmentation, 0 to 2**32 - 1.
        num_epochs: passes over the source; by default without end.
        indices: the examples wanted; by default all.
        flip: mirror every image left to right with probability 1/2, and its concept map with it.
        augment: changes every example at random (after `flip`): one of `random_resized_crop`, `random_crop`, `random_flip`,
            `color_jitter`, `rand_augment`, several of them through `compose`, or `(generator, example) -> example` of one's
            own, a frozen dataclass or a function of a module. An example's draws depend on the seed and its place in the
            epochs alone.
        repeats: how many times in a row each batch is given, the same arrays each time; training "for free" replays
            batches.
        read_concepts: put the concept maps of a source that has them in `extra["concepts"]`.
        host: which host this is, from 0, and how many there are: `(jax.process_index(), jax.process_count())`.
        num_threads: threads that read ahead, each one batch; 0 reads only when asked. With `num_workers`, so many in each.
        num_workers: processes that read ahead, for augmentation that keeps Python busy and sources that draw; decoding alone
            is quick in threads. They are started afresh ("spawn"), so a script that asks for them keeps its work under
            `if __name__ == "__main__":`, and source and augmentation must pickle. Each has a copy of a source that is in
            memory; batches come through shared memory, of which a container must be given enough.

    Returns:
        An iterator over batches of `batch_size / q` rows with `get_state` and `set_state`.

    Raises:
        ValueError: a batch size below 1, above the number of examples or not a multiple of the number of hosts, a seed or
            number of epochs, repeats, hosts or workers out of range, an augmentation that is another in every process, or that
            leaves images of different sizes.

    Example:
        >>> from jaxinterp import data
        >>> source = data.concept_world(num_images=8, seed=0)
        >>> whole = next(data.training_batches(source, batch_size=4, seed=0))
        >>> parts = [next(data.training_batches(source, batch_size=4, seed=0, host=(index, 2))) for index in range(2)]
        >>> [part.id.tolist() for part in parts] == [whole.id[:2].tolist(), whole.id[2:].tolist()]
        True

    References:
        Shafahi, Najibi, Ghiasi, Xu, Dickerson, Studer, Davis, Taylor, Goldstein: "Adversarial Training for Free!" (2019), for
        `repeats`.
    """
    import grain

    chosen = chosen_indices(source, batch_size, indices)
    if batch_size > len(chosen):
        raise ValueError(f"expected a batch_size of at most {len(chosen)}, the number of examples, got {batch_size}; lower it.")
    if not 0 <= seed < 2**32:
        raise ValueError(f"expected a seed from 0 to {2**32 - 1}, got {seed}; write seed=0.")
    if num_epochs is not None and num_epochs < 1:
        raise ValueError(f"expected at least one epoch, got num_epochs={num_epochs}; write None for no end.")
    if repeats < 1:
        raise ValueError(f"expected each batch at least once, got repeats={repeats}; write repeats=1.")
    if num_workers < 0:
        raise ValueError(f"expected num_workers of at least 0, got {num_workers}; 0 reads in this process.")
    options = thread_options(num_threads)
    change = compose(*([random_flip()] if flip else []), *([] if augment is None else [augment]))
    first_row, rows = _rows_of_host(batch_size, host)
    reader = _Reader(source, chosen, seed, change, batch_size, first_row, rows, read_concepts)
    full_batches = len(chosen) // batch_size
    last = sys.maxsize if num_epochs is None else num_epochs * full_batches

    def start(number: int) -> Iterator[Batch]:
        numbers = grain.MapDataset.range(number, last)
        if not num_workers:
            return iter(numbers.map(lambda number: as_floats(reader(number))).to_iter_dataset(options))
        return iter(in_processes(numbers.map(reader).to_iter_dataset(options), num_workers).map(_received))

    identity = digest("training", source.fingerprint, chosen, batch_size, seed, describe(change), repeats, read_concepts)
    return TrainingBatches(start, identity, full_batches, repeats)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class _Reader:
    """Number of a batch -> this host's rows of it, images in 8 bits. Pickles, so that it can go to another process."""

    source: Source
    chosen: tuple[int, ...]
    seed: int
    augment: Augment
    batch_size: int
    first_row: int
    rows: int
    read_concepts: bool

    @functools.cached_property
    def examples(self) -> Any:
        """Place -> example; the places of an epoch follow those of the epoch before it."""
        import grain

        return grain.MapDataset.source(self.chosen).seed(self.seed).shuffle().random_map(self.example)

    def example(self, index: int, generator: np.random.Generator) -> Example:
        """An example of the source, changed by what is drawn from the generator of its place."""
        return self.augment(generator, read(self.source, index, concepts=self.read_concepts))

    def __call__(self, number: int) -> Batch:
        epoch, place = divmod(number, len(self.chosen) // self.batch_size)
        first = epoch * len(self.chosen) + place * self.batch_size + self.first_row
        members = [self.examples[position] for position in range(first, first + self.rows)]
        return stacked(members, batch_size=self.rows, read_concepts=self.read_concepts)


def _received(batch: Batch) -> Batch:
    """A batch out of memory that is shared with a process, in memory of its own."""
    return as_floats(jax.tree.map(np.array, batch))


def _rows_of_host(batch_size: int, host: tuple[int, int]) -> tuple[int, int]:
    index, count = host
    if not 0 <= index < count:
        raise ValueError(
            f"expected host=(index, count) with an index from 0 to count - 1, got {host}; "
            f"write host=(jax.process_index(), jax.process_count())."
        )
    if batch_size % count:
        raise ValueError(f"expected a batch_size that {count} hosts can share, got {batch_size}; write a multiple of {count}.")
    return index * (batch_size // count), batch_size // count
