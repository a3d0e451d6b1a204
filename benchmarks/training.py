"""Training steps a second beside the same steps in PyTorch, in one run.

    python benchmarks/training.py [--network cifar_resnet20] [--batch 64] [--rounds 5] [--against torch] [--smoke]
    python benchmarks/training.py --devices 1 2 4 [--synchronised]

Steps of standard training, with the consistent loss (one step of FGSM) and on PGD-3 images, by SGD with momentum, over batches
that are there already: no input. Both sides have the same network and the same arithmetic: the attack sees the network as it is
evaluated, its images pass through in training mode, with the clean ones where the loss has both. Rounds alternate, and the
ratio is that of medians over rounds. PyTorch runs its default layout and channels_last; with `--bf16` it runs autocast, and
jaxinterp bfloat16. Each device normalises by the statistics of its own rows, PyTorch by those of the batch; `--synchronised`
makes ours those of the batch too. With several numbers of devices the same batch is split over each of them in turn, and
ratios are to the first. Compilation is timed apart. A JSON row for each step goes to benchmarks/results/training.jsonl.

Needs PyTorch and the folder .ci/peers for `--against torch`.
"""

import argparse
import importlib
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import _rows
import numpy as np
from _peers import torch_module

EPSILON, LEARNING_RATE, MOMENTUM, FEATURE_WEIGHT = 8 / 255, 0.01, 0.9, 1.0
SIZES = {"cifar_resnet20": (32, 10, "layer3.2"), "resnet18": (224, 1000, "layer4.1"), "resnet50": (224, 1000, "layer4.2")}
KINDS = ("standard", "consistent", "pgd3")

Run = Callable[[], None]


def ours(model: Any, kind: str, layer: str, images: np.ndarray, labels: np.ndarray, *, devices: int) -> Run:
    """A step of this library over so many devices; returns when it is done."""
    import jax
    import optax

    from jaxinterp import Batch, _mesh, attacks, training

    objective = {
        "standard": training.standard,
        "consistent": lambda: training.consistent(attacks.fgsm(EPSILON), layer=layer, feature_weight=FEATURE_WEIGHT),
        "pgd3": lambda: training.adversarial(attacks.pgd(EPSILON, step_size=EPSILON / 2, num_steps=3)),
    }[kind]()
    optimizer, mesh = optax.sgd(LEARNING_RATE, momentum=MOMENTUM), _mesh.data_mesh(devices)
    step = training.sharded_step(objective, optimizer, mesh)
    state = training.init_state(optimizer, jax.tree.map(jax.numpy.array, model))
    state = jax.device_put(state, _mesh.replicated(mesh))
    ids = np.arange(len(images), dtype=np.int32)
    fields: dict[str, Any] = {"image": images, "label": labels, "target": -np.ones_like(ids), "id": ids, "source_id": ids}
    batch = jax.device_put(Batch(mask=np.ones(len(ids), bool), extra={}, **fields), _mesh.sharded(mesh))  # pyright: ignore[reportArgumentType]
    held = [state]

    def run() -> None:
        held[0], metrics = step(jax.random.key(0), held[0], batch)
        jax.block_until_ready(metrics)

    return run


