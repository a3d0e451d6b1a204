"""Images a second that reading a folder of JPEGs gives, and whether a training step would wait for them.

    python benchmarks/input_pipeline.py IMAGES [--smoke] [--batch 16] [--network resnet18]

IMAGES is a folder of JPEG files; their classes do not matter. Each is decoded whole, cut at random and resized to `--size`
pixels (data.random_resized_crop), flipped and put into a batch, by 0, 1 and 2 threads or worker processes. In the same rounds
runs a training step of the network on a batch that is there already, and, last, training over the stream with two threads, in
which the time spent waiting for the next batch is taken.

`images_per_second` has quartiles over rounds. `wait_share` is what follows from the medians if reading and computing did not
disturb each other: the part of the time for which a step waits. `wait_share_measured` is that of training, where both use the
same cores on CPU. `cpu_ms_per_image` is the processor time of reading one image, with its parts: an accelerator that trains on
n images a second keeps n * cpu_ms_per_image / 1000 cores busy with reading. A JSON row is appended to
benchmarks/results/input_pipeline.jsonl.
"""

import argparse
import json
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import _rows
import numpy as np

FORMS = {
    "0 threads": {"num_threads": 0},
    "1 thread": {"num_threads": 1},
    "2 threads": {"num_threads": 2},
    "1 worker": {"num_threads": 0, "num_workers": 1},
    "2 workers": {"num_threads": 0, "num_workers": 2},
}
SUFFIXES = (".jpg", ".jpeg")


def photographs(folder: pathlib.Path, size: int) -> Any:
    """Every JPEG of a folder at its own size, all of one class."""
    from jaxinterp import data

    files = tuple(sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES))
    if not files:
        raise SystemExit(f"expected JPEG files in {folder}, found none; name a folder of photographs.")
    same = (0,) * len(files)
    return data.ImageFolder(
        files=files,
        labels=same,
        targets=(-1,) * len(files),
        ids=tuple(range(len(files))),
        classes=("photograph",),
        class_names=("photograph",),
        image_size=size,
        crop=None,
    )


def stream(source: Any, size: int, batch: int, **form: int) -> Any:
    """The batches of one way of reading."""
    from jaxinterp import data

    augment = data.compose(data.random_resized_crop(image_size=size), data.random_flip())
    return data.training_batches(source, batch_size=batch, seed=0, augment=augment, **form)  # pyright: ignore[reportArgumentType]


def seconds_a_batch(batches: Any, count: int) -> float:
    """Reading `count` batches after the first, which starts threads and processes."""
    next(batches)
    start = time.perf_counter()
    for _ in range(count):
        next(batches)
    taken = (time.perf_counter() - start) / count
    batches.close()
    return taken


def processor_milliseconds(source: Any, size: int, count: int) -> dict[str, float]:
    """Processor time of the parts of reading an image, the least of three times."""
    from jaxinterp import data

    generator, crop = np.random.default_rng(0), data.random_resized_crop(image_size=size)
    count = min(count, len(source))

    def spent(run: Callable[[], Any]) -> tuple[Any, float]:
        taken, result = [], None
        for _ in range(3):
            start = time.process_time()
            result = run()
            taken.append(1000 * (time.process_time() - start) / count)
        return result, min(taken)

    whole, decode = spent(lambda: [source[index] for index in range(count)])
    cut, crop_and_resize = spent(lambda: [crop(generator, example) for example in whole])
    _, put = spent(lambda: data.collate(cut, batch_size=count))
    parts = {"decode": decode, "crop and resize": crop_and_resize, "batch": put}
    return {name: round(value, 3) for name, value in {"all": sum(parts.values()), **parts}.items()}


def trainer(network: str, size: int) -> Callable[[Any], None]:
    """What takes one training step on a batch and waits for its end."""
    import jax
    import optax

    from jaxinterp import _mesh, models, training

    mesh = _mesh.data_mesh(1)
    model = getattr(models, network)(key=jax.random.key(0), image_size=size)
    optimizer = optax.sgd(0.01, momentum=0.9)
    step = training.sharded_step(training.standard(), optimizer, mesh)
    held = [jax.device_put(training.init_state(optimizer, model), _mesh.replicated(mesh))]

    def run(batch: Any) -> None:
        held[0], metrics = step(jax.random.key(0), held[0], jax.device_put(batch, _mesh.sharded(mesh)))
        jax.block_until_ready((held[0], metrics))

    return run


def waiting(batches: Any, train: Callable[[Any], None], count: int) -> float:
    """The part of the time that training spends waiting for the next batch."""
    train(next(batches))
    waited, start = 0.0, time.perf_counter()
    for _ in range(count):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        train(batch)
    batches.close()
    return waited / (time.perf_counter() - start)


def measure(folder: pathlib.Path, *, network: str, size: int, batch: int, rounds: int, count: int) -> dict[str, Any]:
    """One row."""

    source = photographs(folder, size)
    train = trainer(network, size)
    ready = next(stream(source, size, batch))
    train(ready)
    load = [os.getloadavg()[0]]
    seconds: dict[str, list[float]] = {form: [] for form in (*FORMS, "step")}
    for _ in range(rounds):
        for form, knobs in FORMS.items():
            seconds[form].append(seconds_a_batch(stream(source, size, batch, **knobs), count))
        start = time.perf_counter()
        train(ready)
        seconds["step"].append(time.perf_counter() - start)
    measured = waiting(stream(source, size, batch, num_threads=2), train, max(2, rounds))
    load.append(os.getloadavg()[0])
    median = {form: float(np.median(taken)) for form, taken in seconds.items()}
    sides = [source[index].image.shape[:2] for index in range(min(50, len(source)))]
    return _rows.place() | {
        "benchmark": "input_pipeline",
        "images": f"{folder.parent.name}/{folder.name}",
        "num_images": len(source),
        "mean_kilobytes": round(sum(file.stat().st_size for file in source.files) / 1000 / len(source), 1),
        "mean_megapixels": round(float(np.mean([height * width for height, width in sides])) / 1e6, 3),
        "image_size": size,
        "batch": batch,
        "rounds": rounds,
        "images_per_second": {
            form: [round(batch / float(q), 1) for q in np.quantile(taken, [0.75, 0.5, 0.25])] for form, taken in seconds.items()
        },
        "network": network,
        "wait_share": {form: round(max(0.0, 1 - median["step"] / median[form]), 3) for form in FORMS},
        "wait_share_measured": round(measured, 3),
        "cpu_ms_per_image": processor_milliseconds(source, size, 64),
        "load": [round(value, 1) for value in load],
    }


def main() -> None:
    """Measures and appends the row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=pathlib.Path, help="folder of JPEG files")
    parser.add_argument("--smoke", action="store_true", help="one short round with a small network")
    parser.add_argument("--network", default="resnet18", help="whose training step")
    parser.add_argument("--size", type=int, default=224, help="side of the images in pixels")
    parser.add_argument("--batch", type=int, default=16, help="images of a batch")
    parser.add_argument("--rounds", type=int, default=7, help="rounds through all forms")
    parser.add_argument("--count", type=int, default=24, help="batches read in a round")
    known = parser.parse_args()
    knobs: dict[str, Any] = {name: getattr(known, name) for name in ("network", "size", "batch", "rounds", "count")}
    if known.smoke:
        knobs = {"network": "squeezenet1_1", "size": 64, "batch": 4, "rounds": 1, "count": 3}
    row = measure(known.images, **knobs) | {"smoke": known.smoke}
    print(json.dumps(row), flush=True)
    if not known.smoke:
        _rows.append(_rows.path("input_pipeline"), row)


if __name__ == "__main__":
    main()
