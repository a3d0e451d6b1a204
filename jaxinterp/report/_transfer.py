"""The heat map of transfer: success of every source of adversarial images on every network."""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from jaxinterp.report._canvas import text_width, wrapped
from jaxinterp.report._sheets import check_count
from jaxinterp.report._style import GRID, INK, MUTED, RATIO, WIDTH, grid_of_axes, heading, png_of_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WHITE_BOX, SAME_FAMILY, BLACK_BOX = "white box", "same family", "black box"
_OUTLINES = {WHITE_BOX: "-", SAME_FAMILY: (0, (2.5, 1.5))}
_MEAN = "black boxes"
_ROW, _LINE, _GAP, _TILT = 38, 16, 0.3, math.radians(35)


@dataclasses.dataclass(frozen=True, eq=False)
class TransferMatrix:
    """Success rates of one kind of attack.

    Attributes:
        title: what succeeds, for example "untargeted".
        sources: names of the rows, the networks that were attacked.
        networks: names of the columns, those that were shown the images.
        success: rates in [0, 1]; NaN where there was nothing to count.
        control: rates of a perturbation that means nothing, written small.
        relations: what each column is to each row: "white box", "same family" or "black box".
        black_box: mean rate of each row over its black boxes, NaN where it has none; drawn apart.
        note: printed under the title, for example the denominator.

    Raises:
        ValueError: arrays of another shape than rows times columns, or an unknown relation.
    """

    title: str
    sources: tuple[str, ...]
    networks: tuple[str, ...]
    success: Float[np.ndarray, "_ _"]
    control: Float[np.ndarray, "_ _"]
    relations: tuple[tuple[str, ...], ...]
    black_box: Float[np.ndarray, "_"]
    _: dataclasses.KW_ONLY
    note: str = ""

    def __post_init__(self) -> None:
        shape = (len(self.sources), len(self.networks))
        found = {self.success.shape, self.control.shape, (len(self.relations), *{len(row) for row in self.relations})}
        if found != {shape} or len(self.black_box) != shape[0]:
            raise ValueError(f"{self.title!r}: expected matrices of {shape[0]} sources times {shape[1]} networks.")
        for relation in {name for row in self.relations for name in row}:
            if relation not in (WHITE_BOX, SAME_FAMILY, BLACK_BOX):
                raise ValueError(f"expected a relation {WHITE_BOX!r}, {SAME_FAMILY!r} or {BLACK_BOX!r}, got {relation!r}.")


def transfer_heatmap(panels: Sequence[TransferMatrix]) -> bytes:
    """One matrix a panel: a row a source, a column a network, the rate in per cent in its cell, the control below it.

    Cells of networks that were attacked themselves are outlined, those of versions of one that was attacked are outlined
    with dashes. The means over black boxes stand apart on the right. Panels of the same rows share the names of the rows.

    Args:
        panels: one a kind of attack.

    Returns:
        The bytes of a PNG file.

    Raises:
        ValueError: no panel, or a panel without rows or columns.
    """
    check_count("panels", len(panels))
    for panel in panels:
        check_count(f"the cells of {panel.title!r}", panel.success.size)
    rows, columns = max(len(p.sources) for p in panels), max(len(p.networks) for p in panels)
    left = 14 + max(text_width(_short(name, 8.5), size=8.5) for panel in panels for name in panel.sources)
    names = max(text_width(_short(name, 8)) for panel in panels for name in (*panel.networks, _MEAN))
    shared, right = len({panel.sources for panel in panels}) == 1, 92
    wide = 1.08 * max(text_width(panel.note, size=7.5) for panel in panels)
    least, room = max(52 * (columns + 1 + _GAP), wide), WIDTH - left - right + 24
    across = len(panels) if shared and room / len(panels) - 24 >= least else 1
    whole = min(max(78 * (columns + 1 + _GAP), wide), room / across - 24)
    relations = {name for panel in panels for row in panel.relations for name in row}
    bottom, key = 24 + names * math.sin(_TILT), _LINE * (1 + len(relations & _OUTLINES.keys()))
    with style():
        figure, axes = grid_of_axes(
            -(-len(panels) // across),
            across,
            cell=(whole, _ROW * rows),
            left=left,
            right=right,
            top=52,
            bottom=bottom + key + 12,
            gap_x=24,
            gap_y=bottom + 56,
        )
        cells = [ax for line in axes for ax in line]
        for place, (ax, panel) in enumerate(zip(cells, panels, strict=True)):
            _draw(ax, panel, rows, columns, named=place % across == 0)
            heading(ax, panel.title, note=panel.note)
        _key(figure, cells[across - 1], left, relations)
        return png_of_figure(figure, alt=_described(panels))


def _draw(ax: "Axes", panel: TransferMatrix, rows: int, columns: int, *, named: bool) -> None:
    ax.grid(visible=False)
    ax.set_xlim(-0.5, columns + 0.5 + _GAP)
    ax.set_ylim(rows - 0.5, -0.5)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.tick_params(length=0)
    places = [*range(len(panel.networks)), columns + _GAP]
    below = [_short(name, 8) for name in (*panel.networks, _MEAN)]
    beside = [_short(name, 8.5) if named else "" for name in panel.sources]
    ax.set_xticks(places, below, rotation=math.degrees(_TILT), ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(panel.sources)), beside, fontsize=8.5, color=INK)
    for row in range(len(panel.sources)):
        for column in range(len(panel.networks)):
            _cell(ax, row, column, float(panel.success[row, column]), control=float(panel.control[row, column]))
        _cell(ax, row, columns + _GAP, float(panel.black_box[row]))
    for row, relations in enumerate(panel.relations):
        for column, relation in enumerate(relations):
            if relation in _OUTLINES:
                _outline(ax, row, column, relation)


