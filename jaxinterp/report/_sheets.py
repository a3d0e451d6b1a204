"""Sheets of images: one image after another, and real / adversarial / magnified perturbation."""

from collections.abc import Sequence

import numpy as np

from jaxinterp.report._canvas import Canvas, Pictures, as_bytes, resized, tile_side, wrapped
from jaxinterp.report._style import ADVERSARIAL, MUTED, RATIO, REAL, WIDTH

_GAP = 8
_LINE = 14.5


def contact_sheet(
    images: Pictures, *, titles: Sequence[str] = (), columns: int | None = None, scale: int | None = None
) -> bytes:
    """Images side by side, each with its title under it.

    Args:
        images: uint8, or floats in [0, 1].
        titles: one a picture, at most two lines are shown; empty for none.
        columns: pictures a row; None takes as many as the page is wide.
        scale: every pixel becomes `scale` x `scale`; None picks a size that is easy to look at.

    Returns:
        The bytes of a PNG file.

    Raises:
        ValueError: no image, floats outside [0, 1], or another number of titles than images.
    """
    check_count("images", len(images))
    check_titles(titles, len(images), "titles")
    pixels = as_bytes(images)
    side_y, side_x = (tile_side(side, scale=scale) for side in pixels.shape[1:3])
    width, height = side_x / RATIO, side_y / RATIO
    fitting = max(1, int((WIDTH + _GAP) // (width + _GAP)))
    columns = min(columns or fitting, len(pixels))
    rows = -(-len(pixels) // columns)
    shown = [wrapped(title, width) for title in titles]
    text = _LINE * max((title.count("\n") + 1 for title in shown), default=0)
    step = height + (text + 5 if shown else 0) + _GAP
    canvas = Canvas(columns * (width + _GAP) - _GAP, rows * step - _GAP)
    for i, image in enumerate(pixels):
        x, y = (i % columns) * (width + _GAP), (i // columns) * step
        canvas.image(x, y, resized(image, side_y, side_x))
        if shown:
            canvas.text(x, y + height + 4, shown[i], colour=MUTED)
    named = f": {'; '.join(titles)}" if titles else ""
    return canvas.png(alt=f"Sheet of {len(pixels)} images{named}")


def adversarial_sheet(
    clean: Pictures, adversarial: Pictures, *, titles: Sequence[str] = (), magnify: float | int = 10.0, scale: int | None = None
) -> bytes:
    """Three rows: the real images, their adversarial images, and the magnified perturbation (grey is no change).

    Args:
        clean: the real images; uint8, or floats in [0, 1].
        adversarial: the same images after the attack.
        titles: one a pair, for example "beaver → school bus"; at most three lines are shown.
        magnify: factor on the perturbation.
        scale: every pixel becomes `scale` x `scale`; None picks a size that is easy to look at.

    Returns:
        The bytes of a PNG file.

    Raises:
        ValueError: no image, two shapes, floats outside [0, 1], or another number of titles than images.
    """
    check_count("clean", len(clean))
    check_titles(titles, len(clean), "titles")
    if clean.shape != adversarial.shape:
        raise ValueError(f"expected clean and adversarial images of one shape, got {clean.shape} and {adversarial.shape}.")
    real, fake = as_bytes(clean), as_bytes(adversarial)
    change = np.clip(127.5 + magnify * (fake.astype(np.float64) - real), 0, 255).astype(np.uint8)
    side_y, side_x = (tile_side(side, scale=scale) for side in real.shape[1:3])
    width, height = side_x / RATIO, side_y / RATIO
    margin = 92
    columns = min(len(real), max(1, int((WIDTH - margin + _GAP) // (width + _GAP))))
    blocks = -(-len(real) // columns)
    shown = [wrapped(title, width, lines=3) for title in titles]
    text = _LINE * max((title.count("\n") + 1 for title in shown), default=0) + (6 if shown else 0)
    step = 3 * (height + 6) + text + 14
    canvas = Canvas(margin + columns * (width + _GAP) - _GAP, blocks * step - 14 - 6)
    kinds = (
        (real, "Real", REAL),
        (fake, "Adversarial", ADVERSARIAL),
        (change, f"Perturbation\n× {magnify:g}", MUTED),
    )
    for block in range(blocks):
        part = slice(block * columns, (block + 1) * columns)
        top = block * step
        for j, title in enumerate(shown[part]):
            canvas.text(margin + j * (width + _GAP), top, title)
        for row, (pixels, name, colour) in enumerate(kinds):
            y = top + text + row * (height + 6)
            canvas.text(0, y + height / 2, name, size=8.5, colour=colour, bold=True, middle=True)
            for j, image in enumerate(pixels[part]):
                canvas.image(margin + j * (width + _GAP), y, resized(image, side_y, side_x))
    named = f": {'; '.join(titles)}" if titles else ""
    return canvas.png(
        alt=f"{len(real)} real images, above their adversarial images, above the perturbation times {magnify:g}{named}"
    )


def check_count(name: str, count: int) -> None:
    """Raises `ValueError` where there is nothing to draw."""
    if count == 0:
        raise ValueError(f"expected at least one entry in {name}, got none; leave the figure out.")


def check_titles(titles: Sequence[str], count: int, name: str) -> None:
    """Raises `ValueError` where there are texts, but not one for each picture."""
    if titles and len(titles) != count:
        raise ValueError(f"expected {count} {name}, one for each image, got {len(titles)}.")
