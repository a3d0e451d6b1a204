"""Line charts: success against distortion, training, patching, and the curve of a detector of errors."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from jaxinterp.report._sheets import check_count
from jaxinterp.report._style import (
    CYCLE,
    DASHES,
    INK,
    MUTED,
    NULL,
    REAL,
    WIDTH,
    grid_of_axes,
    heading,
    label_ends,
    png_of_figure,
    style,
)

Series = tuple[Float[np.ndarray, "_"], Float[np.ndarray, "_"]]
"""(horizontal, vertical) values of one curve."""


def success_curve(
    rms: Float[np.ndarray, "m"],
    success: Mapping[str, Float[np.ndarray, "m"]],
    *,
    intervals: Mapping[str, Float[np.ndarray, "m 2"]] | None = None,
    budget: float | int | None = None,
    title: str = "",
) -> bytes:
    """Targeted success rate against the allowed RMS distortion.

    Args:
        rms: allowed distortion, images in [0, 1]; written as multiples of 1/255.
        success: name -> share of the images whose adversarial image succeeds within that distortion; names are
            models, or "joint (every model)", with the denominator in words.
        intervals: name -> (low, high) of the 95 % interval.
        budget: a distortion to mark, for example `4 / 255`.
        title: heading.

    Returns:
        The bytes of a PNG file.

    Raises:
        ValueError: no curve, or an interval of no curve.
    """
    check_count("success", len(success))
    _check_known(intervals or {}, success, "interval")
    with style():
        figure, ((ax,),) = grid_of_axes(1, 1, cell=(620, 270), left=64, right=230, top=34 if title else 14)
        ax.set_ylim(0, 1.02)
        ax.set_xlim(0, float(rms.max()) * 255)
        for i, (name, values) in enumerate(success.items()):
            colour = CYCLE[i % len(CYCLE)]
            if intervals and name in intervals:
                ax.fill_between(rms * 255, *intervals[name].T, color=colour, alpha=0.15, linewidth=0)
            ax.plot(rms * 255, values, color=colour, linestyle=DASHES[i // len(CYCLE) % len(DASHES)])
        if budget is not None:
            ax.axvline(budget * 255, color=MUTED, linestyle="--", linewidth=1)
            ax.annotate(f" {budget * 255:.3g}/255", (budget * 255, 0.02), color=MUTED, fontsize=8, va="bottom")
        ax.yaxis.set_major_formatter(_percent)
        ax.set_xlabel("RMS distortion allowed (of 255)")
        ax.set_ylabel("targeted success")
        if title:
            heading(ax, title)
        label_ends(ax, [(name, float(v[-1]), CYCLE[i % len(CYCLE)]) for i, (name, v) in enumerate(success.items())])
        ends = ", ".join(f"{name} {values[-1]:.1%}" for name, values in success.items())
        reach = f"at {rms[-1] * 255:.3g}/255"
        return png_of_figure(figure, alt=f"{title or 'Success against RMS distortion'}; {reach}: {ends}")


def training_curves(panels: Mapping[str, Mapping[str, Series]], *, columns: int = 3) -> bytes:
    """What was measured while training, one panel a quantity.

    Args:
        panels: title (for example "loss", "accuracy") -> name of the curve -> (steps, values).
        columns: panels side by side.

    Returns:
        The bytes of a PNG file.

    Raises:
        ValueError: no panel, a panel without a curve, or a curve whose steps and values differ in number.
    """
    check_count("panels", len(panels))
    for title, curves in panels.items():
        check_count(f"the curves of {title!r}", len(curves))
        for name, (steps, values) in curves.items():
            if len(steps) != len(values) or len(steps) == 0:
                raise ValueError(f"{title!r}, {name!r}: expected as many values as steps, got {len(values)} and {len(steps)}.")
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    colours = {name: CYCLE[i % len(CYCLE)] for i, name in enumerate(names)}
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    right, gap = 100, 150
    width = min(480, (WIDTH - 52 - right - (columns - 1) * gap) / columns)
    with style():
        figure, axes = grid_of_axes(rows, columns, cell=(width, 190), right=right, gap_x=gap, gap_y=76)
        cells = [ax for line in axes for ax in line]
        described = []
        for ax, (title, curves) in zip(cells, panels.items(), strict=False):
            for name, (steps, values) in curves.items():
                marker = "o" if len(steps) < 12 else None
                ax.plot(steps, values, color=colours[name], marker=marker)
            heading(ax, title)
            ax.set_xlabel("step")
            label_ends(ax, [(name, float(values[-1]), colours[name]) for name, (_, values) in curves.items()])
            described += [f"{title}, {name}: {values[0]:.3g} to {values[-1]:.3g}" for name, (_, values) in curves.items()]
        for ax in cells[len(panels) :]:
            ax.set_axis_off()
        return png_of_figure(figure, alt="Training curves. " + "; ".join(described))


def attack_curves(panels: Mapping[str, Float[np.ndarray, "s n"]], *, columns: int = 2) -> bytes:
    """What an attack saw of its images step by step: the median over the images and their middle half.

    Args:
        panels: title (for example "loss") -> one row a step and one column an image, as `attacks.run_with_info` stacks them.
            An image that is not finite at a step is left out there.
        columns: panels side by side.

    Returns:
        The bytes of a PNG file.

    Raises:
        ValueError: no panel, or one without steps or without a finite value in a step.
    """
    check_count("panels", len(panels))
    found = {}
    for title, values in panels.items():
        if values.size == 0 or not np.all(np.isfinite(values).any(axis=1)):
            raise ValueError(
                f"{title!r}: expected a finite value in every step, got {values.shape} [steps images] without one."
            )
        found[title] = np.nanquantile(np.where(np.isfinite(values), values, np.nan), [0.25, 0.5, 0.75], axis=1)
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    with style():
        figure, axes = grid_of_axes(rows, columns, cell=(300, 190), left=64, right=90, gap_x=150, gap_y=76)
        cells = [ax for line in axes for ax in line]
        for ax, (title, (low, middle, high)) in zip(cells, found.items(), strict=False):
            steps = np.arange(len(middle))
            ax.fill_between(steps, low, high, color=REAL, alpha=0.18, linewidth=0)
            ax.plot(steps, middle, color=REAL, marker="o" if len(steps) < 12 else None)
            heading(ax, title)
            ax.set_xlabel("step")
            label_ends(ax, [("median", float(middle[-1]), REAL)])
        for ax in cells[len(found) :]:
            ax.set_axis_off()
        described = [f"{title}: {middle[0]:.3g} to {middle[-1]:.3g}" for title, (_, middle, _) in found.items()]
        return png_of_figure(figure, alt="Medians over images, first step to last. " + "; ".join(described))


def patching_curves(
    m: Sequence[int],
    top: Float[np.ndarray, "m"],
    random: Float[np.ndarray, "m"],
    *,
    top_interval: Float[np.ndarray, "m 2"] | None = None,
    random_interval: Float[np.ndarray, "m 2"] | None = None,
    title: str = "",
    sample_size: int | None = None,
) -> bytes:
    """Share of errors reverted by patching `m` units: the most influential ones against random ones.

    Args:
        m: number of units patched, rising; the axis has one place for each.
        top: share of errors that patching the top-m units reverts.
        random: the same for m random units of equal activation.
        top_interval: (low, high) of the 95 % interval of `top`.
        random_interval: the same of `random`.
        title: heading.
        sample_size: number of errors, written into the figure.

    Returns:
        The bytes of a PNG file.

    Raises:
        ValueError: arrays of another length than `m`.
    """
    check_count("m", len(m))
    curves = (("top-m units", top, top_interval, REAL, "o"), ("m random units", random, random_interval, NULL, "s"))
    for name, values, interval, _, _ in curves:
        if len(values) != len(m) or (interval is not None and len(interval) != len(m)):
            raise ValueError(f"expected {len(m)} values for the {name}, one for each m, got {len(values)}.")
    places = np.arange(len(m))
    with style():
        note = f"n = {sample_size} errors" if sample_size is not None else ""
        figure, ((ax,),) = grid_of_axes(
            1, 1, cell=(520, 240), left=64, right=130, top=50 if note and title else 34 if note or title else 14
        )
        ax.set_ylim(0, 1.02)
        for _, values, interval, colour, marker in curves:
            if interval is not None:
                ax.fill_between(places, interval[:, 0], interval[:, 1], color=colour, alpha=0.18, linewidth=0)
            ax.plot(places, values, color=colour, marker=marker)
        ax.set_xticks(places, [str(count) for count in m])
        ax.yaxis.set_major_formatter(_percent)
        ax.set_xlabel("units patched (m)")
        ax.set_ylabel("errors reverted")
        heading(ax, title, note=note)
        label_ends(ax, [(name, float(values[-1]), colour) for name, values, _, colour, _ in curves])
        ends = ", ".join(f"{name} {values[-1]:.1%}" for name, values, *_ in curves)
        return png_of_figure(figure, alt=f"{title or 'Errors reverted by patching units'}; with m = {m[-1]}: {ends}")


def roc_curve(rates: Mapping[str, Series], *, areas: Mapping[str, str] | None = None, title: str = "") -> bytes:
    """Receiver operating characteristic of detectors of errors.

    Args:
        rates: name -> (false positive rate, true positive rate), both rising from 0 to 1.
        areas: name -> the area under the curve in words, for example ".91 [.88, .94]"; left out, the area by the
            trapezoidal rule is written.
        title: heading.

    Returns:
        The bytes of a PNG file.

    Raises:
        ValueError: no curve, an area of no curve, or rates outside [0, 1].
    """
    check_count("rates", len(rates))
    _check_known(areas or {}, rates, "area")
    for name, (false_positive, true_positive) in rates.items():
        both = np.concatenate([false_positive, true_positive])
        if len(false_positive) != len(true_positive) or not (both.min() >= 0 and both.max() <= 1):
            raise ValueError(f"{name!r}: expected two arrays of rates in [0, 1] of one length.")
    with style():
        figure, ((ax,),) = grid_of_axes(1, 1, cell=(330, 330), right=270, top=34 if title else 14)
        ax.plot([0, 1], [0, 1], color=NULL, linestyle="--", linewidth=1)
        ax.set_xlim(-0.01, 1.01)
        ax.set_ylim(-0.01, 1.01)
        words = []
        for i, (name, (false_positive, true_positive)) in enumerate(rates.items()):
            area = (areas or {}).get(name) or f"{np.trapezoid(true_positive, false_positive):.3f}"
            words.append(f"{name}: AUROC {area}")
            ax.plot(false_positive, true_positive, color=CYCLE[i % len(CYCLE)])
        for i, (name, line) in enumerate(zip(rates, words, strict=True)):
            area = line.removeprefix(f"{name}: ")
            y = 0.96 - 0.13 * i
            ax.text(1.05, y, name, transform=ax.transAxes, color=CYCLE[i % len(CYCLE)], weight="bold", fontsize=8.5)
            ax.text(1.05, y - 0.05, area, transform=ax.transAxes, color=INK, fontsize=8)
        ax.text(1.05, 0.96 - 0.13 * len(words), "chance: AUROC 0.5", transform=ax.transAxes, color=NULL, fontsize=8)
        ax.set_xlabel("false positive rate")
        ax.set_ylabel("true positive rate")
        heading(ax, title)
        return png_of_figure(figure, alt=f"{title or 'ROC curve'}; {', '.join(words)}")


def _percent(value: float, _: float | int) -> str:
    return f"{100 * value:.0f} %"


def _check_known(parts: Mapping[str, object], curves: Mapping[str, object], what: str) -> None:
    for name in parts:
        if name not in curves:
            raise ValueError(f"{what} {name!r} belongs to no curve; curves: {', '.join(curves)}.")
