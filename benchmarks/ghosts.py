"""Ghost networks: which of the paper's five attacks from one ResNet fools left-out networks most often.

    python benchmarks/ghosts.py --data DIR --weights DIR [--images 50] [--keys 5] [--sources resnet50 resnet18] [--smoke]

`--data` is a folder of images with labels: the development images of the NIPS 2017 competition (dev_dataset.csv), a folder
with a labels.csv inside or beside it, or one of a folder for each class. `--weights` holds NAME.safetensors in PyTorch's layout
for two or more of NETWORKS.

Attacks are MI-FGSM and I-FGSM at 8/255 with ten steps of 1/255 (`--epsilon`, `--steps`, `--step-size`), from each source:

    fixed         one ghost, the same in all steps
    baseline      the network itself; it draws nothing, so one key is enough
    longitudinal  a new ghost in each step
    standard      the mean logits of ten ghosts, the same in all steps
    both          the mean logits of ten ghosts, new ones in each step

The paper (Li et al., AAAI 2020) has them in this order of mean black-box success from a ResNet-50, with MI-FGSM 17.4, 29.4,
39.4, 44.5 and 50.5 %. Here success is the mean over the left-out networks, none of which shares a family with the source (the
two ResNet-18 are one family, and so are the two SqueezeNets), on 8-bit images, over images that all networks classify
correctly. Each neighbouring pair is compared by a paired bootstrap over images; an order is claimed only where the 95 %
interval of the difference excludes zero.

A row for each source, attack, form and key is appended to benchmarks/results/ghosts.jsonl as soon as it is there, with the
success on every image, and rows that are there already are not made again; at the end a row with the comparison. The two
ensembles of ten take ten times as long as the rest, and ten times the memory: --batch 4 is 40 rows of the network.
"""

import argparse
import functools
import itertools
import json
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import _rows
import numpy as np

NETWORKS = {
    "resnet50": "resnet50",
    "resnet18": "resnet18",
    "resnet18_ktb": "resnet18",
    "squeezenet1_0": "squeezenet",
    "squeezenet1_1": "squeezenet",
    "cifar_resnet20": "cifar_resnet20",
    "cifar_resnet56": "cifar_resnet56",
}
"""Name of the file of weights -> family; a network is never scored on images made with one of its family."""
BUILDERS = {"resnet18_ktb": "resnet18"}
SMOKE = {"small_resnet18": "resnet", "small_alexnet": "alexnet", "small_vgg16": "vgg"}
FORMS = ("fixed", "baseline", "longitudinal", "standard", "both")
ATTACKS = ("mi_fgsm", "bim")


def networks_of(known: argparse.Namespace) -> tuple[dict[str, Any], dict[str, str]]:
    """The models by name, and their families."""
    from jaxinterp import models

    if known.smoke:
        return {name: getattr(models, name)() for name in SMOKE}, SMOKE
    folder = pathlib.Path(known.weights)
    found = [name for name in NETWORKS if (folder / f"{name}.safetensors").is_file()]
    build = {name: getattr(models, BUILDERS.get(name, name)) for name in found}
    return {name: build[name](weights=folder / f"{name}.safetensors", image_size=known.size) for name in found}, NETWORKS


def images_of(known: argparse.Namespace) -> Iterator[Any]:
    """Batches of clean images."""
    from jaxinterp import data

    if known.smoke:
        source = data.concept_world(seed=0, num_images=16)
    elif (pathlib.Path(known.data) / "dev_dataset.csv").is_file():
        folder = pathlib.Path(known.data)
        classes = [str(number) for number in range(1000)]
        source = data.image_folder(
            folder / "images",
            image_size=known.size,
            labels=folder / "dev_dataset.csv",
            first_label=1,
            classes=classes,
            crop=1.0,
        )
    else:
        folder = pathlib.Path(known.data)
        listed = any((place / "labels.csv").is_file() for place in (folder, folder.parent))
        source = data.image_folder(folder, image_size=known.size, labels="labels.csv" if listed else None, crop=known.crop)
    return data.batches(source, batch_size=known.batch, read_concepts=False)


