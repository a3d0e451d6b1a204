"""Many small pictures in one file: each image stored once, each mask as the lengths of its runs."""

import base64
import dataclasses
import io
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, UInt8

from jaxinterp.report._canvas import Picture, Pictures, as_bytes
from jaxinterp.report._gallery_records import TopPictures

_LADDER = ((192, 78), (160, 76), (144, 74), (128, 70), (112, 66), (96, 62), (80, 58), (72, 54), (64, 50), (56, 45), (48, 40))
"""Side in pixels and quality of the stored pictures, from what one would like to what still can be told apart."""
_SAMPLE = 24
_SMALL = 64
CHUNK = 64
"""Pictures, and units, that are read together by the page."""


@dataclasses.dataclass(frozen=True)
class Pool:
    """The images that are somebody's top image, ready for the page.

    Attributes:
        rows: of the set, ascending.
        data: the picture of each, a WebP file in base64.
        captions: one each, empty where there is none.
        width: of the stored pictures.
        height: of the stored pictures.
        small: whether the images themselves are so small that one wants to see their pixels.
    """

    rows: np.ndarray
    data: list[str]
    captions: list[str]
    width: int
    height: int
    small: bool


def pools(sets: Sequence[TopPictures | None], *, limit: int) -> list[Pool | None]:
    """The images of every set, all of one side and quality: the best at which together they stay below the limit.

    Args:
        sets: the top images of the units on each set.
        limit: bytes of all pictures in base64; estimated on a sample, so it may be missed by a few per cent.

    Returns:
        One pool for each set that has pictures.
    """
    rows = [None if one is None else np.unique(one.index[one.index >= 0]) for one in sets]
    side, quality = _settings(list(zip(sets, rows, strict=True)), limit)
    return [
        None if one is None or which is None else _pool(one, which, side, quality)
        for one, which in zip(sets, rows, strict=True)
    ]


def run_lengths(masks: Bool[np.ndarray, "k h w"]) -> bytes:
    """Masks one after another, row by row, as lengths of runs that are off, on, off, ...; each mask begins with off.

    A length is written seven bits a byte, the lowest first; the highest bit says that more follow. The lengths of a mask
    add up to its pixels.
    """
    result = bytearray()
    for mask in masks.reshape(len(masks), masks.shape[1] * masks.shape[2]):
        ends = np.flatnonzero(np.diff(mask)) + 1
        edges = np.concatenate([[0], *([[0]] if mask.size and mask[0] else []), ends, [mask.size]])
        for length in np.diff(edges).tolist():
            rest = length
            while rest > 127:
                result.append(rest & 127 | 128)
                rest >>= 7
            result.append(rest)
    return bytes(result)


def smaller_masks(masks: Bool[np.ndarray, "k h w"], side: int) -> Bool[np.ndarray, "k i j"]:
    """Masks of at most `side` x `side`: a pixel is on where at least half of what it covers is."""
    from PIL import Image

    height, width = masks.shape[1:]
    if max(height, width) <= side:
        return masks
    new = max(1, round(height * side / max(height, width))), max(1, round(width * side / max(height, width)))
    shrunk = [Image.fromarray(mask.astype(np.uint8) * 255).resize((new[1], new[0]), Image.Resampling.BOX) for mask in masks]
    return np.stack([np.asarray(mask) > 127 for mask in shrunk]) if shrunk else np.zeros((0, *new), bool)


def masks_of_maps(maps: np.ndarray, threshold: float, side: int) -> Bool[np.ndarray, "k i j"]:
    """Where maps `[k h w]` exceed a threshold, resized bilinearly (pixel centres) so that the longer side has `side` pixels."""
    from PIL import Image

    height, width = maps.shape[1:]
    new = max(1, round(height * side / max(height, width))), max(1, round(width * side / max(height, width)))
    large = [Image.fromarray(one.astype(np.float32)).resize((new[1], new[0]), Image.Resampling.BILINEAR) for one in maps]
    return np.stack([np.asarray(one) > threshold for one in large]) if large else np.zeros((0, *new), bool)


def in_base64(content: bytes) -> str:
    """Bytes as base64 text."""
    return base64.b64encode(content).decode("ascii")


def chunks(items: Sequence[object]) -> Iterator[Sequence[object]]:
    """`CHUNK` items after another."""
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


def _settings(sets: list[tuple[TopPictures | None, np.ndarray | None]], limit: int) -> tuple[int, int]:
    sample: list[tuple[np.ndarray, float]] = []
    for one, rows in sets:
        if one is None or rows is None or not len(rows):
            continue
        some = rows[np.unique(np.linspace(0, len(rows) - 1, min(_SAMPLE, len(rows))).astype(int))]
        sample += [(_image(one.images, int(row)), len(rows) / len(some)) for row in some]
    for side, quality in _LADDER:
        if sum(weight * 4 / 3 * (len(_encoded(image, side, quality)) + 8) for image, weight in sample) <= limit:
            return side, quality
    return _LADDER[-1]


def _pool(pictures: TopPictures, rows: np.ndarray, side: int, quality: int) -> Pool:
    captions, data, shape, small = pictures.captions, [], (1, 1), False
    for row in rows.tolist():
        image = _image(pictures.images, row)
        shape, small = _size(image, side), max(image.shape) < _SMALL
        data.append(in_base64(_encoded(image, side, quality)))
    of: Callable[[int], str] = captions if callable(captions) else captions.__getitem__
    return Pool(rows, data, [str(of(row)) if captions else "" for row in rows.tolist()], *shape, small)


def _image(images: Pictures | Callable[[int], Picture], row: int) -> UInt8[np.ndarray, "h w 3"]:
    if callable(images):
        return as_bytes(np.asarray(images(row)))
    if row >= len(images):
        raise ValueError(f"expected rows below {len(images)}, the number of images, got {row}; index counts rows, not ids.")
    return as_bytes(images[row])


def _size(image: np.ndarray, side: int) -> tuple[int, int]:
    """(width, height) of the stored picture: never larger than the image."""
    height, width = image.shape[:2]
    factor = min(1.0, side / max(height, width))
    return max(1, round(width * factor)), max(1, round(height * factor))


def _encoded(image: np.ndarray, side: int, quality: int) -> bytes:
    from PIL import Image

    picture, buffer = Image.fromarray(image), io.BytesIO()
    size = _size(image, side)
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    picture.save(buffer, format="WEBP", quality=quality, method=4)
    return buffer.getvalue()
