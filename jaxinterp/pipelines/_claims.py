"""The claims of the paper, each with what this run measured of it."""

from collections.abc import Callable

import numpy as np

from jaxinterp import metrics, report
from jaxinterp.pipelines._consistency import ALL, SUCCESSES
from jaxinterp.pipelines._context import NORMAL, ROBUST
from jaxinterp.pipelines._dissection import ADVERSARIAL, REAL
from jaxinterp.pipelines._exhibits_trace import reverted_at
from jaxinterp.pipelines._exhibits_training import correct
from jaxinterp.pipelines._results import Results

MEANING = (
    "An effect is the mean over the networks, whose own effects stand in brackets; the ends of its interval are the means of "
    "the ends of theirs, which is wider than the interval of the mean."
)
"""How the figures of the claims table are made of those of the networks."""


def claims(results: Results) -> tuple[report.Claim, ...]:
    """Every claim, in the order of the paper; those whose stages are not finished are pending.

    Args:
        results: what is finished.

    Returns:
        The rows of the claims table.
    """
    trained = results.run.study.finetuning is not None
    labelled = results.run.source.concepts is not None
    found = [
        _claim(
            results,
            "On real images more units align with a concept than on adversarial ones",
            (f"dissect.{NORMAL}",),
            _aligned if labelled else None,
            "Table 1",
        ),
        _claim(
            results,
            "In a normal network CS1 falls as LC rises",
            (f"consistency.{NORMAL}",),
            lambda r: _effect(r, NORMAL, "cs1", -1, "units of low LC; LC and CS1 from different images"),
            "Fig. 8",
        ),
        _claim(
            results,
            "In a normal network CS2 rises with LC, beyond what clean images give",
            (f"consistency.{NORMAL}",),
            lambda r: _effect(r, NORMAL, "excess", 1, "attack-free CS2 of the same units"),
            "Fig. 8",
        ),
    ]
    both = (f"consistency.{NORMAL}", f"consistency.{ROBUST}")
    rows: list[tuple[str, tuple[str, ...], Callable[[Results], report.Claim], str]] = [
        ("Consistent training raises CS1", both, lambda r: _change(r, "cs1", 1, "the normal networks"), "Fig. 8"),
        (
            "Consistent training lowers what an attack adds to CS2",
            both,
            lambda r: _change(r, "excess", -1, "the normal networks, attack-free CS2 subtracted"),
            "Fig. 8",
        ),
        ("Consistent training lowers r1", both, lambda r: _ratio(r, "r1", ALL), "Fig. 9"),
        ("... also of attacks that succeed", both, lambda r: _ratio(r, "r1", SUCCESSES), ""),
        ("Consistent training lowers r2", both, lambda r: _ratio(r, "r2", ALL), "Fig. 9"),
        ("... also of attacks that succeed", both, lambda r: _ratio(r, "r2", SUCCESSES), ""),
    ]
    tested = (f"evaluate.{NORMAL}", f"evaluate.{ROBUST}")
    rows += [
        ("Consistent training raises accuracy under FGSM", tested, lambda r: _accuracy(r, "fgsm", 1), "Table 2"),
        ("... and under PGD, so that gradients are not merely masked", tested, lambda r: _accuracy(r, "pgd", 1), ""),
        ("... at a loss of clean accuracy", tested, lambda r: _accuracy(r, "clean", -1), "Table 2"),
    ]
    found += [_claim(results, text, needed, measure if trained else None, paper) for text, needed, measure, paper in rows]
    found += [
        _claim(results, "An error is carried by few units: patching them reverts it", ("trace",), _patched, "Fig. 1c"),
        _claim(results, "Units tell when a network errs better than its confidence does", ("trace",), _detection, ""),
    ]
    return tuple(found)


def _claim(
    results: Results,
    statement: str,
    needed: tuple[str, ...],
    measure: Callable[[Results], report.Claim] | None,
    paper: str,
) -> report.Claim:
    """The claim as measured, or pending, or not testable here."""
    shown = f"{paper} of the paper" if paper else "not a claim of the paper"
    if measure is None:
        return report.Claim(statement, None, None, "", None, "not testable here", paper=shown)
    if not all(results.has(stage) for stage in needed):
        return report.Claim(statement, None, None, "", None, "pending", paper=shown)
    measured = measure(results)
    return report.Claim(
        statement,
        measured.effect,
        measured.interval,
        measured.control,
        measured.sample_size,
        measured.verdict,
        unit=measured.unit,
        paper=shown,
        reason=measured.reason,
    )


def _judged(
    interval: metrics.Interval, sign: int, control: str, size: int, *, unit: str = "", weak: bool = False, reason: str = ""
) -> report.Claim:
    """A measured claim; the statement is filled in by the caller."""
    ends = (interval.low, interval.high)
    verdict = report.verdict(interval.estimate, ends, expected_sign=sign, sample_size=size, under_powered=weak)
    if verdict == "not testable here":
        return report.Claim("", None, None, control, size, verdict, reason=reason)
    return report.Claim("", interval.estimate, ends, control, size, verdict, unit=unit, reason=reason)


def _mean(intervals: list[metrics.Interval]) -> metrics.Interval:
    if not intervals:
        return metrics.Interval(float("nan"), float("nan"), float("nan"))
    return metrics.Interval(*(float(np.mean(values)) for values in zip(*intervals, strict=True)))