def theirs(name: str, model: Any, kind: str, images: np.ndarray, labels: np.ndarray, *, channels_last: bool, bf16: bool) -> Run:
    """The same step in PyTorch."""
    torch, functional = importlib.import_module("torch"), importlib.import_module("torch.nn.functional")
    torch.set_num_threads(_rows.cores())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = torch_module(name, model).to(device)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = network.to(memory_format=layout)
    clean = torch.tensor(images.transpose(0, 3, 1, 2)).to(device).contiguous(memory_format=layout)
    target = torch.tensor(labels.astype(np.int64)).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    features: list[Any] = []
    last = getattr(network.network, "layer4", network.network.layer3)[-1]
    last.register_forward_hook(lambda module, inputs, output: features.append(output))

    def forward(batch: Any) -> Any:
        features.clear()
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            return network(batch).float()

    def ascent(start: Any, size: float, steps: int) -> Any:
        network.eval()
        found = start
        for _ in range(steps):
            found = found.detach().requires_grad_()
            gradient = torch.autograd.grad(functional.cross_entropy(forward(found), target), found)[0]
            found = found.detach() + size * gradient.sign()
            found = torch.clamp(torch.clamp(found, clean - EPSILON, clean + EPSILON), 0, 1)
        network.train()
        return found.detach()

    def run() -> None:
        network.train()
        if kind == "standard":
            loss = functional.cross_entropy(forward(clean), target)
        elif kind == "pgd3":
            start = torch.clamp(clean + EPSILON * (2 * torch.rand_like(clean) - 1), 0, 1)
            loss = functional.cross_entropy(forward(ascent(start, EPSILON / 2, 3)), target)
        else:
            moved = ascent(clean, EPSILON, 1)
            logits = forward(torch.cat([clean, moved]))
            one, two = logits.chunk(2)
            phi, phi_moved = features[-1].float().chunk(2)
            loss = functional.cross_entropy(one, target) + functional.cross_entropy(two, target)
            loss = loss + FEATURE_WEIGHT * torch.mean((phi - phi_moved) ** 2)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss.item()

    return run


def seconds(run: Run, count: int) -> float:
    """Seconds of one of `count` steps."""
    begun = time.perf_counter()
    for _ in range(count):
        run()
    return (time.perf_counter() - begun) / count


def main() -> None:
    """Times every kind of step and writes a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=SIZES, default="cifar_resnet20")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="steps in a round")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--against", choices=("torch",), default=None)
    parser.add_argument("--bf16", action="store_true", help="half precision on both sides")
    parser.add_argument("--devices", type=int, nargs="+", help="of jaxinterp, virtual ones on a CPU; one a core by default")
    parser.add_argument("--synchronised", action="store_true", help="batch statistics over all devices")
    parser.add_argument("--smoke", action="store_true", help="one round of small batches; writes no row")
    options = parser.parse_args()
    if options.smoke:
        options.batch, options.rounds, options.steps = 8, 1, 1

    import jax

    jax.config.update("jax_num_cpu_devices", max(options.devices or [_rows.cores()]))
    from jaxinterp import _mesh, models

    size, classes, layer = SIZES[options.network]
    knobs = {"num_classes": classes, "image_size": size, "key": jax.random.key(0)}
    knobs["axis_name"] = _mesh.AXIS if options.synchronised else None
    model = getattr(models, options.network)(**knobs)
    rng = np.random.default_rng(0)
    images = rng.random((options.batch, size, size, 3), np.float32)
    labels = rng.integers(0, classes, options.batch).astype(np.int32)
    leading, *others = options.devices or [jax.device_count()]
    counts = {"jaxinterp": leading} | {f"jaxinterp, {count} devices": count for count in others}
    own = models.with_dtype(model, "bfloat16") if options.bf16 else model
    for kind in options.kinds:
        runs = {name: ours(own, kind, layer, images, labels, devices=count) for name, count in counts.items()}
        if options.against:
            for layout in ("default", "channels_last"):
                last = layout == "channels_last"
                runs[f"torch {layout}"] = theirs(
                    options.network, model, kind, images, labels, channels_last=last, bf16=options.bf16
                )
        first = {name: seconds(run, 1) for name, run in runs.items()}
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(options.rounds):
            for name, run in runs.items():
                times[name].append(seconds(run, options.steps))
        medians = {name: statistics.median(values) for name, values in times.items()}
        row = {
            "benchmark": "training",
            "network": options.network,
            "step": kind,
            "batch": options.batch,
            "bf16": options.bf16,
            "synchronised": options.synchronised,
            "images_per_second": {name: options.batch / value for name, value in medians.items()},
            "quartiles_of_seconds": {name: np.quantile(values, [0.25, 0.75]).tolist() for name, values in times.items()},
            "first_call_seconds": first["jaxinterp"],
            "ratio": {name: value / medians["jaxinterp"] for name, value in medians.items() if name != "jaxinterp"},
            "num_devices": leading,
        } | _rows.place()
        print(json.dumps(row), flush=True)
        if not options.smoke:
            _rows.append(_rows.path("training"), row)


if __name__ == "__main__":
    main()
