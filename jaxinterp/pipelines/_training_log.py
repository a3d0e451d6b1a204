"""What a training leaves to read: JSON lines and TensorBoard's event files."""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxinterp.pipelines._workdir import WorkDir


class TrainingLog:
    """A file of JSON lines, each with a step and what was measured up to it.

    A training that goes on from a checkpoint takes the lines behind it away first, so that the file of a killed run ends as
    that of an undisturbed one. Only the first host writes.

    Args:
        path: of the file.
        done: the step of the checkpoint; 0 begins anew.
        events: the folder of TensorBoard's event files; None writes none.
    """

    def __init__(self, path: pathlib.Path, *, done: int = 0, events: pathlib.Path | None = None) -> None:
        self._path = path
        self._lines = [line for line in read_log(path) if line["step"] <= done]
        self._writer = None
        self._file = None
        if jax.process_index() != 0:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.partial")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in self._lines), encoding="utf-8")
        os.replace(temporary, path)
        self._file = path.open("a", encoding="utf-8", buffering=1)
        if events is not None:
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(str(events), purge_step=done + 1 if done else None)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """All lines so far."""
        return self._lines

    def write(self, step: int, values: Mapping[str, Any], **beside: float) -> None:
        """Adds a line.

        Args:
            step: what was measured up to.
            values: what was measured, the same in every run of the same training.
            beside: what depends on the machine, such as its speed: for TensorBoard alone.
        """
        line = {"step": step, **values}
        self._lines.append(line)
        if self._file is not None:
            self._file.write(json.dumps(line) + "\n")
        if self._writer is not None:
            for name, value in {**values, **beside}.items():
                self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Returns when all lines are on disk."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Flushes, and closes the files."""
        self.flush()
        if self._file is not None:
            self._file.close()
        if self._writer is not None:
            self._writer.close()


class Logs(NamedTuple):
    """The logs of one training.

    Attributes:
        metrics: means between points.
        evaluations: what evaluations found.
        ids: of the images of every step; None where nobody asked.
    """

    metrics: TrainingLog
    evaluations: TrainingLog
    ids: TrainingLog | None

    def flush(self) -> None:
        """Returns when all lines are on disk."""
        for log in self:
            if log is not None:
                log.flush()


@contextlib.contextmanager
def open_logs(workdir: WorkDir, name: str, *, done: int, events: bool, ids: bool) -> Iterator[Logs]:
    """The logs of a training in `logs/`, and its event files in `events/`; closed in the end.

    Args:
        workdir: of the run.
        name: of the training.
        done: the step of the checkpoint that it goes on from; 0 begins anew.
        events: write TensorBoard's files.
        ids: write the ids of the images of every step.
    """
    folder = workdir.path / "logs"

    def opened(kind: str) -> TrainingLog:
        where = workdir.folder(f"events/{name}/{kind}") if events else None
        return TrainingLog(folder / f"{name}.{kind}.jsonl", done=done, events=where)

    numbered = TrainingLog(folder / f"{name}.ids.jsonl", done=done) if ids else None
    logs = Logs(opened("metrics"), opened("evaluations"), numbered)
    try:
        yield logs
    finally:
        for log in logs:
            if log is not None:
                log.close()


def read_log(path: pathlib.Path) -> list[dict[str, Any]]:
    """The lines of a log; none where there is no file. A last line that was not written to its end is left out."""
    if not path.exists():
        return []
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def means(metrics: list[dict[str, Any]]) -> dict[str, float]:
    """The mean of each metric."""
    return {name: float(np.mean([np.float32(entry[name]) for entry in metrics])) for name in metrics[0]}
