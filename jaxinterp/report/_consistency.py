"""The curves of CS1 and CS2 against LC."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from jaxinterp.report._sheets import check_count
from jaxinterp.report._style import (
    ADVERSARIAL,
    REAL,
    WIDTH,
    grid_of_axes,
    heading,
    label_ends,
    png_of_figure,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CONTROLS = (
    ("#59636E", (0, (4, 1.6))),
    ("#CC79A7", (0, (1, 1.4))),
    ("#009E73", (0, (6, 1.6, 1, 1.6))),
    ("#B07D00", (0, (2.5, 2.5))),
    ("#000000", (0, (8, 3))),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Consistency:
    """CS1 and CS2 of the units of one network, averaged over bins of LC with equal counts.

    Attributes:
        title: the network and its state, for example "ResNet-18, before".
        lc: `[b]` mean LC of each bin, rising.
        cs1: `[b]` mean CS1 of each bin.
        cs2: `[b]` mean CS2 of each bin.
        cs1_interval: `[b 2]` (low, high) of the 95 % interval of `cs1`; None for none.
        cs2_interval: `[b 2]` the same of `cs2`.
        cs1_controls: name -> `[b]`, for example the real-real split-half ceiling.
        cs2_controls: name -> `[b]`, for example attack-free, permuted targets, target marginal, random targets.
        note: printed under the title: number of top images, floor and chance level of LC.
    """

    title: str
    lc: Float[np.ndarray, "_"]
    cs1: Float[np.ndarray, "_"]
    cs2: Float[np.ndarray, "_"]
    _: dataclasses.KW_ONLY
    cs1_interval: Float[np.ndarray, "_ 2"] | None = None
    cs2_interval: Float[np.ndarray, "_ 2"] | None = None
    cs1_controls: Mapping[str, Float[np.ndarray, "_"]] = dataclasses.field(default_factory=dict)
    cs2_controls: Mapping[str, Float[np.ndarray, "_"]] = dataclasses.field(default_factory=dict)
    note: str = ""


def consistency_curves(panels: Sequence[Consistency], *, columns: int | None = None) -> bytes:
    """CS1 above CS2 against LC, one column a network, with intervals and controls.

    The horizontal axis has one place for each bin, since bins of equal count crowd at small LC; the mean LC of the
    bin, times 100, is written under it.

    Args:
        panels: one a network and state; those before training first, those after it next.
        columns: panels side by side; None takes at most three.

    Returns:
        The bytes of a PNG file.

    Raises:
        ValueError: no panel, or arrays of one panel with different numbers of bins.
    """
    check_count("panels", len(panels))
    for panel in panels:
        _check_bins(panel)
    columns = min(columns or 3, len(panels))
    blocks = -(-len(panels) // columns)
    styles: dict[str, tuple[str, object]] = {}
    for panel in panels:
        for name in (*panel.cs1_controls, *panel.cs2_controls):
            styles.setdefault(name, _CONTROLS[len(styles) % len(_CONTROLS)])
    right = 126
    width = min(480, (WIDTH - 68 - right - (columns - 1) * 24) / columns)
    gaps = ([14, 104] * blocks)[: 2 * blocks - 1]
    with style():
        figure, axes = grid_of_axes(
            2 * blocks, columns, cell=(width, 150), left=68, right=right, top=46, bottom=40, gap_x=24, gap_y=gaps
        )
        for block in range(blocks):
            row = panels[block * columns : (block + 1) * columns]
            for half, line in enumerate(axes[2 * block : 2 * block + 2]):
                for panel, ax in zip(row, line, strict=False):
                    _draw_half(ax, panel, half, styles)
                    if half == 0:
                        heading(ax, panel.title, note=panel.note)
                for ax in line[len(row) :]:
                    ax.set_axis_off()
                line[0].set_ylabel(("CS1\noriginal class", "CS2\ntarget class")[half])
                for ax in line[1:]:
                    ax.tick_params(labelleft=False)
                label_ends(line[len(row) - 1], _ends(row, half, styles))
        return png_of_figure(figure, alt=_described(panels))


def _draw_half(ax: "Axes", panel: Consistency, half: int, styles: Mapping[str, tuple[str, object]]) -> None:
    value, interval, controls = (
        (panel.cs1, panel.cs1_interval, panel.cs1_controls),
        (panel.cs2, panel.cs2_interval, panel.cs2_controls),
    )[half]
    colour, marker = ((REAL, "o"), (ADVERSARIAL, "s"))[half]
    places = np.arange(len(panel.lc))
    ax.set_ylim(-0.03, 1.03)
    ax.set_yticks(np.linspace(0, 1, 5), ["0", ".25", ".5", ".75", "1"])
    ax.set_xticks(places, [f"{100 * lc:.1f}" for lc in panel.lc])
    ax.tick_params(axis="x", labelsize=7.5, labelbottom=bool(half))
    if half:
        ax.set_xlabel("LC of the bin × 100")
    for name, curve in controls.items():
        line_colour, dashes = styles[name]
        ax.plot(places, curve, color=line_colour, linestyle=dashes, linewidth=1.1)  # pyright: ignore[reportArgumentType]
    if interval is not None:
        ax.fill_between(places, interval[:, 0], interval[:, 1], color=colour, alpha=0.18, linewidth=0)
    ax.plot(places, value, color=colour, marker=marker, markersize=3.8, linewidth=1.9)


def _ends(panels: Sequence[Consistency], half: int, styles: Mapping[str, tuple[str, object]]) -> list[tuple[str, float, str]]:
    ends = {}
    for panel in panels:
        for name, curve in (panel.cs1_controls, panel.cs2_controls)[half].items():
            ends[name] = (name, float(curve[-1]), styles[name][0])
    last = panels[-1]
    value, colour = ((last.cs1, REAL), (last.cs2, ADVERSARIAL))[half]
    return [("CS1" if half == 0 else "CS2", float(value[-1]), colour), *ends.values()]


def _check_bins(panel: Consistency) -> None:
    bins = len(panel.lc)
    curves = {"cs1": panel.cs1, "cs2": panel.cs2, "cs1_interval": panel.cs1_interval, "cs2_interval": panel.cs2_interval}
    for name, curve in {**curves, **panel.cs1_controls, **panel.cs2_controls}.items():
        if curve is not None and len(curve) != bins:
            raise ValueError(f"{panel.title!r}: expected {bins} bins, as in lc, got {len(curve)} in {name!r}.")
    if bins == 0:
        raise ValueError(f"{panel.title!r}: expected at least one bin of LC, got none; leave the panel out.")


def _described(panels: Sequence[Consistency]) -> str:
    parts = [
        f"{p.title}: over LC {100 * p.lc[0]:.1f} to {100 * p.lc[-1]:.1f} (times 100) CS1 goes from {p.cs1[0]:.2f} to "
        f"{p.cs1[-1]:.2f}, CS2 from {p.cs2[0]:.2f} to {p.cs2[-1]:.2f}"
        for p in panels
    ]
    return "CS1 and CS2 against LC. " + ". ".join(parts)
