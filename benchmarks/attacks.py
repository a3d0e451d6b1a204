"""Adversarial images a second beside torchattacks, foolbox and AutoAttack, at equal work.

    python benchmarks/attacks.py [--smoke] [--against torchattacks] [--attack pgd mi_fgsm] [--network resnet18] [--batch 16]
        [--weights FOLDER --images FOLDER] [--devices 2] [--checkout AUTOATTACK]

Both sides get the same weights, the same images, which the network classifies correctly, the same radius, step size and number
of gradients or queries (`_workload.SETTINGS`). PyTorch runs eager on as many threads as there are cores, in its default layout
and in channels_last; ours runs plain and with batch normalisation folded. Rounds go through all forms in turn, so that what
else the machine does falls on all alike, and a ratio is one of each round: seconds of theirs over seconds of ours. A busy
machine still falls harder on PyTorch, whose threads wait for each other in every operation; `cpu_ratio` is that of the seconds
of all threads, which on one core (`taskset -c 0 python ...`) does not depend on what else runs. Compiling is timed apart.

A row for each attack is appended to benchmarks/results/attacks.jsonl: speed and ratios (quartiles), the success of every form
and the mean L2 and largest Linf distance of what succeeded, all scored on the plain network, and how often a network had to be
asked about an image in each round, which has a seed of its own. Two sides need not ask equally often: the Square attack draws
other windows, and C&W of torchattacks stops once the loss of the batch rises; `cpu_ratio_per_evaluation` is at equal work. An
image on which the Square attack succeeded is not asked about again, by the peers at once, by ours as soon as that saves more
than another program costs: until then it costs time and counts as no question.

`--weights` holds NAME.safetensors (resnet18, squeezenet1_1), or resnet20.npz and resnet56.th for cifar_resnet20; `--images` is
the folder of NIPS 2017 development images, or one with X_sdp.npy and y_sdp.npy. Without them weights and images are random.
No package has the ensemble-optimization attack: beside torchattacks stands the same computation in plain PyTorch.
AutoAttack is no package of the index: `--checkout` is a clone of github.com/fra31/auto-attack. `--devices` and GLIBC_TUNABLES
are as in benchmarks/models.py.
"""

import argparse
import importlib
import json
import os
import pathlib
import time
from typing import Any, NamedTuple

import _rows
import _workload
import numpy as np

SHORT = 2.0
"""Seconds; a run that is shorter is preceded by another one, which pays for the memory that the form before it left."""


class Taken(NamedTuple):
    """What a run took.

    Attributes:
        seconds: by the clock.
        cpu_seconds: of all threads together.
        made: what it made.
    """

    seconds: float
    cpu_seconds: float
    made: _workload.Made


def measure(attack: str, settings: dict[str, Any], load: Any, peer: Any, *, rounds: int) -> dict[str, Any]:
    """What one attack took and reached, in all forms."""
    mine = _workload.ours(attack, settings, load)
    theirs = {} if peer is None else peer.forms(attack, settings)
    runs, count = mine | theirs, len(load.batch.id)
    first = {form: _timed(run, 0) for form, run in runs.items()}
    warm = {form: _timed(run, 0).seconds for form, run in runs.items()}
    taken: dict[str, list[Taken]] = {form: [] for form in runs}
    for seed in range(rounds):
        for form, run in runs.items():
            # Which sizes of smaller batches are compiled depends on the seed.
            if warm[form] < SHORT or (attack == "square" and form in mine):
                run(seed)
            taken[form].append(_timed(run, seed))
    seconds = {form: [each.seconds for each in of] for form, of in taken.items()}
    cpu = {form: [each.cpu_seconds for each in of] for form, of in taken.items()}
    asked = {form: [each.made.asked / count for each in of] for form, of in taken.items()}
    # Rounds differ in their seeds, and so in how many questions it took: what a question costs is of all rounds.
    cost = {form: sum(cpu[form]) / sum(asked[form]) for form in runs}
    pairs = {f"{form} to {other}": (form, other) for other in theirs for form in mine}
    row: dict[str, Any] = {"benchmark": "attacks", "attack": attack, "settings": settings, "rounds": rounds}
    row["images_per_second"] = {
        form: [round(count / float(q), 2) for q in np.quantile(spent, [0.75, 0.5, 0.25])] for form, spent in seconds.items()
    }
    for name, spent in (("ratio", seconds), ("cpu_ratio", cpu)):
        row[name] = {pair: _rows.quartiles(np.divide(spent[other], spent[form])) for pair, (form, other) in pairs.items()}
    row["cpu_ratio_per_evaluation"] = {pair: round(cost[other] / cost[form], 3) for pair, (form, other) in pairs.items()}
    row["compile_seconds"] = {form: round(first[form].seconds - min(seconds[form]), 2) for form in mine}
    row["scores"] = {form: _workload.score(attack, first[form].made.images, load) for form in runs}
    row["evaluations"] = {form: [round(value, 2) for value in values] for form, values in asked.items()}
    return row


