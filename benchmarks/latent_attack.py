"""The latent attack on an invertible network: success against the overshoot, and time and distortion beside PGD-20 and DDN.

    python benchmarks/latent_attack.py --weights runs/invertible/weights/network.safetensors --images cifar-10-python.tar.gz
        [--num-images 1000] [--compared 256] [--iterations 20] [--figure FILE.png] [--smoke]

The network is that of configs/invertible.py with its default knobs. A row goes to benchmarks/results/latent_attack.jsonl:

- `inversion`: error of the inverse on real images by the number of iterations, and its bound; `lipschitz`: bounds of blocks.
- `curve`: share of all images that are misclassified by overshoot, of the decoded image as it is, cut off at [0, 1], or rounded
  to 8 bits; with the wrong ones counted, since the attack leaves these alone, and of the images that are classified correctly.
- `attacks`: on `--compared` of the images that are classified correctly, spread evenly, one attack after another on each batch:
  seconds a batch (quartiles, compiling apart), success (Wilson's interval), L2 and Linf of successes (medians), the length of
  the move of the code, and the share of its square that the classifier reads.
- `detection`: AUROC [estimate, low, high] of the scores of `metrics.latent_scores` for successes against clean images and
  against noise of the same L2 norm; intervals resample source images. The reference codes are those of training images.
"""

import argparse
import json
import time
from typing import Any

import _rows
import jax
import jax.numpy as jnp
import numpy as np

from jaxinterp import Batch, Model, attacks, data, metrics, models

OVERSHOOTS = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)
EPSILON = 8 / 255


def batch_of(images: np.ndarray, labels: np.ndarray, targets: np.ndarray | None = None) -> Batch:
    """Images in [0, 1] and labels as a batch."""
    ids = jnp.arange(len(labels), dtype=jnp.int32)
    aims = np.full(len(labels), -1) if targets is None else targets
    label, target = (jnp.asarray(each, jnp.int32) for each in (labels, aims))
    return Batch(jnp.asarray(images), label, target, ids, ids, ids >= 0, {})


