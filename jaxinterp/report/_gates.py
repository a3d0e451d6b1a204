"""Matrices of gates: which units are open to which class, which units are alike, what classes lose without their filters."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from jaxinterp.report._sheets import check_count
from jaxinterp.report._style import INK, grid_of_axes, heading, png_of_figure, style

_WRITTEN = 12
"""Up to so many classes, figures stand in the cells."""
_DARK = 0.6
"""Figures on a darker cell are white."""


def gate_matrix(
    gates: Mapping[str, Float[np.ndarray, "_ _"]],
    orders: Mapping[str, Int[np.ndarray, "_"]],
    *,
    class_names: Sequence[str],
) -> bytes:
    """One panel a network: a row a class, a column a unit, dark where the gate is open.

    Args:
        gates: name of the network -> G, a row a unit and a column a class, in [0, 1].
        orders: name of the network -> its units in the order in which they are drawn, such as that of `metrics.block_order`.
        class_names: names of the rows.

    Returns:
        The bytes of a PNG file.

    Raises:
        ValueError: no network, a network without an order, or another number of classes than names.
    """
    check_count("gates", len(gates))
    for name, gate in gates.items():
        if name not in orders or len(orders[name]) != len(gate) or gate.shape[1] != len(class_names):
            raise ValueError(
                f"{name!r}: expected an order of {len(gate)} units and {len(class_names)} classes, as the gate has."
            )
    high = max(110, 13 * len(class_names))
    with style():
        figure, axes = grid_of_axes(len(gates), 1, cell=(760, high), left=110, top=46, gap_y=100)
        described = []
        for (ax,), (name, gate) in zip(axes, gates.items(), strict=True):
            ax.grid(visible=False)
            ax.imshow(gate[orders[name]].T, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
            ax.set_yticks(range(len(class_names)), list(class_names))
            ax.set_xlabel("units, sorted")
            density = float(np.abs(gate).mean())
            heading(ax, name, note=f"{len(gate)} units; density {density:.3f}; white 0, dark 1")
            described.append(f"{name}: density {density:.3f}")
        return png_of_figure(figure, alt="Gates of units (columns) for classes (rows). " + "; ".join(described))


def similarity_matrix(
    similarities: Mapping[str, Float[np.ndarray, "_ _"]], orders: Mapping[str, Int[np.ndarray, "_"]], *, columns: int = 3
) -> bytes:
    """One panel a network: how alike the units are, in an order in which units of one class lie together.

    Args:
        similarities: name of the network -> correlations, as of `metrics.filter_similarity`.
        orders: name of the network -> its units in the order in which they are drawn.
        columns: panels in a row.

    Returns:
        The bytes of a PNG file.

    Raises:
        ValueError: no network, or an order of another number of units.
    """
    check_count("similarities", len(similarities))
    columns = min(columns, len(similarities))
    with style():
        figure, axes = grid_of_axes(-(-len(similarities) // columns), columns, cell=(240, 240), left=44, top=46, gap_y=96)
        cells = [ax for line in axes for ax in line]
        for ax, (name, table) in zip(cells, similarities.items(), strict=False):
            if len(orders.get(name, ())) != len(table):
                raise ValueError(f"{name!r}: expected an order of its {len(table)} units.")
            ax.grid(visible=False)
            shown = table[np.ix_(orders[name], orders[name])]
            ax.imshow(shown, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
            ax.set_xlabel("units, sorted by class")
            heading(ax, name, note=f"{len(table)} units; blue -1, white 0, red 1")
        for ax in cells[len(similarities) :]:
            ax.set_axis_off()
        return png_of_figure(figure, alt=f"Correlation of units, sorted by class, in {', '.join(similarities)}.")


def filters_matrix(panels: Mapping[str, Float[np.ndarray, "_ _"]], *, class_names: Sequence[str], columns: int = 2) -> bytes:
    """One panel a case: accuracy on the images of each class (column) when the filters of each class (row) are changed.

    Args:
        panels: what is done to the filters -> accuracy in [0, 1], a row the class whose filters they are, NaN where a class
            has no image.
        class_names: of rows and columns.
        columns: panels in a row.

    Returns:
        The bytes of a PNG file.

    Raises:
        ValueError: no panel, or another number of classes than names.
    """
    check_count("panels", len(panels))
    columns, count = min(columns, len(panels)), len(class_names)
    side, written = max(220, 26 * count), count <= _WRITTEN
    with style():
        figure, axes = grid_of_axes(
            -(-len(panels) // columns), columns, cell=(side, side), left=104, top=46, bottom=96, gap_x=116, gap_y=160
        )
        cells = [ax for line in axes for ax in line]
        for ax, (name, table) in zip(cells, panels.items(), strict=False):
            if table.shape != (count, count):
                raise ValueError(f"{name!r}: expected {count} rows and columns, one a class, got {table.shape}.")
            ax.grid(visible=False)
            ax.imshow(table, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
            for row, column in np.argwhere(np.isfinite(table)) if written else ():
                share = float(table[row, column])
                colour = "white" if share > _DARK else INK
                ax.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=7, color=colour)
            ax.set_yticks(range(count), list(class_names))
            ax.set_xticks(range(count), list(class_names), rotation=60, ha="right", rotation_mode="anchor")
            ax.set_ylabel("filters of")
            heading(ax, name, note="accuracy on the images of each class, per cent" if written else "white 0, dark 100 %")
        for ax in cells[len(panels) :]:
            ax.set_axis_off()
        return png_of_figure(figure, alt=f"Accuracy by class when filters are changed: {', '.join(panels)}.")
