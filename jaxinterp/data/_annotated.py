"""Images with named labels, from which concept sets are built: one record, and one way to name the numbers of a map."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Integer, UInt8

from jaxinterp.data._concepts import CATEGORIES


class NamedLabels(NamedTuple):
    """One layer of labels of an image.

    Attributes:
        labels: a number for every pixel of the image; `[h w]`, any integer type.
        names: what the numbers mean. A name may be followed by synonyms, "car;automobile". None, for a number that is no label
            of this layer; a number that is missing here is an error.
    """

    labels: Integer[np.ndarray, "h w"]
    names: Mapping[int, str | None]


class AnnotatedImage(NamedTuple):
    """One image and its concepts; any iterable of these is a set that `build_broden` takes.

    Attributes:
        image: a JPEG or PNG file, or `[h w 3]` uint8.
        concepts: for each category what the image carries: a name that labels the whole image ("street-s"), or a layer of
            labels, or a sequence of those; with several layers a pixel has several labels.
        name: the image's path under `images/`, without suffix, "street/0001"; what stands before the first "/" names the set.
            By default "own/" and its place.
        split: "train", "val" ...; by default `build_broden` decides.

    Example:
        >>> mask = np.array([[0, 1], [1, 2]], np.uint8)
        >>> photo = np.zeros((2, 2, 3), np.uint8)
        >>> parts = NamedLabels(mask, {0: None, 1: "hair", 2: "skin"})
        >>> AnnotatedImage(photo, {"part": parts, "scene": "street-s"}).concepts["scene"]
        'street-s'
    """

    image: str | os.PathLike[str] | UInt8[np.ndarray, "h w 3"]
    concepts: Mapping[str, str | NamedLabels | Sequence[str | NamedLabels]]
    name: str | None = None
    split: str | None = None


@dataclasses.dataclass(frozen=True)
class AnnotatedImages:
    """A set of annotated images that are read when they are asked for; a slice is such a set too.

    Attributes:
        items: what names each image, for example its file.
        read: makes the record of one item.
    """

    items: Sequence = dataclasses.field(repr=False)
    read: Callable[..., AnnotatedImage] = dataclasses.field(repr=False)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int | slice, /) -> "AnnotatedImage | AnnotatedImages":
        """The record at an index, or the set of a slice."""
        if isinstance(index, slice):
            return AnnotatedImages(self.items[index], self.read)
        return self.read(self.items[index])

    def __iter__(self) -> Iterator[AnnotatedImage]:
        return map(self.read, self.items)


def name_labels(
    labels: Integer[np.ndarray, "h w"],
    names: Mapping[str, Mapping[int, str]],
    *,
    ignore: Iterable[int] = (),
) -> dict[str, NamedLabels]:
    """Names the numbers of one label map, in one category or in several at once.

    A number may mean something in more than one category: what is a door among parts is a piece of building among objects.

    Args:
        labels: a number for every pixel.
        names: for each category, number -> name; a number that only another category names is no label of this one.
        ignore: numbers that carry no label. A number in neither is an error when the set is built.

    Returns:
        A layer for each category, to be the `concepts` of an `AnnotatedImage`.

    Raises:
        ValueError: names that are not given by category, or an unknown category.

    Example:
        >>> mask = np.array([[0, 1], [1, 2]], np.uint8)
        >>> layers = name_labels(mask, {"object": {1: "building", 2: "building"}, "part": {2: "door"}}, ignore=[0])
        >>> layers["part"].names[1], layers["part"].names[2]
        (None, 'door')
    """
    check_names(names)
    silent: dict[int, str | None] = dict.fromkeys([*ignore, *(number for known in names.values() for number in known)])
    return {category: NamedLabels(labels, {**silent, **known}) for category, known in names.items()}


def check_names(names: Any) -> None:
    """Raises `ValueError` unless names are given for each category: `{"object": {1: "car"}}`."""
    if not isinstance(names, Mapping) or not all(isinstance(known, Mapping) for known in names.values()):
        raise ValueError(f'expected names by category, {{"object": {{1: "car"}}}}, got {str(names)[:60]}; add the category.')
    if unknown := [category for category in names if category not in CATEGORIES]:
        raise ValueError(f"expected a category of {', '.join(CATEGORIES)}, got {unknown[0]!r}; write one of them.")


def images_in(folder: str | os.PathLike[str], *, below: bool = False) -> list[pathlib.Path]:
    """The JPEG and PNG files of a folder, with `below` of its sub-folders too, in the order of their names."""
    found = there(folder).rglob("*") if below else there(folder).iterdir()
    files = sorted(file for file in found if file.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not files:
        raise ValueError(f"expected a folder of JPEG or PNG images, got none in {folder}; check the path.")
    return files


def there(folder: str | os.PathLike[str]) -> pathlib.Path:
    """The folder, which must exist."""
    if not pathlib.Path(folder).is_dir():
        raise ValueError(f"expected a folder, found none at {os.fspath(folder)}; check the path.")
    return pathlib.Path(folder)
