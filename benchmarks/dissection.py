"""Images a second of network dissection: forward passes, exact thresholds, the tally; beside NetDissect-Lite's own code.

    python benchmarks/dissection.py [--smoke] [--against netdissect-lite --checkout FOLDER] [--network resnet18] [--images 192]
        [--broden FOLDER] [--weights FILE] [--devices 2] [--memory 60000]

A network's last convolution at 224 px, label maps of 112 x 112. Without `--broden` the set is random and as dense as Broden
(`_broden_like.py`), written to disk and read back by both sides. Forms:

    passes   three passes over the images, each with its own forward pass: nothing is kept
    kept     one forward pass; maps (float32) and label maps lie in a file, over which thresholds and tally then run
    whole, anew and whole, kept
             `pipelines.dissect_layers` without and with a folder for its maps; null and intervals on four images; labels are
             read from the set anew in its last pass

NetDissect-Lite keeps maps too, as float64. Its steps run unmodified in a process of its own (`_lite.py`); it wants the packages
of .ci/peers/requirements.txt beside jaxinterp. Rounds go through both sides in turn, so that what else the machine does falls
on both alike; a ratio is one of each round. Ours has read and compiled everything once before. Steps:

    forward, thresholds, tally   of "kept", with reading from disk
    tally in memory              the tally alone, label maps read already; of both sides
    tally cpu                    the same in seconds of all threads together, which depend less on what else runs

`fixed_seconds` is what thresholds cost however few the images; `broden_hours` is what 63 305 images would take. `--memory N`
only feeds N images' maps (random, the shape of the layer, 28 x 28 labels, so that it takes minutes) through all statistics at
once and gives the growth of the resident memory from 1 000 images to N. Rows are appended to
benchmarks/results/dissection.jsonl.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from typing import Any

import _broden_like
import _rows
import jax
import jax.numpy as jnp
import numpy as np

from jaxinterp import Batch, _mesh, activations, data, models, pipelines

BRODEN = 63_305
LABEL_SIZE = 112


class Ours:
    """A network, its last convolution, and the images."""

    def __init__(self, known: argparse.Namespace, folder: pathlib.Path) -> None:
        build = getattr(models, known.network)
        model = build(weights=known.weights) if known.weights else build(key=jax.random.key(0))
        self.mesh = _mesh.data_mesh(known.devices)
        self.model = jax.device_put(models.fold_batch_norm(model) if model.stats else model, _mesh.replicated(self.mesh))
        self.layer, self.size = model.layer(models.last_conv(model)), model.image_size
        self.source = data.broden(folder, image_size=self.size, label_size=LABEL_SIZE)
        self.batch_size, self.forward = known.batch, jax.jit(self._forward)
        self.updates: dict[Any, Any] = {}

    def _forward(self, model: Any, images: Any) -> Any:
        return model(images)[1][self.layer.name]

    def read(self, *, concepts: bool) -> Iterable[Batch]:
        """The batches."""
        return data.batches(self.source, batch_size=self.batch_size, read_concepts=concepts)

    def over(self, statistic: Any, pairs: Iterable[tuple[Batch, Any]]) -> Any:
        """A statistic over (batch, maps); every device has its own state."""
        data_axis = jax.sharding.PartitionSpec(_mesh.AXIS)

        def update(state: Any, batch: Batch, maps: Any) -> Any:
            state = statistic.update(jax.tree.map(lambda leaf: leaf[0], state), batch, {self.layer.name: maps})
            return jax.tree.map(lambda leaf: leaf[None], state)

        if statistic.update not in self.updates:
            mapped = jax.shard_map(update, mesh=self.mesh, in_specs=data_axis, out_specs=data_axis, check_vma=False)
            self.updates[statistic.update] = jax.jit(mapped, donate_argnums=0), jax.jit(statistic.merge)
        step, merge = self.updates[statistic.update]
        make = lambda: jax.tree.map(lambda leaf: jnp.stack([leaf] * self.mesh.size), statistic.init())  # noqa: E731
        states = jax.jit(make, out_shardings=_mesh.sharded(self.mesh))()
        for batch, maps in pairs:
            given = (batch._replace(image=batch.image[:, :1, :1]), maps)
            states = step(states, *jax.device_put(given, _mesh.sharded(self.mesh)))
        parts = [jax.tree.map(lambda leaf, i=i: leaf[i], jax.device_get(states)) for i in range(self.mesh.size)]
        merged = parts[0]
        for part in parts[1:]:
            merged = merge(merged, part)
        return statistic.compute(merged)

    def with_maps(self, *, concepts: bool) -> Iterable[tuple[Batch, Any]]:
        """Batches and their maps, computed."""
        for batch in self.read(concepts=concepts):
            yield batch, self.forward(self.model, jax.device_put(batch.image, _mesh.sharded(self.mesh)))

    def coarse(self) -> Any:
        """The first pass of the thresholds."""
        return activations.quantile_coarse(self.layer.name, num_units=self.layer.shape[2])

    def tally(self, thresholds: Any) -> Any:
        """The tally."""
        categories = self.source.concepts.categories
        knobs = {"label_size": LABEL_SIZE, "image_size": self.size}
        return activations.tally(self.layer, thresholds=thresholds, categories=categories, **knobs)

    def passes(self) -> float:
        """Seconds of the form that keeps nothing."""
        start = time.perf_counter()
        high = self.over(self.coarse(), self.with_maps(concepts=False))
        thresholds = self.over(activations.quantile_fine(self.layer.name, high), self.with_maps(concepts=False))
        self.over(self.tally(thresholds), self.with_maps(concepts=True))
        return time.perf_counter() - start

    def whole(self, scratch: pathlib.Path | None) -> float:
        """Seconds of the library's own function."""
        sizes: dict[str, Any] = {"label_size": LABEL_SIZE, "batch_size": self.batch_size}
        least: dict[str, Any] = {"num_null_draws": 5, "num_null_images": 4, "num_bootstrap_draws": 2}
        settings = pipelines.Dissection(lambda: self.source, **sizes, **least)
        start = time.perf_counter()
        pipelines.dissect_layers(
            jax.random.key(0),
            self.model,
            self.source,
            layers=(self.layer.name,),
            settings=settings,
            mesh=self.mesh,
            scratch=scratch,
        )
        return time.perf_counter() - start

    def kept(self, scratch: pathlib.Path) -> dict[str, float]:
        """Seconds of the steps of the form that keeps maps and label maps in files."""
        clock = [time.perf_counter()]
        count, rows = -(-len(self.source) // self.batch_size), self.batch_size
        maps = np.memmap(scratch / "maps", np.float32, "w+", shape=(count, rows, *self.layer.shape))
        depth = sum(layers for _, layers in self.source.layers)
        labels = np.memmap(scratch / "labels", np.uint16, "w+", shape=(count, rows, LABEL_SIZE, LABEL_SIZE, depth))
        plain: list[Batch] = []
        for place, (batch, found) in enumerate(self.with_maps(concepts=True)):
            labels[place] = batch.extra["concepts"]
            maps[place] = found
            plain.append(batch._replace(image=batch.image[:, :1, :1], extra={}))
        clock.append(time.perf_counter())
        high = self.over(self.coarse(), zip(plain, maps, strict=True))
        thresholds = self.over(activations.quantile_fine(self.layer.name, high), zip(plain, maps, strict=True))
        clock.append(time.perf_counter())

        def labelled() -> Iterable[tuple[Batch, Any]]:
            for place, batch in enumerate(plain):
                yield batch._replace(extra={"concepts": labels[place].astype(np.int32)}), maps[place]

        self.over(self.tally(thresholds), labelled())
        clock.append(time.perf_counter())
        some = list(zip(plain[:1], maps[:1], strict=True))
        once = time.perf_counter()
        activations.quantile_fine(self.layer.name, self.over(self.coarse(), some))
        fixed = 2 * (time.perf_counter() - once)  # of both passes: making, joining and reading the bins
        in_memory = list(labelled())
        again, work = time.perf_counter(), time.process_time()
        self.over(self.tally(thresholds), in_memory)
        alone, work = time.perf_counter() - again, time.process_time() - work
        return dict(zip(("forward", "thresholds", "tally"), np.diff(clock).tolist(), strict=True)) | {
            "tally in memory": alone,
            "tally cpu": work,
            "fixed": fixed,
        }


def theirs(known: argparse.Namespace, folder: pathlib.Path) -> dict[str, Any]:
    """What `_lite.py` prints."""
    command = [sys.executable, str(_rows.ROOT / "benchmarks" / "_lite.py"), known.checkout, str(folder)]
    command += [known.weights] if known.weights else []
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(_rows.ROOT)}
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def measure(known: argparse.Namespace, scratch: pathlib.Path) -> dict[str, Any]:
    """One row."""
    folder = pathlib.Path(known.broden) if known.broden else _broden_like.write(scratch / "set", known.images)
    ours = Ours(known, folder)
    count = len(ours.source)
    first = time.perf_counter()
    ours.passes()
    ours.kept(scratch)
    ours.whole(scratch)
    compiled = time.perf_counter() - first
    rounds: list[dict[str, float]] = []
    for _ in range(known.rounds):
        taken = {"passes": ours.passes()} | ours.kept(scratch)
        taken |= {"whole, anew": ours.whole(None), "whole, kept": ours.whole(scratch)}
        taken["kept"] = sum(taken[step] for step in ("forward", "thresholds", "tally"))
        if known.against:
            found = theirs(known, folder)
            seconds = {f"lite {step}": spent / found["images"] * count for step, spent in found["seconds"].items()}
            taken |= seconds | {"lite": sum(seconds[f"lite {step}"] for step in ("features", "thresholds", "tally"))}
        rounds.append(taken)
        print({step: round(count / spent, 2) for step, spent in taken.items()}, file=sys.stderr, flush=True)
    table = {step: np.asarray([taken[step] for taken in rounds]) for step in rounds[0]}
    row: dict[str, Any] = {"benchmark": "dissection", "network": known.network, "layer": ours.layer.name}
    row |= {"images": count, "concepts": len(ours.source.concepts.names) - 1, "label_size": LABEL_SIZE, "rounds": known.rounds}
    row["images_per_second"] = {step: _rows.quartiles(count / spent) for step, spent in table.items() if step != "fixed"}
    row["ratio"] = {"whole, kept to whole, anew": _rows.quartiles(table["whole, anew"] / table["whole, kept"])}
    if known.against:
        pairs = {"passes": "lite", "kept": "lite", "tally": "lite tally", "tally in memory": "lite tally in memory"}
        pairs["tally cpu"] = "lite tally cpu"
        pairs |= {"thresholds": "lite thresholds", "forward": "lite features"}
        pairs["whole, kept"] = "lite"
        row["ratio"] |= {f"{mine} to {other}": _rows.quartiles(table[other] / table[mine]) for mine, other in pairs.items()}
    forms = [form for form in ("passes", "kept", "lite") if form in table]
    fixed = {"passes": float(np.median(table["fixed"])), "kept": float(np.median(table["fixed"])), "lite": 0.0}
    row["fixed_seconds"] = round(fixed["kept"], 2)
    row["broden_hours"] = {
        form: round((fixed[form] + (float(np.median(table[form])) - fixed[form]) / count * BRODEN) / 3600, 2) for form in forms
    }
    return row | {"first_seconds": round(compiled, 1)}


