"""Shards of adversarial images: ArrayRecord files that exist whole or not at all."""

import contextlib
import importlib
import os
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from jaxinterp.data._records import AdversarialFormat, AdversarialRecord, encode_record, features

DATASET_NAME = "adversarial"
_UNFINISHED = ".unfinished"


def shard_path(directory: str | os.PathLike[str], *, split: str, shard: int, num_shards: int) -> pathlib.Path:
    """The file of a shard: `adversarial-SPLIT.array_record-00003-of-00010`.

    Args:
        directory: folder of the data set.
        split: name of the split.
        shard: which shard, from 0.
        num_shards: how many the split has.

    Raises:
        ValueError: a shard outside `0 .. num_shards - 1`, or a split that is not a plain word.
    """
    if not 0 <= shard < num_shards <= 99_999:
        raise ValueError(f"expected a shard from 0 to {num_shards - 1}, got {shard}; shards count from 0.")
    if not re.fullmatch(r"[A-Za-z0-9_]+", split):
        raise ValueError(f"expected a split of letters, digits and _, got {split!r}; write split='normal'.")
    return pathlib.Path(directory) / f"{DATASET_NAME}-{split}.array_record-{shard:05d}-of-{num_shards:05d}"


def write_shard(
    directory: str | os.PathLike[str],
    records: Iterable[AdversarialRecord],
    form: AdversarialFormat,
    *,
    split: str,
    shard: int,
    num_shards: int,
) -> pathlib.Path:
    """Writes one shard under a temporary name, reads its length back, and renames it.

    Killed at any moment, the writer leaves no file under the shard's name, or the whole one. The bytes depend on the
    records alone, not on the process.

    Args:
        directory: folder of the data set; it is made if it is not there.
        records: the adversarial images; taken one at a time, so a generator may compute them while they are written.
        form: what all records share.
        split: name of the split, such as "normal" or "trained".
        shard: which shard, from 0.
        num_shards: how many the split has.

    Returns:
        The shard's file.

    Raises:
        ValueError: a record that does not fit the format, or none.
        OSError: a full disk or a folder that cannot be written; nothing is left behind.
    """
    array_record = _array_record()

    path = shard_path(directory, split=split, shard=shard, num_shards=num_shards)
    kinds = features(form)
    count = 0
    with whole_file(path) as temporary:
        with _writing(path):
            writer = array_record.ArrayRecordWriter(str(temporary), "group_size:1")
        try:
            for record in records:
                data = encode_record(record, form, kinds)
                with _writing(path):
                    writer.write(data)
                count += 1
        finally:
            with _writing(path):
                writer.close()
        if count == 0:
            raise ValueError(f"expected at least one record, got none for shard {shard} of {num_shards}; use fewer shards.")
        if shard_length(temporary) != count:
            raise OSError(
                f"expected {count} records in {path}, got {shard_length(temporary)}; check the disk and run it again."
            )
    return path


def finished_shards(directory: str | os.PathLike[str], *, split: str, num_shards: int) -> tuple[int, ...]:
    """The shards of a split that are there, ascending.

    Args:
        directory: folder of the data set; it need not exist yet.
        split: name of the split.
        num_shards: how many the split is to have.

    Raises:
        ValueError: the folder holds this split in another number of shards.
    """
    folder = pathlib.Path(directory)
    prefix = f"{DATASET_NAME}-{split}.array_record-"
    found = []
    for file in sorted(folder.glob(f"{prefix}*-of-*")) if folder.is_dir() else ():
        shard, total = (int(number) for number in file.name.removeprefix(prefix).split("-of-"))
        if total != num_shards:
            raise ValueError(f"expected {num_shards} shards, got {file.name}; write another directory or num_shards={total}.")
        found.append(shard)
    return tuple(found)


def remove_unfinished(directory: str | os.PathLike[str]) -> tuple[pathlib.Path, ...]:
    """Removes what a killed writer has left in a folder; call it while nothing writes there.

    Args:
        directory: folder of the data set; it need not exist yet.

    Returns:
        The files that were removed.
    """
    folder = pathlib.Path(directory)
    left = tuple(sorted(folder.glob(f".*{_UNFINISHED}"))) if folder.is_dir() else ()
    for file in left:
        file.unlink()
    return left


def shard_length(path: pathlib.Path) -> int:
    """The number of records of a shard.

    Raises:
        ValueError: a file that is no ArrayRecord file, or a cut one.
    """
    try:
        reader = _array_record().ArrayRecordReader(str(path))
        length = reader.num_records()
        reader.close()
    except RuntimeError as error:
        raise ValueError(
            f"expected an ArrayRecord file, got a damaged one: {path} ({_line(error)}); write it again."
        ) from error
    return length


@contextlib.contextmanager
def whole_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a temporary file beside `path`; at the end it is synced to the disk and renamed, after an error removed.

    Raises:
        OSError: one line, naming the file and what to do, when the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}{_UNFINISHED}")
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.open("wb").close()
    try:
        yield temporary
        with _writing(path):
            _sync(temporary)
            os.replace(temporary, path)
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _array_record() -> Any:
    return importlib.import_module("array_record.python.array_record_module")  # compiled: no types to check


def _sync(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _writing(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # array_record reports a full disk as a RuntimeError
        raise OSError(
            f"expected a writable folder with room, could not write {path}: {_line(error)}; "
            f"free space or choose another folder."
        ) from error


def _line(error: BaseException) -> str:
    return " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())
