"""A package imports only from lower floors, never sideways."""

import ast
import pathlib

import pytest

import jaxinterp

PACKAGE = pathlib.Path(jaxinterp.__file__).parent
FLOORS = [
    {"_base", "_mesh"},
    {"models", "data", "attacks", "activations"},
    {"metrics", "training", "tracing"},
    {"report"},
    {"pipelines"},
    {"cli"},
    {"__main__"},
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


def _modules() -> list[tuple[str, pathlib.Path, ast.Module]]:
    paths = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
    return [(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path, ast.parse(path.read_text())) for path in paths]


def _imported(node: ast.AST) -> list[str]:
    """The names under `jaxinterp` that a statement imports."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        module = node.module or ""
        names = [f"jaxinterp.{alias.name}" for alias in node.names] if module == "jaxinterp" else [module]
    else:
        return []
    return [name.split(".")[1] for name in names if name.startswith("jaxinterp.")]


def test_every_package_has_a_floor():
    assert {package for package, _, _ in _modules()} == set(FLOOR)


def test_imports_go_down():
    wrong = []
    for package, path, tree in _modules():
        for node in ast.walk(tree):
            for other in _imported(node):
                if other != package and other in FLOOR and FLOOR[other] >= FLOOR[package] and FLOOR[package] > 0:
                    wrong.append(f"{path.name}: {package} imports {other}")
                if FLOOR[package] == 0 and other in FLOOR and FLOOR[other] > 0:
                    wrong.append(f"{path.name}: {package} imports {other}")
    assert not wrong


_DRIVER = {
    *("_ball", "_criterion", "_dlr", "_gradient", "_lattice", "_loss", "_nearest", "_run", "_samples", "_search", "_steps"),
    "_transform",
}
ROOMS = {
    "models": {
        "_files": set(),
        "_own": {"_wrapped"},
        "_architectures": {"_flow", "_init", "_network", "_ops"},
        "_defences": {"_wrapped"},
        "_invertible": {"_abstract", "_files", "_flow", "_init", "_network"},
    },
    "attacks": dict.fromkeys(("_fixed_radius", "_minimum_norm", "_query", "_ensembles"), _DRIVER),
}
"""The folders under a package, and what of that package outside itself each may import; none imports another."""


@pytest.mark.parametrize("package", ROOMS)
def test_folders_stand_apart(package):
    rooms = ROOMS[package]
    wrong = [
        f"{path.name}: {folder} imports {names[1]}"
        for owner, path, tree in _modules()
        if owner == package and (folder := path.parent.name) in rooms
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"jaxinterp.{package}")
        for names in [(node.module or "").split(".")[1:]]
        if names[1] != folder and names[1] not in rooms[folder]
    ]
    assert not wrong
    assert {path.name for path in (PACKAGE / package).iterdir() if (path / "__init__.py").exists()} == set(rooms)


def test_only_models_import_flax():
    found = [
        path.name
        for package, path, tree in _modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if name.split(".")[0] == "flax" and package != "models"
    ]
    assert not found


def test_no_file_above_400_lines():
    long = {path.name: count for _, path, _ in _modules() if (count := len(path.read_text().splitlines())) > 400}
    assert not long


def test_heavy_libraries_are_imported_where_used():
    heavy = {
        *("tensorflow_datasets", "nltk", "grain", "matplotlib", "orbax", "sklearn", "array_record", "jinja2", "tyro", "tqdm"),
        *("pooch", "requests", "tensorstore", "torch", "keras"),
    }
    found = [
        (path.name, name)
        for _, path, tree in _modules()
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if name.split(".")[0] in heavy
    ]
    assert not found