def memory(known: argparse.Namespace) -> dict[str, Any]:
    """The growth of the resident memory while statistics see more and more images."""
    model = models.abstract(lambda: getattr(models, known.network)(key=jax.random.key(0)))
    layer, size, rows = model.layer(models.last_conv(model)), 28, known.batch
    source = _broden_like.BrodenLike(rows)
    random = np.random.default_rng(0)
    maps = jnp.asarray(np.maximum(random.normal(size=(rows, *layer.shape)) - 1, 0), jnp.float32)
    thresholds = np.full(layer.shape[2], 1.6, np.float32)
    (batch,) = data.batches(source, batch_size=rows, num_threads=0)
    batch = jax.device_put(batch._replace(image=batch.image[:, :1, :1]))
    knobs: dict[str, Any] = {"label_size": size, "image_size": model.image_size, "categories": source.concepts.categories}
    coarse = activations.quantile_coarse(layer.name, num_units=layer.shape[2])
    high = coarse.compute(jax.jit(coarse.update)(coarse.init(), batch, {layer.name: maps}))
    statistics = [coarse, activations.quantile_fine(layer.name, high), activations.tally(layer, thresholds=thresholds, **knobs)]
    statistics.append(activations.top_k(layer.name, num_units=layer.shape[2], k=500))
    states = [statistic.init() for statistic in statistics]
    steps = [jax.jit(statistic.update, donate_argnums=0) for statistic in statistics]
    resident, start, seen = {}, time.perf_counter(), 0
    goals = [1000, known.memory]
    while goals:
        batch = batch._replace(id=jnp.arange(seen, seen + rows, dtype=jnp.int32))
        states = [step(state, batch, {layer.name: maps}) for step, state in zip(steps, states, strict=True)]
        seen += rows
        if seen >= goals[0]:
            jax.block_until_ready(states)
            resident[goals.pop(0)] = _resident()
    row: dict[str, Any] = {"benchmark": "dissection memory", "network": known.network, "layer": layer.name, "images": seen}
    row |= {"label_size": size, "resident_mib": {str(goal): round(mib, 1) for goal, mib in resident.items()}}
    row["growth_mib"] = round(resident[known.memory] - resident[1000], 1)
    return row | {"images_per_second": round(seen / (time.perf_counter() - start), 1)}


