"""Annotated images from instance masks in the format of COCO."""

import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int32

from jaxinterp.data._annotated import AnnotatedImage, AnnotatedImages, NamedLabels, there


def from_coco(
    annotations: str | os.PathLike[str],
    images: str | os.PathLike[str],
    *,
    category: str = "object",
    prefix: str = "coco",
) -> AnnotatedImages:
    """Images with instance masks as COCO's `instances_*.json` gives them.

    Instances of one class are one concept; where instances of different classes overlap, a pixel has a label in several
    layers, no more of them than the image needs. Polygons, run lengths and compressed run lengths are read, crowds too. An
    image without instances is an image without labels.

    Args:
        annotations: the JSON file, read whole.
        images: the folder of its images.
        category: the category of the concepts.
        prefix: the set's name, with which the names of its images begin.

    Returns:
        The set, in the order of the file names.

    Raises:
        ValueError: a missing folder or file, a JSON that is broken or lacks a key, an annotation of an unknown image or
            class; when an image is read, a mask that is none.

    References:
        Tsung-Yi Lin et al., "Microsoft COCO: Common Objects in Context", 2014.
    """
    folder, path = there(images), pathlib.Path(annotations)
    found = read_json(path)
    names = {entry["id"]: entry["name"] for entry in _entries(found, "categories", ("id", "name"), path)}
    rows = {entry["id"]: entry for entry in _entries(found, "images", ("id", "file_name", "height", "width"), path)}
    instances: dict[Any, list[Mapping[str, Any]]] = {number: [] for number in rows}
    for entry in _entries(found, "annotations", ("image_id", "category_id", "segmentation"), path):
        if entry["image_id"] not in rows or entry["category_id"] not in names:
            raise ValueError(
                f"expected annotations of listed images and categories, got image {entry['image_id']} and category "
                f"{entry['category_id']} in {path}; add them to the file."
            )
        instances[entry["image_id"]].append(entry)

    def read(number: Any) -> AnnotatedImage:
        row, where = rows[number], f"{rows[number]['file_name']} of {path}"
        masks: dict[int, np.ndarray] = {}
        for entry in instances[number]:
            mask = _mask(entry["segmentation"], row["height"], row["width"], where)
            label = entry["category_id"]
            masks[label] = masks[label] | mask if label in masks else mask
        known = {0: None, **names} if 0 not in names else {-1: None, **names}
        layers = [NamedLabels(layer, known) for layer in stack_masks(masks, empty=next(iter(known)))]
        name = f"{prefix}/{pathlib.PurePosixPath(row['file_name']).with_suffix('')}"
        return AnnotatedImage(folder / row["file_name"], {category: layers} if layers else {}, name)

    return AnnotatedImages(sorted(rows, key=lambda number: rows[number]["file_name"]), read)


def read_json(path: pathlib.Path) -> Any:
    """A JSON file; bytes that are no UTF-8 are read as Latin-1, as some published files need."""
    if not path.is_file():
        raise ValueError(f"expected a JSON file, found none at {path}; check the path.")
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"expected JSON, could not read {path} ({error}); fetch it again.") from error


def stack_masks(masks: Mapping[int, Bool[np.ndarray, "h w"]], *, empty: int = 0) -> list[Int32[np.ndarray, "h w"]]:
    """Masks that may overlap as layers of labels, as few as the most masks on one pixel.

    Args:
        masks: label number -> where it is; earlier masks are in earlier layers.
        empty: the number of pixels without a label.
    """
    layers: list[np.ndarray] = []
    for number, mask in masks.items():
        left = mask
        for layer in layers:
            free = left & (layer == empty)
            layer[free] = number
            left = left & ~free
        if left.any():
            layers.append(np.where(left, number, empty).astype(np.int32))
    return layers


def _entries(found: Any, key: str, columns: Sequence[str], path: pathlib.Path) -> Iterable[Mapping[str, Any]]:
    entries = found.get(key) if isinstance(found, dict) else None
    if not isinstance(entries, list):
        raise ValueError(f"expected a list {key!r} in {path}, got none; give COCO's instances_*.json.")
    for place, entry in enumerate(entries):
        if missing := [column for column in columns if not isinstance(entry, dict) or column not in entry]:
            raise ValueError(f"expected {missing[0]!r} in entry {place} of {key!r} in {path}, got none; fetch the file again.")
    return entries


def _mask(segmentation: Any, height: int, width: int, where: str) -> Bool[np.ndarray, "h w"]:
    """Where one instance is."""
    if isinstance(segmentation, dict) and {"counts", "size"} <= set(segmentation):
        counts = segmentation["counts"]
        runs = np.asarray(_runs(counts) if isinstance(counts, str) else counts, np.int64)
        if list(segmentation["size"]) != [height, width] or runs.sum() != height * width or (runs < 0).any():
            raise ValueError(f"expected run lengths for {height} x {width} pixels, got {runs.sum()} pixels for {where}.")
        inside = np.arange(len(runs)) % 2 == 1
        return np.repeat(inside, runs).reshape(width, height).T
    if isinstance(segmentation, list) and segmentation and all(len(p) >= 6 and len(p) % 2 == 0 for p in segmentation):
        corners = [np.asarray(polygon, np.float64).reshape(-1, 2) for polygon in segmentation]
        return np.logical_or.reduce([fill_polygon(polygon, height, width) for polygon in corners])
    raise ValueError(f"expected polygons of at least 3 points or run lengths, got {str(segmentation)[:40]!r} for {where}.")


def fill_polygon(corners: Float[np.ndarray, "p 2"], height: int, width: int) -> Bool[np.ndarray, "{height} {width}"]:
    """The pixels whose centres lie inside a polygon, by the even-odd rule.

    Along each row of centres the polygon's edges are crossed at some places; a centre is inside when an odd number of them
    lies to its left.

    Args:
        corners: (x, y) of each corner; the pixel of column i and row j covers [i, i + 1] x [j, j + 1].
        height: rows of the image.
        width: columns of the image.
    """
    (x0, y0), (x1, y1) = corners.T, np.roll(corners, -1, axis=0).T
    centres = np.arange(height)[:, None] + 0.5
    rows, edges = np.nonzero((y0 <= centres) != (y1 <= centres))
    share = (rows + 0.5 - y0[edges]) / (y1 - y0)[edges]
    crossings = x0[edges] + share * (x1 - x0)[edges]
    columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.int64)
    crossed = np.zeros((height, width + 1), np.int32)
    np.add.at(crossed, (rows, columns), 1)
    return np.cumsum(crossed, axis=1)[:, :width] % 2 == 1


def _runs(text: str) -> list[int]:
    """Run lengths from COCO's compressed form.

    A number is written in groups of five bits, low ones first, each a character from code 48 on whose sixth bit says that
    more follow; the last group's fifth bit is the sign. From the fourth number on, what is written is the difference to the
    number two places before.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs
