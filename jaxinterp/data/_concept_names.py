"""Names of concepts and their label numbers: synonyms, renaming, and the names of Broden+."""

import os
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Integer

from jaxinterp.data._broden_files import Label
from jaxinterp.data._broden_tables import UNLABELLED, read_csv
from jaxinterp.data._concepts import CATEGORIES

Rename = Mapping[str, str | Mapping[str, str]]
"""Old name -> new name, or category -> old name -> new name."""


class ConceptNames:
    """Label numbers of names, given in the order in which the names are met.

    Attributes:
        labels: what the numbers mean so far.
    """

    def __init__(self, rename: Rename) -> None:
        self._rename: dict[tuple[str, str], str] = {}
        for key, value in rename.items():
            if isinstance(value, str):
                self._rename |= {(category, _joined(key)): value for category in CATEGORIES}
            elif key not in CATEGORIES:
                raise ValueError(f"expected a category of {', '.join(CATEGORIES)} in rename, got {key!r}; write one of them.")
        for category, several in rename.items():
            if not isinstance(several, str):
                self._rename |= {(category, _joined(name)): value for name, value in several.items()}
        self._numbers: dict[str, int] = {}
        self.labels: dict[int, Label] = {}

    def number(self, text: str, category: str, where: str) -> int:
        """The number of a name, which synonyms may follow."""
        first, *others = _joined(text).split(";")
        if not first or first == UNLABELLED:
            raise ValueError(f"expected a name of a concept, got {text!r} in {where}; write None for what is no concept.")
        for old in (_joined(text), first):
            if (category, old) in self._rename:
                first, others = self._rename[category, old].strip(), [first, *others]
                break
        if first not in self._numbers:
            if len(self._numbers) == 2**16 - 1:
                raise ValueError(f"expected at most 65535 names, got one more, {first!r}; a label map has 16 bits a pixel.")
            self._numbers[first] = len(self._numbers) + 1
        number = self._numbers[first]
        known = self.labels.get(number, Label(first)).synonyms.split(";")
        synonyms = dict.fromkeys(word for word in [*known, *others] if word and word != first)
        self.labels[number] = Label(first, ";".join(synonyms))
        return number

    def apply(
        self, labels: Integer[np.ndarray, "h w"], names: Mapping[int, str | None], category: str, where: str
    ) -> Integer[np.ndarray, "h w"]:
        """A layer of label numbers, 0 = none, from a layer of any numbers and their names."""
        values, places = np.unique(labels, return_inverse=True)
        numbers = np.zeros(len(values), np.int64)
        for place, value in enumerate(values.tolist()):
            if value not in names:
                raise ValueError(
                    f"expected a name for every label, got number {value} without one in {where}; name or ignore it."
                )
            if (name := names[value]) is not None:
                numbers[place] = self.number(name, category, where)
        return numbers[places].reshape(labels.shape)

    def found(self, layers: Iterable[np.ndarray]) -> set[str]:
        """The names that some layers hold."""
        return {self.labels[number].name for layer in layers for number in np.unique(layer).tolist() if number}


def _joined(text: str) -> str:
    return ";".join(part.strip() for part in text.split(";"))


def broden_plus_names(path: str | os.PathLike[str], *, dataset: str = "ade20k") -> dict[str, dict[str, str]]:
    """The names that Broden+ gives to the labels of the data sets it joins, to be the `rename` of `build_broden`.

    Args:
        path: `label_assignment.csv` of Broden+, with columns dataset, category, raw_name, broden_label, broden_name.
        dataset: whose names: "ade20k", "os" (OpenSurfaces) or "pascal".

    Returns:
        For each category, the name with its synonyms as the data set has it -> the name of Broden+. Names that Broden+ leaves
        out are not in it, so they stay what they are. Scenes keep their "-s".

    Raises:
        ValueError: a missing or broken file, a data set that it does not have.

    References:
        Tete Xiao, Yingcheng Liu, Bolei Zhou, Yuning Jiang, Jian Sun, "Unified Perceptual Parsing for Scene Understanding",
        2018, section 2.1 (Broden+).
    """
    columns = ("dataset", "category", "raw_name", "broden_label", "broden_name")
    found = list(read_csv(pathlib.Path(path), columns))
    if dataset not in (known := sorted({row["dataset"] for row in found})):
        raise ValueError(f"expected one of the data sets of {os.fspath(path)}, {', '.join(known)}, got {dataset!r}.")
    renamed: dict[str, dict[str, str]] = {}
    for row in found:
        if row["dataset"] != dataset or not row["raw_name"] or row["broden_name"] == UNLABELLED:
            continue
        suffix = "-s" if row["category"] == "scene" else ""
        renamed.setdefault(row["category"], {})[row["raw_name"]] = row["broden_name"] + suffix
    return renamed
