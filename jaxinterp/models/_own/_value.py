"""What makes two pieces of code one: a hashable value, equal for two builds of one network."""

import dataclasses
import functools
import types
import weakref
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np


class Value:
    """Something compared by parts, whose hash is computed once."""

    __slots__ = ("__weakref__", "_hash", "_parts")

    def __init__(self, parts: Any) -> None:
        self._parts = parts
        self._hash = hash(parts)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Value) and self._hash == other._hash and self._parts == other._parts)


_VALUES: weakref.WeakValueDictionary[Value, Value] = weakref.WeakValueDictionary()
"""Equal values are one object for as long as any is in use: comparing two builds then takes no time."""


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
    value = Value(_parts(code, "it", ()))
    return _VALUES.setdefault(value, value)


def _parts(value: Any, where: str, above: tuple[int, ...]) -> Any:
    if id(value) in above:
        return "itself"
    if isinstance(value, jax.Array | np.ndarray):
        raise ValueError(
            f"expected code without weights, got an array of shape {value.shape} in {where!r}; pass it as a part of params."
        )
    made_of = _made_of(value)
    if made_of is not None:
        kind, fixed, parts = made_of
        above = (*above, id(value))
        return (kind, fixed, tuple((name, _parts(part, name or where, above)) for name, part in parts))
    try:
        hash(value)
    except TypeError:
        return _Same(value)
    return (type(value), value)


def _made_of(value: Any) -> tuple[Any, Any, list[tuple[str, Any]]] | None:
    """What a value is, what of it is compared as it is, and its named parts; None of what has no parts."""
    if isinstance(value, functools.partial):
        return "partial", None, [("", value.func), ("", value.args), ("", value.keywords)]
    if isinstance(value, types.MethodType):
        return "method", None, [("", value.__func__), ("", value.__self__)]
    if isinstance(value, types.FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        parts = [*((name, _cell(cell)) for name, cell in cells), ("", value.__defaults__), ("", value.__kwdefaults__)]
        return "function", (_Same(value.__code__), _Same(value.__globals__)), parts
    if isinstance(value, Mapping):
        keys = sorted(value, key=str)
        return "mapping", tuple(keys), [(str(key), value[key]) for key in keys]
    if isinstance(value, tuple | list):
        return "sequence", type(value), [("", part) for part in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        skipped = "parent" if isinstance(value, nn.Module) else None
        names = [field.name for field in dataclasses.fields(value) if field.compare and field.name != skipped]
        return "dataclass", type(value), [(name, getattr(value, name)) for name in names]
    return None


def _cell(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return "not yet assigned"
