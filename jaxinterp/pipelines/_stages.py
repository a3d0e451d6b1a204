"""The stages of a study, what each needs, and the verbs that run them."""

import functools
import hashlib
import json
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

from jaxinterp import models
from jaxinterp.data import Source
from jaxinterp.pipelines._concept_sets import concept_images
from jaxinterp.pipelines._concepts import dissect_concepts
from jaxinterp.pipelines._consistency import measure_consistency
from jaxinterp.pipelines._context import NORMAL, ROBUST, Run
from jaxinterp.pipelines._dissection import dissect
from jaxinterp.pipelines._evaluation import evaluate, inspect
from jaxinterp.pipelines._gates import measure_gates
from jaxinterp.pipelines._generation import generate
from jaxinterp.pipelines._identity import describe
from jaxinterp.pipelines._page import write_page
from jaxinterp.pipelines._provenance import provenance
from jaxinterp.pipelines._robustness import evaluate_robustness
from jaxinterp.pipelines._study import Study
from jaxinterp.pipelines._tracing import trace
from jaxinterp.pipelines._training import train
from jaxinterp.pipelines._transfer_card import evaluate_transfer

VERBS = {
    "study": "every stage",
    "train": "train the networks, normally or adversarially",
    "generate": "make the adversarial data set",
    "dissect": "find what units answer to",
    "consistency": "measure LC, CS1, CS2, r1 and r2",
    "trace": "trace predictions to units",
    "gates": "find which units speak for which class",
    "robustness": "attack the networks by the standard evaluation, and write a card of each",
    "transfer": "try adversarial images of some networks on all of them",
    "report": "write the page from what is finished",
}
"""What each verb of the command line runs."""

_PER_PHASE: dict[str, Callable[[Run, str], None]] = {
    "train": train,
    "generate": generate,
    "dissect": dissect,
    "consistency": measure_consistency,
    "evaluate": evaluate,
    "robustness": evaluate_robustness,
    "transfer": evaluate_transfer,
    "concepts": dissect_concepts,
    "gates": measure_gates,
}
_ALSO = {"dissect": ("concepts",)}
_VERSION = 3


def identity(study: Study, knobs: dict[str, Any], sources: dict[str, Source], weights: dict[str, str]) -> dict[str, Any]:
    """What must not change between the runs of one work directory.

    Args:
        study: what the recipe built.
        knobs: the recipe's resolved knobs.
        sources: the analysed images and the concept images; their fingerprints count.
        weights: fingerprints of the members' weights, as built.

    Returns:
        A JSON-able description.
    """
    return {
        "knobs": describe(knobs),
        "weights": weights,
        **{name: source.fingerprint for name, source in sources.items()},
        **(
            {"hierarchy": hashlib.sha256(pathlib.Path(study.hierarchy).read_bytes()).hexdigest()[:16]}
            if study.hierarchy
            else {}
        ),
        "stage_version": _VERSION,
        "recipe": describe(study),
    }


