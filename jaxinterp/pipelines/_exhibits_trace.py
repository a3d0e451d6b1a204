"""What the page shows of predictions traced to units."""

import numpy as np
import scipy.special

from jaxinterp import metrics, report
from jaxinterp.pipelines._context import NORMAL
from jaxinterp.pipelines._dissection import REAL
from jaxinterp.pipelines._generation import adversarial_images
from jaxinterp.pipelines._passes import forward
from jaxinterp.pipelines._results import Results


def trace_section(results: Results) -> report.Section:
    """One traced prediction, patching against its control, and telling when the network errs."""
    items: list[report.Table | report.Figure] = []
    index = len(results.members) - 1
    if len(results.of("trace", results.members[index].name)["rows"]):
        items.append(_traced(results, index))
    items += [figure for number in range(len(results.members)) if (figure := _patching(results, number))]
    items += [_table(results), *([figure] if (figure := _roc(results)) else [])]
    text = (
        "The contribution of a unit to a class is p(y | phi) - p(y | phi with the unit set to 0). Patching gives the units "
        "of largest "
        "contribution to the error the activation that they have on the real image; ablating sets them to 0. The control "
        "does the same to "
        "as many random units of equal mean activation. Support is the share of a prediction's contribution that comes "
        "from units whose own "
        "top images are of the predicted class (our reading)."
    )
    return report.Section("Tracing predictions", text=text, items=tuple(items))


def reverted_at(results: Results, member: str, kind: str) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """At the middle number of units: that number, and which errors `kind` and its control reverted, and their sources."""
    part = results.of("trace", member)
    middle = len(part["counts"]) // 2
    return int(part["counts"][middle]), part[kind][middle], part[f"{kind}_control"][middle], part["source_id"]


def _traced(results: Results, index: int) -> report.Figure:
    member, model = results.members[index], results.run.models(NORMAL)[index]
    part = results.of("trace", member.name)
    _, scored = results.load(f"generate.{NORMAL}")
    chosen = int(np.argmax(part["target_contribution"].max(axis=1) + part["label_contribution"].max(axis=1)))
    row = int(part["rows"][chosen])
    example = adversarial_images(results.run, NORMAL)[row]
    clean = results.run.clean_image(row)
    pixels = np.stack([clean, example.image]).astype(np.float32) / 255
    probability = scipy.special.softmax(np.asarray(forward(model, member.layer, pixels)[0], np.float64), axis=1)
    units = [
        _units(results, member.name, part[name][chosen], label)
        for name, label in (("label_contribution", example.label), ("target_contribution", int(scored["target"][row])))
    ]
    label, target = results.class_name(example.label), results.class_name(int(scored["target"][row]))
    png = report.trace_figure(
        clean,
        example.image,
        *units,
        original_title=f"{label}, p = {probability[0, example.label]:.2f}",
        adversarial_title=f"{target}, p = {probability[1, int(scored['target'][row])]:.2f}",
    )
    caption = (
        f"{member.name}, {member.layer}. Left: the units that carried the right answer, and those that carried the error, "
        "with their "
        "prediction difference and their top real images. The pair of clearest contributions among those traced."
    )
    return report.Figure("trace", png, "One prediction, traced", caption=caption, paper="Answers Fig. 1c of arXiv 1708.05493")


def _units(results: Results, member: str, contribution: np.ndarray, label: int) -> list[report.TracedUnit]:
    traced = []
    part, table = results.of(f"dissect.{NORMAL}", member), results.run.source.concepts
    for unit in np.argsort(-contribution, kind="stable")[:4]:
        pixels, masks, _ = results.top_pictures(NORMAL, REAL, member, int(unit), count=4)
        name = f"unit {unit}"
        if table is not None:
            name += f"\n{table.names[int(part[f'{REAL}/concept'][unit])]}"
        traced.append(report.TracedUnit(name, float(contribution[unit]), pixels, masks=masks))
    return traced


def _patching(results: Results, index: int) -> report.Figure | None:
    member = results.members[index].name
    part = results.of("trace", member)
    if not len(part["rows"]):
        return None
    shares, intervals = {}, {}
    for kind in ("patched", "patched_control"):
        found = [metrics.proportion_interval(row, part["source_id"]) for row in part[kind]]
        shares[kind] = np.asarray([interval.estimate for interval in found])
        intervals[kind] = np.asarray([interval[1:] for interval in found])
    png = report.patching_curves(
        [int(count) for count in part["counts"]],
        shares["patched"],
        shares["patched_control"],
        top_interval=intervals["patched"],
        random_interval=intervals["patched_control"],
        sample_size=len(part["rows"]),
    )
    caption = "Share of errors on adversarial images after which the network predicts the true class again."
    return report.Figure(f"patching_{index}", png, f"Patching units of {member}", caption=caption)


def _table(results: Results) -> report.Table:
    rows = []
    for member in results.members:
        part = results.of("trace", member.name)
        if not len(part["rows"]):
            rows.append((member.name, 0, None, None, None, None, None))
            continue
        count, patched, control, _ = reverted_at(results, member.name, "patched")
        _, ablated, ablated_control, _ = reverted_at(results, member.name, "ablated")
        shares = [f"{100 * values.mean():.1f}" for values in (patched, control, ablated, ablated_control)]
        rows.append((member.name, len(part["rows"]), count, *shares))
    columns = ("network", "errors", "units m", "patched, top", "patched, random", "ablated, top", "ablated, random")
    return report.Table("Errors reverted (%)", columns, tuple(rows), caption="At the middle number of units.")


def _roc(results: Results) -> report.Figure | None:
    from sklearn.metrics import roc_curve

    rates, areas = {}, {}
    for number, member in enumerate(results.members):
        part = results.of("trace", member.name)
        if part["erred"].all() or not part["erred"].any():
            continue
        for name in ("support", "confidence"):
            false, true, _ = roc_curve(part["erred"], -part[name])
            area = metrics.auroc(results.run.rng(6, number), -part[name], part["erred"], part["scored_source_id"])
            rates[f"{member.name}, {name}"] = (false, true)
            areas[f"{member.name}, {name}"] = f"{area.estimate:.2f} [{area.low:.2f}, {area.high:.2f}]"
    if not rates:
        return None
    caption = (
        "Telling errors from right answers over adversarial images and their real images, by support or by softmax confidence."
    )
    return report.Figure("errors", report.roc_curve(rates, areas=areas), "When it errs", caption=caption)
