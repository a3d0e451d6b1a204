"""Figures of depth: what units answer at every depth, quantities against depth, and pictures with their depth."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from jaxinterp.report._canvas import Canvas, Pictures, as_bytes, resized, tile_side
from jaxinterp.report._sheets import check_count
from jaxinterp.report._style import CYCLE, MUTED, RATIO, WIDTH, grid_of_axes, heading, label_ends, png_of_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CURVES, _GAP, _MARGIN = 6, 8, 92


def depth_responses(panels: Mapping[str, Float[np.ndarray, "u d"]], edges: Float[np.ndarray, " e"]) -> bytes:
    """Response curves of every unit against depth: all of them as rows of a map, and the most peaked ones as curves.

    A unit's responses are divided by the largest of their sizes. Rows are ordered by the bin of the largest; units that answer
    nowhere come last. Bins without a pixel are left white, and bridged in the curves.

    Args:
        panels: title -> R_kd, NaN in bins without a pixel.
        edges: of the bins, in metres.

    Returns:
        The bytes of a PNG file.

    Raises:
        ValueError: no panel, or one with another number of bins.
    """
    check_count("panels", len(panels))
    for title, response in panels.items():
        if response.shape[1] != len(edges) - 1:
            raise ValueError(f"{title!r}: expected responses of {len(edges) - 1} bins, got {response.shape[1]}.")
    middles = np.sqrt(edges[1:] * edges[:-1])
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    width = (WIDTH - 66 - columns * 62) / columns
    with style():
        figure, axes = grid_of_axes(2 * rows, columns, cell=(width, 170), left=52, gap_x=62, gap_y=60)
        said = []
        for number in range(rows * columns):
            upper, lower = (axes[2 * (number // columns) + part][number % columns] for part in range(2))
            if number >= len(panels):
                upper.set_axis_off()
                lower.set_axis_off()
                continue
            title, response = list(panels.items())[number]
            scaled, best, peaked = _scaled(response)
            order = np.lexsort((-peaked, np.where(peaked > 0, best, response.shape[1])))
            upper.pcolormesh(edges, np.arange(len(order) + 1), scaled[order], cmap="viridis", vmin=0, vmax=1)
            _log_axis(upper, edges)
            upper.grid(visible=False)
            upper.invert_yaxis()
            upper.set_ylabel("units")
            heading(upper, title)
            for place, unit in enumerate(np.argsort(-peaked, kind="stable")[:_CURVES]):
                known = np.isfinite(scaled[unit])
                lower.plot(middles[known], scaled[unit][known], color=CYCLE[place % len(CYCLE)], linewidth=1.1)
            _log_axis(lower, edges)
            lower.set_xlabel("depth (m)")
            lower.set_ylabel("response / largest")
            said.append(f"{title}: {len(np.unique(best[peaked > 0]))} different bins are the largest of some unit")
        return png_of_figure(figure, alt="Responses of units against depth. " + "; ".join(said))


def depth_curves(
    panels: Mapping[str, Mapping[str, Float[np.ndarray, " d"]]], edges: Float[np.ndarray, " e"], *, columns: int = 2
) -> bytes:
    """Quantities against depth, one panel a quantity; bins that are NaN are bridged.

    Args:
        panels: title -> name of the curve -> value of every bin.
        edges: of the bins, in metres.
        columns: panels side by side.

    Returns:
        The bytes of a PNG file.

    Raises:
        ValueError: no panel, one without a curve, or a curve of another number of bins.
    """
    check_count("panels", len(panels))
    middles = np.sqrt(edges[1:] * edges[:-1])
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    columns = min(columns, len(panels))
    with style():
        width = min(420, (WIDTH - 52 - 110 - (columns - 1) * 150) / columns)
        figure, axes = grid_of_axes(-(-len(panels) // columns), columns, cell=(width, 200), right=110, gap_x=150, gap_y=70)
        cells, said = [ax for line in axes for ax in line], []
        for ax, (title, curves) in zip(cells, panels.items(), strict=False):
            check_count(f"the curves of {title!r}", len(curves))
            ends = []
            for name, values in curves.items():
                if len(values) != len(middles):
                    raise ValueError(f"{title!r}, {name!r}: expected {len(middles)} values, got {len(values)}.")
                known, colour = np.isfinite(values), CYCLE[names.index(name) % len(CYCLE)]
                ax.plot(middles[known], values[known], color=colour)
                ends.append((name, float(values[known][-1]) if known.any() else float("nan"), colour))
                said.append(f"{title}, {name}: {np.nanmin(values):.3g} to {np.nanmax(values):.3g}")
            _log_axis(ax, edges)
            ax.set_xlabel("depth (m)")
            heading(ax, title)
            label_ends(ax, ends)
        for ax in cells[len(panels) :]:
            ax.set_axis_off()
        return png_of_figure(figure, alt="Against depth. " + "; ".join(said))


def depth_sheet(
    images: Pictures,
    truth: Float[np.ndarray, "n s s"],
    predicted: Mapping[str, Float[np.ndarray, "n s s"]],
    *,
    depths: tuple[float | int, float | int],
    titles: Sequence[str] = (),
) -> bytes:
    """Rows of pictures: the images, their depth, and of every network its prediction and the error of its log.

    Depth goes from dark (near) to light (far) in its log, black where there is no value; errors from blue (too near) over white
    to red (too far), full at a factor of two.

    Args:
        images: uint8, or floats in [0, 1].
        truth: metres, 0 where there is no value.
        predicted: name -> metres.
        depths: (smallest, largest) of the colours, in metres.
        titles: one a picture; empty for none.

    Returns:
        The bytes of a PNG file.

    Raises:
        ValueError: no image, or another number of depth maps.
    """
    check_count("images", len(images))
    for name, maps in (("truth", truth), *predicted.items()):
        if len(maps) != len(images):
            raise ValueError(f"{name!r}: expected {len(images)} depth maps, got {len(maps)}.")
    lines = [("image", as_bytes(images)), ("depth", _coloured(truth, depths, truth > 0))]
    for name, maps in predicted.items():
        lines.append((name, _coloured(maps, depths, np.ones_like(maps, bool))))
        lines.append((f"{name},\nerror", _signed(maps, truth)))
    side = tile_side(images.shape[1]) // 2
    step = side / RATIO + _GAP
    top = 16 if titles else 0
    canvas = Canvas(_MARGIN + len(images) * step - _GAP, top + len(lines) * step - _GAP)
    for column, title in enumerate(titles):
        canvas.text(_MARGIN + column * step, 0, title, colour=MUTED)
    for row, (name, pictures) in enumerate(lines):
        canvas.text(0, top + row * step + side / RATIO / 2, name, size=8.5, bold=True, middle=True)
        for column, picture in enumerate(pictures):
            canvas.image(_MARGIN + column * step, top + row * step, resized(picture, side, side))
    return canvas.png(alt=f"{len(images)} images, their depth, and the depth and errors of {', '.join(predicted)}")


def _log_axis(axes: "Axes", edges: np.ndarray) -> None:
    """Depth along an axis, in its log, with plain numbers at the ticks."""
    from matplotlib.ticker import NullLocator

    ticks = [tick * 10.0**power for power in range(-3, 5) for tick in (1, 2, 5)]
    inside = [tick for tick in ticks if edges[0] <= tick <= edges[-1]]
    axes.set_xscale("log")
    axes.set_xlim(float(edges[0]), float(edges[-1]))
    axes.set_xticks(inside, [f"{tick:g}" for tick in inside])
    axes.xaxis.set_minor_locator(NullLocator())


def _scaled(response: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Responses over the largest of each unit, its bin, and how far it stands above the mean of all."""
    size = np.abs(np.where(np.isfinite(response), response, 0))
    largest = size.max(axis=1)
    scaled = np.abs(response) / np.where(largest > 0, largest, 1)[:, None]
    count = np.maximum(np.isfinite(response).sum(axis=1), 1)
    peaked = np.where(largest > 0, 1 - size.sum(axis=1) / count / np.where(largest > 0, largest, 1), 0)
    return scaled, size.argmax(axis=1), peaked


def _coloured(maps: np.ndarray, depths: tuple[float | int, float | int], known: np.ndarray) -> np.ndarray:
    from matplotlib import colormaps

    low, high = np.log(depths)
    place = np.clip((np.log(np.clip(maps, *depths)) - low) / (high - low), 0, 1)
    pixels = np.round(255 * colormaps["viridis"](place)[..., :3])
    return np.where(known[..., None], pixels, 0).astype(np.uint8)


def _signed(maps: np.ndarray, truth: np.ndarray) -> np.ndarray:
    from matplotlib import colormaps

    known = truth > 0
    ratio = np.log2(np.maximum(maps, 1e-6) / np.where(known, truth, 1))
    pixels = np.round(255 * colormaps["RdBu_r"](np.clip(0.5 + 0.5 * ratio, 0, 1))[..., :3])
    return np.where(known[..., None], pixels, 0).astype(np.uint8)