def _cell(ax: "Axes", row: int, column: float | int, rate: float, *, control: float | None = None) -> None:
    import matplotlib
    from matplotlib.patches import Rectangle

    known = math.isfinite(rate)
    colour = matplotlib.colormaps["cividis"](rate) if known else GRID
    ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, edgecolor="white", linewidth=1.2))
    ink = "white" if known and rate < 0.5 else INK
    at: dict[str, Any] = {"ha": "center", "va": "center", "color": ink}
    if control is None:
        ax.text(column, row, f"{100 * rate:.0f}" if known else "–", fontsize=9.5, weight="bold", **at)
        return
    ax.text(column, row - 0.12, f"{100 * rate:.0f}" if known else "–", fontsize=9.5, **at)
    if math.isfinite(control):
        ax.text(column, row + 0.26, f"{100 * control:.0f}", fontsize=6.5, **at)


def _outline(ax: "Axes", row: int, column: int, relation: str) -> None:
    """A dark line in the cell, and a white one under it that reaches the edge of the cell."""
    from matplotlib.patches import Rectangle

    box = ax.get_window_extent()
    wide, high = box.width / abs(np.subtract(*ax.get_xlim())), box.height / abs(np.subtract(*ax.get_ylim()))
    x, y = (2.4 * RATIO / side for side in (wide, high))
    for colour, width, dashes in (("white", 3.4, "-"), (INK, 1.6, _OUTLINES[relation])):
        options = {"fill": False, "edgecolor": colour, "linewidth": width, "linestyle": dashes}
        ax.add_patch(Rectangle((column - 0.5 + x, row - 0.5 + y), 1 - 2 * x, 1 - 2 * y, **options))


def _key(figure: "Figure", last: "Axes", left: float, relations: set[str]) -> None:
    """The scale on the right, and at the bottom what outlines and small figures mean."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.lines import Line2D

    width, height = (100 * side for side in figure.get_size_inches())
    box = last.get_position()
    tall = min(box.height, 220 / height)
    bar = figure.add_axes((box.x1 + 22 / width, box.y1 - tall, 12 / width, tall))
    scale = figure.colorbar(ScalarMappable(Normalize(0, 100), "cividis"), cax=bar, ticks=[0, 50, 100])
    scale.ax.tick_params(length=0)
    scale.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    scale.set_label("success, %")
    words = {WHITE_BOX: "attacked itself", SAME_FAMILY: "version of one that is attacked"}
    words = {relation: text for relation, text in words.items() if relation in relations}
    lines = [Line2D([], [], color=INK, linestyle=_OUTLINES[relation], linewidth=1.6) for relation in words]
    lines.append(Line2D([], [], linestyle="none"))
    texts = [*words.values(), "small figures: control, the perturbation of another image"]
    at = {"loc": "lower left", "bbox_to_anchor": (left / width, 2 / height), "borderaxespad": 0, "borderpad": 0.2}
    figure.legend(lines, texts, labelspacing=0.35, frameon=False, fontsize=8, labelcolor=MUTED, **at)


def _short(name: str, size: float | int) -> str:
    """A name that leaves room for the cells."""
    return wrapped(name, 200, lines=1, size=size)


def _described(panels: Sequence[TransferMatrix]) -> str:
    parts = []
    for panel in panels:
        for name, row, mean in zip(panel.sources, panel.success, panel.black_box, strict=True):
            rates = ", ".join(f"{network} {_percent(rate)}" for network, rate in zip(panel.networks, row.tolist(), strict=True))
            parts.append(f"{panel.title}, {name}: {rates}, black boxes {_percent(float(mean))}")
    return "Success in per cent of the images of each source on each network. " + "; ".join(parts)


def _percent(rate: float) -> str:
    return f"{100 * rate:.0f}" if math.isfinite(rate) else "none"
