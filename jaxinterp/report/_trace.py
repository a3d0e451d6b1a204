"""One prediction traced to its units: the image and its adversarial image, the units that carried each answer."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from jaxinterp.report._canvas import (
    Canvas,
    Masks,
    Picture,
    Pictures,
    as_bytes,
    highlighted,
    resized,
    text_width,
    tile_side,
    wrapped,
)
from jaxinterp.report._sheets import check_count
from jaxinterp.report._style import ADVERSARIAL, MUTED, RATIO, REAL

_SMALL = 64
_BAR = 210
_NAME = 132
_HEAD = 22


class _Block(NamedTuple):
    """Where the three columns of a block of units are, and what its bars share."""

    name: float
    bar: float
    strip: float
    colour: str
    zero: float
    scale: float


@dataclasses.dataclass(frozen=True, eq=False)
class TracedUnit:
    """A unit that carried a prediction.

    Attributes:
        name: the unit, for example "unit 21"; a second line may say what it detects.
        difference: prediction difference, p(y | features) - p(y | features with this unit set to 0).
        images: `[n h w 3]` its top real images, uint8 or floats in [0, 1].
        masks: `[n h w]` where the unit is above its threshold in them; None for plain images.
    """

    name: str
    difference: float | int
    images: Pictures
    _: dataclasses.KW_ONLY
    masks: Masks | None = None


def trace_figure(
    original: Picture,
    adversarial: Picture,
    original_units: Sequence[TracedUnit],
    adversarial_units: Sequence[TracedUnit],
    *,
    original_title: str = "Real image",
    adversarial_title: str = "Adversarial image",
    scale: int | None = None,
) -> bytes:
    """A traced prediction: which units carried the answer for the real image, and which for the adversarial one.

    All bars have one scale; a bar to the left means that the unit spoke against the answer.

    Args:
        original: the real image.
        adversarial: its adversarial image.
        original_units: the units of largest prediction difference for the answer on the real image, largest first.
        adversarial_units: the same for the answer on the adversarial image.
        original_title: the answer and its probability, for example "border collie, p = .93".
        adversarial_title: the same for the adversarial image.
        scale: every pixel of the two images becomes `scale` x `scale`; None picks a size that is easy to look at.

    Returns:
        The bytes of a PNG file.

    Raises:
        ValueError: a list without units, or floats outside [0, 1].
    """
    check_count("original_units", len(original_units))
    check_count("adversarial_units", len(adversarial_units))
    pixels = [as_bytes(image) for image in (original, adversarial)]
    side_y, side_x = (tile_side(side, scale=scale, tile=192) for side in pixels[0].shape[:2])
    width, height = side_x / RATIO, side_y / RATIO
    units = (original_units, adversarial_units)
    strip = max(len(unit.images) for part in units for unit in part)
    zero, bar_scale = _bars([unit.difference for part in units for unit in part])
    x_name = width + 30
    x_bar = x_name + _NAME
    x_strip = x_bar + _BAR + 20
    step = _SMALL + 8
    heights = [max(height + 44, len(part) * step) + _HEAD + 22 for part in units]
    canvas = Canvas(x_strip + strip * (_SMALL + 4) - 4, sum(heights) - 30)
    top = 0.0
    for image, part, title, colour, kind, block in zip(
        pixels, units, (original_title, adversarial_title), (REAL, ADVERSARIAL), ("Real", "Adversarial"), heights, strict=True
    ):
        canvas.text(0, top, kind, size=8.5, colour=colour, bold=True)
        canvas.image(0, top + _HEAD, resized(image, side_y, side_x))
        canvas.text(0, top + _HEAD + height + 6, wrapped(title, width, size=8.5), size=8.5)
        canvas.text(x_name, top, "unit", colour=MUTED, size=7.5)
        canvas.text(x_bar, top, "prediction difference", colour=MUTED, size=7.5)
        canvas.text(x_strip, top, "its top real images", colour=MUTED, size=7.5)
        columns = _Block(x_name, x_bar, x_strip, colour, x_bar + zero, bar_scale)
        for row, unit in enumerate(part):
            _draw_unit(canvas, unit, columns, top + _HEAD + row * step)
        top += block
    return canvas.png(alt=_described(units, (original_title, adversarial_title)))


def _bars(differences: Sequence[float | int]) -> tuple[float, float]:
    """Where zero is and how long a difference of 1 is, so that every bar and its number fit."""
    most, least = max(*differences, 0.0), min(*differences, 0.0)
    room = text_width("+0.000") + 8
    space = _BAR - room * ((most > 0) + (least < 0))
    scale = space / ((most - least) or 1.0)
    return (room - least * scale if least < 0 else 0.0), scale


def _draw_unit(canvas: Canvas, unit: TracedUnit, block: _Block, top: float | int) -> None:
    middle = top + _SMALL / 2
    canvas.text(block.name, middle, wrapped(unit.name, _NAME - 10, lines=3), middle=True)
    value = f"{unit.difference:+.3f}".replace("-", "−")
    zero = block.zero
    length = block.scale * abs(unit.difference)
    canvas.box(zero - (length if unit.difference < 0 else 0), middle - 9, max(length, 1), 18, block.colour)
    canvas.box(zero, top, 1, _SMALL, "#AEB6BF")
    if unit.difference < 0:
        canvas.text(zero - length - 5, middle, value, middle=True, right=True)
    else:
        canvas.text(zero + length + 5, middle, value, middle=True)
    side = _SMALL * RATIO
    for j, image in enumerate(as_bytes(unit.images)):
        mask = None if unit.masks is None else unit.masks[j]
        canvas.image(block.strip + j * (_SMALL + 4), top, highlighted(resized(image, side, side), mask))


def _described(units: tuple[Sequence[TracedUnit], ...], titles: tuple[str, str]) -> str:
    parts = []
    for kind, title, part in zip(("Real image", "Adversarial image"), titles, units, strict=True):
        carried = ", ".join(f"{' '.join(unit.name.split())} {unit.difference:+.3f}" for unit in part)
        parts.append(f"{kind}, {title}: carried by {carried}")
    return ". ".join(parts)
