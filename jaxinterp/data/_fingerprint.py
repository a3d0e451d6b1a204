"""Digests that change when the data of a source could change."""

import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

_HASHED_BYTES = 256 * 2**20


def digest(*values: Any) -> str:
    """The SHA-256 of values that JSON can write, as hex digits; the same in every process."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def files_digest(paths: Sequence[pathlib.Path]) -> str:
    """A digest of files: of their names and bytes up to 256 MiB in all, beyond that of names, sizes and modification times.

    Args:
        paths: the files; their order counts, their folder does not.

    Returns:
        Hex digits. A large folder that is copied without its times gets another digest.
    """
    stats = [path.stat() for path in paths]
    if sum(stat.st_size for stat in stats) <= _HASHED_BYTES:
        return digest([(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths])
    return digest([(path.name, stat.st_size, stat.st_mtime_ns) for path, stat in zip(paths, stats, strict=True)])
