"""A sheet of pictures: images put down pixel by pixel, with text around them."""

import functools
import math
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxinterp.report._style import INK, OUTLINE, RATIO, new_figure, png_of_image, style

if TYPE_CHECKING:
    from matplotlib.backends.backend_agg import RendererAgg

Picture = Float[np.ndarray, "_ _ 3"] | UInt8[np.ndarray, "_ _ 3"]
"""One image: uint8, or floats in [0, 1]; any height and width."""

Pictures = Float[np.ndarray, "_ _ _ 3"] | UInt8[np.ndarray, "_ _ _ 3"]
"""Images of one size: uint8, or floats in [0, 1]."""

Masks = Bool[np.ndarray, "_ _ _"]
"""One mask an image, at any resolution."""

TILE = 128
"""Side of a picture on a sheet, in CSS pixels, unless its own pixels ask for a little less or more."""


def as_bytes(images: np.ndarray) -> np.ndarray:
    """Images as uint8: floats in [0, 1] are rounded to the nearest of 256 levels.

    Raises:
        ValueError: floats outside [0, 1] (by more than rounding), or not finite.
    """
    if images.dtype == np.uint8:
        return images
    low, high = (float(images.min()), float(images.max())) if images.size else (0.0, 0.0)
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise ValueError(f"expected images in [0, 1], got values from {low:.4g} to {high:.4g}; divide by 255 or clip first.")
    return np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)


def tile_side(side: int, *, scale: int | None = None, tile: int = TILE) -> int:
    """Side in file pixels at which an image of `side` pixels is shown: a whole multiple of it wherever it is small."""
    if scale is not None:
        return side * scale
    wanted = tile * RATIO
    if side <= wanted // 2:
        return side * round(wanted / side)
    return side if 0.75 * wanted <= side <= 1.25 * wanted else wanted


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """A uint8 image at another size: whole multiples repeat pixels, everything else is resampled smoothly."""
    from PIL import Image

    if height % image.shape[0] == 0 and width % image.shape[1] == 0:
        return image.repeat(height // image.shape[0], axis=0).repeat(width // image.shape[1], axis=1)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def highlighted(image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """A uint8 image with everything outside the mask darkened and the mask outlined; the mask may be of another size."""
    from PIL import Image

    if mask is None:
        return image
    height, width = image.shape[:2]
    soft = Image.fromarray(mask.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BILINEAR)
    inside = np.asarray(soft) > 127
    thickness = max(2, width // 100)
    padded = np.pad(inside, thickness, mode="edge")
    shrunk = inside.copy()
    for dy in range(-thickness, thickness + 1):
        for dx in range(-thickness, thickness + 1):
            if dy * dy + dx * dx <= thickness * thickness:
                shrunk &= padded[thickness + dy : thickness + dy + height, thickness + dx : thickness + dx + width]
    result = np.where(inside[..., None], image, (image * 0.4).astype(np.uint8))
    result[inside & ~shrunk] = OUTLINE
    return result


MARGIN = 6
"""White space around a sheet, in CSS pixels."""


class Canvas:
    """A white sheet; positions and sizes are CSS pixels from the upper left corner.

    Args:
        width: of the sheet.
        height: of the sheet.
    """

    def __init__(self, width: float | int, height: float | int) -> None:
        self.width, self.height = math.ceil(width), math.ceil(height)
        self._pixels = np.full((self.height * RATIO, self.width * RATIO, 3), 255, np.uint8)
        self._texts: list[tuple[float, float, str, dict[str, object]]] = []

    def image(self, x: float | int, y: float | int, image: np.ndarray) -> None:
        """Puts down a uint8 image whose pixels are already those of the file."""
        left, top = round(x * RATIO), round(y * RATIO)
        self._pixels[top : top + image.shape[0], left : left + image.shape[1]] = image

    def box(self, x: float | int, y: float | int, width: float | int, height: float | int, colour: str) -> None:
        """Fills a rectangle."""
        rgb = tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
        self._pixels[round(y * RATIO) : round((y + height) * RATIO), round(x * RATIO) : round((x + width) * RATIO)] = rgb

    def text(
        self,
        x: float | int,
        y: float | int,
        text: str,
        *,
        size: float | int = 8,
        colour: str = INK,
        middle: bool = False,
        right: bool = False,
        bold: bool = False,
    ) -> None:
        """Writes lines of text.

        Args:
            x: left end of the lines.
            y: top of the first line.
            text: lines, apart by newlines.
            size: of the letters, in points.
            colour: of the letters.
            middle: `y` is the middle of all lines instead.
            right: `x` is the right end of the lines instead.
            bold: heavier letters.
        """
        em = size * 100 / 72
        lines = text.split("\n")
        top = y - em * (1.3 * len(lines) - 0.3) / 2 if middle else y
        for i, line in enumerate(lines):
            options = {"fontsize": size, "color": colour, "ha": "right" if right else "left", "va": "baseline"}
            self._texts.append((x, top + em * (0.86 + 1.3 * i), line, {**options, "weight": "bold" if bold else "normal"}))

    def png(self, *, alt: str) -> bytes:
        """The sheet, with a narrow white margin around it, as a PNG file."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from PIL import Image

        width, height = self.width + 2 * MARGIN, self.height + 2 * MARGIN
        edge = MARGIN * RATIO
        sheet = Image.fromarray(np.pad(self._pixels, ((edge, edge), (edge, edge), (0, 0)), constant_values=255)).convert("RGBA")
        with style():
            figure = new_figure(width, height)
            figure.patch.set_alpha(0)
            for x, y, text, options in self._texts:
                at = (x + MARGIN) / width, 1 - (y + MARGIN) / height
                figure.text(*at, text, **options)  # pyright: ignore[reportArgumentType]
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            layer = Image.frombuffer("RGBA", canvas.get_width_height(), bytes(canvas.buffer_rgba()))
        sheet.alpha_composite(layer.crop((0, 0, *sheet.size)))
        return png_of_image(sheet.convert("RGB"), alt=alt)


@functools.cache
def _renderer() -> "RendererAgg":
    from matplotlib.backends.backend_agg import RendererAgg

    return RendererAgg(8, 8, 100)


@functools.lru_cache(maxsize=4096)
def text_width(text: str, *, size: float | int = 8, weight: str = "normal") -> float:
    """Width of a line of text in CSS pixels."""
    from matplotlib.font_manager import FontProperties

    with style():
        font = FontProperties(family=["DejaVu Sans"], size=size, weight=weight)
        return _renderer().get_text_width_height_descent(text, font, ismath=False)[0]


def wrapped(text: str, width: float | int, *, lines: int = 2, size: float | int = 8, weight: str = "normal") -> str:
    """Text broken into at most `lines` lines of `width` CSS pixels; what does not fit ends in an ellipsis."""
    result: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}" if line else word
            if line and text_width(longer, size=size, weight=weight) > width:
                result.append(line)
                line = word
            else:
                line = longer
        result.append(line)
    cut = len(result) > lines
    result = result[:lines]
    for i, line in enumerate(result):
        ends = cut and i == lines - 1
        shown = line + "…" if ends else line
        while len(line) > 1 and text_width(shown, size=size, weight=weight) > width:
            line = line[:-1].rstrip()  # noqa: PLW2901
            shown = line + "…"
        result[i] = shown
    return "\n".join(result)
