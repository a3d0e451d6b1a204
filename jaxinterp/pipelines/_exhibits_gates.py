"""What the page shows of class-specific gates."""

from typing import Any

import numpy as np

from jaxinterp import metrics, report, tracing
from jaxinterp.pipelines._gates import EVERY, FILTERS, FITTED, KEPT, MASKED, OWN, RANDOM
from jaxinterp.pipelines._results import Results
from jaxinterp.pipelines._workdir import below

_Networks = list[tuple[str, dict[str, Any], dict[str, np.ndarray]]]
"""Title, figures and arrays of each network."""

_TEXT = """A gate says how far each unit may speak for each class. A network that was trained with a gate is shown with it; \
one is also fitted to every network with its weights frozen, in {num_steps} steps at a penalty of {weight:g} on what exceeds a \
density of {density:g}. The mutual information score is the mean over units of the largest information that the unit's mean \
activation has about one class, in nats; what permuted labels give stands beside it. {num_images} held-out images.

Filters of a class are the units whose gate for it is above {threshold:g}. They are set to 0, or all others are; as many \
random units for each class stand beside them."""


def gates_section(results: Results) -> report.Section:
    """Gates in blocks, similar units, accuracy without a class's filters, localisation and detection."""
    settings = results.run.study.gates
    assert settings is not None
    networks = [
        (results.title(member.name, phase), *_of(results, phase, member.name))
        for phase in results.phases("gates")
        for member in results.members
    ]
    names = results.run.held_out.class_names
    items: list[report.Table | report.Figure] = [_gates(networks, names), _summary(networks), _similarity(networks)]
    items += [_without(networks), *(_filters(title, arrays, names, place) for place, (title, _, arrays) in enumerate(networks))]
    if settings.category is not None:
        items.append(_localised(networks))
    values, _ = results.load(f"gates.{results.phases('gates')[0]}")
    text = _TEXT.format(
        num_steps=settings.num_steps,
        weight=settings.regulariser_weight,
        density=settings.density,
        threshold=settings.threshold,
        num_images=values["num_images"],
    )
    return report.Section("Units and classes", text=text, items=tuple(items))


def _of(results: Results, phase: str, member: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    return results.load(f"gates.{phase}")[0]["members"][member], results.of(f"gates.{phase}", member)


def _gate(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The network's own gate, where it has one, or the one that was fitted."""
    return next(arrays[f"gate/{name}"] for name in (OWN, FITTED) if f"gate/{name}" in arrays)


def _gates(networks: _Networks, names: tuple[str, ...]) -> report.Figure:
    gates = {
        title if name == OWN or f"gate/{OWN}" not in arrays else f"{title}, fitted": gate
        for title, _, arrays in networks
        for name, gate in below(arrays, "gate").items()
    }
    png = report.gate_matrix(gates, {title: metrics.block_order(gate) for title, gate in gates.items()}, class_names=names)
    caption = (
        "Units are sorted by the class of their largest gate, within it the most exclusive first: every gate looks sorted."
    )
    return report.Figure("gates", png, "Gates", caption=caption)


def _summary(networks: _Networks) -> report.Table:
    rows = []
    for title, found, arrays in networks:
        null = arrays["block_null"][np.isfinite(arrays["block_null"])]
        own, fitted = (found["densities"].get(name) for name in (OWN, FITTED))
        rows.append(
            (
                title,
                _interval(found["accuracy"], percent=True),
                _interval(found["score"]),
                f"{found['permuted']:.3f}",
                None if own is None else f"{own:.3f}",
                f"{fitted:.3f}",
                f"{found['block_score']:.3f}" if len(null) else None,
                "{:.3f} to {:.3f}".format(*np.quantile(null, (0.025, 0.975))) if len(null) else None,
                _interval(found["detection"]) if "detection" in found else None,
            )
        )
    columns = ("network", "accuracy (%)", "MIS", "MIS, permuted", "density, own gate", "density, fitted gate")
    columns += ("block score", "units permuted", "detection, AUROC")
    caption = (
        "The interval of MIS is a jackknife over images. The block score is the mean correlation of units of one class minus "
        "that of others. Detection is by logistic regression on mean activations, cross-validated over source images."
    )
    return report.Table("Units and classes", columns, tuple(rows), caption=caption)


def _similarity(networks: _Networks) -> report.Figure:
    orders = {title: metrics.block_order(_gate(arrays)) for title, _, arrays in networks}
    png = report.similarity_matrix({title: arrays["similarity"] for title, _, arrays in networks}, orders)
    return report.Figure(
        "unit_similarity", png, "Which units are alike", caption="Correlation of mean activations over images."
    )


def _without(networks: _Networks) -> report.Table:
    rows = []
    for title, found, _ in networks:
        cells: list[report.Cell] = [title, found["without"]["num_classes"]]
        for kind in (MASKED, KEPT):
            for group in ("own", "others"):
                share = found["without"].get(f"{kind}/{group}")
                cells += [None, None] if share is None else [100 * share["accuracy"], _random(share)]
        rows.append(tuple(cells))
    columns = ("network", "classes with filters", *4 * ("filters", "random (95 % of draws)"))
    groups = (("", 2), ("masked: own class", 2), ("masked: others", 2), ("kept: own class", 2), ("kept: others", 2))
    caption = "Accuracy in per cent on images of the class whose filters are masked, or kept alone, and on all others."
    return report.Table("Without the filters of a class", columns, tuple(rows), caption=caption, groups=groups)


def _random(share: dict[str, Any]) -> str:
    low, high = share["random_spread"]
    return f"{100 * share['random']:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def _filters(title: str, arrays: dict[str, np.ndarray], names: tuple[str, ...], place: int) -> report.Figure:
    panels = {}
    for kind, words in ((MASKED, "masked"), (KEPT, "kept alone")):
        confusion = arrays[f"without/{kind}"].astype(np.float64)
        with np.errstate(invalid="ignore"):
            panels[f"{title}: {words}"] = np.diagonal(confusion, axis1=1, axis2=2) / confusion.sum(axis=2)
    png = report.filters_matrix(panels, class_names=names)
    return report.Figure(f"filters_{place}", png, f"Filters of classes, {title}", caption="A row: the filters of one class.")


def _localised(networks: _Networks) -> report.Table:
    rows = []
    for title, found, _ in networks:
        where = found["localised"]
        for kind, words in zip(tracing.ClassMaps._fields, ("class activation map", "gradient map"), strict=True):
            if not where["num_images"]:
                rows.append((f"{title}, {words}", 0, None, None, None, None, None))
                continue
            shown = [_interval(where[f"{kind}/{name}"]) for name in (FILTERS, EVERY, RANDOM)]
            differences = [_interval(where[f"{kind}/{FILTERS} minus {name}"]) for name in (EVERY, RANDOM)]
            rows.append((f"{title}, {words}", where["num_images"], *shown, *differences))
    columns = ("map", "images", "class's filters", "all units", "random units", "filters minus all", "filters minus random")
    caption = (
        "IoU of the class's pixels with those above half of the map's maximum, on images that are classified rightly; "
        "intervals over images."
    )
    return report.Table("Localisation", columns, tuple(rows), caption=caption)


def _interval(found: list[float], *, percent: bool = False) -> str:
    scale, digits = (100, 1) if percent else (1, 3)
    estimate, low, high = (scale * value for value in found)
    return f"{estimate:.{digits}f}" + ("" if np.isnan(low) else f" ({low:.{digits}f} to {high:.{digits}f})")
