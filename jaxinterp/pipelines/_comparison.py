"""Comparison: every contender trained from every seed, studied, and set beside the others."""

import sys
from collections.abc import Callable
from typing import Any

from jax.sharding import Mesh

from jaxinterp import _mesh, report
from jaxinterp.pipelines._comparison_settings import Comparison, Contender
from jaxinterp.pipelines._context import NORMAL, Run
from jaxinterp.pipelines._exhibits_comparison import comparison_page
from jaxinterp.pipelines._fit import run_fit
from jaxinterp.pipelines._identity import describe
from jaxinterp.pipelines._provenance import provenance
from jaxinterp.pipelines._quantities import figures_of
from jaxinterp.pipelines._stages import run_study
from jaxinterp.pipelines._workdir import WorkDir

_VERSION = 1


def run_comparison(
    comparison: Comparison,
    workdir: WorkDir,
    *,
    mesh: Mesh | None = None,
    knobs: dict[str, Any] | None = None,
    recipe_text: str = "",
    fresh: bool = False,
    announce: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> str:
    """Trains and studies every network that is not finished yet, seed by seed; writes the page after each.

    A network is trained in `networks/NAME-SEED/train` and studied in `networks/NAME-SEED/units`, work directories of their
    own with pages of their own.

    Args:
        comparison: what the recipe built.
        workdir: where it is kept; a killed run goes on from there.
        mesh: the devices; all of them by default.
        knobs: the recipe's resolved knobs.
        recipe_text: kept in the manifests.
        fresh: discard what an earlier run left in the work directory.
        announce: gets a line for each network and each of its stages.

    Returns:
        The path of the page.

    Raises:
        ValueError: a work directory of another recipe, a study of more or less than one network, or what training and study
            refuse.
        Stopped: after SIGTERM in a training, which has saved itself.
    """
    mesh, knobs = _mesh.data_parallel(mesh), knobs or {}
    identity = {"knobs": describe(knobs), "recipe": describe(comparison), "comparison_version": _VERSION}
    workdir.claim(identity, provenance(mesh, comparison, knobs, recipe_text), fresh=fresh)
    found: dict[tuple[str, int], dict[str, float]] = {}
    cells = [(contender, seed) for seed in comparison.seeds for contender in comparison.contenders]
    for number, (contender, seed) in enumerate(cells, start=1):
        part = f"network.{contender.name}-{seed}"
        is_new = not workdir.finished(part)
        if is_new:
            announce(f"{contender.name}, seed {seed} ...")
            workdir.save(part, _measured(contender, seed, workdir, mesh, knobs, recipe_text, announce), {})
        found[contender.name, seed] = workdir.load(part)[0]["figures"]
        if is_new or number == len(cells):
            report.write(comparison_page(comparison, found, workdir), workdir.path)
    return str(workdir.path / "index.html")


def _measured(
    contender: Contender,
    seed: int,
    workdir: WorkDir,
    mesh: Mesh,
    knobs: dict[str, Any],
    recipe_text: str,
    announce: Callable[[str], None],
) -> dict[str, Any]:
    """Trains one network where that is not done, studies it, and returns its figures."""
    folder = workdir.folder(f"networks/{contender.name}-{seed}")
    shared: dict[str, Any] = {"knobs": knobs, "recipe_text": recipe_text, "announce": announce}
    trained = str(folder / "train" / "weights" / "network.safetensors")
    study = contender.study(seed, trained if contender.weights is None else contender.weights(seed))
    if len(study.members) != 1:
        raise ValueError(f"{contender.name!r}: expected a study of one network, got {len(study.members)} members.")
    if contender.fit is not None:
        if study.robustness is not None and study.robustness.transferred_from is not None:
            study.robustness.transferred_from()  # a file that cannot be read is to be named before the training
        run_fit(contender.fit(seed), WorkDir(folder / "train"), mesh=mesh, **shared)
    run = Run(study, WorkDir(folder / "units"), mesh=mesh)
    run_study(run, **shared)
    figures = figures_of(run)
    (model,) = run.models(NORMAL)
    for reading in contender.readings:
        figures |= {name: float(value) for name, value in reading(model, mesh).items()}
    return {"figures": figures}
