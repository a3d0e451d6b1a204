"""Folders of images on disk as a source."""

import concurrent.futures
import dataclasses
import functools
import os
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from jaxinterp.data._fingerprint import digest, files_digest
from jaxinterp.data._images import check_header, read_image, read_rgb
from jaxinterp.data._labels import Labels, Row, name_classes, read_labels
from jaxinterp.data._source import NO_IMAGE, Example

_SUFFIXES = (".png", ".jpg", ".jpeg", ".JPEG", ".JPG", ".PNG")


@dataclasses.dataclass(frozen=True)
class ImageFolder:
    """A folder of JPEG and PNG images, as `image_folder` opens it; images are decoded when they are asked for.

    Attributes:
        files: the images.
        labels: the class of each.
        targets: the class an attack aims at, -1 where the labels file names none.
        ids: the place of each in the labels file.
        classes: WordNet ids; a label is an index into this.
        class_names: what people call them.
        image_size: side of the images in pixels.
        crop: side of the centre square as a fraction of the resized short side; None for whole images at their own size.
    """

    files: tuple[pathlib.Path, ...]
    labels: tuple[int, ...]
    targets: tuple[int, ...]
    ids: tuple[int, ...]
    classes: tuple[str, ...]
    class_names: tuple[str, ...]
    image_size: int
    crop: float | None
    concepts: None = None

    @property
    def fingerprint(self) -> str:
        """Digest of the files, their labels and the preprocessing."""
        return self._fingerprint

    @functools.cached_property
    def _fingerprint(self) -> str:
        rows = (self.labels, self.targets, self.ids)
        return digest("folder", files_digest(self.files), rows, self.classes, self.class_names, self.image_size, self.crop)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int, /) -> Example:
        return self.read(index, image=True, concepts=False)

    def read(self, index: int, *, image: bool, concepts: bool) -> Example:
        """The example as far as it is needed, see `data.read`; it has no concept maps."""
        picture = _read(self.files[index], image_size=self.image_size, crop=self.crop) if image else NO_IMAGE
        name = self.ids[index]
        return Example(picture, self.labels[index], self.targets[index], name, name, None)

    def check(self, *, num_threads: int = 4) -> None:
        """Decodes every image once.

        Args:
            num_threads: images decoded at the same time.

        Raises:
            ValueError: for the first image that cannot be read.
        """
        read = functools.partial(_read, image_size=self.image_size, crop=self.crop)
        with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
            waiting = [pool.submit(read, file) for file in self.files]
            try:
                for future in waiting:
                    future.result()
            finally:
                pool.shutdown(cancel_futures=True)


def image_folder(
    path: str | os.PathLike[str],
    *,
    image_size: int,
    labels: str | os.PathLike[str] | None = "labels.csv",
    classes: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    first_label: int = 0,
    num_images: int | None = None,
    crop: float | None = 224 / 256,
    convert: bool = False,
    smallest: int = 32,
) -> ImageFolder:
    """Labelled images in a folder, resized and cropped as ImageNet networks are evaluated.

    The header of every image is read here; `ImageFolder.check` decodes them all.

    Args:
        path: the folder.
        image_size: side of the images in pixels, as the networks take them.
        labels: a CSV with a header, looked for in the folder, beside it and where the name points. Its columns are found
            by name: `file`, then `index` (or `label`) and / or `wnid`, and if there are any `target` and `name`. An id
            without suffix will do for a file. None: every class is a sub-folder, named by its WordNet id.
        classes: WordNet ids, index = label; needed where the file does not name every class.
        class_names: what people call the classes; by default the column `name`, else the ids.
        first_label: the number of the first class in the file: 0, or 1 where labels and targets count from 1.
        num_images: how many to use, spread evenly over the file; by default all.
        crop: side of the centre square as a fraction of the resized short side (224 / 256: short side 256 for 224 pixels);
            1 keeps the whole short side. None gives whole images at their own size, for training with
            `augment=random_resized_crop(image_size=...)`; every other use wants images of one size.
        convert: accept grey, CMYK, palette and 16-bit images by converting them; otherwise they are an error.
        smallest: the least number of pixels of an image's short side.

    Returns:
        The source; the id of an image is its place in the labels file.

    Raises:
        ValueError: a missing or empty folder, a file that is missing or not an 8-bit RGB image, a label outside the
            class list, a knob out of range.

    Example:
        >>> source = image_folder("imagenet_sample/short256", image_size=224)  # doctest: +SKIP
        >>> source[3].image.shape  # doctest: +SKIP
        (224, 224, 3)
    """
    folder = pathlib.Path(path)
    _check_knobs(folder, image_size, first_label, crop, smallest)
    if labels is None:
        table = _labels_of_folders(folder, classes, class_names)
    else:
        table = read_labels(_find_labels(folder, labels), first_label=first_label, classes=classes, class_names=class_names)
    files = [_find_image(folder, row) for row in table.rows]
    if len(set(files)) != len(files):
        twice = next(file for file in files if files.count(file) > 1)
        raise ValueError(f"expected every image once, got {twice} twice in the labels; remove one of the lines.")
    chosen = _spread(len(files), num_images)
    for index in chosen:
        check_header(files[index], convert=convert, smallest=smallest)
    return ImageFolder(
        files=tuple(files[index] for index in chosen),
        labels=tuple(table.rows[index].label for index in chosen),
        targets=tuple(table.rows[index].target for index in chosen),
        ids=tuple(chosen),
        classes=table.classes,
        class_names=table.class_names,
        image_size=image_size,
        crop=crop,
    )


