"""Networks side by side: unique detectors stacked by category, as Network Dissection compares networks and factors."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from jaxinterp.report._canvas import text_width, wrapped
from jaxinterp.report._categories import CATEGORY_NAMES
from jaxinterp.report._sheets import check_count
from jaxinterp.report._style import INK, MUTED, RATIO, WIDTH, grid_of_axes, png_of_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOOKS = {
    "object": ("#0072B2", ""),
    "part": ("#D55E00", "xxxx"),
    "scene": ("#009E73", "\\\\\\\\"),
    "material": ("#E69F00", "...."),
    "texture": ("#56B4E9", "////"),
    "colour": ("#CC79A7", ""),
    "color": ("#CC79A7", ""),
}
"""Colour and hatching of each category, whatever their order."""
_OTHERS = (("#8A8A8A", ""), ("#F0E442", "----"), ("#000000", ""), ("#B3B3B3", "++++"))
_GAP = 0.75
_TILT = math.radians(32)


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkBar:
    """One bar: a network, or a network in one condition.

    Attributes:
        title: printed under the bar, for example "AlexNet, Places".
        counts: `[c]` unique detectors (or units) by category.
        null: `[c]` mean of the same with label maps permuted; None where there is none.
        interval: (low, high) of the 95 % interval of what the bar as a whole shows: of the sum of the counts, or, where the
            null is subtracted, of the sum of the excesses; None for none.
        group: bars of one group that follow each other stand together under its name, for example "dropout".

    Raises:
        ValueError: a null of another length, or an interval whose low end is above its high end.
    """

    title: str
    counts: Float[np.ndarray, "_"]
    _: dataclasses.KW_ONLY
    null: Float[np.ndarray, "_"] | None = None
    interval: tuple[float | int, float | int] | None = None
    group: str = ""

    def __post_init__(self) -> None:
        if self.null is not None and len(self.null) != len(self.counts):
            raise ValueError(f"{self.title!r}: expected a null of {len(self.counts)} categories, got {len(self.null)}.")
        if self.interval is not None and self.interval[0] > self.interval[1]:
            raise ValueError(f"{self.title!r}: expected an interval (low, high), got {self.interval}; swap its ends.")


def bar_networks(
    bars: Sequence[NetworkBar],
    *,
    names: Sequence[str] = CATEGORY_NAMES,
    subtract_null: bool = False,
    band: tuple[float | int, float | int] | None = None,
    ylabel: str = "unique detectors",
    title: str = "",
    note: str = "",
) -> bytes:
    """One bar a network or condition, its detectors stacked by category.

    Without subtraction, a line across the bar marks how high permuted labels alone would make it. With it, each category
    stands with its excess over the null, and one below its null adds nothing; the figure over the bar is the sum of all
    excesses, the negative ones too.

    Args:
        bars: from left to right; those of one group stand together.
        names: of the categories, from the bottom of the bar to its top.
        subtract_null: show counts minus the mean of their null; every bar needs one.
        band: (low, high) of a grey band behind all bars, such as where another start of the same training would lie; the note
            is the place to say what it is.
        ylabel: what is counted.
        title: heading.
        note: a quieter line under the heading.

    Returns:
        The bytes of a PNG file.

    Raises:
        ValueError: no bar, counts of another length than `names`, no null to subtract, or a band whose low end is above its
            high end.

    References:
        David Bau, Bolei Zhou, Aditya Khosla, Aude Oliva, Antonio Torralba, "Network Dissection: Quantifying
        Interpretability of Deep Visual Representations", 2017, figures 7 to 12.
    """
    check_count("bars", len(bars))
    for bar in bars:
        if len(bar.counts) != len(names):
            raise ValueError(f"{bar.title!r}: expected {len(names)} counts, one a category, got {len(bar.counts)}.")
        if subtract_null and bar.null is None:
            raise ValueError(f"{bar.title!r}: expected a null to subtract, got none; write null= or subtract_null=False.")
    if band is not None and band[0] > band[1]:
        raise ValueError(f"expected a band (low, high), got {band}; swap its ends.")
    with_null = not subtract_null and any(bar.null is not None for bar in bars)
    stacks = [np.maximum(_excess(bar), 0) if subtract_null else bar.counts for bar in bars]
    # A sum over categories differs from that of all in its last bits, which must not decide how it is rounded to be read.
    totals = [round(float(np.nansum(_excess(bar) if subtract_null else bar.counts)), 6) for bar in bars]
    places = _places(bars)
    key = [*names, "permuted labels"] if with_null else names
    right = 52 + max(text_width(name) for name in key)
    pitch = min(92.0, (WIDTH - 56 - right) / (places[-1] + 1))
    tilted = max(text_width(bar.title) for bar in bars) > pitch - 8
    shown = [wrapped(bar.title, 190 if tilted else pitch, lines=1) for bar in bars]
    left = max(56.0, text_width(shown[0]) * math.cos(_TILT) - pitch / 2 + 12 if tilted else 0)
    pitch = min(pitch, (WIDTH - left - right) / (places[-1] + 1))
    below = 12 + max(text_width(name) for name in shown) * (math.sin(_TILT) if tilted else 0) + (0 if tilted else 14)
    top = 8 + (20 if title else 0) + (16 if note else 0) + (20 if any(bar.group for bar in bars) else 0)
    with style():
        figure, ((ax,),) = grid_of_axes(
            1, 1, cell=(max(pitch * (places[-1] + 1), 220), 240), left=left, right=right, top=top, bottom=below
        )
        ax.set_xlim(-0.5, places[-1] + 0.5)
        ends = [end for bar, stack in zip(bars, stacks, strict=True) for end in (np.nansum(stack), *(bar.interval or ()))]
        ax.set_ylim(min(0.0, *ends), 1.14 * max(*ends, 1e-9, *(band or ())))
        if band is not None:
            ax.axhspan(max(band[0], ax.get_ylim()[0]), band[1], color=MUTED, alpha=0.15, linewidth=0, zorder=0.5)
        base = np.zeros(len(bars))
        for number, name in enumerate(names):
            values = np.nan_to_num([stack[number] for stack in stacks])
            colour, hatch = _LOOKS.get(name, _OTHERS[number % len(_OTHERS)])
            look = {"facecolor": colour, "hatch": hatch, "edgecolor": "white", "linewidth": 0.6, "zorder": 2}
            ax.bar(places, values, 0.68, bottom=base, label=name, **look)
            base = base + values
        for x, bar, total, height in zip(places, bars, totals, base.tolist(), strict=True):
            _mark(ax, x, bar, total, height, null=with_null)
        ax.axhline(0, color=INK, linewidth=0.8, zorder=4)
        ax.grid(axis="x", visible=False)
        ax.tick_params(axis="x", length=0)
        turned = {"rotation": math.degrees(_TILT), "ha": "right", "rotation_mode": "anchor"} if tilted else {}
        ax.set_xticks(places, shown, **turned)
        ax.set_ylabel(ylabel + (", null subtracted" if subtract_null else ""))
        _groups(ax, bars, places)
        _key(figure, ax, with_null)
        if title:
            lift = 20 if any(bar.group for bar in bars) else 0
            _title(ax, title, note, lift)
        kind = "Excess over the null" if subtract_null else "Counts"
        return png_of_figure(figure, alt=f"{title or 'Networks side by side'}. {kind}: {_described(bars, names, totals)}")


def _excess(bar: NetworkBar) -> np.ndarray:
    return bar.counts - (np.zeros(len(bar.counts)) if bar.null is None else bar.null)


def _places(bars: Sequence[NetworkBar]) -> list[float]:
    """Where the bars stand: one apart, with a gap between groups."""
    places = [0.0]
    for before, bar in itertools.pairwise(bars):
        places.append(places[-1] + 1 + (_GAP if before.group != bar.group else 0))
    return places


def _mark(ax: "Axes", x: float, bar: NetworkBar, total: float, height: float, *, null: bool) -> None:
    """The total over the bar, its interval, and how high the null alone would make it."""
    end = height
    if bar.interval is not None:
        low, high = bar.interval
        ax.errorbar(x, total, [[max(total - low, 0)], [max(high - total, 0)]], color=INK, capsize=3.5, linewidth=1.3, zorder=5)
        ax.plot(x, total, "o", color="white", markeredgecolor=INK, markersize=4, zorder=6)
        end = max(end, high)
    if null and bar.null is not None:
        level = float(np.nansum(bar.null))
        ax.plot([x - 0.42, x + 0.42], [level, level], color="white", linewidth=3, zorder=4)
        ax.plot([x - 0.42, x + 0.42], [level, level], color=INK, linewidth=1.4, linestyle=(0, (3, 1.5)), zorder=5)
        end = max(end, level)
    text = f"{total:.0f}" if abs(total) >= 10 else f"{total:.1f}".removesuffix(".0")
    ax.annotate(text.replace("-", "−"), (x, end), (0, 3), textcoords="offset points", ha="center", fontsize=8, zorder=7)


def _groups(ax: "Axes", bars: Sequence[NetworkBar], places: Sequence[float]) -> None:
    """A line over the bars of each group, with its name."""
    height = ax.get_window_extent().height / RATIO
    at = 0
    for group, members in itertools.groupby(bars, key=lambda bar: bar.group):
        first, at = at, at + len(list(members))
        if group:
            ends = [places[first] - 0.4, places[at - 1] + 0.4]
            ax.plot(ends, [1 + 4 / height] * 2, color=MUTED, linewidth=0.8, transform=ax.get_xaxis_transform(), clip_on=False)
            where = {"ha": "center", "va": "bottom", "transform": ax.get_xaxis_transform()}
            between = 0.2 + _GAP  # half of it on either side of the line
            room = (ends[1] - ends[0] + between) * ax.get_window_extent().width / RATIO / np.diff(ax.get_xlim())[0]
            ax.text(sum(ends) / 2, 1 + 6 / height, wrapped(group, room, lines=1), fontsize=8, color=MUTED, **where)


def _title(ax: "Axes", title: str, note: str, lift: int) -> None:
    height = ax.get_window_extent().height / RATIO
    at = {"transform": ax.transAxes, "ha": "left", "va": "bottom"}
    ax.text(0, 1 + (lift + (24 if note else 8)) / height, title, fontsize=9.5, weight="bold", **at)
    if note:
        ax.text(0, 1 + (lift + 8) / height, note, fontsize=7.5, color=MUTED, **at)


def _key(figure: "Figure", ax: "Axes", null: bool) -> None:
    """The categories in the order of the bar, on its right."""
    from matplotlib.lines import Line2D

    handles, labels = ax.get_legend_handles_labels()
    handles, labels = handles[::-1], labels[::-1]
    if null:
        handles.append(Line2D([], [], color=INK, linewidth=1.4, linestyle=(0, (3, 1.5))))
        labels.append("permuted labels")
    box = ax.get_position()
    width = figure.get_size_inches()[0] * 100
    at = (box.x1 + 8 / width, box.y1)
    look = {"frameon": False, "fontsize": 8, "labelcolor": MUTED, "borderaxespad": 0, "handleheight": 1.1, "handlelength": 1.5}
    figure.legend(handles, labels, loc="upper left", bbox_to_anchor=at, **look)


def _described(bars: Sequence[NetworkBar], names: Sequence[str], totals: Sequence[float]) -> str:
    parts = []
    for bar, total in zip(bars, totals, strict=True):
        counts = ", ".join(f"{name} {value:.3g}" for name, value in zip(names, bar.counts.tolist(), strict=True))
        parts.append(f"{bar.group + ', ' if bar.group else ''}{bar.title}: {total:.3g} ({counts})")
    return "; ".join(parts)
