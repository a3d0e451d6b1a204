"""Table 1 of the paper as bars: how many units detect a concept of each category."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from jaxinterp.report._sheets import check_count
from jaxinterp.report._style import ADVERSARIAL, INK, MUTED, NOISE, REAL, WIDTH, grid_of_axes, heading, png_of_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CATEGORY_NAMES = ("colour", "texture", "material", "scene", "part", "object")
"""C T M S P O, the paper's order."""

_COLOURS = {"real": REAL, "adversarial": ADVERSARIAL, "noise": NOISE}
_WORDS = {"real": "real images", "adversarial": "adversarial images", "noise": "images with random noise"}


@dataclasses.dataclass(frozen=True, eq=False)
class CategoryCounts:
    """Detectors of one network by category, on real, adversarial and noisy images.

    Attributes:
        title: the network and its state, for example "ResNet-18, before".
        real: `[c]` number or ratio of units that detect a concept of the category on real images.
        adversarial: `[c]` the same on adversarial images; None where there are none.
        real_null: `[c 2]` (low, high) of the same when label maps are permuted between images; None for none.
        adversarial_null: `[c 2]` the same for adversarial images.
        noise: `[c]` the same on the control, images with random noise as large as the perturbations; None for none.
        noise_null: `[c 2]` the same for the control.
        note: printed under the title.
    """

    title: str
    real: Float[np.ndarray, "_"]
    adversarial: Float[np.ndarray, "_"] | None
    _: dataclasses.KW_ONLY
    real_null: Float[np.ndarray, "_ 2"] | None = None
    adversarial_null: Float[np.ndarray, "_ 2"] | None = None
    noise: Float[np.ndarray, "_"] | None = None
    noise_null: Float[np.ndarray, "_ 2"] | None = None
    note: str = ""

    @property
    def kinds(self) -> tuple[tuple[str, np.ndarray | None, np.ndarray | None], ...]:
        """(name, counts, null band) of each set of images."""
        return (
            ("real", self.real, self.real_null),
            ("adversarial", self.adversarial, self.adversarial_null),
            ("noise", self.noise, self.noise_null),
        )


def bar_categories(
    panels: Sequence[CategoryCounts],
    *,
    names: Sequence[str] = CATEGORY_NAMES,
    ylabel: str = "units that detect (%)",
    columns: int = 3,
) -> bytes:
    """Detectors by category, real beside adversarial beside noise, each with the band that permuted labels give.

    Args:
        panels: one a network and state; those before training first, those after it next.
        names: of the categories.
        ylabel: unit of the counts.
        columns: panels side by side.

    Returns:
        The bytes of a PNG file.

    Raises:
        ValueError: no panel, or counts of another length than `names`.
    """
    check_count("panels", len(panels))
    for panel in panels:
        for values in [array for _, *arrays in panel.kinds for array in arrays if array is not None]:
            if len(values) != len(names):
                raise ValueError(f"{panel.title!r}: expected {len(names)} counts, one a category, got {len(values)}.")
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    width = min(480, (WIDTH - 56 - 14 - (columns - 1) * 24) / columns)
    with style():
        figure, axes = grid_of_axes(rows, columns, cell=(width, 170), left=56, top=70, bottom=32, gap_x=24, gap_y=92)
        cells = [ax for line in axes for ax in line]
        drawn = [array for panel in panels for _, *arrays in panel.kinds for array in arrays if array is not None]
        heights = np.concatenate([np.ravel(values) for values in drawn])
        present = {kind for panel in panels for kind, values, _ in panel.kinds if values is not None}
        shown = [kind for kind in _COLOURS if kind in present]
        top = 1.15 * heights[np.isfinite(heights)].max(initial=0) or 1.0
        for i, (ax, panel) in enumerate(zip(cells, panels, strict=False)):
            _draw(ax, panel, top, shown)
            ax.set_xticks(np.arange(len(names)), list(names))
            heading(ax, panel.title, note=panel.note)
            if i % columns:
                ax.tick_params(labelleft=False)
            else:
                ax.set_ylabel(ylabel)
        for ax in cells[len(panels) :]:
            ax.set_axis_off()
        _key(figure, cells[0], shown)
        described = ". ".join(_described(panel, names) for panel in panels)
        return png_of_figure(figure, alt=f"Detectors by category. {described}")


def _draw(ax: "Axes", panel: CategoryCounts, top: float, shown: Sequence[str]) -> None:
    pitch = 0.84 / len(shown)
    for kind, values, null in panel.kinds:
        if values is None:
            continue
        places = np.arange(len(values)) + pitch * (shown.index(kind) - (len(shown) - 1) / 2)
        ax.bar(places, values, width=0.9 * pitch, color=_COLOURS[kind], zorder=2)
        ends = values if null is None else np.fmax(values, null[:, 1])
        for x, value, end in zip(places, values, ends, strict=True):
            if np.isfinite(value):
                label = f"{value:.1f}" if 0 < value < 10 and value != round(value) else f"{value:.0f}"
                ax.text(x, end + 0.012 * top, label, fontsize=6.6, ha="center", va="bottom", color=INK, zorder=5)
        if null is not None:
            span = np.maximum(null[:, 1] - null[:, 0], 0.006 * top)
            band = {"color": "white", "alpha": 0.75, "edgecolor": INK, "linewidth": 0.7, "hatch": "/////"}
            ax.bar(places, span, bottom=null[:, 0], width=0.95 * pitch, zorder=3, **band)
    ax.grid(axis="x", visible=False)
    ax.tick_params(axis="x", length=0)
    ax.set_ylim(0, top)


def _key(figure: "Figure", left: "Axes", shown: Sequence[str]) -> None:
    """One line over all panels that says what the bars are."""
    from matplotlib.patches import Patch

    handles = [
        *(Patch(facecolor=_COLOURS[kind], label=_WORDS[kind]) for kind in shown),
        Patch(facecolor="white", edgecolor=INK, hatch="////", linewidth=0.8, label="band of permuted labels"),
    ]
    width, height = figure.get_size_inches() * 100
    x = left.get_position().x0 - 4 / width
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(x, 1 - 2 / height),
        ncols=len(handles),
        frameon=False,
        fontsize=8,
        borderaxespad=0,
        borderpad=0.2,
        handlelength=1.4,
        handleheight=1.0,
        columnspacing=1.6,
        labelcolor=MUTED,
    )


def _described(panel: CategoryCounts, names: Sequence[str]) -> str:
    lists = [
        f"{kind} " + ", ".join(f"{name} {value:.3g}" for name, value in zip(names, values, strict=True))
        for kind, values, _ in panel.kinds
        if values is not None
    ]
    return f"{panel.title}: " + "; ".join(lists)
