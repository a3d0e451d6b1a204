"""Networks of several kinds from the same seeds: every network a point, one panel a quantity."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from jaxinterp.report._sheets import check_count
from jaxinterp.report._style import CYCLE, MUTED, WIDTH, grid_of_axes, heading, png_of_figure, style


def paired_points(panels: Mapping[str, Mapping[str, Float[np.ndarray, "s"]]], *, columns: int = 3) -> bytes:
    """What was measured of networks that were trained in several ways from the same seeds.

    Networks of one seed are joined by a line, so that a difference within pairs is seen as lines that run alike; the bar is
    the mean.

    Args:
        panels: quantity -> kind of network -> one value a seed, NaN where it was not measured.
        columns: panels side by side.

    Returns:
        The bytes of a PNG file.

    Raises:
        ValueError: no panel, or kinds with different numbers of seeds in one.
    """
    check_count("panels", len(panels))
    for title, kinds in panels.items():
        check_count(f"the kinds of {title!r}", len(kinds))
        if len({len(values) for values in kinds.values()}) != 1:
            raise ValueError(f"{title!r}: expected one value a seed of every kind, got {[len(v) for v in kinds.values()]}.")
    names = list(dict.fromkeys(name for kinds in panels.values() for name in kinds))
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    longest = max(len(name) for name in names)
    with style():
        gap = 60
        width = min(260, (WIDTH - 120 - (columns - 1) * gap) / columns)
        cell = (width, 22 * len(names) + 16)
        figure, axes = grid_of_axes(rows, columns, cell=cell, left=16 + 6 * longest, right=24, gap_x=gap, gap_y=68)
        cells = [ax for line in axes for ax in line]
        described = []
        for number, (ax, (title, kinds)) in enumerate(zip(cells, panels.items(), strict=False)):
            places = [names.index(name) for name in kinds]
            for pair in np.stack(list(kinds.values())).T:
                ax.plot(pair, places, color=MUTED, linewidth=0.7, alpha=0.5, zorder=1)
            for place, values in zip(places, kinds.values(), strict=True):
                colour = CYCLE[place % len(CYCLE)]
                ax.plot(values, np.full(len(values), place), "o", color=colour, alpha=0.8)
                if np.isfinite(values).any():
                    ax.plot(np.full(2, np.nanmean(values)), [place - 0.32, place + 0.32], color=colour, linewidth=2.2)
                    described.append(f"{title}, {names[place]}: {np.nanmean(values):.3g}")
            ax.ticklabel_format(axis="x", useOffset=False)
            ax.set_ylim(len(names) - 0.4, -0.6)
            ax.set_yticks(range(len(names)), names if number % columns == 0 else [""] * len(names))
            ax.locator_params(axis="x", nbins=4)
            heading(ax, title)
        for ax in cells[len(panels) :]:
            ax.set_axis_off()
        return png_of_figure(figure, alt="Means over seeds. " + "; ".join(described))
