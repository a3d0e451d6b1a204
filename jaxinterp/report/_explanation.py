"""One prediction explained by its units: each unit's region on the image, what it detects and what it adds."""

import dataclasses
from collections.abc import Sequence

from jaxtyping import Bool
from numpy import ndarray

from jaxinterp.report._canvas import Canvas, Picture, as_bytes, highlighted, resized, tile_side, wrapped
from jaxinterp.report._sheets import check_count
from jaxinterp.report._style import ADVERSARIAL, MUTED, RATIO, REAL

_GAP = 14
_TILE = 150
_HEAD = 24
_TEXT = 56


@dataclasses.dataclass(frozen=True, eq=False)
class ExplainingUnit:
    """A unit that adds to a class's logit.

    Attributes:
        name: the unit, for example "unit 21".
        contribution: what it adds to the logit.
        mask: `[h w]` where it answers on the image, at any resolution.
        label: what it detects, for example "wheel (part)"; empty where that is not known.
    """

    name: str
    contribution: float | int
    mask: Bool[ndarray, "_ _"]
    _: dataclasses.KW_ONLY
    label: str = ""


def explanation_figure(
    image: Picture,
    units: Sequence[ExplainingUnit],
    *,
    title: str = "",
    logit: float | None = None,
    baseline: float = 0.0,
    gap: float = 0.0,
    columns: int = 4,
    scale: int | None = None,
) -> bytes:
    """One prediction by its units: the image, and beside it the region of each unit, its label and a bar of what it adds.

    All bars have one scale, the largest contribution; a bar of the other colour means that the unit speaks against the class.

    Args:
        image: what the network saw.
        units: the units to show, largest contribution first.
        title: the class and its probability, for example "border collie, p = .93".
        logit: of the class; with it a line says how it adds up from the bias, these units and the others.
        baseline: the logit without the layer, the bias of a linear head.
        gap: what contributions and baseline leave out; said where it is not 0.
        columns: units side by side.
        scale: every pixel becomes `scale` x `scale`; None picks a size that is easy to look at.

    Returns:
        The bytes of a PNG file.

    Raises:
        ValueError: no unit, or floats outside [0, 1].
    """
    check_count("units", len(units))
    pixels = as_bytes(image)
    side_y, side_x = (tile_side(side, scale=scale, tile=_TILE) for side in pixels.shape[:2])
    shown = resized(pixels, side_y, side_x)
    width, height = side_x / RATIO, side_y / RATIO
    columns = min(columns, len(units))
    rows = -(-len(units) // columns)
    left, step = width + 2 * _GAP, height + _TEXT
    sum_up = "" if logit is None else _sum(units, float(logit), float(baseline), float(gap))
    top = _HEAD * bool(sum_up)
    canvas = Canvas(left + columns * (width + _GAP) - _GAP, top + max(rows * step - 12, height + 40))
    if sum_up:
        canvas.text(0, 0, sum_up, size=8.5)
    canvas.image(0, top, shown)
    canvas.text(0, top + height + 5, wrapped(title, width, size=8.5, weight="bold"), size=8.5, bold=True)
    largest = max(abs(unit.contribution) for unit in units) or 1.0
    for i, unit in enumerate(units):
        x, y = left + (i % columns) * (width + _GAP), top + (i // columns) * step
        canvas.image(x, y, highlighted(shown, unit.mask))
        length = (width - 46) * abs(unit.contribution) / largest
        canvas.box(x, y + height + 5, max(length, 1), 9, REAL if unit.contribution >= 0 else ADVERSARIAL)
        value = f"{unit.contribution:+.2f}".replace("-", "−")
        canvas.text(x + length + 4, y + height + 9.5, value, middle=True)
        line = f"{unit.name} · {unit.label}" if unit.label else unit.name
        canvas.text(x, y + height + 19, wrapped(line, width, lines=2), colour=MUTED)
    said = "; ".join(f"{unit.name} {unit.label} {unit.contribution:+.2f}" for unit in units)
    return canvas.png(alt=f"{title or 'A prediction'} explained by {len(units)} units: {said}. {sum_up}")


def _sum(units: Sequence[ExplainingUnit], logit: float, baseline: float, gap: float) -> str:
    these = sum(unit.contribution for unit in units)
    parts = [(these, f"these {len(units)} units"), (logit - baseline - gap - these, "all other units")]
    parts += [(gap, "what is not linear")] if abs(gap) > 5e-3 else []
    line = f"logit {logit:.2f} = {baseline:.2f} without the layer"
    for value, name in parts:
        line += f" {'+' if value >= 0 else '-'} {abs(value):.2f} {name}"
    return line.replace("-", "−")
