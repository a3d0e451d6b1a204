"""The consistency stage: LC, CS1, CS2, r1 and r2 of every member, with their controls."""

from typing import Any, NamedTuple

import numpy as np

from jaxinterp import metrics
from jaxinterp.pipelines._context import Run
from jaxinterp.pipelines._dissection import ADVERSARIAL, REAL, top_size
from jaxinterp.pipelines._unit_pages import study_pages
from jaxinterp.pipelines._workdir import below

ALL, SUCCESSES = "all", "successes"
"""The adversarial images that are counted: all of them, or those that succeed on the network under study."""

MIN_SOURCES = 4
"""With fewer source images there is nothing to split, and no CS."""


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


class Attacked(NamedTuple):
    """Adversarial images and what a network says of them.

    Attributes:
        pool: their ids, sources, original classes and targets, in the classes of the images.
        strongest: `[n u]` maximum over positions of every unit's map.
        features: `[n u]` mean over positions.
    """

    pool: metrics.ImagePool
    strongest: np.ndarray
    features: np.ndarray


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
        part = below(dissected, member.name)
        classes = _classes(run, part[f"{REAL}/label"])
        for index, name in enumerate(values["sets"][1:]):
            against = _target_of(run, part[f"{name}/id"], "normal" if name != ADVERSARIAL else phase)
            success = part[f"{name}/predictions"] == against["target"]
            summaries: dict[str, Any] = {"num_successes": int(success.sum()), "num_adversarial": len(success)}
            found: dict[str, np.ndarray] = {}
            for which, rows in ((ALL, np.ones(len(success), bool)), (SUCCESSES, success)):
                if which == SUCCESSES and success.all():
                    summaries[SUCCESSES] = summaries[ALL]  # the same images, so `found` stands too
                else:
                    chosen = Attacked(
                        metrics.ImagePool(*(against[key][rows] for key in ("id", "source_id", "label", "target"))),
                        part[f"{name}/strongest"][rows],
                        part[f"{name}/features"][rows],
                    )
                    found, summaries[which] = _consistency(run, part, chosen, classes, (number, index))
                    found |= _representation(part, chosen, classes, run.study.min_class_images)
                arrays |= {f"{member.name}/{name}/{which}/{key}": array for key, array in found.items()}
            results.setdefault(member.name, {})[name] = summaries
        results[member.name]["classes"] = {"merged": classes.merged, "names": list(classes.names)}
    pages = study_pages(run, phase, arrays)
    run.workdir.save(f"consistency.{phase}", {"members": results, "pages": pages}, arrays)


def _classes(run: Run, labels: np.ndarray) -> Classes:
    file, classes = run.study.hierarchy, run.source.classes
    taxonomy = metrics.read_hierarchy(file, classes) if file else metrics.wordnet_taxonomy(classes)
    counts = np.bincount(labels, minlength=len(classes))
    if counts.min() >= run.study.min_class_images:
        return Classes(np.arange(len(counts)), run.source.class_names, _similarity(run, taxonomy, counts), False)
    merged = metrics.superclasses(taxonomy, counts, min_images=run.study.min_images)
    named = {"wnids": merged.wnids, "names": merged.names}
    above = taxonomy._replace(**named) if file else metrics.wordnet_taxonomy(merged.wnids)
    return Classes(merged.superclass, merged.names, _similarity(run, above, merged.counts), True)


def _similarity(run: Run, taxonomy: metrics.Taxonomy, counts: np.ndarray) -> np.ndarray:
    """D between the classes, by the study's measure; Lin's counts the images of each class."""
    measure = run.study.similarity
    frequencies = counts if measure == "lin" else None
    return metrics.taxonomy_similarity(taxonomy, measure=measure, sigma=run.study.sigma, frequencies=frequencies)


def _target_of(run: Run, ids: np.ndarray, phase: str) -> dict[str, np.ndarray]:
    """Label, target and source of the adversarial images of some ids."""
    _, scored = run.workdir.load(f"generate.{phase}")
    order = np.argsort(scored["id"], kind="stable")
    rows = order[np.searchsorted(scored["id"][order], ids)]
    return {name: scored[name][rows] for name in ("label", "target", "source_id", "id")}


def top_ids(strongest: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The top images of every unit among some images, and which units answer to all of theirs.

    Args:
        strongest: `[n u]` activation of every unit in every image.
        ids: of the images.

    Returns:
        Ids `[k u]`, best first, by (activation descending, id ascending) as `activations.top_k` orders them; and `[u]`,
        whether a unit's weakest top image still activates it.
    """
    size = top_size(len(ids))
    order = np.lexsort((np.broadcast_to(ids[:, None], strongest.shape), -strongest), axis=0)[:size]
    return ids[order], np.take_along_axis(strongest, order[-1:], axis=0)[0] > 0


def _consistency(
    run: Run, part: dict[str, np.ndarray], attacked: Attacked, classes: Classes, folds: tuple[int, int]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """LC, CS1 and CS2 of the units that answer to all their top images; without effects where there is too little."""
    pool, num_units = attacked.pool, attacked.strongest.shape[1]
    sources = np.unique(pool.source_id)
    if len(sources) < MIN_SOURCES:
        return {"alive": np.zeros(num_units, bool)}, {"num_units": 0, "num_dead": num_units, "effects": {}}
    ids, labels = part[f"{REAL}/id"].astype(np.int64), part[f"{REAL}/label"]
    among = np.isin(ids, sources)
    real, answers = part[f"{REAL}/top_ids"].T.astype(np.int64), part[f"{REAL}/top_values"][:, -1] > 0
    adversarial, answers_attacked = top_ids(attacked.strongest, pool.id)
    clean, _ = top_ids(part[f"{REAL}/strongest"][among], ids[among])
    alive = answers & answers_attacked
    if alive.sum() < 2:
        return {"alive": alive}, {"num_units": int(alive.sum()), "num_dead": int((~alive).sum()), "effects": {}}
    study = metrics.consistency_study(
        run.rng(4, *folds),
        metrics.TopImages(real=real[:, alive], adversarial=adversarial[:, alive], clean=clean[:, alive]),
        metrics.ImagePool(ids, ids, classes.group[labels], np.full(len(ids), -1)),
        pool._replace(label=classes.group[pool.label], target=classes.group[pool.target]),
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
    part: dict[str, np.ndarray], attacked: Attacked, classes: Classes, min_images: int
) -> dict[str, np.ndarray]:
    """r1 and r2 of adversarial images; empty where there are none."""
    pool = attacked.pool
    if not len(pool.id):
        return {key: np.zeros(0) for key in ("r1", "r2", "clean_r1", "clean_r2", "source_id")}
    found = metrics.representation_consistency(
        metrics.RealFeatures(
            part[f"{REAL}/features"], part[f"{REAL}/label"].astype(np.int64), part[f"{REAL}/id"].astype(np.int64)
        ),
        attacked.features,
        pool.source_id,
        pool.target,
        groups=classes.group,
        min_images=min_images,
    )
    return {
        "r1": found.r1,
        "r2": found.r2,
        "clean_r1": found.clean_r1,
        "clean_r2": found.clean_r2,
        "source_id": pool.source_id,
    }
