"""What the page claims of networks dissected over a concept set."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxinterp import report
from jaxinterp.pipelines._concept_sets import ADVERSARIAL
from jaxinterp.pipelines._context import NORMAL, ROBUST
from jaxinterp.pipelines._exhibits_concepts import Entry, entries
from jaxinterp.pipelines._results import Results

_TABLE = "Table 1 of the paper"
_OURS = "not a claim of the paper"


def concept_claims(results: Results) -> tuple[report.Claim, ...]:
    """The claims about concept images, of the dissected layers together; none where they were not attacked.

    An effect is the mean over the layers, whose own effects stand in brackets; the ends of its interval are the means of the
    ends of theirs. That of a change is the difference of two such means, its ends as far apart as theirs together.

    Args:
        results: what is finished.

    Returns:
        Rows of the claims table.
    """
    if not results.phases("concepts") or ADVERSARIAL not in results.load(f"concepts.{NORMAL}")[0]["sets"]:
        return ()
    normal = [entry for entry in entries(results) if entry.phase == NORMAL]
    rows = [
        _claim(
            "The attack takes units from concepts: fewer detect one on adversarial images than on noise",
            _mean([_share(entry) for entry in normal]),
            -1,
            normal,
            "another image's perturbation of the same norm",
            _TABLE,
        ),
        _claim(
            "Detectors keep their concept less often on adversarial images than under noise",
            _mean([_scaled(entry.counts["effect"]["kept_difference"], 100) for entry in normal]),
            -1,
            normal,
            "another image's perturbation of the same norm",
            _OURS,
        ),
    ]
    robust = [entry for entry in entries(results) if entry.phase == ROBUST]
    if robust:
        before, after = (_mean([_share(entry) for entry in part]) for part in (normal, robust))
        change = (after[0] - before[0], after[1] - before[2], after[2] - before[1], "")
        rows.append(
            _claim("Consistent training closes that gap", change, 1, robust, "the same difference before training", _TABLE)
        )
    return tuple(rows)


def _share(entry: Entry) -> tuple[float, float, float]:
    return _scaled(entry.counts["effect"]["number"], 100 / entry.counts["num_units"])


def _scaled(interval: Mapping[str, Any], scale: float | int) -> tuple[float, float, float]:
    estimate, low, high = (float(scale * interval[name]) for name in ("estimate", "low", "high"))
    return estimate, low, high


def _mean(effects: list[tuple[float, float, float]]) -> tuple[float, float, float, str]:
    estimate, low, high = np.mean(effects, axis=0).tolist()
    own = "(" + ", ".join(f"{effect:+.1f}".replace("-", "−") for effect, _, _ in effects) + ")" if len(effects) > 1 else ""
    return estimate, low, high, own


def _claim(
    statement: str, effect: tuple[float, float, float, str], sign: int, layers: list[Entry], control: str, paper: str
) -> report.Claim:
    estimate, low, high, own = effect
    size = min(entry.counts["effect"]["num_images"] for entry in layers)
    verdict = report.verdict(estimate, (low, high), expected_sign=sign, sample_size=size)
    if verdict == "not testable here":
        return report.Claim(statement, None, None, control, size, verdict, paper=paper)
    return report.Claim(statement, estimate, (low, high), control, size, verdict, unit=" points", paper=paper, reason=own)
