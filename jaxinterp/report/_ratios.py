"""Histograms of the representation consistency r1 and r2."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from jaxinterp.report._sheets import check_count
from jaxinterp.report._style import ADVERSARIAL, INK, REAL, WIDTH, grid_of_axes, heading, png_of_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def ratio_histogram(
    ratios: Mapping[str, Float[np.ndarray, "_"]],
    *,
    controls: Mapping[str, Float[np.ndarray, "_"]] | None = None,
    label: str = "r",
    control_name: str = "clean images",
    columns: int = 3,
) -> bytes:
    """Histograms of r1 or r2 in bins of 0.05, a dashed line at 1, one panel a network and state.

    Below 1 an image's representation is nearer to its original class than to its target class. The drawn range holds
    all values but 0.5 % on either side and never goes beyond 3; what lies outside is counted in the outermost bins.
    Values that are not finite are left out and their number is written.

    Args:
        ratios: title -> the ratio of every adversarial image.
        controls: title -> the ratio of the clean images, drawn as an outline.
        label: name of the ratio, "r1" or "r2".
        control_name: what the outlines are.
        columns: panels side by side.

    Returns:
        The bytes of a PNG file.

    Raises:
        ValueError: no panel, a panel without a finite value, or a control of no panel.
    """
    controls = controls or {}
    check_count("ratios", len(ratios))
    for title in controls:
        if title not in ratios:
            raise ValueError(f"control {title!r} belongs to no panel; panels: {', '.join(ratios)}.")
    finite = {title: values[np.isfinite(values)] for title, values in ratios.items()}
    for title, values in finite.items():
        check_count(f"the finite values of {title!r}", len(values))
    drawn = [*finite.values(), *(values[np.isfinite(values)] for values in controls.values())]
    everything = np.concatenate(drawn)
    low, high = np.quantile(everything, [0.005, 0.995])
    first, last = int(np.floor(min(low, 1) / 0.05 - 1e-9)) - 1, int(np.ceil(min(max(high, 1), 2.95) / 0.05 + 1e-9)) + 1
    edges = 0.05 * np.arange(first, last + 1)
    columns = min(columns, len(ratios))
    rows = -(-len(ratios) // columns)
    width = min(420, (WIDTH - 60 - 14 - (columns - 1) * 24) / columns)
    described = []
    with style():
        figure, axes = grid_of_axes(rows, columns, cell=(width, 150), left=60, top=46, bottom=42, gap_x=24, gap_y=104)
        cells = [ax for line in axes for ax in line]
        for ax, (title, values) in zip(cells, finite.items(), strict=False):
            note = f"mean {values.mean():.3f}, {np.mean(values < 1):.0%} below 1, n = {len(values)}"
            if len(values) < len(ratios[title]):
                note += f", {len(ratios[title]) - len(values)} not finite"
            _draw(ax, values, controls.get(title), edges)
            heading(ax, title, note=note)
            described.append(f"{title}: {note}")
        shared = max(ax.get_ylim()[1] for ax in cells[: len(ratios)])
        for i, ax in enumerate(cells):
            if i >= len(ratios):
                ax.set_axis_off()
                continue
            ax.set_ylim(0, shared * (1.3 if controls else 1))  # room for the names of the two
            ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
            ax.set_xlabel(label)
            if i % columns:
                ax.tick_params(labelleft=False)
            else:
                ax.set_ylabel("share of images")
        if controls:
            for y, name, colour in ((0.96, "adversarial images", ADVERSARIAL), (0.84, control_name, REAL)):
                at = {"transform": cells[0].transAxes, "ha": "right", "va": "top"}
                cells[0].text(0.99, y, name, color=colour, fontsize=7.5, weight="bold", **at)
        return png_of_figure(figure, alt=f"Histograms of {label}. " + ". ".join(described))


def _draw(ax: "Axes", values: np.ndarray, outline: np.ndarray | None, edges: np.ndarray) -> None:
    bars = {"width": 0.05, "align": "edge", "color": ADVERSARIAL, "alpha": 0.6, "edgecolor": "white", "linewidth": 0.6}
    ax.bar(edges[:-1], _shares(values, edges), **bars)
    if outline is not None:
        ax.stairs(_shares(outline[np.isfinite(outline)], edges), edges, color=REAL, linewidth=1.5)
    ax.axvline(1, color=INK, linestyle="--", linewidth=1.2)
    ax.set_xlim(edges[0], edges[-1])


def _shares(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    counts, _ = np.histogram(np.clip(values, edges[0], np.nextafter(edges[-1], -np.inf)), edges)
    return counts / max(len(values), 1)
