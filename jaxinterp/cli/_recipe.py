"""Recipes: a Python file whose function of the file's name builds a study from typed keyword arguments."""

import contextlib
import dataclasses
import importlib.util
import inspect
import io
import itertools
import pathlib
import re
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, Literal, Union, cast, get_args, get_origin

from jaxinterp._base import did_you_mean
from jaxinterp.pipelines import Comparison, DepthStudy, Factors, Fit, Study

Recipe = Study | Factors | Comparison | DepthStudy | Fit
"""What a recipe builds."""

_FRACTION = re.compile(r"^\s*(-?\d+(?:\.\d*)?)\s*/\s*(\d+(?:\.\d*)?)\s*$")


def load_recipe(path: str) -> Callable[..., Recipe]:
    """The recipe of a file: its function of the same name as the file. It may import the files beside it, as a script may.

    Args:
        path: of a Python file.

    Returns:
        A function of keyword arguments that returns a `Study`, `Factors`, a `Comparison`, a `DepthStudy` or a `Fit`.

    Raises:
        ValueError: no such file, or no such function in it.
    """
    file = pathlib.Path(path)
    if not file.is_file():
        there = sorted(str(found) for found in file.parent.glob("*.py")) if file.parent.is_dir() else []
        raise ValueError(f"expected a recipe, got {path}, which is not there{did_you_mean(path, there)}")
    spec = importlib.util.spec_from_file_location(f"recipe_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ValueError(f"expected a Python file as recipe, got {path}; name one that ends in .py.")
    module = importlib.util.module_from_spec(spec)
    beside = str(file.resolve().parent)
    sys.path.insert(0, beside)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(beside)
    recipe = getattr(module, file.stem, None)
    if not callable(recipe):
        raise ValueError(f"expected a function {file.stem}() in {path}, got none; give the recipe the name of its file.")
    return cast("Callable[..., Recipe]", recipe)


def parse_knobs(recipe: Callable[..., Any], arguments: list[str]) -> dict[str, Any]:
    """The knobs of a recipe, its defaults overridden by `--name value`.

    Fractions such as `4/255` are numbers here; `tyro` turns text into what the signature says.

    Args:
        recipe: the recipe.
        arguments: what followed the recipe on the command line.

    Returns:
        Every knob by name.

    Raises:
        ValueError: an unknown knob, a value that is not of the knob's type, or none where there is no default.
    """
    names = list(inspect.signature(recipe).parameters)
    for argument in arguments:
        if argument.startswith("--"):
            name = argument[2:].split("=")[0].replace("-", "_")
            if name not in names and not (name.startswith("no_") and name[3:] in names):
                listed = ", ".join(f"--{known.replace('_', '-')}" for known in names)
                raise ValueError(
                    f"unknown knob --{name.replace('_', '-')}; this recipe has: {listed}{did_you_mean(name, names)}"
                )

    parameters = list(inspect.signature(recipe).parameters.values())
    given = [_decimal(argument) for argument in arguments]
    parsed = _parsed(parameters, given)
    if parsed is not None:
        return parsed

    starts = [index for index, argument in enumerate(given) if argument.startswith("--")]
    groups = {
        given[start][2:].split("=")[0].replace("-", "_"): given[start:end]
        for start, end in itertools.pairwise([*starts, len(given)])
    }
    for parameter in parameters:
        named = next((name for name in (parameter.name, f"no_{parameter.name}") if name in groups), None)
        if named is None and parameter.default is parameter.empty:
            raise ValueError(f"expected --{_spelt(parameter)}, which has no default; got: {' '.join(arguments) or 'no knobs'}")
        if named is not None and _parsed([parameter], groups[named]) is None:
            raise ValueError(f"expected --{_spelt(parameter)}, got: {' '.join(groups[named])}")
    kinds = ", ".join(f"--{_spelt(parameter)}" for parameter in parameters)
    raise ValueError(f"expected knobs such as {kinds}; got: {' '.join(arguments)}")


def _parsed(parameters: Sequence[inspect.Parameter], arguments: list[str]) -> dict[str, Any] | None:
    """Knob -> value; None where the arguments are not of the knobs' types."""
    import tyro

    knobs = dataclasses.make_dataclass(
        "Knobs",
        [
            (p.name, p.annotation, dataclasses.field(**({} if p.default is p.empty else {"default": p.default})))
            for p in parameters
        ],
        kw_only=True,
    )
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return vars(tyro.cli(knobs, args=arguments, console_outputs=False))
    except SystemExit:
        return None


def _spelt(parameter: inspect.Parameter) -> str:
    return f"{parameter.name.replace('_', '-')} {_kind(parameter.annotation)}"


def _decimal(argument: str) -> str:
    name, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    match = _FRACTION.match(value)
    if not match or float(match[2]) == 0:
        return argument
    return f"{name}{equals}{float(match[1]) / float(match[2])!r}"


def _kind(annotation: Any) -> str:
    """A type as one writes values of it: `str`, `int or none`, `a|b|c`, `float ...` for several."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "|".join(str(part) for part in parts)
    if origin in (Union, types.UnionType):
        return " or ".join("none" if part is type(None) else _kind(part) for part in parts)
    if origin is tuple:
        return " ".join("..." if part is Ellipsis else _kind(part) for part in parts)
    return getattr(annotation, "__name__", None) or str(annotation)