def _resident() -> float:
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _about(known: argparse.Namespace) -> dict[str, Any]:
    return _rows.place() | {
        "set": pathlib.Path(known.broden).name if known.broden else "Broden-like",
        "weights": "real" if known.weights else "random",
        "batch": known.batch,
        "devices": known.devices,
        "against": known.against,
        "smoke": known.smoke,
    }


def main() -> None:
    """Measures and appends a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="eight images, one round; nothing is written")
    parser.add_argument("--against", choices=["netdissect-lite"], help="what to run beside")
    parser.add_argument("--checkout", help="folder of NetDissect-Lite")
    parser.add_argument("--network", default="resnet18", help="which")
    parser.add_argument("--weights", help="its weights, in torchvision's layout")
    parser.add_argument("--broden", help="a set in Broden's format")
    parser.add_argument("--images", type=int, default=192, help="images of the random set")
    parser.add_argument("--batch", type=int, default=16, help="images at once")
    parser.add_argument("--devices", type=int, default=1, help="devices to split the batch over")
    parser.add_argument("--rounds", type=int, default=3, help="rounds through both sides")
    parser.add_argument("--memory", type=int, help="only the memory, up to so many images")
    known = parser.parse_args()
    if known.against and (not known.checkout or known.network != "resnet18"):
        parser.error("--against runs resnet18 and needs --checkout")
    if known.smoke:
        known.images, known.batch, known.rounds = 8, 4, 1
    jax.config.update("jax_num_cpu_devices", known.devices)
    with tempfile.TemporaryDirectory() as scratch:
        row = (memory(known) if known.memory else measure(known, pathlib.Path(scratch))) | _about(known)
    print(json.dumps(row), flush=True)
    if not known.smoke:
        _rows.append(_rows.path("dissection"), row)


if __name__ == "__main__":
    main()
