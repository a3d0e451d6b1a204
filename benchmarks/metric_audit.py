"""Which metrics of interpretability tell the truth, and from how many images on?

    python benchmarks/metric_audit.py [--sizes 50,100,200,500] [--parts detection,meaning] [--smoke]
    python benchmarks/metric_audit.py --figure FILE.png

Units whose meaning is known are planted in the concept world (`jaxinterp.data.planted_maps`), and every metric is asked the
question that it should answer: AUROC over units (for tracing and for maps: over images), with a bootstrap interval that
resamples concepts (images). "enough" is the smallest number of images from which on the lower end of the interval stays
above 0.9. Rows go to benchmarks/results/metric_audit.jsonl; docs/metric_audit.md explains them.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import _rows
import numpy as np

SIZES, LEVEL, CELL, TOP, FLOOR = (50, 100, 200, 500), 0.005, 4, 10, 0.9
LABEL_SIZE, DRAWS = 32, 50

Row = dict[str, Any]


def world(count: int) -> tuple[np.ndarray, np.ndarray, Any]:
    """Label maps at 32 px, classes, and the source."""
    from jaxinterp import data

    source = data.concept_world(seed=11, num_images=count)
    examples = [source[i] for i in range(count)]
    concepts = np.stack([np.asarray(one.concepts)[::2, ::2] for one in examples]).astype(np.uint16)
    return concepts, np.asarray([one.label for one in examples]), source


def carried(concepts: np.ndarray, number: int) -> np.ndarray:
    """Which images carry which concept."""
    found = np.zeros((len(concepts), number), bool)
    flat = concepts.reshape(len(concepts), -1)
    found[np.arange(len(concepts))[:, None], flat] = True
    found[:, 0] = False
    return found


def judged(metric: str, plant: str, strength: float, n: int, score: Any, truth: Any, clusters: Any) -> Row:
    """A row of the table; scores that a metric does not have are the lowest."""
    from jaxinterp import metrics

    score = np.nan_to_num(np.asarray(score, float), nan=-1e9)
    interval = metrics.auroc(np.random.default_rng(0), score, np.asarray(truth, bool), np.asarray(clusters), num_draws=DRAWS)
    row = {"metric": metric, "plant": plant, "strength": strength, "n": n, "auroc": [round(x, 3) for x in interval]}
    print(json.dumps(row), file=sys.stderr, flush=True)
    return row


def detection(concepts: np.ndarray, source: Any, sizes: tuple[int, ...], strengths: tuple[float, ...]) -> list[Row]:
    """IoU, its excess, its p-value and average precision: planted units against null units of the same concepts."""
    import jax
    import jax.numpy as jnp

    from jaxinterp import Batch, Layer, activations, data, metrics

    table = source.concepts
    categories, present = tuple(table.categories), carried(concepts, len(table.names))
    share = present.mean(axis=0)
    pool = np.flatnonzero((share > 0.015) & (share < 0.7))
    chosen = np.random.default_rng(3).permutation(pool)[:24]
    rows: list[Row] = []
    for strength in strengths:
        plants = [data.Plant(int(c), strength=s) for s in (strength, 0.0) for c in chosen]
        sight = data.planted_sight(np.random.default_rng(4), len(concepts), plants)
        maps = data.planted_maps(np.random.default_rng(5), concepts, plants, sight, cell=CELL)
        side = maps.shape[1]
        layer = Layer("units", maps.shape[1:], LABEL_SIZE / side, (LABEL_SIZE / side - 1) / 2, CELL)
        truth, clusters = np.repeat([True, False], len(chosen)), np.tile(chosen, 2)
        for n in sizes:
            part = maps[:n]
            flat = part.reshape(-1, len(plants))
            rank = int(LEVEL * len(flat))
            thresholds = np.partition(flat, len(flat) - 1 - rank, axis=0)[len(flat) - 1 - rank]
            statistic = activations.masks(
                layer, thresholds=thresholds, num_images=n, label_layers=6, label_size=LABEL_SIZE, image_size=LABEL_SIZE
            )
            ids = jnp.arange(n)
            image = jnp.zeros((n, LABEL_SIZE, LABEL_SIZE, 3))
            extra = {"concepts": jnp.asarray(concepts[:n].astype(np.int32))}
            batch = Batch(image, ids * 0, ids * 0 - 1, ids, ids, jnp.ones(n, bool), extra)
            masks = statistic.compute(statistic.update(statistic.init(), batch, {"units": jnp.asarray(part)}))
            least = min(10, max(2, n // 50))
            null = metrics.permuted_null(jax.random.key(0), masks, categories, num_draws=5, min_images=least)
            values = part.max(axis=(1, 2))
            precise = metrics.precision_null(jax.random.key(1), values, present[:n], num_draws=5, min_images=least)
            mean, spread = null.draws.mean(axis=0), null.draws.std(axis=0)
            scores = {
                "IoU": null.observed.iou,
                "IoU, share of attainable": null.observed.iou / np.maximum(null.observed.attainable, 1e-9),
                "IoU, excess over permuted": null.observed.iou - mean,
                "IoU, standardised by permuted": (null.observed.iou - mean) / np.maximum(spread, 0.01 * mean + 1e-9),
                "IoU, p-value": -null.p_value,
                "average precision, lift": precise.observed.lift,
                "average precision, p-value": -precise.p_value,
            }
            for name, score in scores.items():
                rows.append(judged(name, "planted or null", strength, n, score, truth, clusters))
            for name, found in (("IoU", null.observed.concept), ("average precision", precise.observed.concept)):
                right = (found == clusters)[truth]
                interval = metrics.wilson_interval(int(right.sum()), len(right))
                cell = {"metric": f"label by {name}", "plant": "right concept", "strength": strength, "n": n}
                rows.append(cell | {"share": [round(x, 3) for x in interval]})
            detects, passes = null.observed.detects, null.survives
            for name, said in (("IoU > 0.04", detects), ("permuted, FDR 5 %", passes)):
                cell = {"metric": name, "plant": "planted or null", "strength": strength, "n": n}
                rows.append(cell | {"hits": round(float(said[truth].mean()), 3), "false": round(float(said[~truth].mean()), 3)})
        print(f"detection {strength}", flush=True)
    return rows


def top_labels(maps: np.ndarray, labels: np.ndarray, top: int) -> np.ndarray:
    """Labels of the images of highest maximum, `[t u]`."""
    return labels[np.argsort(-maps.max(axis=(1, 2)), axis=0, kind="stable")[:top]]


def meaning(concepts: np.ndarray, labels: np.ndarray, source: Any, sizes: tuple[int, ...]) -> list[Row]:
    """LC and LC_U: does a unit answer to one family of classes? CS1 and CS2: does it keep its meaning under attack?"""
    from jaxinterp import data, metrics

    similar = metrics.similarity(metrics.path_lengths(metrics.wordnet_taxonomy(source.classes, corpus="shipped")))
    count, classes = len(labels), len(source.classes)
    number = [source.concepts.names.index(name) for name in source.class_names]
    order = np.argsort(similar + 2 * np.eye(classes), axis=1)
    rows: list[Row] = []

    def lc(n: int, maps: np.ndarray, top: int) -> dict[str, np.ndarray]:
        p = metrics.class_distribution(top_labels(maps[:n], labels[:n], top), classes)
        iou = {"class entropy": (p * np.log(np.maximum(p, 1e-12))).sum(axis=1)}
        lc_u = metrics.unbiased_level_consistency(p, similar, top)
        return {f"LC, top {top}": metrics.level_consistency(p, similar), f"LC_U, top {top}": lc_u, **iou}

    for ambiguity in (1.0, 0.5):
        # The nearest class and the farthest one, for the same first class: a family and a pair of strangers.
        near = [data.Plant(number[k], number[order[k, -2]], ambiguity=ambiguity) for k in range(classes)]
        far = [data.Plant(number[k], number[order[k, 0]], ambiguity=ambiguity) for k in range(classes)]
        pure, null = [data.Plant(c) for c in number], [data.Plant(c, strength=0.0) for c in number]
        groups = {"pure or two strangers": (pure, far), "family or two strangers": (near, far)}
        if ambiguity == 1.0:
            groups["pure or null"] = (pure, null)
        for plant, (yes, no) in groups.items():
            sight = data.planted_sight(np.random.default_rng(6), count, [*yes, *no])
            maps = data.planted_maps(np.random.default_rng(7), concepts, [*yes, *no], sight, cell=CELL)
            truth, clusters = np.repeat([True, False], classes), np.tile(np.arange(classes), 2)
            for n in sizes:
                scores = lc(n, maps, TOP)
                scores |= {name: score for name, score in lc(n, maps, max(2, n // 20)).items() if name != "class entropy"}
                for name, score in scores.items():
                    short = (
                        name
                        if name in ("class entropy", f"LC, top {TOP}", f"LC_U, top {TOP}")
                        else name.split(",")[0] + ", top 5 %"
                    )
                    rows.append(judged(short, plant, ambiguity, n, score, truth, clusters))
    print("level consistency", flush=True)

    rng = np.random.default_rng(8)
    target = (labels + rng.integers(1, classes, count)) % classes
    for drift in (1.0, 0.25):
        share = carried(concepts, len(source.concepts.names)).mean(axis=0)
        pool = np.flatnonzero((share > 0.015) & (share < 0.7))
        any_concept = [int(c) for c in np.random.default_rng(9).permutation(pool)[:24]]
        for plant, wanted in (("kept or drifted, class units", number), ("kept or drifted, any units", any_concept)):
            plants = [data.Plant(c, drift=d) for d in (0.0, drift) for c in wanted]
            truth, clusters = np.repeat([True, False], len(wanted)), np.tile(wanted, 2)
            for n in sizes:
                # The image that shows the target is one of the same n images.
                donors = np.empty(n, np.int64)
                for k in range(classes):
                    rows_of = np.flatnonzero(labels[:n] == k)
                    aimed = np.flatnonzero(target[:n] == k)
                    donors[aimed] = np.random.default_rng(k).choice(rows_of, len(aimed))
                seen = data.planted_sight(np.random.default_rng(10), n, plants)
                attacked = data.planted_sight(np.random.default_rng(10), n, plants, targets=donors)
                real = data.planted_maps(np.random.default_rng(12), concepts[:n], plants, seen, cell=CELL)
                fake = data.planted_maps(np.random.default_rng(13), concepts[:n], plants, attacked, cell=CELL)
                p = metrics.class_distribution(top_labels(real, labels[:n], TOP), classes)
                q_label = metrics.class_distribution(top_labels(fake, labels[:n], TOP), classes)
                q_target = metrics.class_distribution(top_labels(fake, target[:n], TOP), classes)
                free = metrics.class_distribution(top_labels(real, target[:n], TOP), classes)
                cs1, cs2 = metrics.consistency(p, q_label), metrics.consistency(p, q_target)
                scores = {
                    "CS1": cs1,
                    "1 - CS2": -cs2,
                    "CS2, excess over attack-free": metrics.consistency(p, free) - cs2,
                    "CS1 - CS2": cs1 - cs2,
                    "CS1, smoothed by the taxonomy": metrics.consistency(p, q_label, similarity=similar),
                }
                for name, score in scores.items():
                    rows.append(judged(name, plant, drift, n, score, truth, clusters))
    print("consistency", flush=True)
    return rows


UNITS = 11


def reader(rule: str) -> tuple[Any, np.ndarray]:
    """A network whose units are shares of colours and whose classes read two units each by a known rule."""
    import jax
    import jax.numpy as jnp

    from jaxinterp import models

    rng = np.random.default_rng(14)
    palette = rng.random((UNITS, 3)).astype(np.float32)
    reads = np.stack([np.arange(UNITS), (np.arange(UNITS) * 3 + 1) % UNITS], axis=1)
    reads[reads[:, 0] == reads[:, 1], 1] = (reads[reads[:, 0] == reads[:, 1], 0] + 1) % UNITS

    def apply(params, images):
        distance = ((images[..., None, :] - params["palette"][None, None, None]) ** 2).sum(axis=-1)
        shares = jax.nn.softmax(-60 * distance)
        window = (1, 8, 8, 1)
        units = models.named("units", jax.lax.reduce_window(shares, 0.0, jax.lax.add, window, window, "VALID") / 64)
        level = 4 * units.mean(axis=(1, 2))
        first, second = level[:, params["reads"][:, 0]], level[:, params["reads"][:, 1]]
        if rule == "and":
            return 8 * jnp.minimum(first, second)
        if rule == "or":
            return 8 * jnp.minimum(first + second, 0.3)
        return (40 if rule == "sum, confident" else 4) * (first + second)

    params = {"palette": jnp.asarray(palette), "reads": jnp.asarray(reads)}
    return models.from_function(apply, params, image_size=64), reads


def traced(source: Any, sizes: tuple[int, ...]) -> list[Row]:
    """Prediction difference, gradient x activation and the activation alone: which two units carried the decision?"""
    import jax
    import jax.numpy as jnp

    from jaxinterp import metrics, tracing

    images = jnp.asarray(np.stack([source[i].image for i in range(max(sizes))]).astype(np.float32) / 255)
    rows: list[Row] = []
    for rule in ("sum", "sum, confident", "and", "or"):
        model, reads = reader(rule)

        def whole(model: Any, images: Any) -> tuple[Any, Any, Any]:
            logits, activations = model(images)
            classes, given = logits.argmax(axis=1), activations["units"]

            def total(units: Any) -> Any:
                answer = model(images, taps={"units": lambda _: units})[0]
                return jnp.take_along_axis(answer, classes[:, None], axis=1).sum()

            return classes, given.mean(axis=(1, 2)), (given * jax.grad(total)(given)).sum(axis=(1, 2))

        classes, level, gradient = jax.jit(whole)(model, images)
        difference = jax.jit(lambda m, i, k: tracing.prediction_difference(m, i, k, layer="units"))(model, images, classes)
        truth = np.zeros(level.shape, bool)
        np.put_along_axis(truth, reads[np.asarray(classes)], True, axis=1)
        scores = {"prediction difference": difference, "gradient x activation": gradient, "activation alone": level}
        for name, score in scores.items():
            # A decision is traced image by image; what differs by rounding alone is a tie.
            values = np.asarray(score, np.float64)
            values = values.round(9)[:, None, :]
            auroc = metrics.localization(values, truth[:, None, :]).auroc
            for n in sizes:
                interval = metrics.bootstrap_interval(np.random.default_rng(0), auroc[:n], np.arange(n), num_draws=500)
                cell = {"metric": name, "plant": f"rule: {rule}", "strength": 1.0, "n": n}
                rows.append(cell | {"auroc": [round(x, 3) for x in interval]})
    print("tracing", flush=True)
    return rows


def located(sizes: tuple[int, ...]) -> list[Row]:
    """Discrepancy map and upsampled activation map: where is the region? The plants of benchmarks/discrepancy.py."""
    import discrepancy
    import jax

    from jaxinterp import activations, metrics

    rows: list[Row] = []
    for kind in ("centred", "aside", "colour"):
        model, images, units, known = discrepancy.planted(kind, max(sizes))
        every = np.arange(len(images))
        found = activations.discrepancy_maps(
            jax.random.key(0), model, images, layers=("units",), occluder=9, stride=5, batch_size=256
        )["units"]
        plain = activations.upsample(model(images)[1]["units"], model.layer("units"), 64, image_size=64)
        maps = {
            "discrepancy map": activations.discrepancy_on_image(found)[every, :, :, units],
            "upsampled activation": np.asarray(plain[every, :, :, units]),
        }
        for name, one in maps.items():
            scores = metrics.localization(one, known)
            for n in sizes:
                interval = metrics.bootstrap_interval(np.random.default_rng(0), scores.auroc[:n], every[:n], num_draws=500)
                cell = {"metric": name, "plant": f"region: {kind}", "strength": 1.0, "n": n}
                rows.append(cell | {"auroc": [round(x, 3) for x in interval]})
    print("location", flush=True)
    return rows


def enough(rows: list[Row], floor: float = FLOOR) -> int | None:
    """The smallest n from which on the lower end of every interval exceeds the floor; None for never."""
    found = None
    for row in sorted(rows, key=lambda row: -row["n"]):
        if not row["auroc"][1] > floor:
            break
        found = row["n"]
    return found


def grouped(rows: list[Row]) -> dict[tuple[str, str, float], list[Row]]:
    groups: dict[tuple[str, str, float], list[Row]] = {}
    for row in rows:
        if "auroc" in row:
            groups.setdefault((row["plant"], row["metric"], row["strength"]), []).append(row)
    return groups


def table(rows: list[Row], sizes: tuple[int, ...], title: str) -> str:
    """The rows as Markdown: AUROC with its interval by n, and how many images are enough."""
    from jaxinterp import report

    lines = []
    for (plant, metric, strength), group in grouped(rows).items():
        by = {row["n"]: "{:.2f} ({:.2f}-{:.2f})".format(*row["auroc"]) for row in group}
        least = enough(group)
        lines.append((plant, metric, strength, *(by.get(n, "") for n in sizes), "never" if least is None else str(least)))
    columns = ("plant", "metric", "strength", *map(str, sizes), "enough")
    return report.markdown_table(report.Table(title, columns, tuple(lines)))


def figure(rows: list[Row], path: str) -> None:
    """AUROC against n, one line a metric, one panel a question at its middle strength."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [
        ("planted or null", 0.25), ("planted or null", 1.0), ("pure or null", 1.0), ("pure or two strangers", 0.5),
        ("family or two strangers", 1.0), ("kept or drifted, class units", 0.25), ("kept or drifted, any units", 0.25),
        ("rule: and", 1.0), ("rule: or", 1.0),
    ]  # fmt: skip
    canvas, axes = pyplot.subplots(3, 3, figsize=(15, 12), sharey=True)
    for axis, (plant, strength) in zip(axes.flat, panels, strict=True):
        for (owner, metric, how), group in grouped(rows).items():
            if owner == plant and how == strength:
                n = [row["n"] for row in group]
                middle, low, high = np.asarray([row["auroc"] for row in group]).T
                axis.plot(n, middle, marker=".", label=metric)
                axis.fill_between(n, low, high, alpha=0.08)
        axis.axhline(FLOOR, color="0.6", lw=0.8, ls="--")
        axis.axhline(0.5, color="0.6", lw=0.8, ls=":")
        axis.set(xscale="log", title=f"{plant}, {strength:g}", xlabel="images", ylabel="AUROC", ylim=(0.0, 1.03))
        axis.legend(fontsize=7, loc="lower right", frameon=False)
    canvas.tight_layout()
    canvas.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--parts", default="detection,meaning,tracing,location")
    parser.add_argument("--figure", default="", help="draw what the results file holds, and measure nothing")
    parser.add_argument("--smoke", action="store_true")
    known = parser.parse_args()
    sizes = (50, 100) if known.smoke else tuple(int(n) for n in known.sizes.split(","))
    if known.figure:
        figure([json.loads(line) for line in _rows.path("metric_audit").read_text().splitlines()], known.figure)
        return
    start = time.perf_counter()
    concepts, labels, source = world(max(sizes))
    parts: dict[str, Callable[[], list[Row]]] = {
        "detection": lambda: detection(concepts, source, sizes, (1.0,) if known.smoke else (1.0, 0.25, 0.0)),
        "meaning": lambda: meaning(concepts, labels, source, sizes),
        "tracing": lambda: traced(source, sizes),
        "location": lambda: located(tuple(n for n in sizes if n <= 100)),
    }
    for name in known.parts.split(","):
        found = parts[name]()
        print(table(found, sizes, name), f"\n{time.perf_counter() - start:.0f} s\n", flush=True)
        if not known.smoke:
            about = {"benchmark": "metric_audit", "part": name} | _rows.place()
            _rows.append(_rows.path("metric_audit"), *(about | row for row in found))


if __name__ == "__main__":
    main()
