"""Units: their top real images above their top adversarial images, and detectors with their masks."""

import dataclasses
from collections.abc import Sequence

from jaxinterp.report._canvas import Canvas, Masks, Pictures, as_bytes, highlighted, resized, tile_side, wrapped
from jaxinterp.report._sheets import check_count, check_titles
from jaxinterp.report._style import ADVERSARIAL, MUTED, RATIO, REAL, WIDTH

_GAP = 8
_LINE = 14.5


@dataclasses.dataclass(frozen=True, eq=False)
class Detector:
    """A unit with the images that excite it most.

    Attributes:
        title: the unit and the concept it detects, for example "layer4.1 · unit 21 · wheel".
        images: `[n h w 3]` uint8, or floats in [0, 1].
        masks: `[n h w]` where the unit is above its threshold, at any resolution; None for plain images.
        detail: a second line, for example its IoU beside the permuted-label null.
    """

    title: str
    images: Pictures
    masks: Masks | None
    _: dataclasses.KW_ONLY
    detail: str = ""


def unit_figure(
    real: Pictures,
    adversarial: Pictures,
    *,
    real_masks: Masks | None = None,
    adversarial_masks: Masks | None = None,
    title: str = "",
    real_captions: Sequence[str] = (),
    adversarial_captions: Sequence[str] = (),
    scale: int | None = None,
) -> bytes:
    """One unit: its top real images above its top adversarial images.

    With masks, the region in which the unit is above its threshold is outlined and the rest is darkened.

    Args:
        real: the top real images, the highest activation first; uint8, or floats in [0, 1].
        adversarial: the top adversarial images, the highest activation first.
        real_masks: the region of each real image, at any resolution.
        adversarial_masks: the region of each adversarial image.
        title: the unit, for example "ResNet-18, layer4.1, unit 21".
        real_captions: one an image, for example its class; at most two lines are shown.
        adversarial_captions: one an image, for example "true class → target class".
        scale: every pixel becomes `scale` x `scale`; None picks a size that is easy to look at.

    Returns:
        The bytes of a PNG file.

    Raises:
        ValueError: no image, floats outside [0, 1], or another number of masks or captions than images.
    """
    kinds = (
        ("Top real images", REAL, real, real_masks, real_captions),
        ("Top adversarial images", ADVERSARIAL, adversarial, adversarial_masks, adversarial_captions),
    )
    for name, _, images, masks, captions in kinds:
        check_count(name.lower(), len(images))
        check_titles(captions, len(images), "captions")
        _check_masks(masks, len(images))
    side_y, side_x = (tile_side(side, scale=scale) for side in real.shape[1:3])
    width, height = side_x / RATIO, side_y / RATIO
    columns = max(1, min(int((WIDTH + _GAP) // (width + _GAP)), max(len(real), len(adversarial))))
    total = max(columns * (width + _GAP) - _GAP, 320)
    head = 26 if title else 0
    plan, y = [], float(head)
    for name, colour, images, masks, captions in kinds:
        shown = [wrapped(caption, width) for caption in captions]
        text = _LINE * max((caption.count("\n") + 1 for caption in shown), default=0)
        step = height + text + (12 if shown else _GAP)
        plan.append((y, step, name, colour, as_bytes(images), masks, shown))
        y += 22 + step * -(-len(images) // columns) + 8
    canvas = Canvas(total, y - 12)
    if title:
        canvas.text(0, 1, wrapped(title, total, lines=1, size=10, weight="bold"), size=10, bold=True)
    for top, step, name, colour, images, masks, shown in plan:
        canvas.text(0, top, name, size=8.5, colour=colour, bold=True)
        for i, image in enumerate(images):
            x, at = (i % columns) * (width + _GAP), top + 20 + (i // columns) * step
            canvas.image(x, at, highlighted(resized(image, side_y, side_x), None if masks is None else masks[i]))
            if shown:
                canvas.text(x, at + height + 4, shown[i], colour=MUTED)
    return canvas.png(
        alt=f"{title or 'One unit'}: its {len(real)} top real images"
        + (f" ({'; '.join(real_captions)})" if real_captions else "")
        + f" above its {len(adversarial)} top adversarial images"
        + (f" ({'; '.join(adversarial_captions)})" if adversarial_captions else "")
    )


def detector_grid(units: Sequence[Detector], *, columns: int = 2, scale: int | None = None) -> bytes:
    """Units with their top images, the region above the threshold bright and outlined, as Network Dissection shows them.

    Args:
        units: what to show, in reading order; all images of one size.
        columns: units side by side.
        scale: every pixel becomes `scale` x `scale`; None picks a size that is easy to look at.

    Returns:
        The bytes of a PNG file.

    Raises:
        ValueError: no unit, a unit without images, two image sizes, or another number of masks than images.
    """
    check_count("units", len(units))
    shape = units[0].images.shape[1:3]
    for unit in units:
        check_count(f"the images of {unit.title!r}", len(unit.images))
        _check_masks(unit.masks, len(unit.images))
        if unit.images.shape[1:3] != shape:
            raise ValueError(f"expected images of {shape}, got {unit.images.shape[1:3]} for {unit.title!r}; resize them.")
    columns = min(columns, len(units))
    gutter = 28
    room = (WIDTH - (columns - 1) * gutter) / columns
    side_y, side_x = (tile_side(side, scale=scale) for side in shape)
    width, height = side_x / RATIO, side_y / RATIO
    strip = min(max(len(unit.images) for unit in units), max(1, int((room + 4) // (width + 4))))
    block = max(strip * (width + 4) - 4, 240)
    step = height + 60
    rows = -(-len(units) // columns)
    canvas = Canvas(columns * (block + gutter) - gutter, rows * step - 18)
    for i, unit in enumerate(units):
        x, y = (i % columns) * (block + gutter), (i // columns) * step
        canvas.text(x, y, wrapped(unit.title, block, lines=1, size=8.5, weight="bold"), size=8.5, bold=True)
        canvas.text(x, y + 17, wrapped(unit.detail, block, lines=1), colour=MUTED)
        for j, image in enumerate(as_bytes(unit.images)[:strip]):
            mask = None if unit.masks is None else unit.masks[j]
            canvas.image(x + j * (width + 4), y + 36, highlighted(resized(image, side_y, side_x), mask))
    described = "; ".join(f"{unit.title} {unit.detail}".strip() for unit in units)
    return canvas.png(alt=f"Top images of {len(units)} units with the region above the threshold: {described}")


def _check_masks(masks: Masks | None, count: int) -> None:
    if masks is not None and len(masks) != count:
        raise ValueError(f"expected {count} masks, one for each image, got {len(masks)}.")
