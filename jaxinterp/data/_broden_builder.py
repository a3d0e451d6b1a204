"""Builds a concept set in Broden's format from images with named labels, whatever data sets they come from."""

import hashlib
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
from jaxtyping import Integer, UInt8

from jaxinterp.data._annotated import AnnotatedImage, NamedLabels
from jaxinterp.data._broden_files import COLUMNS, BrodenFiles
from jaxinterp.data._broden_summary import BrodenSummary
from jaxinterp.data._colors import color_table, name_colors
from jaxinterp.data._concept_names import ConceptNames
from jaxinterp.data._concepts import CATEGORIES
from jaxinterp.data._images import read_rgb


def build_broden(
    path: str | os.PathLike[str],
    sets: Iterable[AnnotatedImage | Iterable[AnnotatedImage]],
    *,
    image_size: int = 224,
    label_stride: int = 2,
    crop: bool = False,
    colors: str | os.PathLike[str] | UInt8[np.ndarray, "32 32 32"] | None = None,
    rename: Mapping[str, str | Mapping[str, str]] | None = None,
    min_images: int = 1,
    splits: Mapping[str, float] | None = None,
) -> BrodenSummary:
    """Builds a data set in Broden's format, which `broden` and Network Dissection read.

    Concepts of one category and one name are one concept, whatever set they come from; a name in two categories is one label
    number and a concept of each. Numbers are given in the order in which names are met. Images and label maps are PNG files; a
    layer that labels the whole image is written as a bare number. Images are read one at a time, and nothing grows with their
    number. The same sets give the same bytes. `index.csv` is written last: a folder that has it is whole; a build that fails
    takes its files away, and where one was killed the next begins anew and ends with the same bytes.

    Args:
        path: the folder, which must be empty, not exist, or be what a killed build left.
        sets: annotated images, or iterables of them such as `from_coco` gives.
        image_size: side of the written images in pixels.
        label_stride: image pixels per label along each side; labels are taken at the nearest point.
        crop: cut the centre square of images that are not square; by default they are squeezed into the square, so that no
            label is lost, as Broden's own images are.
        colors: the published table of colour names `[32 32 32]`, or its file `w2color.npy`: every pixel of every image that
            has no color concepts of its own is labelled with one of 11 colours.
        rename: other names for concepts: old name -> new name in every category, or category -> old name -> new name. An old
            name with its synonyms, "bag;purse", goes before one without. The old name becomes a synonym.
        min_images: concepts of fewer images are left out, and reported; 10 in Broden.
        splits: the share of each split, by default 0.7 "train" and 0.3 "val" as in Broden. An image's split depends on its name
            alone.

    Returns:
        What was built: images and concepts of every set, and what was left out.

    Raises:
        ValueError: a folder that is not empty, or in which another process builds, an image that cannot be read, labels of
            another size than their image, a number without a name, an unknown or empty category, two images of one name, a
            knob out of range.

    References:
        David Bau, Bolei Zhou, Aditya Khosla, Aude Oliva, Antonio Torralba, "Network Dissection: Quantifying
        Interpretability of Deep Visual Representations", 2017, section 2.1 (Broden). Unlike the paper, labels are merged by
        equal first names alone, synonyms only where `rename` says so, and rare concepts are found by images, not coverage.
    """
    shares = {"train": 0.7, "val": 0.3} if splits is None else splits
    _check_knobs(image_size, label_stride, min_images, shares)
    table = None if colors is None else color_table(colors)
    names = ConceptNames(rename or {})
    summary = BrodenSummary(pathlib.Path(path))
    with BrodenFiles(summary.path, min_images=min_images) as files:
        for place, record in enumerate(_records(sets)):
            name = _name_of(record, place)
            image = _open(record, name)
            layers = {}
            box = _box(image, crop)
            points = [_points(box[axis], box[axis + 2], image_size, label_stride) for axis in (1, 0)]
            for category, several in _concepts_of(record, name):
                layers[category] = [_numbers(one, category, name, image, points, names) for one in several]
            square = np.array(image.resize((image_size, image_size), PIL.Image.Resampling.BILINEAR, box=box))
            if table is not None and "color" not in layers:
                seen = name_colors(square[label_stride // 2 :: label_stride, label_stride // 2 :: label_stride], table)
                layers["color"] = [names.apply(seen.labels, seen.names, "color", f"the colours of {name}")]
            files.add(name, square, layers, split=record.split or _split(name, shares))
            summary.add(name, {category: names.found(several) for category, several in layers.items()})
        if not files.num_rows:
            raise ValueError("expected annotated images, got none; give at least one set that has some.")
        if not files.images:
            raise ValueError(f"expected labels, got {files.num_rows} images without any; give their concepts.")
        rare = {key for key, count in files.images.items() if count < min_images}
        if len(rare) == len(files.images):
            raise ValueError(f"expected a concept of at least {min_images} images, got none; lower min_images.")
        kept = sorted(set(files.images) - rare, key=lambda key: (-files.images[key], -files.coverage[key], key[1]))
        numbers = {category: [n for kind, n in kept if kind == category] for category in COLUMNS}
        files.finish(names.labels, {category: several for category, several in numbers.items() if several}, dropped=rare)
    return summary.without([(category, names.labels[number].name) for category, number in sorted(rare)])


def _records(sets: Iterable[AnnotatedImage | Iterable[AnnotatedImage]]) -> Iterator[AnnotatedImage]:
    for one in sets:
        for record in [one] if isinstance(one, AnnotatedImage) else one:
            if not isinstance(record, AnnotatedImage):
                raise ValueError(f"expected AnnotatedImage records or sets of them, got {type(record).__name__}; write one.")
            yield record


def _name_of(record: AnnotatedImage, place: int) -> str:
    name = f"own/{place:06d}" if record.name is None else record.name
    if not name or any(part in ("", ".", "..") for part in name.split("/")) or "\\" in name or ";" in name:
        raise ValueError(f'expected a name such as "street/0001", got {name!r}; leave out "..", "\\" and ";".')
    return name


def _open(record: AnnotatedImage, name: str) -> PIL.Image.Image:
    image = record.image
    if not isinstance(image, np.ndarray):
        if not pathlib.Path(image).is_file():
            raise ValueError(f"expected an image file, found none at {os.fspath(image)} for {name}; check the path.")
        return read_rgb(pathlib.Path(image))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected an image [h w 3] of uint8, got {image.dtype} {image.shape} for {name}; convert it.")
    return PIL.Image.fromarray(image)


def _concepts_of(record: AnnotatedImage, name: str) -> Iterator[tuple[str, Sequence[str | NamedLabels]]]:
    """The categories of a record in the order of the format, each with its layers."""
    for category, given in record.concepts.items():
        if category not in CATEGORIES:
            raise ValueError(f"expected a category of {', '.join(CATEGORIES)}, got {category!r} for {name}; write one of them.")
        if not isinstance(given, str | NamedLabels) and not given:
            raise ValueError(f"expected labels in category {category} of {name}, got none; leave the category out.")
    for category in COLUMNS:
        if category in record.concepts:
            given = record.concepts[category]
            yield category, [given] if isinstance(given, str | NamedLabels) else given


def _box(image: PIL.Image.Image, crop: bool) -> tuple[float, float, float, float]:
    """The part of an image that becomes the square: left, top, right, bottom."""
    if not crop:
        return (0.0, 0.0, float(image.width), float(image.height))
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return (left, top, left + side, top + side)


def _points(start: float, stop: float, image_size: int, stride: int) -> Integer[np.ndarray, " s"]:
    """The pixels of the original image, along one axis, that lie under the centres of the labels."""
    centres = (np.arange(image_size // stride) + 0.5) * stride / image_size
    return (start + centres * (stop - start)).astype(np.int64)


def _numbers(
    given: Any,
    category: str,
    name: str,
    image: PIL.Image.Image,
    points: Sequence[np.ndarray],
    names: ConceptNames,
) -> np.ndarray:
    """One layer as label numbers at the points of the labels."""
    where = f"category {category} of {name}"
    rows, columns = points
    if isinstance(given, str):
        return np.full((len(rows), len(columns)), names.number(given, category, where))
    if not isinstance(given, NamedLabels):
        raise ValueError(f"expected a name or NamedLabels in {where}, got {type(given).__name__}; write one of them.")
    labels = np.asarray(given.labels)
    if labels.shape != (image.height, image.width) or labels.dtype.kind not in "biu":
        raise ValueError(
            f"expected whole-numbered labels of {image.height} x {image.width}, the size of the image, in {where}, got "
            f"{labels.dtype} {' x '.join(map(str, labels.shape))}; give each image its own labels."
        )
    return names.apply(labels[rows[:, None], columns[None, :]].astype(np.int64), given.names, category, where)


def _split(name: str, shares: Mapping[str, float]) -> str:
    """The split of an image: where the digest of its name, as a number in [0, 1), falls among the shares."""
    draw = int.from_bytes(hashlib.sha256(name.encode()).digest()[:6]) / 2**48
    total = 0.0
    for split, share in shares.items():
        total += share
        if draw < total:
            return split
    return list(shares)[-1]


def _check_knobs(image_size: int, label_stride: int, min_images: int, shares: Mapping[str, float]) -> None:
    if image_size < 1 or label_stride < 1 or image_size % label_stride:
        raise ValueError(f"expected a label_stride that divides {image_size}, got {label_stride}; write 1 or 2.")
    if min_images < 1:
        raise ValueError(f"expected min_images of at least 1, got {min_images}; write 1 to keep every concept.")
    if not shares or min(shares.values()) < 0 or abs(sum(shares.values()) - 1) > 1e-9:
        raise ValueError(f'expected shares that sum to 1, got {dict(shares)}; write splits={{"train": 0.7, "val": 0.3}}.')
