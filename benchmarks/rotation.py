"""Whether units are special directions: unique detectors of a layer as its units are rotated, Q^t for t from 0 to 1.

    python benchmarks/rotation.py --broden FOLDER --weights resnet18.safetensors [--network resnet18] [--rotations 10] [--smoke]

Network Dissection rotates a layer's units by random rotations and finds fewer detectors the further it turns, though no
prediction can change. Here: a real network's last convolution on a set in Broden's format. Maps are computed once and rotated,
which is one matrix product; every basis has exact thresholds of its own (quantile 0.005) and a permuted-label null of its own,
since with few images most detectors are chance: the claim is about unique detectors minus the null's mean.

A row for every rotation and power and one for the whole are appended to benchmarks/results/rotation.jsonl: unique detectors,
the null's mean, their difference, also in units (`number`); the slope of the difference over t, with an interval (bootstrap
over the rotations); and the largest change of a logit and the share of unchanged predictions when the network goes on with
Q^T Q a.
"""

import argparse
import json
import time
from typing import Any

import _rows
import jax
import jax.numpy as jnp
import numpy as np

from jaxinterp import activations, data, metrics, models

POWERS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


class Dissection:
    """A layer's maps over a set of images, dissected in any basis of its units."""

    def __init__(self, model: Any, source: Any, *, label_size: int, batch_size: int = 16) -> None:
        self.layer, self.source, self.label_size = model.layer(models.last_conv(model)), source, label_size
        self.image_size = model.image_size
        forward = jax.jit(lambda model, images: model(images)[1][self.layer.name])
        maps, concepts = [], []
        for batch in data.batches(source, batch_size=batch_size):
            rows = np.asarray(batch.mask)
            maps.append(np.asarray(forward(model, batch.image))[rows])
            concepts.append(np.asarray(batch.extra["concepts"])[rows])
        self.maps = np.concatenate(maps)
        packed = -np.sort(-np.concatenate(concepts), axis=3)
        self.concepts = packed[..., : int((packed > 0).sum(axis=3).max())].reshape(len(packed), label_size**2, -1)
        self.masks = jax.jit(self._masks)

    def _masks(self, maps: Any, thresholds: Any) -> Any:
        knobs = {"image_size": self.image_size}
        found = activations.unit_masks(maps, thresholds, self.layer, self.label_size, **knobs)
        return jnp.packbits(found.reshape(self.label_size**2, -1), axis=0)

    def null(self, key: Any, rotation: np.ndarray, *, num_draws: int) -> metrics.PermutedNull:
        """Detectors of the rotated units beside their permuted-label null."""
        maps = self.maps @ rotation.T.astype(np.float32)
        flat = maps.reshape(-1, maps.shape[-1])
        rank = len(flat) - 1 - int(len(flat) * 5 // 1000)
        thresholds = np.partition(flat, rank, axis=0)[rank]
        masks = np.stack([np.asarray(self.masks(one, thresholds)) for one in maps])
        ids = np.arange(len(maps), dtype=np.int32)
        stored = activations.MaskSet(ids, ids, masks, self.concepts.astype(np.uint16), self.label_size)
        return metrics.permuted_null(key, stored, self.source.concepts.categories, num_draws=num_draws)


def unchanged(model: Any, source: Any, rotation: np.ndarray) -> dict[str, float]:
    """What the predictions do when the network goes on with Q^T Q a."""
    name = models.last_conv(model)
    turned = models.rotated(model, name, rotation)
    plain = jax.jit(lambda model, images: model(images)[0])
    through = jax.jit(lambda model, images: model(images, taps={name: lambda activation: activation})[0])
    change, same, total = 0.0, 0, 0
    for batch in data.batches(source, batch_size=16, read_concepts=False):
        rows = np.asarray(batch.mask)
        before, after = (np.asarray(f(m, batch.image))[rows] for f, m in ((plain, model), (through, turned)))
        change = max(change, float(np.abs(before - after).max() / np.abs(before).max()))
        same, total = same + int((before.argmax(1) == after.argmax(1)).sum()), total + len(before)
    return {"relative_logit_change": float(f"{change:.1e}"), "same_prediction": same / total}


def measure(known: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows."""
    model = getattr(models, known.network)(**({"key": jax.random.key(0)} if known.smoke else {"weights": known.weights}))
    if known.smoke:
        source: Any = data.concept_world(seed=0, num_images=12, image_size=model.image_size)
    else:
        source = data.broden(known.broden, image_size=model.image_size, label_size=known.label_size)
    size = source.image_size if known.smoke else known.label_size
    dissection = Dissection(model, source, label_size=size)
    num_units = dissection.layer.shape[2]
    rows, start = [], time.perf_counter()
    for draw in range(known.rotations):
        whole = models.haar_rotation(jax.random.key(known.seed + draw), num_units)
        step, basis = models.rotation_power(whole, POWERS[1]), np.eye(num_units)
        for power in POWERS:
            if power == 0 and draw:
                rows.append({**rows[0], "rotation": draw})
            else:
                null = dissection.null(jax.random.key(1000 + known.seed + draw), basis, num_draws=known.null_draws)
                found = {name: getattr(null, name) for name in ("unique", "number")}
                counts = {
                    name: {"observed": one.observed, "null": one.mean, "excess": one.excess} for name, one in found.items()
                }
                rows.append({"benchmark": "rotation", "rotation": draw, "power": power} | counts)
            print(json.dumps(rows[-1]), flush=True)
            basis = step @ basis
    rows.append({"benchmark": "rotation", "rotation": "all"} | summary(rows))
    rows[-1] |= unchanged(model, source, models.haar_rotation(jax.random.key(known.seed), num_units))
    about = _rows.place() | {
        "network": known.network,
        "layer": dissection.layer.name,
        "images": len(source),
        "concepts": len(source.concepts.names) - 1,
        "label_size": size,
        "null_draws": known.null_draws,
    }
    rows[-1] |= about | {"seconds": round(time.perf_counter() - start, 1)}
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the rotations, and the slope of the excess over the power with its interval."""
    found: dict[str, Any] = {}
    for name in ("unique", "number"):
        draws = sorted({row["rotation"] for row in rows})
        table = np.asarray([[r[name]["excess"] for r in rows if r["rotation"] == draw] for draw in draws])
        slopes = np.polyfit(POWERS, table.T, 1)[0]
        interval = metrics.bootstrap_interval(np.random.default_rng(0), slopes, np.arange(len(slopes)))
        observed = np.asarray([[r[name]["observed"] for r in rows if r["rotation"] == draw] for draw in draws])
        found[name] = {
            "observed": observed.mean(axis=0).round(2).tolist(),
            "excess": table.mean(axis=0).round(2).tolist(),
            "lost": round(float(1 - table[:, -1].mean() / table[0, 0]), 3) if table[0, 0] > 0 else None,
            "slope": [round(value, 2) for value in interval],
        }
    return found


def main() -> None:
    """Measures and appends the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a small random network on the concept world; nothing is written")
    parser.add_argument("--network", default="resnet18", help="which")
    parser.add_argument("--weights", help="its weights, in torchvision's layout")
    parser.add_argument("--broden", help="a set in Broden's format")
    parser.add_argument("--label-size", type=int, default=56, help="side of the label maps in pixels")
    parser.add_argument("--rotations", type=int, default=10, help="Haar draws")
    parser.add_argument("--null-draws", type=int, default=5, help="permutations of the label maps in every basis")
    parser.add_argument("--seed", type=int, default=0, help="of the first draw")
    known = parser.parse_args()
    if known.smoke:
        known.network, known.rotations = "small_resnet18", 2
    elif not known.broden or not known.weights:
        parser.error("--broden and --weights are needed")
    rows = measure(known)
    print(json.dumps(rows[-1]), flush=True)
    if not known.smoke:
        _rows.append(_rows.path("rotation"), *rows)


if __name__ == "__main__":
    main()
