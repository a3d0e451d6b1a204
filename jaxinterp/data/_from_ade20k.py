"""Annotated images from the full format of ADE20K: objects, parts of several levels, scenes."""

import os
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Int32

from jaxinterp.data._annotated import AnnotatedImage, AnnotatedImages, NamedLabels, there
from jaxinterp.data._from_coco import read_json
from jaxinterp.data._from_label_pngs import read_png

_NO_SCENE = ("misc", "outliers", "")


def from_ade20k(folder: str | os.PathLike[str], *, prefix: str = "ade20k") -> AnnotatedImages:
    """Images of ADE20K with their objects, parts and scene.

    Beside an image `NAME.jpg` lie `NAME_seg.png` with the objects, `NAME_parts_1.png` and so on with the parts of the
    objects, of those parts and so on, and `NAME.json` with what they are called. The class of a pixel is 256 (red // 10) +
    green. Every level of parts is a layer. Of the names "car, auto, automobile" the first is the concept and the others are
    synonyms; the scene is the last folder of the image, with "-s" as in Broden, "street-s".

    Args:
        folder: the data set, in any sub-folders; the format of 2021, with a JSON file for each image.
        prefix: the set's name, with which the names of its images begin.

    Returns:
        The set, in the order of the paths.

    Raises:
        ValueError: a missing folder, or one without `*_seg.png`; when an image is read, a file of it that is missing or broken.

    References:
        Bolei Zhou, Hang Zhao, Xavier Puig, Sanja Fidler, Adela Barriuso, Antonio Torralba, "Scene Parsing through ADE20K
        Dataset", 2017.
    """
    files = sorted(there(folder).rglob("*_seg.png"))
    if not files:
        raise ValueError(f"expected files *_seg.png of ADE20K's full format below {folder}, found none; check the path.")

    def read(file: pathlib.Path) -> AnnotatedImage:
        stem = file.name.removesuffix("_seg.png")
        path = file.with_name(f"{stem}.json")
        annotation = read_json(path)
        names, scene = _names(annotation, path), _scene(annotation)
        concepts: dict[str, Any] = {"object": NamedLabels(_classes(file), names)}
        levels = sorted(file.parent.glob(f"{stem}_parts_*.png"), key=lambda part: int(part.stem.rpartition("_")[2]))
        if levels:
            concepts["part"] = [NamedLabels(_classes(part), names) for part in levels]
        if scene:
            concepts["scene"] = scene
        return AnnotatedImage(file.with_name(f"{stem}.jpg"), concepts, f"{prefix}/{stem}")

    return AnnotatedImages(files, read)


def _classes(path: pathlib.Path) -> Int32[np.ndarray, "h w"]:
    pixels = read_png(path)
    if pixels.ndim != 3 or pixels.shape[2] < 3:
        raise ValueError(f"expected classes in red and green, got shape {pixels.shape}: {path}; fetch it again.")
    return pixels[..., 0].astype(np.int32) // 10 * 256 + pixels[..., 1]


def _names(found: Any, path: pathlib.Path) -> dict[int, str | None]:
    """Class number -> name, of the classes of one image."""
    try:
        objects = found["annotation"]["object"]
        pairs = [(int(entry["name_ndx"]), entry["name"]) for entry in objects]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"expected objects with name and name_ndx in {path}, got none ({error!r}); fetch it again.") from error
    return {0: None, **{number: name.replace(",", ";") for number, name in pairs}}


def _scene(found: Any) -> str | None:
    folder = found["annotation"].get("folder")
    name = str(folder or "").rstrip("/").rpartition("/")[2]
    return None if name in _NO_SCENE else f"{name}-s"
