"""Pairs of a picture and a depth image on disk as a source: NYU-v2, KITTI and others."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Iterable

import numpy as np
import PIL.Image
from jaxtyping import Float32

from jaxinterp.data._fingerprint import digest, files_digest
from jaxinterp.data._images import read_image, read_rgb
from jaxinterp.data._source import Example


@dataclasses.dataclass(frozen=True)
class DepthCode:
    """How a depth image's 16-bit numbers become metres.

    Attributes:
        metres: of one unit.
        no_value: numbers that say nothing.
        rotated: the numbers are rotated left by three bits, as SUN RGB-D has them.
    """

    metres: float
    no_value: tuple[int, ...] = (0,)
    rotated: bool = False

    def __call__(self, numbers: np.ndarray) -> Float32[np.ndarray, "h w"]:
        """Metres, 0 where there is no value."""
        known = ~np.isin(numbers, self.no_value)
        numbers = numbers.astype(np.int64)
        if self.rotated:
            numbers = (numbers >> 3) | ((numbers << 13) & 0xFFFF)
        return np.where(known, numbers * self.metres, 0).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class DepthImages:
    """Pairs of pictures and depth images, as `depth_pairs` opens them; they are decoded when they are asked for.

    Attributes:
        pictures: JPEG or PNG files.
        depths: 16-bit PNG files, one for each picture and of its shape.
        image_size: side of the centre square in pixels.
        code: what the numbers mean.
    """

    pictures: tuple[pathlib.Path, ...]
    depths: tuple[pathlib.Path, ...]
    image_size: int
    code: DepthCode
    classes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    concepts: None = None

    @property
    def fingerprint(self) -> str:
        """Digest of the files and of what is made of them."""
        return self._fingerprint

    @functools.cached_property
    def _fingerprint(self) -> str:
        code = dataclasses.astuple(self.code)
        return digest("depth pairs", files_digest(self.pictures), files_digest(self.depths), self.image_size, code)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int, /) -> Example:
        """The pair at an index; its label is -1, for there are no classes."""
        picture, file = self.pictures[index], self.depths[index]
        numbers = _numbers(file)
        whole = read_rgb(picture)
        if abs(whole.width * numbers.shape[0] - whole.height * numbers.shape[1]) > max(whole.size):
            raise ValueError(
                f"expected picture and depth of one shape, got {whole.width} x {whole.height} ({picture}) and "
                f"{numbers.shape[1]} x {numbers.shape[0]} ({file}); pair other files."
            )
        image = read_image(picture, image_size=self.image_size, crop=1.0)
        return Example(image, -1, -1, index, index, None, centre_of_depth(self.code(numbers), self.image_size))


def depth_pairs(
    pairs: Iterable[tuple[str | os.PathLike[str], str | os.PathLike[str]]],
    *,
    image_size: int,
    metres: float = 1 / 1000,
    no_value: tuple[int, ...] = (0,),
    rotated: bool = False,
) -> DepthImages:
    """Pictures with depth: the centre square of each, resized; of depth the nearest number is taken, never a mean of two.

    Args:
        pairs: (picture, depth image) files.
        image_size: side of the images in pixels, as the network takes them.
        metres: of one unit of the depth image: 1/1000 for millimetres, 1/256 for KITTI, 1/5000 for TUM.
        no_value: numbers that say nothing; 7-Scenes has 0 and 65535.
        rotated: numbers are rotated left by three bits, as SUN RGB-D has them.

    Returns:
        A source without classes; the id of a pair is its place.

    Raises:
        ValueError: no pair, a file that is not there, a number out of range; and on reading, a depth image that is not 16-bit
            grey, or of another shape than its picture.
    """
    named = [(pathlib.Path(picture), pathlib.Path(depth)) for picture, depth in pairs]
    missing = next((path for pair in named for path in pair if not path.is_file()), None)
    if not named or missing is not None:
        raise ValueError(
            f"expected pairs of files, got {missing or 'none'}{' which is not there' if missing else ''}; check them."
        )
    if image_size < 1 or not metres > 0:
        raise ValueError(f"expected image_size >= 1 and metres > 0, got {image_size} and {metres}; write 1 / 1000.")
    pictures, depths = zip(*named, strict=True)
    return DepthImages(tuple(pictures), tuple(depths), image_size, DepthCode(float(metres), tuple(no_value), rotated))


def depth_list(
    file: str | os.PathLike[str],
    *,
    image_size: int,
    metres: float,
    images: str | os.PathLike[str] | None = None,
    depths: str | os.PathLike[str] | None = None,
) -> DepthImages:
    """The pairs that a text file lists, a line `picture depth focal` each, as NYU-v2 and KITTI splits are published.

    The focal length is not read. A line whose depth is `None`, as KITTI's list has for frames without ground truth, is left
    out.

    Args:
        file: the list.
        image_size: side of the images in pixels.
        metres: of one unit of the depth images.
        images: the folder that pictures are named from; by default that of the list.
        depths: the same of depth images; by default that of the pictures.

    Returns:
        The source.

    Raises:
        ValueError: a line of other than two or three words, and as `depth_pairs`.
    """
    path = pathlib.Path(file)
    pictures = path.parent if images is None else pathlib.Path(images)
    below = pictures if depths is None else pathlib.Path(depths)
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split()
        if words and len(words) not in (2, 3):
            raise ValueError(f"expected a line `picture depth focal`, got {len(words)} words in {path} line {number}.")
        if words and words[1] != "None":
            pairs.append((pictures / words[0].lstrip("/"), below / words[1].lstrip("/")))
    return depth_pairs(pairs, image_size=image_size, metres=metres)


def nyu_depth(file: str | os.PathLike[str], *, image_size: int, folder: str | os.PathLike[str] | None = None) -> DepthImages:
    """NYU-v2 in its published layout: a list, and depth images in millimetres; `nyu_depth_labeled` reads the labelled frames.

    Args:
        file: a list as `depth_list` reads it, such as `nyudepthv2_test_files_with_gt.txt`.
        image_size: side of the images in pixels.
        folder: that files are named from; by default that of the list.

    References:
        Nathan Silberman, Derek Hoiem, Pushmeet Kohli, Rob Fergus, "Indoor Segmentation and Support Inference from RGBD Images",
        ECCV 2012.
    """
    return depth_list(file, image_size=image_size, metres=1 / 1000, images=folder)


def kitti_depth(
    file: str | os.PathLike[str],
    *,
    image_size: int,
    images: str | os.PathLike[str] | None = None,
    depths: str | os.PathLike[str] | None = None,
) -> DepthImages:
    """KITTI in its published layout: a list, and sparse depth images in 1/256 m.

    Args:
        file: a list as `depth_list` reads it, such as `eigen_test_files_with_gt.txt`.
        image_size: side of the images in pixels; the centre square is cut out.
        images: folder of the raw pictures.
        depths: folder of the depth images.

    References:
        Jonas Uhrig, Nick Schneider, Lukas Schneider, Uwe Franke, Thomas Brox, Andreas Geiger, "Sparsity Invariant CNNs", 3DV
        2017.
    """
    return depth_list(file, image_size=image_size, metres=1 / 256, images=images, depths=depths)


def _numbers(file: pathlib.Path) -> np.ndarray:
    try:
        with PIL.Image.open(file) as image:
            mode, numbers = image.mode, np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"expected a 16-bit PNG with depth, could not read {file}; fetch it again.") from error
    if not mode.startswith("I") or numbers.ndim != 2:
        raise ValueError(f"expected a 16-bit grey PNG with depth, got mode {mode}: {file}; pair it with its depth image.")
    return numbers


def centre_of_depth(depth: np.ndarray, size: int) -> Float32[np.ndarray, "s s"]:
    """The centre square at `size` pixels: at every pixel's centre the number that lies there."""
    short = min(depth.shape)
    top, left = ((side - short) / 2 for side in depth.shape)
    centres = (np.arange(size) + 0.5) * short / size
    rows, columns = (np.floor(start + centres).astype(int) for start in (top, left))
    return np.ascontiguousarray(depth[rows[:, None], columns[None]])