def _timed(run: _workload.Form, seed: int) -> Taken:
    start, before = time.perf_counter(), time.process_time()
    made = run(seed)
    return Taken(time.perf_counter() - start, time.process_time() - before, made)


def _about(known: argparse.Namespace, load: Any, peer: Any) -> dict[str, Any]:
    about = _rows.place() | {
        "network": known.network,
        "weights": load.weights,
        "images": "random" if known.images is None else pathlib.Path(known.images).name,
        "image_size": load.networks[0].image_size,
        "batch": len(load.batch.id),
        "devices": known.devices,
        "against": known.against,
        "malloc": os.environ.get("GLIBC_TUNABLES", ""),
        "smoke": known.smoke,
    }
    if peer is not None:
        about["versions"] |= peer.versions
        about["threads"] = peer.torch.get_num_threads()
        ours = np.asarray(load.networks[0](load.batch.image)[0])
        about["logit_difference"] = float(f"{np.abs(ours - peer.logits()).max():.1e}")
    return about


def main() -> None:
    """Measures and appends the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="two images, two steps, two rounds; nothing is written")
    parser.add_argument("--against", choices=["torchattacks", "foolbox", "autoattack"], help="what to run beside")
    parser.add_argument("--attack", nargs="+", choices=_workload.SETTINGS, help="which; by default all that both sides have")
    parser.add_argument("--network", choices=_workload.NETWORKS, default="resnet18", help="what is attacked")
    parser.add_argument("--images", help="folder of images")
    parser.add_argument("--weights", help="folder of weights")
    parser.add_argument("--batch", type=int, default=16, help="images at once")
    parser.add_argument("--devices", type=int, default=1, help="devices to split the batch over")
    parser.add_argument("--rounds", type=int, default=5, help="rounds through all forms")
    parser.add_argument("--queries", type=int, help="another budget of the Square attack")
    parser.add_argument("--checkout", help="folder of AutoAttack")
    known = parser.parse_args()
    if known.smoke:
        known.network, known.images, known.weights, known.batch, known.rounds = "cifar_resnet20", None, None, 2, 2
    import jax

    jax.config.update("jax_num_cpu_devices", known.devices)
    paths = {"images": known.images, "weights": known.weights}
    load = _workload.workload(known.network, batch=known.batch, devices=known.devices, **paths)
    peer: Any = None
    if known.against is not None:
        peer = importlib.import_module("_peers").Peer(known.against, known.network, load, checkout=known.checkout)
    offered = list(_workload.SETTINGS) if peer is None else peer.offered
    for attack in known.attack or offered:
        if attack not in offered:
            raise SystemExit(f"{known.against} has no {attack}; it has {', '.join(offered)}.")
        settings = _workload.settings_of(attack, smoke=known.smoke, queries=known.queries)
        row = measure(attack, settings, load, peer, rounds=known.rounds) | _about(known, load, peer)
        print(json.dumps(row), flush=True)
        if not known.smoke:
            _rows.append(_rows.path("attacks"), row)


if __name__ == "__main__":
    main()
