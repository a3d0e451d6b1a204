"""What a file of weights is to its readers: named entries that are judged before a value is read."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

FLOATS = ("float16", "bfloat16", "float32", "float64")
SIZES = {
    "bool": 1,
    "uint8": 1,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "float16": 2,
    "bfloat16": 2,
    "float32": 4,
    "float64": 8,
    "complex64": 8,
    "complex128": 16,
}
"""Bytes of a value, by the name of its type."""


class Unusable(Exception):
    """A file that is refused.

    Attributes:
        got: what it is, as it follows the path in a message.
        remedy: what to do about it.
    """

    def __init__(self, got: str, remedy: str) -> None:
        super().__init__(got)
        self.got, self.remedy = got, remedy


class Entry(NamedTuple):
    """One name of a file.

    Attributes:
        shape: the shape that is claimed.
        dtype: the name of the type that is claimed; of something that is no array, the name of its Python type.
    """

    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        """Bytes of the values; 0 for what is no array."""
        return math.prod(self.shape) * SIZES.get(self.dtype, 0)


class Contents(NamedTuple):
    """A file whose header was read and found sound.

    Attributes:
        kind: what it is, with its article.
        entries: its own names, in its order.
        read: the arrays of some names, in the types of the file.
        whole: bytes that any reading allocates besides the arrays; 0 where only what is asked for is read.
    """

    kind: str
    entries: dict[str, Entry]
    read: Callable[[list[str]], dict[str, np.ndarray]]
    whole: int


def shown(text: object) -> str:
    """Text from a file as it may stand in a message: one line, nothing that a terminal would act on, not long."""
    plain = str(text)
    plain = plain if plain.isprintable() else repr(plain)
    return plain if len(plain) <= 160 else f"{plain[:157]}..."


def is_count(value: object) -> bool:
    """Whether something read from a header is an integer of at least 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def little_endian(dtype: str) -> np.dtype:
    """The NumPy type of that name, as the files hold it."""
    if dtype == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(dtype).newbyteorder("<")
