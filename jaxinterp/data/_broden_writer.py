"""Writes a source with concepts as a folder in the on-disk format of Broden."""

import os
import pathlib

import numpy as np
from jaxtyping import Int32

from jaxinterp.data._broden_files import COLUMNS, BrodenFiles, Label
from jaxinterp.data._source import Example, Source


def write_broden(source: Source, path: str | os.PathLike[str], *, split: str = "train", label_stride: int = 1) -> pathlib.Path:
    """Writes a source with concepts as a folder in Broden's format, which `broden` and Network Dissection read.

    Images and label maps are PNG files, so nothing is lost; a layer that labels the whole image is written as a bare
    number, as Broden does for scenes. The number of a label is the number of its concept. `index.csv` is written last: a
    folder that has it is whole.

    Args:
        source: the examples; every one has concepts.
        path: the folder, which must be empty or not exist.
        split: what the column `split` of `index.csv` says.
        label_stride: image pixels per label along each side; 2 gives labels of half the resolution, as Broden's 224-pixel
            set has them.

    Returns:
        The folder.

    Raises:
        ValueError: a source without concepts, a folder that is not empty, a stride that does not divide the image size.
    """
    concepts = source.concepts
    if concepts is None:
        raise ValueError("expected a source with concepts, got one without; Broden's format has no place for classes.")
    if len(concepts.names) > 2**16:
        raise ValueError(f"expected at most 65535 concepts, got {len(concepts.names) - 1}; a label map has 16 bits a pixel.")
    if label_stride < 1 or source.image_size % label_stride:
        raise ValueError(f"expected a label_stride that divides {source.image_size}, got {label_stride}; write 1 or 2.")
    categories = [name for name in COLUMNS if name in concepts.categories]
    of_category = {name: np.array([category == name for category in concepts.categories]) for name in categories}
    with BrodenFiles(pathlib.Path(path)) as files:
        for index in range(len(source)):
            example = source[index]
            labels = _labels(example, label_stride)
            layers = {name: list(np.moveaxis(np.where(mask[labels], labels, 0), -1, 0)) for name, mask in of_category.items()}
            files.add(f"{index:06d}", example.image, layers, split=split)
        names = {number: Label(name) for number, name in enumerate(concepts.names) if number}
        return files.finish(names, {category: concepts.numbers(category) for category in categories})


def _labels(example: Example, stride: int) -> Int32[np.ndarray, "h w l"]:
    if example.concepts is None:
        raise ValueError(f"expected concepts with every example, got none with example {example.id}.")
    return example.concepts[stride // 2 :: stride, stride // 2 :: stride]
