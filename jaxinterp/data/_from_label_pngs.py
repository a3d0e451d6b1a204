"""Annotated images from a folder of images and a folder of label maps."""

import os
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np
import PIL.Image
from jaxtyping import Integer

from jaxinterp.data._annotated import AnnotatedImage, AnnotatedImages, check_names, images_in, name_labels, there

RGB = tuple[int, int, int]
"""Red, green and blue, from 0 to 255."""


def from_label_pngs(
    images: str | os.PathLike[str],
    labels: str | os.PathLike[str],
    names: Mapping[str, Mapping[int, str]] | Mapping[str, Mapping[RGB, str]],
    *,
    ignore: Iterable[int | RGB] = (),
    suffix: str = ".png",
    prefix: str | None = None,
) -> AnnotatedImages:
    """Images with label maps beside them: grey or palette PNG files of numbers, or PNG files of colours.

    Args:
        images: the folder of the images, which may have sub-folders.
        labels: the folder of the maps, with the same sub-folders; it may be the same folder.
        names: for each category, code -> name. Codes are whole numbers or triples (red, green, blue); one code may have a
            name in several categories, see `name_labels`.
        ignore: codes that carry no label. A code in neither is an error when the map is read.
        suffix: what the name of a map has in place of the image's ".jpg": "_L.png", "_labelIds.png".
        prefix: the set's name, with which the names of its images begin; by default that of the folder that holds the images.

    Returns:
        The set, in the order of the file names.

    Raises:
        ValueError: a missing folder or map, no names, names that are not given by category, codes of both kinds; when an
            image is read, a map that cannot be read or has other channels than the codes.

    Example:
        >>> names = {"object": {(128, 0, 0): "building", (128, 128, 0): "building"}, "part": {(128, 128, 0): "door"}}
        >>> street = from_label_pngs("street/images", "street/labels", names, ignore=[(0, 0, 0)])  # doctest: +SKIP
    """
    check_names(names)
    folder, above = there(labels), pathlib.Path(images)
    same = folder.resolve() == above.resolve()
    files = [file for file in images_in(images, below=True) if not (same and file.name.endswith(suffix))]
    skipped = list(ignore)
    codes = [code for known in names.values() for code in known] + skipped
    in_color = {isinstance(code, tuple) for code in codes}
    if len(in_color) != 1 or not any(names.values()):
        raise ValueError(f"expected names of numbers or of (red, green, blue), got {str(dict(names))[:60]}; write one kind.")

    def name_of(file: pathlib.Path) -> str:
        return file.relative_to(above).with_suffix("").as_posix()

    for file in files:
        if not (path := folder / f"{name_of(file)}{suffix}").is_file():
            raise ValueError(f"expected labels {path} of {file}, found none; write suffix=, add it or leave the image out.")
    numbers = {category: {_number(code): name for code, name in known.items()} for category, known in names.items()}
    silent = [_number(code) for code in skipped]
    owner = (pathlib.Path(images).resolve().parent.name or "own") if prefix is None else prefix

    def read(file: pathlib.Path) -> AnnotatedImage:
        codes = _read_codes(folder / f"{name_of(file)}{suffix}", in_color=in_color == {True})
        return AnnotatedImage(file, name_labels(codes, numbers, ignore=silent), f"{owner}/{name_of(file)}")

    return AnnotatedImages(files, read)


def _number(code: int | RGB) -> int:
    if not isinstance(code, tuple):
        return code
    if len(code) != 3 or min(code) < 0 or max(code) > 255:
        raise ValueError(f"expected (red, green, blue) from 0 to 255, got {code}; correct the code.")
    return 65536 * code[0] + 256 * code[1] + code[2]


def _read_codes(path: pathlib.Path, *, in_color: bool) -> Integer[np.ndarray, "h w"]:
    pixels = read_png(path, in_color=in_color)
    if not in_color:
        if pixels.ndim != 2:
            raise ValueError(f"expected one number a pixel, got {pixels.shape[2]} channels: {path}; name (red, green, blue).")
        return pixels
    if pixels.ndim != 3 or pixels.shape[2] < 3:
        raise ValueError(f"expected labels in colours, got one channel: {path}; name whole numbers.")
    red, green, blue = np.moveaxis(pixels[..., :3].astype(np.int32), -1, 0)
    return 65536 * red + 256 * green + blue


def read_png(path: pathlib.Path, *, in_color: bool = False) -> Integer[np.ndarray, "..."]:
    """The numbers of a PNG file: channels, grey values, or palette indices, `in_color` the colours of the palette."""
    try:
        with PIL.Image.open(path) as file:
            pixels = np.asarray(file.convert("RGB") if in_color and file.mode == "P" else file)
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ValueError(f"expected a PNG of labels, could not read {path} ({error}); fetch it again.") from error
    return pixels.astype(np.uint8) if pixels.dtype == bool else pixels