def _against(control: str, intervals: list[metrics.Interval], *, digits: int = 3) -> str:
    """The control, with the networks' own effects in brackets."""
    each = ", ".join(f"{interval.estimate:+.{digits}f}" for interval in intervals)
    return f"{control} ({each})" if each else control


def _aligned(results: Results) -> report.Claim:
    values, _ = results.load(f"dissect.{NORMAL}")
    intervals = []
    for number, member in enumerate(results.members):
        part = results.of(f"dissect.{NORMAL}", member.name)
        above = [part[f"{kind}/null_detects"] - part[f"{kind}/null_rate"] for kind in (REAL, ADVERSARIAL)]
        difference = 100 * (above[0] - above[1])
        intervals.append(metrics.bootstrap_interval(results.run.rng(7, number), difference, np.arange(len(difference))))
    kinds = REAL, ADVERSARIAL
    size = min(values["members"][member.name][kind]["null"]["num_images"] for member in results.members for kind in kinds)
    control = "permuted label maps, subtracted on both sides; intervals over units"
    return _judged(_mean(intervals), 1, _against(control, intervals, digits=1), size, unit=" points of units")


def _summaries(results: Results, phase: str) -> list[dict]:
    values, _ = results.load(f"consistency.{phase}")
    found = [values["members"][member.name][ADVERSARIAL][ALL] for member in results.members]
    return [summary for summary in found if summary["effects"]]


def _effect(results: Results, phase: str, name: str, sign: int, control: str) -> report.Claim:
    summaries = _summaries(results, phase)
    intervals = [metrics.Interval(*summary["effects"][name]["difference"]) for summary in summaries]
    size = min((min(s["num_top_real"], s["num_top_adversarial"]) for s in summaries), default=0)
    weak = any(summary["under_powered"] for summary in summaries)
    return _judged(_mean(intervals), sign, _against(control, intervals), size, weak=weak)


def _change(results: Results, name: str, sign: int, control: str) -> report.Claim:
    before, after = _summaries(results, NORMAL), _summaries(results, ROBUST)
    intervals = []
    for old, new in zip(before, after, strict=False):
        first, second = metrics.Interval(*old["means"][name]), metrics.Interval(*new["means"][name])
        change = second.estimate - first.estimate
        half = np.hypot(second.high - second.low, first.high - first.low) / 2
        intervals.append(metrics.Interval(change, change - half, change + half))
    size = min((min(s["num_top_real"], s["num_top_adversarial"]) for s in [*before, *after]), default=0)
    weak = any(summary["under_powered"] for summary in [*before, *after])
    return _judged(_mean(intervals), sign, _against(control, intervals), size, weak=weak)


def _ratio(results: Results, name: str, which: str) -> report.Claim:
    """r after training against r before, over all adversarial images or over those that succeed on the network."""
    intervals, sizes = [], []
    for number, member in enumerate(results.members):
        parts = []
        for phase in (ROBUST, NORMAL):
            found = results.of(f"consistency.{phase}", member.name)
            values = found[f"{ADVERSARIAL}/{which}/{name}"]
            finite = np.isfinite(values)
            parts.append((values[finite], found[f"{ADVERSARIAL}/{which}/source_id"][finite]))
        if all(len(values) for values, _ in parts):
            sizes += [len(values) for values, _ in parts]
            intervals.append(metrics.bootstrap_difference(results.run.rng(8, number), *parts[0], *parts[1], num_draws=500))
    return _judged(_mean(intervals), -1, _against("the normal networks", intervals), min(sizes, default=0))


def _accuracy(results: Results, kind: str, sign: int) -> report.Claim:
    intervals, size = [], 0
    for number, member in enumerate(results.members):
        after, before = (correct(results, phase, member.name, kind) for phase in (ROBUST, NORMAL))
        difference = 100.0 * (after.astype(np.float64) - before)
        intervals.append(metrics.bootstrap_interval(results.run.rng(9, number), difference, np.arange(len(difference))))
        size = len(difference)
    control = _against("the normal networks on the same images", intervals, digits=1)
    return _judged(_mean(intervals), sign, control, size, unit=" points")


def _patched(results: Results) -> report.Claim:
    intervals, sizes, count = [], [], 0
    for number, member in enumerate(results.members):
        if len(results.of("trace", member.name)["rows"]) < 2:
            continue
        count, patched, control, sources = reverted_at(results, member.name, "patched")
        difference = 100.0 * (patched.astype(np.float64) - control)
        intervals.append(metrics.bootstrap_interval(results.run.rng(10, number), difference, sources))
        sizes.append(len(patched))
    control = _against(f"{count} random units of equal mean activation", intervals, digits=1)
    return _judged(_mean(intervals), 1, control, min(sizes, default=0), unit=" points of errors reverted")


def _detection(results: Results) -> report.Claim:
    intervals, sizes = [], []
    for number, member in enumerate(results.members):
        part = results.of("trace", member.name)
        if part["erred"].all() or not part["erred"].any():
            continue
        intervals.append(
            metrics.auroc_difference(
                results.run.rng(11, number),
                -part["support"],
                -part["confidence"],
                part["erred"],
                part["scored_source_id"],
                num_draws=300,
            )
        )
        sizes.append(int(min(part["erred"].sum(), (~part["erred"]).sum())))
    control = _against("AUROC of softmax confidence, subtracted", intervals)
    return _judged(_mean(intervals), 1, control, min(sizes, default=0))
