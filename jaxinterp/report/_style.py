"""The look that every figure shares, and how a figure becomes the bytes of a PNG file.

Colours are those of Okabe and Ito, which stay apart for all common kinds of colour blindness; kinds of data also differ
by line style or hatching, so that the figures survive a grey printer.
"""

import contextlib
import io
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

REAL = "#0072B2"
"""Blue: real (clean) images."""
ADVERSARIAL = "#D55E00"
"""Vermilion: adversarial images."""
NOISE = "#009E73"
"""Green: images with as much random noise as the adversarial ones have perturbation."""
NULL = "#8A8A8A"
"""Grey: controls and chance levels."""
INK = "#1F2328"
MUTED = "#59636E"
GRID = "#E4E7EB"
OUTLINE = (255, 225, 60)
"""Yellow: outline of the region in which a unit is above its threshold."""
CYCLE = (REAL, ADVERSARIAL, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
WIDTH = 1080
"""Width of the widest figure in points of the page (CSS pixels)."""
RATIO = 2
"""Pixels of the file per CSS pixel; figures stay sharp on dense screens and on paper."""

_RC: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#AEB6BF",
    "axes.facecolor": "white",
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.xmargin": 0.03,
    "figure.dpi": 100 * RATIO,
    "figure.facecolor": "white",
    "font.family": ["DejaVu Sans"],
    "font.size": 8.5,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "hatch.linewidth": 0.8,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "mathtext.fontset": "dejavusans",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": "#AEB6BF",
    "xtick.labelcolor": MUTED,
    "xtick.labelsize": 8,
    "ytick.color": "#AEB6BF",
    "ytick.labelcolor": MUTED,
    "ytick.labelsize": 8,
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The settings under which every figure is drawn; the caller's own come back afterwards."""
    import matplotlib

    with matplotlib.rc_context(_RC), warnings.catch_warnings():  # pyright: ignore[reportArgumentType]
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def new_figure(width: float | int, height: float | int) -> "Figure":
    """An empty figure of the given size in CSS pixels, drawn without any display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 100, height / 100), dpi=100 * RATIO)
    FigureCanvasAgg(figure)
    return figure


def grid_of_axes(
    rows: int,
    columns: int,
    *,
    cell: tuple[float | int, float | int],
    left: float | int = 52,
    right: float | int = 14,
    top: float | int = 30,
    bottom: float | int = 42,
    gap_x: float | int = 30,
    gap_y: float | int | Sequence[float | int] = 60,
) -> "tuple[Figure, list[list[Axes]]]":
    """A figure with equal axes; all sizes, margins and gaps are in CSS pixels, `gap_y` one number or one for each gap."""
    gaps = [0.0, *([gap_y] * (rows - 1) if isinstance(gap_y, int | float) else gap_y)]
    width = left + right + columns * cell[0] + (columns - 1) * gap_x
    height = top + bottom + rows * cell[1] + sum(gaps)
    figure = new_figure(width, height)
    axes = []
    for row in range(rows):
        y = height - top - (row + 1) * cell[1] - sum(gaps[: row + 1])
        line = [left + column * (cell[0] + gap_x) for column in range(columns)]
        axes.append([figure.add_axes((x / width, y / height, cell[0] / width, cell[1] / height)) for x in line])
    return figure, axes


def heading(axes: "Axes", title: str, *, note: str = "") -> None:
    """Writes a title over axes, and a quieter line under it."""
    height = axes.get_window_extent().height / RATIO
    at = {"transform": axes.transAxes, "ha": "left", "va": "bottom"}
    axes.text(0, 1 + (24 if note else 8) / height, title, fontsize=9.5, weight="bold", **at)
    if note:
        axes.text(0, 1 + 8 / height, note, fontsize=7.5, color=MUTED, **at)


def png_of_figure(figure: "Figure", *, alt: str) -> bytes:
    """The figure as a PNG file that carries `alt` as its description."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    return png_of_image(Image.frombuffer("RGBA", (width, height), bytes(canvas.buffer_rgba())).convert("RGB"), alt=alt)


def png_of_image(image: "Image", *, alt: str) -> bytes:
    """The picture as a PNG file: no date, no version, so that equal pictures are equal bytes."""
    from PIL import PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text("Description", " ".join(alt.split()))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=info, dpi=(100 * RATIO, 100 * RATIO), compress_level=6)
    return buffer.getvalue()


def spread(values: Sequence[float], *, gap: float | int, low: float | int, high: float | int) -> list[float]:
    """Moves label positions apart: the order is kept, neighbours are at least `gap` apart, all lie in [low, high]."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    gap = min(gap, (high - low) / max(len(values) - 1, 1))
    placed = list(values)
    floor = low
    for i in order:
        placed[i] = floor = max(placed[i], floor)
        floor += gap
    ceiling = high
    for i in reversed(order):
        placed[i] = ceiling = min(placed[i], ceiling)
        ceiling -= gap
    return placed


def label_ends(axes: "Axes", ends: Sequence[tuple[str, float, str]], *, gap: float | int = 15, pad: float | int = 6) -> None:
    """Writes names at the right end of curves.

    Args:
        axes: where the curves are; its limits must be final.
        ends: (name, y of the last point, colour) of each curve.
        gap: least distance between two labels, in CSS pixels.
        pad: distance from the right edge of the axes, in CSS pixels.
    """
    low, high = axes.get_ylim()
    height = axes.get_window_extent().height / RATIO
    unit = (high - low) / height
    finite = [end for end in ends if math.isfinite(end[1])]
    placed = spread([min(max(y, low), high) for _, y, _ in finite], gap=gap * unit, low=low, high=high)
    for (name, y, colour), at in zip(finite, placed, strict=True):
        axes.annotate(
            name,
            xy=(1, min(max(y, low), high)),
            xytext=(1 + pad / (axes.get_window_extent().width / RATIO), at),
            xycoords=axes.get_yaxis_transform(),
            textcoords=axes.get_yaxis_transform(),
            color=colour,
            fontsize=8,
            va="center",
            annotation_clip=False,
        )
