"""Image files: what they must be, and how they become a square of the size that a network takes."""

import io
import pathlib
import struct

import numpy as np
import PIL.Image
from jaxtyping import UInt8

_PNG_BIT_DEPTH = 24  # byte of a PNG file: signature (8), length and name of IHDR (8), width (4), height (4), bit depth (1)
_DAMAGED = (OSError, SyntaxError, EOFError, struct.error, IndexError, ValueError)  # what Pillow raises on broken files


def check_header(path: pathlib.Path, *, convert: bool, smallest: int) -> None:
    """Reads the first bytes of an image file and raises `ValueError` when it is not an 8-bit RGB JPEG or PNG.

    Args:
        path: the file.
        convert: accept other modes (grey, CMYK, palette, 16-bit), which `read_image` then converts.
        smallest: the least number of pixels of the short side.
    """
    try:
        with PIL.Image.open(path) as image:
            kind, mode, size = image.format, image.mode, image.size
    except _DAMAGED as error:
        raise ValueError(
            f"expected an 8-bit RGB JPEG or PNG, could not read {path} ({_reason(error)}); fetch it again."
        ) from error
    if kind not in ("JPEG", "PNG"):
        raise ValueError(f"expected an 8-bit RGB JPEG or PNG, got {kind}: {path}; save it as PNG.")
    found = f"16-bit {mode}" if is_16_bit(path, kind) else mode
    if found != "RGB" and not convert:
        raise ValueError(
            f"expected an 8-bit RGB image, got mode {found}: {path}; write convert=True, "
            f'or Image.open(f).convert("RGB").save(f) once.'
        )
    if min(size) < smallest:
        raise ValueError(
            f"expected images of at least {smallest} pixels a side, got {size[0]} x {size[1]}: {path}; "
            f"leave it out or lower smallest=."
        )


def is_16_bit(path: pathlib.Path, kind: str) -> bool:
    """Whether a PNG file holds 16 bits a channel; Pillow opens such RGB files as if they had 8."""
    if kind != "PNG":
        return False
    with path.open("rb") as file:
        return file.read(_PNG_BIT_DEPTH + 1)[_PNG_BIT_DEPTH:] == b"\x10"


def read_image(path: pathlib.Path, *, image_size: int, crop: float) -> UInt8[np.ndarray, "{image_size} {image_size} 3"]:
    """The centre of an image file at the size that a network takes.

    The short side is resized to `round(image_size / crop)` pixels (Pillow, bilinear with antialiasing, 8 bits), the long
    side in proportion, and the centre square is cut at `left = (width - image_size) // 2` and the same from the top.

    Args:
        path: a JPEG or PNG; what is not RGB is converted.
        image_size: side of the result in pixels.
        crop: side of the square as a fraction of the resized short side; 1 keeps the whole short side.

    Returns:
        The pixels.

    Raises:
        ValueError: a truncated or damaged file.
    """
    return centre_square(read_rgb(path), image_size=image_size, crop=crop)


def centre_square(pixels: PIL.Image.Image, *, image_size: int, crop: float) -> UInt8[np.ndarray, "{image_size} {image_size} 3"]:
    """The centre of an image at the size that a network takes, as `read_image` cuts it."""
    width, height = pixels.size
    short = max(image_size, round(image_size / crop))
    scale = short / min(width, height)
    pixels = pixels.resize((max(short, round(width * scale)), max(short, round(height * scale))), PIL.Image.Resampling.BILINEAR)
    left, top = (pixels.width - image_size) // 2, (pixels.height - image_size) // 2
    return np.array(pixels.crop((left, top, left + image_size, top + image_size)))


def read_rgb(path: pathlib.Path) -> PIL.Image.Image:
    """An image file as 8-bit RGB at its own size; raises `ValueError` for a truncated or damaged file."""
    return _loaded(path, str(path))


def decode_rgb(data: bytes, name: str) -> PIL.Image.Image:
    """The bytes of an image file as 8-bit RGB; raises `ValueError`, which says `name`, for truncated or damaged ones."""
    return _loaded(io.BytesIO(data), name)


def _loaded(file: pathlib.Path | io.BytesIO, name: str) -> PIL.Image.Image:
    try:
        with PIL.Image.open(file) as image:
            image.load()
            return _to_rgb(image)
    except _DAMAGED as error:
        raise ValueError(f"expected a whole image, got a damaged one ({_reason(error)}): {name}; fetch it again.") from error


def _to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion would clip at 255
        grey = (np.asarray(image, np.float64) / 257).round().astype(np.uint8)
        return PIL.Image.fromarray(np.stack([grey] * 3, axis=-1))
    return image if image.mode == "RGB" else image.convert("RGB")


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
