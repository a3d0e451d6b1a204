"""Checkpoints of a training: written while it goes on, checked when they are read."""

import json
import pathlib
import sys
import zlib
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple

import jax
import numpy as np


class Restored(NamedTuple):
    """What a checkpoint held.

    Attributes:
        step: of the training.
        arrays: as they were saved, on the devices of the arrays that were asked for.
        rest: the JSON that was saved beside them.
    """

    step: int
    arrays: Any
    rest: dict[str, Any]


class Checkpoints:
    """The checkpoints in a folder, which all hosts share.

    Beside its arrays a checkpoint holds their checksums: one that was damaged is noticed when it is read.

    Args:
        folder: made when it does not exist.
        max_to_keep: how many of the newest are kept; with two there is one to fall back on.
    """

    def __init__(self, folder: pathlib.Path, *, max_to_keep: int = 2) -> None:
        import orbax.checkpoint as ocp

        self._folder = folder.resolve()
        options = ocp.CheckpointManagerOptions(max_to_keep=max_to_keep, enable_async_checkpointing=True)
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._manager.close()

    def wait(self) -> None:
        """Returns when what was saved is on disk."""
        self._manager.wait_until_finished()

    def save(self, step: int, arrays: Any, rest: Mapping[str, Any]) -> None:
        """Saves a checkpoint; writes it while the training goes on.

        Args:
            step: of the training, larger than that of every checkpoint there.
            arrays: a tree; they may be donated once this returns.
            rest: what JSON can write.
        """
        import orbax.checkpoint as ocp

        # Written later, so what the caller goes on to change must not be part of it.
        copied = json.loads(json.dumps({**rest, "checksums": _checksums(arrays)}))
        self._manager.save(step, args=ocp.args.Composite(state=ocp.args.StandardSave(arrays), rest=ocp.args.JsonSave(copied)))

    def restore(self, arrays: Any) -> Restored | None:
        """The newest checkpoint that can be read; None where there is none.

        A newer one that cannot is removed, and a line on standard error says so.

        Args:
            arrays: a tree of arrays as they were saved; what is read lies on the same devices as these.

        Raises:
            ValueError: there are checkpoints, and none of them can be read.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            try:
                return self._read(step, arrays)
            except Exception as error:
                reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
                print(f"checkpoint {step} in {self._folder} cannot be read ({reason}); it is removed.", file=sys.stderr)
                self._remove(step)
        if steps:
            raise ValueError(
                f"expected a checkpoint in {self._folder} that can be read, got none; remove it to train from the start."
            )
        return None

    def _read(self, step: int, arrays: Any) -> Restored:
        import orbax.checkpoint as ocp

        stored = self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(arrays), rest=ocp.args.JsonRestore())
        )
        expected, found = stored["rest"].get("checksums", {}), _checksums(stored["state"])
        if any(expected.get(place, value) != value for place, value in found.items()):
            raise ValueError("its arrays are not those that were saved")
        return Restored(step, stored["state"], stored["rest"])

    def _remove(self, step: int) -> None:
        """Removes a checkpoint whatever is left of it."""
        import shutil

        if jax.process_index() == 0:
            shutil.rmtree(self._folder / str(step), ignore_errors=True)
        self._manager.reload()


def _checksums(arrays: Any) -> dict[str, int]:
    """Checksums of the arrays that are whole on this host, by their places in the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(arrays)
    return {
        jax.tree_util.keystr(path): zlib.crc32(np.ascontiguousarray(leaf).view(np.uint8).data)
        for path, leaf in leaves
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated
    }
