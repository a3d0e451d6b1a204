"""Forward passes and input gradients a second, of every architecture, plain, folded and in bfloat16.

    python benchmarks/models.py [--smoke] [--against torch] [--networks resnet18 vgg16] [--batch 8] [--devices 2]

With `--against torch` the same network of torchvision (or timm) runs in the same process, eager, in PyTorch's default
layout and in channels_last; it wants the packages of .ci/peers/requirements.txt beside jaxinterp. Rounds go through all
forms in turn, so that what else the machine does falls on all of them alike; what is timed is the second of two runs of a form,
since the first pays for the memory and the threads that the form before it left. Compiling and running are timed apart, after a
warm-up; a JSON row for each network, with median and quartiles, is appended to benchmarks/results/models.jsonl. The peak
memory is that of the process so far.

`--devices 2` splits the batch over two devices of one thread each, as the command line does on two cores: XLA runs some
convolutions on one thread of a device. On Linux, GLIBC_TUNABLES=glibc.malloc.hugetlb=1 spares page faults, since XLA takes and
returns all temporary memory in every call; a row says whether it was set.
"""

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import _rows
import numpy as np

NETWORKS = (
    "alexnet",
    "vgg11",
    "vgg16",
    "vgg16_bn",
    "resnet18",
    "resnet50",
    "googlenet",
    "inception_v3",
    "densenet121",
    "squeezenet1_1",
    "mobilenet_v2",
    "cifar_resnet20",
)


def jax_forms(name: str, batch: int, devices: int) -> tuple[dict[str, Callable[[], Any]], int]:
    """Form -> what runs it once, and the side of its images."""
    import jax

    from jaxinterp import _mesh, models

    knobs: dict[str, Any] = {"batch_norm": True} if name.endswith("_bn") else {}
    model = getattr(models, name.removesuffix("_bn"))(key=jax.random.key(0), **knobs)
    forms = {"jax": model, "jax bfloat16": models.with_dtype(model, "bfloat16")}
    if model.stats:
        forms["jax folded"] = models.fold_batch_norm(model)
        forms["jax folded bfloat16"] = models.with_dtype(forms["jax folded"], "bfloat16")
    size = model.image_size
    mesh = _mesh.data_mesh(devices)
    forms = jax.device_put(forms, _mesh.replicated(mesh))
    images = jax.device_put(np.random.default_rng(0).random((batch, size, size, 3), np.float32), _mesh.sharded(mesh))
    forward = jax.jit(lambda model, images: model(images)[0])
    gradient = jax.jit(lambda model, images: jax.grad(lambda images: model(images)[0][:, 0].sum())(images))

    def once(function: Callable[..., Any], model: Any) -> Callable[[], Any]:
        return lambda: jax.block_until_ready(function(model, images))

    runs = {f"{form} forward": once(forward, model) for form, model in forms.items()}
    return runs | {f"{form} gradient": once(gradient, model) for form, model in forms.items()}, size


def torch_forms(name: str, batch: int, size: int) -> dict[str, Callable[[], Any]]:
    """The same of PyTorch's network of that name."""
    sys.path.insert(0, str(_rows.ROOT / ".ci" / "peers"))
    torch, peers = importlib.import_module("torch"), importlib.import_module("networks").PEERS
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = peers[name].build().eval().to(device)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    images = torch.from_numpy(np.random.default_rng(0).random((batch, 3, size, size), np.float32)).to(device)

    def forward(layout: Any) -> Callable[[], Any]:
        def run() -> None:
            with torch.no_grad():
                network.to(memory_format=layout)(images.to(memory_format=layout))
            _wait(torch, device)

        return run

    def gradient(layout: Any) -> Callable[[], Any]:
        def run() -> None:
            leaf = images.to(memory_format=layout).detach().requires_grad_(True)
            network.to(memory_format=layout)(leaf)[:, 0].sum().backward()
            _wait(torch, device)

        return run

    runs = {}
    for form, layout in (("torch", torch.contiguous_format), ("torch channels_last", torch.channels_last)):
        runs |= {f"{form} forward": forward(layout), f"{form} gradient": gradient(layout)}
    return runs


def _wait(torch: Any, device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def measure(name: str, *, batch: int, rounds: int, devices: int, against: str | None) -> dict[str, Any]:
    """One row: images a second of every form, as quartiles, and what compiling took."""
    runs, size = jax_forms(name, batch, devices)
    if against == "torch":
        runs |= torch_forms(name, batch, size)
    first, seconds = {}, {form: [] for form in runs}
    for form, run in runs.items():
        start = time.perf_counter()
        run()
        first[form] = time.perf_counter() - start
        run()
    for _ in range(rounds):
        for form, run in runs.items():
            run()
            start = time.perf_counter()
            run()
            seconds[form].append(time.perf_counter() - start)
    speed = {
        form: [round(batch / float(q), 2) for q in np.quantile(taken, [0.75, 0.5, 0.25])] for form, taken in seconds.items()
    }
    row: dict[str, Any] = {
        "benchmark": "models",
        "network": name,
        "batch": batch,
        "devices": devices,
        "image_size": size,
        "rounds": rounds,
        "images_per_second": speed,
        "compile_seconds": {form: round(first[form] - min(seconds[form]), 2) for form in runs if form.startswith("jax")},
    }
    if against == "torch":
        row["ratio_to_torch"] = {
            f"{form} {what}": round(float(np.median(seconds[f"torch {what}"]) / np.median(seconds[f"{form} {what}"])), 3)
            for what in ("forward", "gradient")
            for form in {form.rpartition(" ")[0] for form in runs if form.startswith("jax")}
        }
    about: dict[str, Any] = _rows.place() | {"malloc": os.environ.get("GLIBC_TUNABLES", "")}
    if against == "torch":
        about["versions"] |= {"torch": sys.modules["torch"].__version__}
    return row | about


def main() -> None:
    """Measures and appends the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="one short round of one network")
    parser.add_argument("--against", choices=["torch"], help="what to run beside")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, help="which; by default a dozen")
    parser.add_argument("--batch", type=int, default=8, help="images at once")
    parser.add_argument("--devices", type=int, default=1, help="devices to split the batch over")
    parser.add_argument("--rounds", type=int, default=9, help="rounds through all forms")
    known = parser.parse_args()
    networks, batch, rounds = (("cifar_resnet20",), 2, 2) if known.smoke else (known.networks, known.batch, known.rounds)
    import jax

    jax.config.update("jax_num_cpu_devices", known.devices)
    for name in networks:
        row = measure(name, batch=batch, rounds=rounds, devices=known.devices, against=known.against) | {"smoke": known.smoke}
        print(json.dumps(row), flush=True)
        if not known.smoke:
            _rows.append(_rows.path("models"), row)


if __name__ == "__main__":
    main()
