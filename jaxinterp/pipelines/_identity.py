"""What a run is: a description of a recipe's objects that changes when a number changes and not when a comment does."""

import dataclasses
import functools
import hashlib
import json
import pathlib
import types
from typing import Any

import numpy as np

LIBRARY = "jaxinterp"


def describe(value: Any) -> Any:
    """A JSON-able description of a value, equal for equal values in any process.

    Records are described by their fields, sources by their fingerprint, arrays by a digest, functions by their name and by
    what they close over; of a function that is written in a recipe the constants and names of its body count too. Text,
    comments and line numbers do not.

    Args:
        value: anything a recipe may hold.

    Returns:
        Nested lists and dicts of strings and numbers.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, pathlib.Path):
        return str(value)
    if hasattr(value, "fingerprint") and isinstance(value.fingerprint, str):
        return {"type": type(value).__qualname__, "fingerprint": value.fingerprint}
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return _describe_array(value)
    if isinstance(value, functools.partial):
        return {"partial": describe(value.func), "args": describe(value.args), "keywords": describe(value.keywords)}
    if isinstance(value, types.FunctionType):
        return _describe_function(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _described_fields(value, [field.name for field in dataclasses.fields(value)])
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return _described_fields(value, list(getattr(value, "_fields", ())))
    if isinstance(value, tuple | list | set | frozenset):
        items = [describe(item) for item in value]
        return sorted(items, key=str) if isinstance(value, set | frozenset) else items
    if isinstance(value, dict):
        return {str(name): describe(item) for name, item in value.items()}
    return getattr(value, "__qualname__", None) or type(value).__qualname__


def digest(description: Any) -> str:
    """The hex digest of a JSON-able description."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]


def first_difference(old: Any, new: Any) -> tuple[str, Any, Any] | None:
    """The first place where two descriptions differ, as (dotted path, old value, new value); None when they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            found = first_difference(old.get(name), new.get(name))
            if found:
                return (f"{name}.{found[0]}".rstrip("."), found[1], found[2])
        return None
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            found = first_difference(before, after)
            if found:
                return (f"{index}.{found[0]}".rstrip("."), found[1], found[2])
        return None
    return None if old == new else ("", old, new)


def _described_fields(value: Any, names: list[str]) -> dict[str, Any]:
    return {"type": type(value).__qualname__} | {name: describe(getattr(value, name)) for name in names}


def _describe_array(value: Any) -> dict[str, Any]:
    array = np.asarray(value)
    content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
    return {"array": list(array.shape), "dtype": str(array.dtype), "digest": content}


def _describe_function(function: types.FunctionType) -> dict[str, Any]:
    cells = function.__closure__ or ()
    closed = {name: cell.cell_contents for name, cell in zip(function.__code__.co_freevars, cells, strict=True)}
    described: dict[str, Any] = {"function": f"{function.__module__}.{function.__qualname__}"}
    closed = {name: item for name, item in closed.items() if item is not function}
    if closed:
        described["closure"] = {name: describe(item) for name, item in sorted(closed.items())}
    if not (function.__module__ or "").startswith(LIBRARY) and "site-packages" not in function.__code__.co_filename:
        described["body"] = _describe_code(function.__code__)
        described["defaults"] = describe([*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items()])
    return described


def _describe_code(code: types.CodeType) -> list[Any]:
    constants = [
        _describe_code(constant) if isinstance(constant, types.CodeType) else describe(constant) for constant in code.co_consts
    ]
    return [constants, list(code.co_names)]
