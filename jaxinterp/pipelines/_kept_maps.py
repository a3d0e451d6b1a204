"""Activations of every image, kept on disk between the passes of a dissection."""

import contextlib
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO

import jax
import numpy as np
from jax import Array

from jaxinterp._base import Batch

Maps = Callable[[int, Batch], Mapping[str, Array | np.ndarray]]
"""`(number, batch) -> activations` of a batch, which is the `number`-th of its pass."""


class KeptMaps:
    """The maps of some layers on every image of a source, see `kept_maps`.

    The first pass computes and keeps them, in the order of the source; later ones read them, of all images or of some. Reading
    and writing are plain, so memory does not grow with the files.

    Args:
        files: a file for each layer.
    """

    def __init__(self, files: Mapping[str, IO[bytes]]) -> None:
        self._files = files
        self._rows: dict[str, np.ndarray] = {}
        self._pending: tuple[Batch, Mapping[str, Array | np.ndarray]] | None = None
        self._batches: list[Batch] = []

    def keeping(self, maps: Maps) -> Maps:
        """The same maps, kept as they are made."""

        def kept(number: int, batch: Batch) -> Mapping[str, Array | np.ndarray]:
            found = maps(number, batch)
            self._flush()
            self._pending = batch, found
            return found

        return kept

    def _flush(self) -> None:
        """Writes the batch before: while it is written, the next one is on its way."""
        if self._pending is None:
            return
        (batch, maps), self._pending = self._pending, None
        plain = jax.device_get(batch._replace(image=batch.image[:, :1, :1], extra={}))
        self._batches.append(plain)
        for name, file in self._files.items():
            rows = np.asarray(maps[name])[plain.mask]
            self._rows[name] = rows[:1]
            file.write(rows.tobytes())

    def batches(self) -> list[Batch]:
        """Those of the first pass, with a pixel of each image and no concept maps; a pass over them reads nothing else."""
        self._flush()
        return self._batches

    def reading(self, layers: Sequence[str], indices: Sequence[int], batch_size: int) -> Maps:
        """Kept maps of the images at these positions of the source; a short last batch is filled up with zeros."""
        self._flush()

        def read(number: int, _: Batch) -> Mapping[str, np.ndarray]:
            chosen = indices[number * batch_size : (number + 1) * batch_size]
            return {name: self._read(name, chosen, batch_size) for name in layers}

        return read

    def _read(self, name: str, chosen: Sequence[int], size: int) -> np.ndarray:
        file, row = self._files[name], self._rows[name]
        found = np.zeros((size, *row.shape[1:]), row.dtype)
        for place, index in enumerate(chosen):
            file.seek(index * row.nbytes)
            found[place] = np.frombuffer(file.read(row.nbytes), row.dtype).reshape(row.shape[1:])
        return found


@contextlib.contextmanager
def kept_maps(folder: pathlib.Path, layers: Sequence[str]) -> Iterator[KeptMaps]:
    """Files in a folder for the maps of some layers; they have no names, and vanish with the process."""
    with contextlib.ExitStack() as stack:
        yield KeptMaps({layer: stack.enter_context(tempfile.TemporaryFile(dir=folder)) for layer in layers})
