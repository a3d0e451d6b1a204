"""Beyond IoU: average precision, two-concept formulas, stability, ablation and three similarities, on the concept world.

    python benchmarks/beyond_iou.py [--images 480] [--smoke]

The last block of the small ResNet-18 is dissected on fresh pictures, and then asked: does average precision name the same
concepts, is a formula of two concepts worth more than the null of its own search, does a unit keep its concept when the images
are drawn again, what do the detectors of a concept matter to each class beside as many matched units, and how do the LC of
path length, Wu-Palmer and Lin agree. A row with seconds and figures goes to benchmarks/results/beyond_iou.jsonl.
"""

import argparse
import json
import time
from typing import Any

import _rows
import jax
import numpy as np

from jaxinterp import activations, data, metrics, models, tracing

LAYER, SIDE = "layer4.1", 32


def dissected(count: int) -> dict[str, Any]:
    """The network, the pictures, and what several statistics say of its last block."""
    model, source = models.small_resnet18(), data.concept_world(seed=77, num_images=count)
    layer, table = model.layer(LAYER), data.concept_world(seed=77, num_images=1).concepts
    forward = jax.jit(lambda model, images: model(images)[1][LAYER])
    seen = [(batch, forward(model, batch.image)) for batch in data.batches(source, batch_size=96)]

    def fold(statistic: Any) -> Any:
        update, state = jax.jit(statistic.update), statistic.init()
        for batch, maps in seen:
            state = update(state, batch, {LAYER: maps})
        return statistic.compute(state)

    units, size = layer.shape[2], source.image_size
    coarse = fold(activations.quantile_coarse(LAYER, num_units=units))
    thresholds = fold(activations.quantile_fine(LAYER, coarse))
    knobs = {"thresholds": thresholds, "label_size": SIDE, "image_size": size}
    masks = fold(activations.masks(layer, num_images=count, label_layers=6, **knobs))
    pooled = fold(activations.pooled(LAYER, num_units=units, num_images=count))
    edges = activations.histogram_edges(pooled[: max(2, count // 2)], num_bins=128)
    return {
        "model": model,
        "classes": source.classes,
        "names": table.names,
        "categories": table.categories,
        "images": np.concatenate([np.asarray(batch.image) for batch, _ in seen])[:count],
        "label": np.concatenate([np.asarray(batch.label) for batch, _ in seen])[:count],
        "masks": masks,
        "pooled": pooled,
        "mean": fold(activations.mean_pooled(LAYER, num_units=units, num_images=count)),
        "histogram": fold(activations.concept_histogram(LAYER, edges=edges, num_concepts=len(table.names))),
    }


def measured(world: dict[str, Any], draws: int) -> dict[str, Any]:
    """Every figure."""
    masks, categories, names = world["masks"], world["categories"], world["names"]
    present = np.stack([np.isin(np.arange(len(names)), one) for one in masks.concepts])
    found = metrics.detectors(metrics.tally_of_masks(masks, categories))
    seconds: dict[str, float] = {}
    row: dict[str, Any] = {"units": len(found.concept), "detectors": found.number, "unique": found.unique}

    def timed(name: str, run: Any) -> Any:
        start = time.perf_counter()
        answer = run()
        seconds[name] = round(time.perf_counter() - start, 2)
        return answer

    key, rng = jax.random.key(0), np.random.default_rng(0)
    precise = metrics.precise_concepts(world["histogram"])
    null = timed("precision_null", lambda: metrics.precision_null(key, world["pooled"], present, num_draws=draws))
    row["average precision"] = {
        "survive": int(null.survives.sum()),
        "lift": float(null.observed.lift.mean()),
        "null lift": float(null.draws.mean()),
        "same concept as by IoU": float((null.observed.concept == found.concept).mean()),
        "same concept in 128 bins": float((null.observed.concept == precise.concept).mean()),
    }
    pair = timed("formulas", lambda: metrics.formulas(key, masks, categories, num_draws=draws))
    beam = metrics.formulas(key, masks, categories, beam=10, num_draws=5)
    row["formulas"] = {
        "survive": int(pair.survives.sum()),
        "IoU": float(pair.iou.mean()),
        "single IoU": float(pair.single_iou.mean()),
        "gain": float((pair.iou - pair.single_iou).mean()),
        "null gain": float((pair.draws - pair.single_draws).mean()),
        "operators": np.bincount(pair.operator, minlength=3).tolist(),
        "worse with a beam of 10": int((beam.iou < pair.iou).sum()),
    }
    stable = timed("stability", lambda: metrics.label_stability(rng, masks, categories))
    row["stability"] = {
        "kept, detectors": float(stable.kept[found.detects].mean()),
        "detectors kept in 95 %": int((stable.kept[found.detects] > 0.95).sum()),
        "by IoU below .08, above": [float(stable.kept[found.iou < 0.08].mean()), float(stable.kept[found.iou >= 0.08].mean())],
    }
    row["ablation"] = timed("ablation", lambda: ablated(world, found, rng, 25 * draws))
    row["LC"] = levels(world, rng)
    return row | {"seconds": seconds}


def ablated(world: dict[str, Any], found: metrics.Detectors, rng: np.random.Generator, count: int) -> dict[str, Any]:
    """The class that loses most with the detectors of each of the three most detected concepts."""
    counts, result = np.bincount(found.concept[found.detects], minlength=len(world["names"])), {}
    for concept in np.argsort(-counts)[:3]:
        units = (found.concept == concept) & found.detects
        controls = tracing.matched_sets(rng, units, world["mean"].mean(axis=0), count=count)
        sets = np.concatenate([np.zeros_like(units)[None], units[None], controls])
        said = tracing.ablated_predictions(world["model"], world["images"], sets, layer=LAYER)
        effect = metrics.ablation_effect(rng, world["label"], said[0], said[1], said[2:], num_classes=len(world["classes"]))
        worst = int(np.nanargmax(effect.excess))
        result[world["names"][concept]] = {
            "units": int(units.sum()),
            "overall": list(effect.overall),
            "class": metrics.wordnet_taxonomy(world["classes"]).names[worst],
            "drop": float(effect.drop[worst]),
            "control drop": float(effect.control_drop[worst]),
            "excess interval": [float(effect.low[worst]), float(effect.high[worst])],
            "survives": bool(effect.survives[worst]),
        }
    return result


def levels(world: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """LC_U of every unit by three similarities."""
    taxonomy, label = metrics.wordnet_taxonomy(world["classes"]), world["label"]
    count = max(2, len(label) // 10)
    top = np.argsort(-world["pooled"], axis=0, kind="stable")[:count]
    share, scores, result = metrics.class_distribution(label[top], len(world["classes"])), {}, {}
    for measure in ("path", "wu_palmer", "lin"):
        frequencies = np.bincount(label, minlength=len(world["classes"])) + 1 if measure == "lin" else None
        similarity = metrics.taxonomy_similarity(taxonomy, measure=measure, frequencies=frequencies)
        scores[measure] = metrics.unbiased_level_consistency(share, similarity, count)
        null = metrics.level_null(rng, label, similarity, count)
        result[measure] = {
            "mean": float(scores[measure].mean()),
            "null": list(null),
            "above": int((scores[measure] > null.high).sum()),
            "correlation with path": float(np.corrcoef(scores["path"], scores[measure])[0, 1]),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=480)
    parser.add_argument("--smoke", action="store_true")
    known = parser.parse_args()
    row = {"benchmark": "beyond_iou", "images": 96 if known.smoke else known.images}
    row |= measured(dissected(row["images"]), 5 if known.smoke else 20) | _rows.place()
    print(json.dumps(row, indent=1))
    if not known.smoke:
        _rows.append(_rows.path("beyond_iou"), row)


if __name__ == "__main__":
    main()
