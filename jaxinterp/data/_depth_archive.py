"""NYU-v2's labelled frames in the one file in which they are published."""

import dataclasses
import functools
import importlib
import os
import pathlib
from typing import Any

import numpy as np
import PIL.Image
from jaxtyping import Float32

from jaxinterp.data._depth_pairs import centre_of_depth
from jaxinterp.data._fingerprint import digest, files_digest
from jaxinterp.data._images import centre_square
from jaxinterp.data._source import Example

_SPLITS = {"train": "trainNdxs", "test": "testNdxs"}


@dataclasses.dataclass(frozen=True)
class DepthArchive:
    """Frames of a MATLAB 7.3 file, as `nyu_depth_labeled` opens it; one frame is read when it is asked for.

    Attributes:
        file: the archive.
        rows: frames of the file, in order.
        image_size: side of the centre square in pixels.
        depths: the variable that holds the depth.
    """

    file: pathlib.Path
    rows: tuple[int, ...]
    image_size: int
    depths: str
    classes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    concepts: None = None

    @property
    def fingerprint(self) -> str:
        """Digest of the file and of what is made of it."""
        return self._fingerprint

    @functools.cached_property
    def _fingerprint(self) -> str:
        return digest("depth archive", files_digest([self.file]), self.rows, self.image_size, self.depths)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int, /) -> Example:
        """The frame at an index; its label is -1, for there are no classes."""
        row = self.rows[index]
        # MATLAB counts its axes from the other end: [n c w h] and [n w h] here.
        with _open(self.file) as archive:
            pixels, depth = archive["images"][row].transpose(2, 1, 0), archive[self.depths][row].T
        image = centre_square(PIL.Image.fromarray(np.ascontiguousarray(pixels)), image_size=self.image_size, crop=1.0)
        return Example(image, -1, -1, index, index, None, _metres(depth, self.image_size))


def nyu_depth_labeled(
    file: str | os.PathLike[str],
    *,
    image_size: int,
    splits: str | os.PathLike[str] | None = None,
    split: str = "test",
    raw: bool = False,
) -> DepthArchive:
    """NYU-v2's 1 449 labelled frames: `nyu_depth_v2_labeled.mat`, which is an HDF5 file, and the published split of them.

    Args:
        file: the archive, with `images` and `depths`, in metres.
        image_size: side of the images in pixels; the centre square is cut out.
        splits: `splits.mat`, with `trainNdxs` and `testNdxs`; None takes all frames.
        split: "train" (795 frames) or "test" (654), where `splits` is given.
        raw: the depth as the sensor gave it (`rawDepths`), without a value where it saw nothing; otherwise filled in.

    Returns:
        A source without classes; the id of a frame is its place among those taken.

    Raises:
        ImportError: without h5py: `pip install 'jaxinterp[hdf5]'`.
        ValueError: a file of another kind or without these variables, or an unknown split.

    References:
        Nathan Silberman, Derek Hoiem, Pushmeet Kohli, Rob Fergus, "Indoor Segmentation and Support Inference from RGBD Images",
        ECCV 2012.
    """
    if image_size < 1:
        raise ValueError(f"expected image_size >= 1, got {image_size}.")
    if split not in _SPLITS:
        raise ValueError(f"expected split 'train' or 'test', got {split!r}.")
    path, depths = pathlib.Path(file), "rawDepths" if raw else "depths"
    with _open(path) as archive:
        missing = [name for name in ("images", depths) if name not in archive]
        if missing:
            raise ValueError(f"expected images and {depths} in {path}, found no {missing[0]}; take nyu_depth_v2_labeled.mat.")
        pictures, numbers = archive["images"].shape, archive[depths].shape
    if len(pictures) != 4 or pictures[1] != 3 or numbers != (pictures[0], *pictures[2:]):
        raise ValueError(f"expected images [n 3 w h] and {depths} [n w h] in {path}, got {list(pictures)} and {list(numbers)}.")
    rows = range(pictures[0]) if splits is None else _rows(pathlib.Path(splits), split, pictures[0])
    return DepthArchive(path, tuple(rows), image_size, depths)


def _rows(file: pathlib.Path, split: str, count: int) -> list[int]:
    from scipy.io import loadmat

    try:
        found = loadmat(file)
    except (OSError, ValueError, NotImplementedError) as error:
        raise ValueError(f"expected NYU-v2's splits.mat, could not read {file}; fetch it again.") from error
    name = _SPLITS[split]
    if name not in found:
        raise ValueError(f"expected {name} in {file}, found none; take NYU-v2's splits.mat.")
    rows = (np.asarray(found[name]).ravel().astype(np.int64) - 1).tolist()
    if not rows or min(rows) < 0 or max(rows) >= count:
        raise ValueError(f"expected numbers of frames from 1 to {count} in {file}; take the splits of this archive.")
    return rows


def _metres(depth: np.ndarray, size: int) -> Float32[np.ndarray, "s s"]:
    return centre_of_depth(np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float32), size)


def _open(file: pathlib.Path) -> Any:
    try:
        h5py = importlib.import_module("h5py")
    except ImportError as error:
        raise ImportError(f"expected h5py, which reads {file}; write pip install 'jaxinterp[hdf5]'.") from error
    try:
        return h5py.File(file, "r")
    except OSError as error:
        raise ValueError(f"expected an HDF5 file (MATLAB 7.3), could not read {file}; fetch it again.") from error
