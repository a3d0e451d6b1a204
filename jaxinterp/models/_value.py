"""What makes two pieces of code one: a hashable value, equal for two builds of one network."""

import dataclasses
import functools
import types
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np


class Value:
    """Something compared by parts, whose hash is computed once."""

    __slots__ = ("_hash", "_parts")

    def __init__(self, parts: Any) -> None:
        self._parts = parts
        self._hash = hash(parts)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Value) and self._hash == other._hash and self._parts == other._parts)


class _Same:
    """An object compared by identity; it keeps the object alive, so that no other takes its place."""

    def __init__(self, kept: Any) -> None:
        self.kept = kept

    def __hash__(self) -> int:
        return id(self.kept)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.kept is other.kept


def value_of(code: Any) -> Value:
    """The value of a function, a module or a description of modules.

    Functions are equal when they come from the same line of the program, with equal defaults and closing over equal values:
    a function that is made twice by another is one value, one that was edited and run again is a new one.

    Raises:
        ValueError: where an array is closed over, which would be a constant of every compiled program.
    """
    return Value(_parts(code, "it", ()))


def _parts(value: Any, where: str, above: tuple[int, ...]) -> Any:
    if id(value) in above:
        return "itself"
    above = (*above, id(value))

    def inner(part: Any, name: Any) -> Any:
        return _parts(part, str(name), above)

    if isinstance(value, jax.Array | np.ndarray):
        raise ValueError(
            f"expected code without weights, got an array of shape {value.shape} in {where!r}; pass it as a part of params."
        )
    if isinstance(value, functools.partial):
        return ("partial", inner(value.func, where), inner(value.args, where), inner(value.keywords, where))
    if isinstance(value, types.MethodType):
        return ("method", inner(value.__func__, where), inner(value.__self__, where))
    if isinstance(value, types.FunctionType):
        cells = [(name, _cell(cell)) for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)]
        closed = tuple((name, inner(part, name)) for name, part in cells)
        defaults = (inner(value.__defaults__, where), inner(value.__kwdefaults__, where))
        return ("function", _Same(value.__code__), _Same(value.__globals__), closed, defaults)
    if isinstance(value, Mapping):
        return ("mapping", tuple((key, inner(value[key], key)) for key in sorted(value, key=str)))
    if isinstance(value, tuple | list):
        return ("sequence", type(value) is list, tuple(inner(part, where) for part in value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        skipped = {"parent"} if isinstance(value, nn.Module) else set()
        names = [field.name for field in dataclasses.fields(value) if field.compare and field.name not in skipped]
        return (type(value), tuple((name, inner(getattr(value, name), name)) for name in names))
    try:
        hash(value)
    except TypeError:
        return _Same(value)
    return (type(value), value)


def _cell(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return "not yet assigned"