def run_study(
    run: Run,
    *,
    verb: str = "study",
    knobs: dict[str, Any] | None = None,
    recipe_text: str = "",
    fresh: bool = False,
    announce: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> str:
    """Runs the stages of a verb, and those they need, that are not finished yet; writes the page after each.

    Args:
        run: the study in its work directory.
        verb: one of `VERBS`.
        knobs: the recipe's resolved knobs.
        recipe_text: kept in the manifest.
        fresh: discard what an earlier run left in the work directory.
        announce: gets a line as each stage begins and ends.

    Returns:
        The path of the page.

    Raises:
        ValueError: an unknown verb, a work directory of another recipe, or bad input of a stage.
    """
    if verb not in VERBS:
        raise ValueError(f"unknown verb {verb!r}; there are: {', '.join(VERBS)}.")
    knobs = knobs or {}
    _check(run)
    weights = {member.name: models.fingerprint(model) for member, model in zip(run.study.members, run.built, strict=True)}
    details = provenance(run.mesh, run.study, knobs, recipe_text)
    run.workdir.claim(identity(run.study, knobs, _images_of(run), weights), details, fresh=fresh)
    for stage in stages_of(run.study, verb):
        if run.workdir.finished(stage):
            continue
        announce(f"{stage} ...")
        start = time.perf_counter()
        _stage(stage)(run)
        seconds = time.perf_counter() - start
        _record_time(run, stage, seconds)
        announce(f"{stage} took {seconds:.1f} s; {write_page(run)}")
    return str(write_page(run))


def _images_of(run: Run) -> dict[str, Source]:
    """The images that a study names, by what it calls them."""
    sources = {"source": run.source} if run.study.source else {}
    if run.study.dissection:
        sources["concepts"] = concept_images(run.study.dissection)
    return sources


def _check(run: Run) -> None:
    """Raises `ValueError` where networks, layers and images of a study do not fit each other."""
    for member, model in zip(run.study.members, run.built, strict=True):
        model.layer(member.layer)
        for layer in run.study.dissection.layers_of(member.name, member.layer) if run.study.dissection else ():
            model.layer(layer)
    if run.study.source is None:
        return
    size, classes = run.source.image_size, len(run.source.classes)
    if run.study.occlusion and run.study.occlusion.occluder > size:
        raise ValueError(
            f"expected an occluder of at most {size} px, the side of the images, got {run.study.occlusion.occluder}."
        )
    for member, model in zip(run.study.members, run.built, strict=True):
        if model.image_size != size:
            raise ValueError(
                f"expected images of {model.image_size} px for {member.name}, got {size}; "
                f"write models.at_size(model, {size}) or another image size."
            )
        if model.num_classes != classes:
            raise ValueError(f"expected {model.num_classes} classes for {member.name}, got images of {classes}.")


def stages_of(study: Study, verb: str) -> tuple[str, ...]:
    """The stages that a verb runs, those they need among them, in order.

    Raises:
        ValueError: the study has no such stage.
    """
    names = study.stage_names()
    if verb == "study":
        return names
    if verb == "report":
        return ()
    kinds = (verb, *_ALSO.get(verb, ()))
    wanted = [index for index, name in enumerate(names) if name.split(".")[0] in kinds]
    if not wanted:
        raise ValueError(f"this recipe has no stage {verb!r}; its stages are: {', '.join(names)}.")
    needed: set[str] = set()

    def need(name: str) -> None:
        if name not in names or name in needed:
            return
        needed.add(name)
        for other in _needs(name):
            need(other)

    for index in wanted:
        need(names[index])
    return tuple(name for name in names if name in needed)


def _needs(name: str) -> tuple[str, ...]:
    kind, _, phase = name.partition(".")
    if kind == "trace":
        return (f"dissect.{NORMAL}",)
    if name in ("inspect", f"train.{ROBUST}"):
        return (f"train.{NORMAL}",)
    return {
        "generate": (f"train.{phase}",),
        "evaluate": (f"train.{phase}",),
        "robustness": (f"train.{phase}",),
        "transfer": (f"train.{phase}",),
        "concepts": (f"train.{phase}",),
        "gates": (f"train.{phase}", f"generate.{phase}"),
        "dissect": (f"generate.{phase}", f"generate.{NORMAL}"),
        "consistency": (f"dissect.{phase}",),
    }.get(kind, ())


def _stage(name: str) -> Callable[[Run], None]:
    kind, _, phase = name.partition(".")
    if not phase:
        return {"inspect": inspect, "trace": trace}[kind]
    return functools.partial(_call, _PER_PHASE[kind], phase)


def _call(stage: Callable[[Run, str], None], phase: str, run: Run) -> None:
    stage(run, phase)


def _record_time(run: Run, stage: str, seconds: float) -> None:
    path = run.workdir.path / "times.json"
    times = json.loads(path.read_text()) if path.exists() else {}
    run.workdir.write_text("times.json", json.dumps(times | {stage: round(seconds, 1)}, indent=1))
