"""The page of a run, from whatever is finished."""

import json
import pathlib
from collections.abc import Callable
from typing import Any, TypeVar

from jaxinterp import report
from jaxinterp.pipelines._claims import MEANING, claims
from jaxinterp.pipelines._claims_concepts import concept_claims
from jaxinterp.pipelines._context import NORMAL, Run
from jaxinterp.pipelines._dissection import ADVERSARIAL
from jaxinterp.pipelines._exhibits_attack import attack_section, images_section
from jaxinterp.pipelines._exhibits_concepts import concepts_section
from jaxinterp.pipelines._exhibits_consistency import consistency_figure, consistency_section
from jaxinterp.pipelines._exhibits_gates import gates_section
from jaxinterp.pipelines._exhibits_robustness import robustness_section
from jaxinterp.pipelines._exhibits_trace import trace_section
from jaxinterp.pipelines._exhibits_training import accuracy_section
from jaxinterp.pipelines._exhibits_transfer import transfer_section
from jaxinterp.pipelines._exhibits_units import featured_figure, units_section
from jaxinterp.pipelines._results import Results

T = TypeVar("T")

BESIDE = ("train", "robustness", "transfer", "concepts", "gates")
"""Kinds of stages that measure none of the claims about the study's own images."""


def write_page(run: Run) -> pathlib.Path:
    """Writes the page and its figures into the work directory, from the stages that are finished.

    Args:
        run: the run.

    Returns:
        The path of the page.
    """
    return report.write(build_page(Results(run)), run.workdir.path)


def build_page(results: Results) -> report.Page:
    """The page as a record."""
    run, study = results.run, results.run.study
    lead: list[report.Table | report.Figure] = []
    if results.has(f"dissect.{NORMAL}"):
        lead.append(_kept(results, "featured", ("dissect", "consistency"), featured_figure))
    if results.has(f"consistency.{NORMAL}"):
        lead += _kept(results, "curves", ("consistency",), lambda found: consistency_figure(found, ADVERSARIAL))
    parts: list[tuple[str, tuple[str, ...], Callable[[Results], report.Section]]] = [
        ("attack", ("generate",), attack_section),
        ("units", ("dissect",), units_section),
        ("concepts", ("concepts",), concepts_section),
        ("gates", ("gates",), gates_section),
        ("consistency", ("consistency",), consistency_section),
        ("accuracy", ("evaluate", "train"), accuracy_section),
        ("robustness", ("robustness",), robustness_section),
        ("transfer", ("transfer",), transfer_section),
        ("trace", ("trace",), trace_section),
    ]
    measured = any(results.has(name) for name in study.stage_names() if name.split(".")[0] not in BESIDE)
    sections = [_kept(results, "images", ("inspect",), images_section)] if study.source else []
    sections += [_kept(results, name, kinds, build) for name, kinds, build in parts if _finished(results, kinds[:1])]
    methods = study.methods
    if study.gates and (phases := results.phases("gates")):
        methods += "\n\n" + report.gates_paragraph(
            num_images=results.load(f"gates.{phases[0]}")[0]["num_images"],
            num_steps=study.gates.num_steps,
            regulariser_weight=study.gates.regulariser_weight,
            density=study.gates.density,
        )
    return report.Page(
        title=study.title,
        subtitle=study.description,
        stages=_stages(run),
        claims=(*(claims(results) if measured else ()), *concept_claims(results)),
        lead=tuple(lead),
        sections=tuple(sections),
        methods=f"{methods}\n\n{MEANING}",
        bibtex=report.bibliography(report.citations(methods)),
        provenance=recorded_provenance(json.loads((run.workdir.path / "manifest.json").read_text())),
    )


def _finished(results: Results, kinds: tuple[str, ...]) -> tuple[str, ...]:
    """The finished stages of some kinds."""
    return tuple(name for name in results.run.study.stage_names() if name.split(".")[0] in kinds and results.has(name))


def _kept(results: Results, name: str, kinds: tuple[str, ...], build: Callable[[Results], T]) -> T:
    """A part of the page, built anew only when another stage that it shows is finished."""
    key = (name, *_finished(results, kinds))
    if key not in results.run.page_parts:
        results.run.page_parts[key] = build(results)
    return results.run.page_parts[key]


def _stages(run: Run) -> tuple[report.Stage, ...]:
    path = run.workdir.path / "times.json"
    times = json.loads(path.read_text()) if path.exists() else {}
    names = run.study.stage_names()
    done = [run.workdir.finished(name) for name in names]
    first = done.index(False) if not all(done) else len(names)
    return tuple(
        report.Stage(
            name.replace(".", " "),
            "done" if finished else "running" if index == first else "to come",
            detail=f"{times[name]:.0f} s" if finished and name in times else "",
        )
        for index, (name, finished) in enumerate(zip(names, done, strict=True))
    )


def recorded_provenance(manifest: dict[str, Any]) -> dict[str, str]:
    """What a page says of where its results come from, from a work directory's manifest."""
    device = manifest["device"]
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    knobs = ", ".join(f"{name} = {value}" for name, value in manifest["recipe"]["knobs"].items())
    return {
        "device": f"{device['count']} x {device['kind']} ({device['platform']})",
        "versions": versions,
        "commit": manifest["commit"],
        "knobs": knobs,
        "seed": str(manifest["recipe"]["seed"]),
    }