def correct_images(known: argparse.Namespace, networks: dict[str, Any], put: Any) -> list[Any]:
    """Batches of the first images that all networks classify correctly; the last one is filled up with masked rows."""
    import jax

    rows: list[Any] = []
    for batch in images_of(known):
        right = np.asarray(batch.mask)
        for model in networks.values():
            right = right & (predicted(model, put(batch).image) == np.asarray(batch.label))
        rows += [jax.tree.map(lambda leaf, i=i: np.asarray(leaf)[i], batch) for i in np.flatnonzero(right)]
        if len(rows) >= known.images:
            break
    rows = rows[: known.images]
    if not rows:
        raise SystemExit("expected images that all networks classify correctly, found none; write a larger --size.")
    missing = -len(rows) % known.batch
    rows += [rows[-1]._replace(mask=np.zeros((), bool))] * missing
    groups = [rows[start : start + known.batch] for start in range(0, len(rows), known.batch)]
    return [put(jax.tree.map(lambda *leaves: np.stack(leaves), *group)) for group in groups]


def predicted(model: Any, images: Any) -> np.ndarray:
    """The class of every image."""
    return np.asarray(_predict()(model, images))


@functools.cache
def _predict() -> Any:
    import jax

    return jax.jit(lambda model, images: model(images)[0].argmax(-1))


def attack_of(name: str, form: str, key: Any, known: argparse.Namespace) -> Any:
    """The attack; a fixed ghost is the model's and not the attack's, so that no key needs a new program."""
    from jaxinterp import attacks

    loss, amount = attacks.cross_entropy, {"skip": known.skip}
    if form == "longitudinal":
        loss = attacks.ghost(loss, **amount)
    elif form in ("standard", "both"):
        loss = attacks.ghost(loss, **amount, num_ghosts=known.num_ghosts, fixed=key if form == "standard" else None)
    return getattr(attacks, name)(known.epsilon / 255, step_size=known.step_size / 255, num_steps=known.steps, loss=loss)


def measure(
    known: argparse.Namespace, condition: dict[str, Any], networks: dict[str, Any], targets: list[str], batches: list[Any]
) -> tuple[dict[str, str], float]:
    """Success of every image on every left-out network (a string of 0 and 1), and the seconds that it took."""
    import jax

    from jaxinterp import attacks

    attack_key, ghost_key = jax.random.split(jax.random.key(condition["key"]))
    attack = attack_of(condition["attack"], condition["form"], ghost_key, known)
    model = networks[condition["source"]]
    if condition["form"] == "fixed":
        model = attacks.ghost_network(ghost_key, model, skip=known.skip)
    start, success = time.perf_counter(), dict.fromkeys(targets, "")
    for batch in batches:
        moved = attacks.run_batch(attack, model, batch, key=attack_key).adversarial
        stored = attacks.round_to_lattice(moved, batch.image, epsilon=known.epsilon / 255)
        for name in targets:
            fooled = predicted(networks[name], stored) != np.asarray(batch.label)
            success[name] += "".join(str(int(value)) for value in fooled[np.asarray(batch.mask)])
    return success, time.perf_counter() - start