def _read(file: pathlib.Path, *, image_size: int, crop: float | None) -> np.ndarray:
    return np.array(read_rgb(file)) if crop is None else read_image(file, image_size=image_size, crop=crop)


def _check_knobs(folder: pathlib.Path, image_size: int, first_label: int, crop: float | None, smallest: int) -> None:
    if not folder.is_dir():
        raise ValueError(f"expected a folder of images, found none: {folder}; check the path.")
    if not any(folder.iterdir()):
        raise ValueError(f"expected a folder of images, got an empty folder: {folder}; put JPEG or PNG files there.")
    if image_size < 1 or smallest < 1:
        raise ValueError(
            f"expected sizes of at least 1 pixel, got image_size={image_size}, smallest={smallest}; write 224, 32."
        )
    if first_label not in (0, 1):
        raise ValueError(f"expected first_label 0 or 1, got {first_label}; it is the number of the first class.")
    if crop is not None and not 0 < crop <= 1:
        raise ValueError(f"expected crop above 0 and at most 1, got {crop}; write crop=224 / 256.")


def _find_labels(folder: pathlib.Path, labels: str | os.PathLike[str]) -> pathlib.Path:
    for file in (folder / labels, folder.resolve().parent / labels, pathlib.Path(labels)):
        if file.is_file():
            return file
    raise ValueError(
        f"expected a labels file {os.fspath(labels)} in or beside {folder}, found none; write labels= with its path, "
        f"or labels=None where each class is a folder."
    )


def _find_image(folder: pathlib.Path, row: Row) -> pathlib.Path:
    file = folder / row.file
    for candidate in (file, *(file.with_name(file.name + suffix) for suffix in _SUFFIXES)):
        if candidate.is_file():
            return candidate
    raise ValueError(
        f"expected an image {file}, found none; the labels name it in line {row.number}: remove it or add the file."
    )


def _labels_of_folders(folder: pathlib.Path, classes: Sequence[str] | None, class_names: Sequence[str] | None) -> Labels:
    found = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    ids = tuple(classes) if classes is not None else tuple(found)
    place = {wnid: index for index, wnid in enumerate(ids)}
    unknown = next((name for name in found if name not in place), None)
    if unknown is not None:
        raise ValueError(f"expected folders named after {len(ids)} classes, got {folder / unknown}; add it to classes=.")
    names = _images_below(folder, found)
    if not names:
        raise ValueError(f"expected images in folders named after their class, got none: {folder}; write labels= with a CSV.")
    rows = tuple(Row(0, name, place[name.split("/")[0]], -1) for name in names)
    return Labels(rows, ids, name_classes(ids, [row.label for row in rows], None, class_names))


def _images_below(folder: pathlib.Path, names: Iterable[str]) -> list[str]:
    return [f"{name}/{file.name}" for name in names for file in sorted((folder / name).iterdir()) if file.suffix in _SUFFIXES]


def _spread(length: int, num_images: int | None) -> list[int]:
    if num_images is None:
        return list(range(length))
    if not 1 <= num_images <= length:
        raise ValueError(f"expected num_images from 1 to {length}, got {num_images}; the labels name {length} images.")
    return [index * length // num_images for index in range(num_images)]
