"""A work directory: what a run has finished, kept so that a killed run resumes and another recipe is refused."""

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from jaxinterp.pipelines._identity import first_difference

MANIFEST = "manifest.json"
PARTIAL = ".partial"


class WorkDir:
    """The folder that a study writes into.

    A stage is finished when `stages/NAME.json` exists; its arrays lie beside it in `stages/NAME.npz`. Every file is written
    under a temporary name and renamed, so it is there whole or not at all.

    Args:
        path: the folder; it is made when it does not exist.

    Raises:
        ValueError: `path` is a file, or a folder with other things in it and no manifest.
        OSError: it cannot be made or written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"expected a folder for --workdir, got the file {self.path}; name a new folder.")
        self.path.mkdir(parents=True, exist_ok=True)
        if jax.process_index() == 0:
            self._remove_unfinished()
        if not (self.path / MANIFEST).exists() and any(self.path.iterdir()):
            raise ValueError(
                f"expected an empty folder or the work directory of an earlier run, got {self.path}, which holds other "
                "things; name a new folder."
            )

    def claim(self, identity: Mapping[str, Any], details: Mapping[str, Any], *, fresh: bool = False) -> None:
        """Makes this the work directory of one identity.

        Args:
            identity: what must not change between the runs of one work directory.
            details: what is recorded beside it.
            fresh: discard what an earlier run left here.

        Raises:
            ValueError: the folder is the work directory of another identity.
            OSError: it cannot be written.
        """
        recorded = self._read(MANIFEST)
        if recorded is not None and fresh:
            for entry in self.path.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            recorded = None
        if recorded is not None:
            difference = first_difference(recorded["identity"], json.loads(json.dumps(identity)))
            if difference:
                where, old, new = difference
                raise ValueError(
                    f"{self.path} is the work directory of another recipe: {where} was {json.dumps(old)}, now "
                    f"{json.dumps(new)}; write --fresh to discard what is there, or name another --workdir."
                )
        self.write_text(MANIFEST, json.dumps({"identity": identity, **details}, indent=1, sort_keys=True))

    def finished(self, stage: str) -> bool:
        """Whether the stage was finished."""
        return (self.path / "stages" / f"{stage}.json").exists()

    def save(self, stage: str, values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Records a stage as finished, arrays first."""
        with self.replacing(self.path / "stages" / f"{stage}.npz") as temporary, temporary.open("wb") as handle:
            np.savez(handle, allow_pickle=False, **{name: np.asarray(array) for name, array in arrays.items()})
        self.write_text(f"stages/{stage}.json", json.dumps(values, indent=1))

    def load(self, stage: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The values and arrays of a finished stage.

        Raises:
            ValueError: the stage is not finished.
        """
        values = self._read(f"stages/{stage}.json")
        if values is None:
            raise ValueError(f"stage {stage!r} is not finished in {self.path}; run `jaxinterp study` on it first.")
        with np.load(self.path / "stages" / f"{stage}.npz") as stored:
            return values, {name: stored[name] for name in stored.files}

    def folder(self, name: str) -> pathlib.Path:
        """A folder of the work directory, made when it does not exist."""
        path = self.path / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def write_text(self, name: str, text: str) -> pathlib.Path:
        """Writes a text file, whole or not at all."""
        with self.replacing(self.path / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return self.path / name

    def expect_room(self, size: int, what: str) -> None:
        """Asks for free space before a library writes that answers a full disk with the tracebacks of its threads.

        Args:
            size: how many bytes will be written.
            what: names it in the error.

        Raises:
            OSError: there is less.
        """
        free = shutil.disk_usage(self.path).free
        if free < size:
            needed, found = (f"{number / 2**20:,.1f} MiB" for number in (size, free))
            raise OSError(f"expected {needed} free in {self.path} for {what}, got {found}; make room and run it again.")

    @contextlib.contextmanager
    def replacing(self, path: pathlib.Path) -> Iterator[pathlib.Path]:
        """A path to write to, which takes the name `path` only when it was written to the end."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}{PARTIAL}")
        try:
            yield temporary
            with temporary.open("rb") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def _remove_unfinished(self) -> None:
        """Removes what a killed run was writing; such names begin with a dot and end with `PARTIAL`."""
        for path in self.path.rglob(f".*{PARTIAL}"):
            path.unlink()

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        return json.loads(path.read_text()) if path.exists() else None


def check_name(name: str) -> None:
    """Raises `ValueError` for a name that cannot be a folder's or a file's here."""
    if not name or "/" in name or name.startswith("."):
        raise ValueError(f"expected a name without '/' that begins with no dot, got {name!r}.")


def below(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays of a stage whose names begin with `prefix/`, without it."""
    return {name.removeprefix(f"{prefix}/"): array for name, array in arrays.items() if name.startswith(f"{prefix}/")}
