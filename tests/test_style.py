"""House style, as laws over every public symbol."""

import ast
import importlib
import inspect
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

import jaxinterp

PACKAGES = ["models", "data", "attacks", "activations", "metrics", "training", "tracing", "report", "pipelines", "cli"]
ORDER = ("key", "rng")


def _public() -> Iterator[tuple[str, Any]]:
    for package in ["", *PACKAGES]:
        module = importlib.import_module(f"jaxinterp.{package}".rstrip("."))
        for name, value in vars(module).items():
            home = getattr(value, "__module__", "") or ""
            if not name.startswith("_") and home.startswith("jaxinterp") and not inspect.ismodule(value):
                yield f"{module.__name__}.{name}", value


PUBLIC = list(_public())
FUNCTIONS = [(name, value) for name, value in PUBLIC if inspect.isfunction(value)]


def test_there_is_something_to_check():
    assert len(FUNCTIONS) > 40


@pytest.mark.parametrize(("name", "value"), PUBLIC)
def test_documented(name, value):
    text = inspect.getdoc(value)
    assert text, f"{name} has no docstring"
    assert text.splitlines()[0].strip(), f"the docstring of {name} begins with an empty line"


@pytest.mark.parametrize(("name", "value"), FUNCTIONS)
def test_key_comes_first(name, value):
    parameters = list(inspect.signature(value).parameters.values())
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    for wanted in ORDER:
        assert wanted not in positional[1:], f"{name} takes {wanted} after {positional[0]}"


@pytest.mark.parametrize(("name", "value"), FUNCTIONS)
def test_what_has_a_default_is_keyword_only(name, value):
    late = [
        p.name
        for p in inspect.signature(value).parameters.values()
        if p.default is not p.empty and p.kind is not p.KEYWORD_ONLY
    ]
    # The command's own entry point is called as main().
    assert not late or name == "jaxinterp.cli.main", f"{name} takes {late} by position"


@pytest.mark.parametrize(("name", "value"), FUNCTIONS)
def test_arguments_are_described(name, value):
    text = inspect.getdoc(value) or ""
    names = [name for name in inspect.signature(value).parameters if not name.startswith("_")]
    missing = [argument for argument in names if argument not in text]
    assert not missing, f"{name} does not describe {missing}"


@pytest.mark.parametrize(("name", "value"), FUNCTIONS)
def test_words(name, value):
    banned = {"x", "y", "inputs", "eps", "alpha", "delta", "advs", "nb_iter"}
    used = banned & set(inspect.signature(value).parameters)
    assert not used, f"{name} says {used}"


def test_reexports_name_themselves():
    package = pathlib.Path(jaxinterp.__file__).parent
    wrong = [
        f"{path.parent.name}: {alias.name}"
        for path in package.rglob("__init__.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("jaxinterp._" if path.parent == package else f"jaxinterp.{path.parent.name}.")
        for alias in node.names
        if alias.asname != alias.name
    ]
    assert not wrong