class Bench:
    """A network, its test images, and compiled functions of it; all rows go through in batches of one size."""

    def __init__(self, model: Model, images: np.ndarray, labels: np.ndarray, *, size: int, iterations: int) -> None:
        self.model, self.images, self.labels, self.size = model, images, labels, size
        self.decode = lambda model, latent: models.decode(model, latent, num_iterations=iterations)
        self._encode, self._predict = jax.jit(models.encode), jax.jit(lambda model, images: model(images)[0].argmax(-1))
        self._moved = jax.jit(self._moved_image)

    def _moved_image(self, model: Model, latent: Any, labels: Any, overshoot: Any) -> tuple[Any, Any]:
        move = attacks.smallest_latent_move(
            latent, *models.readout(model), labels, jnp.full((len(labels), 1), -1), overshoot=0.0
        )
        return self.decode(model, latent + (1 + overshoot) * move.change), move.distance

    def over(self, function: Any, *arrays: np.ndarray) -> np.ndarray:
        """A compiled function of the model and rows, over all rows."""
        count = len(arrays[0])
        found = []
        for start in range(0, count, self.size):
            part = [array[start : start + self.size] for array in arrays]
            missing = self.size - len(part[0])
            full = [np.concatenate([each, np.repeat(each[:1], missing, axis=0)]) for each in part]
            found.append(np.asarray(function(self.model, *full))[: len(part[0])])
        return np.concatenate(found)

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Codes."""
        return self.over(self._encode, images)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Classes."""
        return self.over(self._predict, images)

    def curve(self) -> dict[str, Any]:
        """Success by overshoot, and the lengths of the moves."""
        latent, wrong = self.encode(self.images), self.predict(self.images) != self.labels
        rows = []
        for overshoot in OVERSHOOTS:
            image = self.over(lambda m, z, y, s=overshoot: self._moved(m, z, y, s)[0], latent, self.labels)
            clipped = np.clip(image, 0, 1)
            forms = {"decoded": image, "clipped": clipped, "rounded": np.round(clipped * 255).astype(np.float32) / 255}
            row: dict[str, Any] = {"overshoot": overshoot}
            for name, made in forms.items():
                hit = (self.predict(made) != self.labels) | wrong
                row[name] = interval(hit)
                row[f"{name}, correct images"] = interval(hit[~wrong])
            outside = (image < 0) | (image > 1)
            row["values outside [0, 1]"] = round(float(outside[~wrong].mean()), 4)
            change = (clipped - self.images)[~wrong].reshape((~wrong).sum(), -1)
            row["median L2"] = round(float(np.median(np.linalg.norm(change, axis=1))), 4)
            rows.append(row)
            print(json.dumps(row), flush=True)
        return {"images": len(self.labels), "correct": int((~wrong).sum()), "curve": rows}

    def compare(
        self, count: int, reference: tuple[np.ndarray, np.ndarray], *, overshoot: float, ddn_steps: int
    ) -> dict[str, Any]:
        """The latent attack beside others, and what the codes of their answers say."""
        rows = np.flatnonzero(self.predict(self.images) == self.labels)
        count = min(count, len(rows))
        count = count // self.size * self.size or count
        rows = rows[np.arange(count) * len(rows) // count]  # folders are read class by class
        images, labels = self.images[rows], self.labels[rows]
        targets = (labels + np.random.default_rng(0).integers(1, 10, len(labels))) % 10
        latent = attacks.latent_attack(models.encode, self.decode, models.readout, overshoot=overshoot)
        kinds = {
            "latent": (latent, None),
            "latent, random target": (latent, targets),
            "pgd-20": (attacks.pgd(EPSILON, num_steps=20, step_size=2 / 255), None),
            f"ddn-{ddn_steps}": (attacks.ddn(num_steps=ddn_steps), None),
        }
        made: dict[str, list[np.ndarray]] = {name: [] for name in kinds}
        seconds: dict[str, list[float]] = {name: [] for name in kinds}
        size = min(self.size, len(rows))
        for start in (-1, *range(0, len(rows), size)):  # the first round compiles
            part = slice(max(start, 0), max(start, 0) + size)
            for name, (attack, aims) in kinds.items():
                batch = batch_of(images[part], labels[part], None if aims is None else aims[part])
                before = time.perf_counter()
                answer = np.asarray(attacks.run_batch(attack, self.model, batch, key=jax.random.key(0)).adversarial)
                if start >= 0:
                    seconds[name].append(time.perf_counter() - before)
                    made[name].append(answer)
        weight, bias = models.readout(self.model)
        clean = self.encode(images)
        known = self.encode(reference[0])

        def scores(codes: np.ndarray) -> metrics.LatentScores:
            return metrics.latent_scores(codes, known, reference[1], weight, bias)

        rng = np.random.default_rng(0)
        found: dict[str, Any] = {"images": len(rows), "batch": size, "overshoot": overshoot, "attacks": {}, "detection": {}}
        unattacked = scores(clean)
        for name, (_, aims) in kinds.items():
            adversarial = np.concatenate(made[name])
            predicted = self.predict(np.round(adversarial * 255).astype(np.float32) / 255)
            hit = predicted != labels if aims is None else predicted == aims
            change = (adversarial - images).reshape(len(images), -1)
            norms, codes = np.linalg.norm(change, axis=1), self.encode(adversarial)
            parts = metrics.latent_decomposition(codes[hit] - clean[hit], weight)
            found["attacks"][name] = {
                "seconds": [round(float(q), 3) for q in np.quantile(seconds[name], [0.25, 0.5, 0.75])],
                "success after rounding": interval(hit),
                "median L2": round(float(np.median(norms[hit])), 4),
                "median Linf of 255": round(float(np.median(np.abs(change[hit]).max(axis=1)) * 255), 2),
                "median latent L2": round(float(np.median(np.linalg.norm(codes[hit] - clean[hit], axis=1))), 4),
                "median read share": round(float(np.median(parts.read_share)), 4),
            }
            noise = rng.standard_normal(change.shape)
            noise *= (norms / np.linalg.norm(noise, axis=1))[:, None]
            noisy = np.clip(images + noise.reshape(images.shape), 0, 1).astype(np.float32)
            attacked, ids = scores(codes[hit]), np.arange(len(rows))
            for other, negative in (("clean", unattacked), ("noise of equal L2", scores(self.encode(noisy)))):
                one = metrics.latent_detection(rng, negative, attacked, negative_ids=ids, positive_ids=ids[hit])
                table = {part: [round(value, 3) for value in each] for part, each in one._asdict().items()}
                found["detection"][f"{name} against {other}"] = table
        return found


def interval(hit: np.ndarray) -> list[float]:
    """Share and Wilson's interval."""
    return [round(value, 4) for value in metrics.wilson_interval(int(hit.sum()), len(hit))]


def inversion(model: Model, images: np.ndarray) -> list[dict[str, Any]]:
    """Errors of the inverse by the number of iterations, largest over images (and blocks)."""
    rows = []
    for count in (10, 20, 30):
        found = models.inversion_errors(model, images, num_iterations=count)
        numbers = {"block bound": found.bound.max(), "block": found.measured.max(), "image": found.image.max()}
        print(json.dumps({name: float(value) for name, value in numbers.items()}), flush=True)
        rows.append({"iterations": count} | {name: float(f"{value:.2e}") for name, value in numbers.items()})
    return rows


def lipschitz(model: Model, images: np.ndarray) -> dict[str, Any]:
    """Bounds of every block in float64, and the largest stretch at real images."""
    bounds, local = models.lipschitz_bounds(model), models.local_lipschitz(model, images)
    found = {"at images": local.max(axis=1), "product": bounds.product, "above": bounds.above}
    rows = {name: [round(float(v), 4) for v in values] for name, values in found.items()}
    return {
        "blocks": bounds.blocks,
        "stated": round(bounds.stated, 4),
        "largest layer": round(float(bounds.layers.max()), 6),
    } | rows


def draw(curve: dict[str, Any], path: str) -> None:
    """The curve as a figure."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.4), layout="constrained")
    rows = curve["curve"]
    for name, style in (("decoded", "o-"), ("clipped", "s--"), ("rounded", "^:")):
        low, middle, high = (np.asarray([row[f"{name}, correct images"][k] for row in rows]) for k in (1, 0, 2))
        places = np.arange(len(rows))
        axes.plot(
            places, 100 * middle, style, label={"decoded": "decoded", "clipped": "cut off at [0, 1]", "rounded": "8 bits"}[name]
        )
        axes.fill_between(places, 100 * low, 100 * high, alpha=0.15)
    axes.axhline(95, color="0.6", linewidth=0.8)
    axes.set_xticks(np.arange(len(rows)), [f"{row['overshoot']:g}" for row in rows])
    axes.set(
        xlabel="overshoot", ylabel="misclassified (%)", ylim=(0, 102), title=f"{curve['correct']} images classified correctly"
    )
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=110)


def pictures(path: str, split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """So many images in [0, 1], spread evenly, and their labels."""
    source = data.spread(data.cifar10(path, split), count)
    chosen = [source[index] for index in range(len(source))]
    images = np.stack([np.asarray(each.image) for each in chosen]).astype(np.float32) / 255
    return images, np.asarray([each.label for each in chosen])


def main() -> None:
    """Measures and appends the row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a tiny random network on random images; nothing is written")
    parser.add_argument("--weights", help="what configs/invertible.py wrote")
    parser.add_argument("--images", help="CIFAR-10, see data.cifar10")
    parser.add_argument("--num-images", type=int, default=1000, help="test images of the curve")
    parser.add_argument("--compared", type=int, default=256, help="test images of the comparison")
    parser.add_argument("--batch", type=int, default=64, help="images at once")
    parser.add_argument("--iterations", type=int, default=20, help="of the inverse of a block")
    parser.add_argument("--overshoot", type=float, default=0.2, help="of the comparison")
    parser.add_argument("--ddn-steps", type=int, default=50, help="of DDN")
    parser.add_argument("--figure", help="where to draw the curve")
    known = parser.parse_args()
    if known.smoke:
        known.batch, known.compared, known.ddn_steps = 24, 48, 2
        model = models.iresnet(blocks=(1,), hidden=(4,), readout="flat", image_size=8, key=jax.random.key(0))
        images = np.random.default_rng(0).random((96, 8, 8, 3), np.float32)
        labels = np.asarray(model(jnp.asarray(images))[0].argmax(-1))
        reference = (images, labels)
    elif not (known.weights and known.images):
        parser.error("--weights and --images are needed")
    else:
        model = models.iresnet(blocks=(1, 2, 2), hidden=(32, 64, 64), readout="flat", weights=known.weights)
        images, labels = pictures(known.images, "test", known.num_images)
        reference = pictures(known.images, "train", 2000)
    start = time.perf_counter()
    bench = Bench(model, images, labels, size=known.batch, iterations=known.iterations)
    row: dict[str, Any] = {"benchmark": "latent_attack", "inversion": inversion(model, images[:64])}
    row["lipschitz"] = lipschitz(model, images[:8])
    print(json.dumps(row), flush=True)
    row |= {"iterations": known.iterations, **bench.curve()}
    row["comparison"] = bench.compare(known.compared, reference, overshoot=known.overshoot, ddn_steps=known.ddn_steps)
    row |= _rows.place() | {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(model.params)),
        "seconds": round(time.perf_counter() - start, 1),
    }
    print(json.dumps(row["comparison"], indent=1), flush=True)
    if known.figure:
        draw(row, known.figure)
    if not known.smoke:
        _rows.append(_rows.path("latent_attack"), row)


if __name__ == "__main__":
    main()
