"""The matrix of gates: which units are open to which class."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from jaxinterp.report._sheets import check_count
from jaxinterp.report._style import grid_of_axes, heading, png_of_figure, style


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