def compare(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each source and attack the mean success of every form, and the difference of each neighbouring pair."""
    from jaxinterp import metrics

    found = []
    for source, attack in sorted({(row["source"], row["attack"]) for row in rows}):
        values, images = {}, {}
        for form in FORMS:
            those = [row for row in rows if (row["source"], row["attack"], row["form"]) == (source, attack, form)]
            strings = [string for row in those for string in row["success"].values()]
            if strings:
                values[form] = np.array([int(bit) for string in strings for bit in string])
                images[form] = np.concatenate([np.arange(len(string)) for string in strings])
        entry: dict[str, Any] = {"source": source, "attack": attack, "pairs": {}}
        entry["success_percent"] = {form: round(100 * float(value.mean()), 1) for form, value in values.items()}
        present = [form for form in FORMS if form in values]
        for low, high in itertools.pairwise(present):
            rng = np.random.default_rng(0)
            interval = metrics.bootstrap_difference(rng, values[high], images[high], values[low], images[low])
            verdict = "undecided" if interval.low <= 0 <= interval.high else f"{low} {'<' if interval.low > 0 else '>'} {high}"
            entry["pairs"][f"{high} - {low}"] = [*(round(100 * float(value), 1) for value in interval), verdict]
        found.append(entry)
    return found


def main() -> None:
    """Makes the missing rows, then compares."""
    known = _arguments()
    import jax

    jax.config.update("jax_num_cpu_devices", known.devices)
    from jaxinterp import _mesh, models

    mesh = _mesh.data_mesh(known.devices)
    networks, families = networks_of(known)
    prints = {name: models.fingerprint(model)[:12] for name, model in networks.items()}
    networks = {name: jax.device_put(model, _mesh.replicated(mesh)) for name, model in networks.items()}
    batches = correct_images(known, networks, lambda batch: jax.device_put(batch, _mesh.sharded(mesh)))
    ids = [int(i) for batch in batches for i in np.asarray(batch.id)[np.asarray(batch.mask)]]
    settings: dict[str, Any] = {
        "benchmark": "ghosts",
        "data": "concept_world" if known.smoke else pathlib.Path(known.data).name,
        "image_size": known.size,
        "images": ids,
        "epsilon_of_255": known.epsilon,
        "step_size_of_255": known.step_size,
        "steps": known.steps,
        "skip": known.skip,
        "num_ghosts": known.num_ghosts,
        "weights": prints,
    }
    about = _rows.place()
    results = pathlib.Path(known.results)
    earlier = [json.loads(line) for line in results.read_text().splitlines()] if results.is_file() and not known.smoke else []
    done = {_name(row): row for row in earlier if "form" in row and settings == {name: row.get(name) for name in settings}}
    rows, made = [], 0
    for condition in _conditions(known):
        targets = [name for name in networks if families[name] != families[condition["source"]]]
        row: dict[str, Any] | None = done.get(_name(condition))
        if row is None:
            success, seconds = measure(known, condition, networks, targets, batches)
            row = settings | condition | {"success": success, "seconds": round(seconds, 1)} | about
            _write(results, row, known)
            made += 1
            if condition["form"] == "standard":
                jax.clear_caches()
        share = np.mean([bit == "1" for string in row["success"].values() for bit in string])
        print(f"{_name(condition)}: {100 * share:.1f} % of {len(ids)} images, {row['seconds']} s", flush=True)
        rows.append(row)
    comparison = compare(rows)
    if made:
        _write(results, settings | {"keys": known.keys, "comparison": comparison} | about, known)
    for entry in comparison:
        print(json.dumps(entry), flush=True)


def _conditions(known: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for source in known.sources:
        for attack in known.attacks:
            for form in FORMS:
                if form in known.forms:
                    for key in range(1 if form == "baseline" else known.keys):
                        yield {"source": source, "attack": attack, "form": form, "key": key}


def _name(row: dict[str, Any]) -> str:
    return " ".join(str(row[part]) for part in ("source", "attack", "form", "key"))


def _write(results: pathlib.Path, row: dict[str, Any], known: argparse.Namespace) -> None:
    if not known.smoke:
        _rows.append(results, row)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = _rows.ROOT.parent / "shared" / "data"
    parser.add_argument("--smoke", action="store_true", help="four images of the concept world, two steps; nothing is written")
    parser.add_argument("--data", default=str(shared / "nips17_dev"), help="folder of images")
    parser.add_argument("--weights", help="folder of NAME.safetensors")
    parser.add_argument("--results", default=str(_rows.path("ghosts")), help="of the rows")
    parser.add_argument("--sources", nargs="+", default=["resnet50", "resnet18"], help="networks to attack")
    parser.add_argument("--attacks", nargs="+", default=ATTACKS, choices=ATTACKS, help="which")
    parser.add_argument("--forms", nargs="+", default=FORMS, choices=FORMS, help="which")
    parser.add_argument("--images", type=int, default=100, help="at most so many that all networks classify correctly")
    parser.add_argument("--keys", type=int, default=5, help="runs of each form that draws")
    parser.add_argument("--size", type=int, default=224, help="side of the images in pixels")
    parser.add_argument("--crop", type=float, default=0.875, help="share of the side that is kept, 1 for all of it")
    parser.add_argument("--epsilon", type=float, default=8.0, help="radius, of 255")
    parser.add_argument("--step-size", type=float, default=1.0, help="of 255")
    parser.add_argument("--batch", type=int, default=4, help="images at once")
    parser.add_argument("--steps", type=int, default=10, help="of each attack")
    parser.add_argument("--skip", type=float, default=0.22, help="strength of the skip erosion, the paper's of ResNet-50")
    parser.add_argument("--num-ghosts", type=int, default=10, help="of an ensemble")
    parser.add_argument("--devices", type=int, default=1, help="devices to split the batch over")
    known = parser.parse_args()
    if known.smoke:
        smoke = {"sources": ["small_resnet18"], "images": 4, "keys": 1, "size": 64, "steps": 2, "num_ghosts": 2}
        known = argparse.Namespace(**(vars(known) | smoke))
    elif known.weights is None:
        parser.error("--weights is needed; shared/tools/real_weights.py DIR unpacks what there is")
    return known


if __name__ == "__main__":
    main()
