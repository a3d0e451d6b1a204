"""A training that is killed and stopped at random moments: does it end with the weights and images of an undisturbed one?

    python benchmarks/preemption.py --images cifar-10-python.tar.gz [--kills 25] [--stops 25] [--num-steps 600] [--smoke]

ResNet-20 on CIFAR-10 with the consistent loss, augmentation, averaged weights and checkpoints while it goes on, through the
command line. Each time the training has moved, SIGKILL or SIGTERM comes after a random delay, in random order; the same
line then resumes. In the end weights, losses and the ids of the images of every step are compared with those of a
run that nobody disturbed, byte for byte. A row goes to benchmarks/results/preemption.jsonl.
"""

import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import _rows

LOG = pathlib.Path("logs") / "network.ids.jsonl"


def started(folder: pathlib.Path, options: argparse.Namespace) -> subprocess.Popen:
    """The training, in a process of its own."""
    knobs = {
        "images": options.images,
        "num-steps": options.num_steps,
        "num-checkpoints": options.num_steps // 6,
        "batch-size": 16,
        "num-held-out": 64,
        "num-robustness": 16,
        "learning-rate": 0.02,
        "ema-decay": 0.9,
        "seed": options.seed,
    }
    recipe = ["configs/train_cifar10.py", "--workdir", str(folder), "--log-ids"]
    line = [sys.executable, "-m", "jaxinterp", "train", *recipe]
    for name, value in knobs.items():
        line += [f"--{name}", str(value)]
    return subprocess.Popen(line, cwd=_rows.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def lines(folder: pathlib.Path) -> int:
    """How many steps the log of a training has."""
    path = folder / LOG
    return path.read_bytes().count(b"\n") if path.exists() else 0


def disturbed(folder: pathlib.Path, options: argparse.Namespace) -> dict[str, int]:
    """Runs a training to its end with signals on the way; how many of each hit it, and the runs that a signal missed."""
    draw = random.Random(options.seed)
    signals = [signal.SIGKILL] * options.kills + [signal.SIGTERM] * options.stops
    draw.shuffle(signals)
    counts = {"SIGKILL": 0, "SIGTERM": 0, "missed": 0, "stopped_cleanly": 0}
    for sent in signals:
        process = started(folder, options)
        before, begun = lines(folder), None
        while process.poll() is None:
            if begun is None and lines(folder) != before:
                begun = time.monotonic() + draw.uniform(0, options.longest)
            if begun is not None and time.monotonic() >= begun:
                process.send_signal(sent)
                break
            time.sleep(0.02)
        _, said = process.communicate()
        hit = process.returncode in (-signal.SIGKILL, 143)
        counts[sent.name if hit else "missed"] += 1
        counts["stopped_cleanly"] += process.returncode == 143
        if not hit and process.returncode != 0:
            raise RuntimeError(said)
        print(f"{sent.name} after step {lines(folder)}: exit code {process.returncode}", flush=True)
    last = started(folder, options)
    if last.communicate() and last.returncode != 0:
        raise RuntimeError("the last run failed.")
    return counts


def main() -> None:
    """Runs both trainings and writes the row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="what data.cifar10 reads")
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--stops", type=int, default=25)
    parser.add_argument("--num-steps", type=int, default=600)
    parser.add_argument("--longest", type=float, default=3.0, help="the longest delay before a signal, in seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="two signals; writes no row")
    options = parser.parse_args()
    if options.smoke:
        options.kills, options.stops, options.num_steps = 1, 1, 20
    options.images = str(pathlib.Path(options.images).resolve())
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(folder) / "programs"))
        one, two = pathlib.Path(folder) / "undisturbed", pathlib.Path(folder) / "disturbed"
        whole = started(one, options)
        if whole.communicate() and whole.returncode != 0:
            raise RuntimeError("the undisturbed run failed.")
        counts = disturbed(two, options)
        kept = ("weights/network.safetensors", str(LOG), "logs/network.metrics.jsonl")
        same = {name: (one / name).read_bytes() == (two / name).read_bytes() for name in kept}
    row = {
        "benchmark": "preemption",
        "num_steps": options.num_steps,
        "signals": counts,
        "same_bytes": same,
    } | _rows.place()
    print(json.dumps(row))
    if not options.smoke:
        _rows.append(_rows.path("preemption"), row)
    if not all(same.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
