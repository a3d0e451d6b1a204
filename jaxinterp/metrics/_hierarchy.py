"""A hierarchy of one's own as a taxonomy of classes: a file of (child, parent) lines, or the pairs themselves."""

import csv
import graphlib
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from jaxinterp._base import did_you_mean
from jaxinterp.metrics._taxonomy import Taxonomy


def read_hierarchy(path: str | pathlib.Path, classes: Sequence[str]) -> Taxonomy:
    """Reads a hierarchy from a CSV file with the columns `child` and `parent`, and `name` if there are names.

    One line says that a node lies under another; a node may stand in several lines and so have several parents. The line of
    the root has an empty parent, or there is none. Classes are nodes, leaves or not; branches without classes are left out.

        child,parent,name
        animal,,animal
        dog,animal,dog
        cat,animal,house cat

    Args:
        path: the file, in UTF-8.
        classes: the node of each class, index = label.

    Returns:
        The taxonomy, for `path_lengths`, `taxonomy_similarity` and `superclasses`.

    Raises:
        ValueError: not such a file, or what `hierarchy` refuses.
    """
    path = pathlib.Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.DictReader(file)
            columns = lines.fieldnames or ()
            if not {"child", "parent"} <= set(columns):
                raise ValueError(f"expected the columns child,parent in {path}, got {','.join(columns)}; write such a header.")
            rows = [{key: (value or "").strip() for key, value in line.items() if isinstance(key, str)} for line in lines]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"expected a CSV file in UTF-8, got something else: {path} ({error}); save it again.") from error
    names = {row["child"]: row["name"] for row in rows if row.get("name")}
    return hierarchy(((row["child"], row["parent"]) for row in rows), classes, names=names)


def hierarchy(edges: Iterable[tuple[str, str]], classes: Sequence[str], *, names: Mapping[str, str] | None = None) -> Taxonomy:
    """A taxonomy from (child, parent) pairs.

    Args:
        edges: the pairs; an empty parent stands for none.
        classes: the node of each class, index = label.
        names: node -> what people call it; a node without a name is called by its id.

    Returns:
        The part of the hierarchy that lies above the classes.

    Raises:
        ValueError: no class or one twice, a class that no pair mentions, a pair without a child, a cycle, or several roots.
    """
    if not classes or len(set(classes)) != len(classes):
        raise ValueError(f"expected every class once and at least one, got {len(classes)} of {len(set(classes))} nodes.")
    above: dict[str, list[str]] = {}
    for child, parent in edges:
        if not child:
            raise ValueError(f"expected a child in every line, got none under {parent!r}; write child,parent.")
        found = above.setdefault(child, [])
        if parent:
            above.setdefault(parent, [])
            if parent not in found:
                found.append(parent)
    for name in classes:
        if name not in above:
            raise ValueError(f"unknown class {name!r}; no line of the hierarchy has it{did_you_mean(name, list(above))}")
    parents: dict[str, tuple[str, ...]] = {}
    todo = list(classes)
    while todo:
        node = todo.pop()
        if node not in parents:
            parents[node] = tuple(above[node])
            todo.extend(parents[node])
    try:
        graphlib.TopologicalSorter(parents).prepare()
    except graphlib.CycleError as error:
        raise ValueError(
            f"expected a hierarchy without cycles, got {' under '.join(error.args[1][::-1])}; leave out one of these lines."
        ) from None
    roots = sorted(node for node, higher in parents.items() if not higher)
    if len(roots) > 1:
        raise ValueError(
            f"expected one root above all classes, got {len(roots)}: {', '.join(roots[:4])}; put them under one parent."
        )
    called = {node: (names or {}).get(node, node) for node in parents}
    return Taxonomy(tuple(classes), tuple(called[node] for node in classes), parents, called, "given")
