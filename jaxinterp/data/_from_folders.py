"""Annotated images from folders that are named after what they show."""

import os
import pathlib

from jaxinterp.data._annotated import AnnotatedImage, AnnotatedImages, images_in, there


def from_texture_folders(
    folder: str | os.PathLike[str],
    *,
    category: str = "texture",
    prefix: str = "dtd",
) -> AnnotatedImages:
    """Images in folders named after their texture, as the Describable Textures Dataset has them; each name labels whole images.

    Args:
        folder: the folder of the folders.
        category: the category of the concepts; "scene" or "material" will do as well.
        prefix: the set's name, with which the names of its images begin.

    Returns:
        The set, in the order of folders and files.

    Raises:
        ValueError: a missing folder, no folders in it, a folder without images.

    References:
        Mircea Cimpoi, Subhransu Maji, Iasonas Kokkinos, Sammy Mohamed, Andrea Vedaldi, "Describing Textures in the Wild", 2014.
    """
    folders = sorted(entry for entry in there(folder).iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not folders:
        raise ValueError(f"expected folders named after a {category}, got none in {os.fspath(folder)}; check the path.")

    def read(file: pathlib.Path) -> AnnotatedImage:
        return AnnotatedImage(file, {category: file.parent.name}, f"{prefix}/{file.parent.name}/{file.stem}")

    return AnnotatedImages([file for entry in folders for file in images_in(entry)], read)
