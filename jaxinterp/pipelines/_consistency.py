"""The consistency stage: LC, CS1, CS2, r1 and r2 of every member, with their controls."""

from typing import Any, NamedTuple

import numpy as np

from jaxinterp import metrics
from jaxinterp.pipelines._context import Run
from jaxinterp.pipelines._dissection import ADVERSARIAL, REAL, top_size

ALL, SUCCESSES = "all", "successes"
"""The adversarial images that are counted: all of them, or those that succeed on the network under study."""


class Classes(NamedTuple):
    """The classes that LC, CS and r are computed over, merged along WordNet where images are few.

    Attributes:
        group: class -> merged class.
        names: of the merged classes.
        similarity: D between them.
        merged: whether anything was merged.
    """

    group: np.ndarray
    names: tuple[str, ...]
    similarity: np.ndarray
    merged: bool


def measure_consistency(run: Run, phase: str) -> None:
    """Measures the consistency of every member of a phase, against each adversarial set that it was dissected on.

    Args:
        run: the run.
        phase: whose networks.
    """
    values, dissected = run.workdir.load(f"dissect.{phase}")
    arrays: dict[str, np.ndarray] = {}
    results: dict[str, dict[str, Any]] = {}
    for number, member in enumerate(run.study.members):
        part = {
            name.removeprefix(f"{member.name}/"): array
            for name, array in dissected.items()
            if name.startswith(f"{member.name}/")
        }
        classes = _classes(run, part[f"{REAL}/label"])
        for index, name in enumerate(values["sets"][1:]):
            against = _target_of(run, part[f"{name}/id"], "normal" if name != ADVERSARIAL else phase)
            success = part[f"{name}/predictions"] == against["target"]
            found, summary = _consistency(run, part, name, against, classes, (number, index))
            for kind, rows in ((ALL, np.ones(len(success), bool)), (SUCCESSES, success)):
                ratios = _representation(part, name, against, rows, classes, run.study.min_class_images)
                found |= {f"{kind}/{key}": array for key, array in ratios.items()}
            summary |= {"num_successes": int(success.sum()), "num_adversarial": len(success)}
            arrays |= {f"{member.name}/{name}/{key}": array for key, array in found.items()}
            results.setdefault(member.name, {})[name] = summary
        results[member.name]["classes"] = {"merged": classes.merged, "names": list(classes.names)}
    run.workdir.save(f"consistency.{phase}", {"members": results}, arrays)


def _classes(run: Run, labels: np.ndarray) -> Classes:
    taxonomy = metrics.wordnet_taxonomy(run.source.classes)
    counts = np.bincount(labels, minlength=len(run.source.classes))
    if counts.min() >= run.study.min_class_images:
        lengths = metrics.path_lengths(taxonomy)
        return Classes(
            np.arange(len(counts)), run.source.class_names, metrics.similarity(lengths, sigma=run.study.sigma), False
        )
    merged = metrics.superclasses(taxonomy, counts, min_images=run.study.min_images)
    lengths = metrics.path_lengths(metrics.wordnet_taxonomy(merged.wnids))
    return Classes(merged.superclass, merged.names, metrics.similarity(lengths, sigma=run.study.sigma), True)


def _target_of(run: Run, ids: np.ndarray, phase: str) -> dict[str, np.ndarray]:
    """Label, target and source of the adversarial images of some ids."""
    _, scored = run.workdir.load(f"generate.{phase}")
    order = np.argsort(scored["id"], kind="stable")
    rows = order[np.searchsorted(scored["id"][order], ids)]
    return {name: scored[name][rows] for name in ("label", "target", "source_id", "id")}


def _consistency(
    run: Run, part: dict[str, np.ndarray], name: str, against: dict[str, np.ndarray], classes: Classes, folds: tuple[int, int]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    alive = (part[f"{REAL}/top_values"][:, -1] > 0) & (part[f"{name}/top_values"][:, -1] > 0)
    attacked = np.unique(against["source_id"])
    real_ids = part[f"{REAL}/id"].astype(np.int64)
    among = np.flatnonzero(np.isin(real_ids, attacked))
    size = min(top_size(len(real_ids)), max(2, len(among) // 10))
    order = np.lexsort(
        (np.broadcast_to(real_ids[among][:, None], (len(among), alive.sum())), -part[f"{REAL}/strongest"][among][:, alive]),
        axis=0,
    )
    if alive.sum() < 2:
        return {"alive": alive}, {"num_units": int(alive.sum()), "num_dead": int((~alive).sum()), "effects": {}}
    study = metrics.consistency_study(
        run.rng(4, *folds),
        metrics.TopImages(
            real=part[f"{REAL}/top_ids"][alive].T.astype(np.int64),
            adversarial=part[f"{name}/top_ids"][alive].T.astype(np.int64),
            clean=real_ids[among][order[:size]],
        ),
        metrics.ImagePool(real_ids, real_ids, classes.group[part[f"{REAL}/label"]], np.full(len(real_ids), -1)),
        metrics.ImagePool(
            against["id"], against["source_id"], classes.group[against["label"]], classes.group[against["target"]]
        ),
        classes.similarity,
        num_draws=run.study.num_bootstrap_draws,
    )
    arrays = {f"score/{key}": score for key, score in study.scores.items()}
    arrays |= {f"curve/{key}": np.stack(curve) for key, curve in study.curves.items()}
    arrays |= {"bin": study.bin, "bin_lc": study.bin_lc, "alive": alive}
    summary = {
        "num_units": int(alive.sum()),
        "num_dead": int((~alive).sum()),
        "means": {key: list(interval) for key, interval in study.means.items()},
        "effects": {
            key: {"difference": list(effect.difference), "correlation": list(effect.correlation), "direction": effect.direction}
            for key, effect in study.effects.items()
        },
        "lc_null": list(study.lc_null),
        "cs1_null": list(study.cs1_null),
        "cs2_null": list(study.cs2_null),
        "reliability": study.reliability,
        "num_top_real": study.num_top_real,
        "num_top_adversarial": study.num_top_adversarial,
        "num_images": study.num_images,
        "num_images_a_class": study.num_images_a_class,
        "floor": study.floor,
        "under_powered": study.under_powered,
    }
    return arrays, summary


def _representation(
    part: dict[str, np.ndarray],
    name: str,
    against: dict[str, np.ndarray],
    rows: np.ndarray,
    classes: Classes,
    min_images: int,
) -> dict[str, np.ndarray]:
    """r1 and r2 of the chosen adversarial images; empty where none is chosen."""
    if not rows.any():
        return {key: np.zeros(0) for key in ("r1", "r2", "clean_r1", "clean_r2", "source_id")}
    found = metrics.representation_consistency(
        metrics.RealFeatures(
            part[f"{REAL}/features"], part[f"{REAL}/label"].astype(np.int64), part[f"{REAL}/id"].astype(np.int64)
        ),
        part[f"{name}/features"][rows],
        against["source_id"][rows],
        against["target"][rows],
        groups=classes.group,
        min_images=min_images,
    )
    return {
        "r1": found.r1,
        "r2": found.r2,
        "clean_r1": found.clean_r1,
        "clean_r2": found.clean_r2,
        "source_id": against["source_id"][rows],
    }
