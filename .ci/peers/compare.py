"""Compares every network of `jaxinterp.models` with PyTorch's, value by value, and passes its weights to and fro.

    PYTHONPATH=.:.ci/peers python .ci/peers/compare.py [architecture ...]

Nothing is reduced here. PyTorch, in float64, is the reference; a deviation is relative to the maximum of its layer.
"""

import argparse
import copy
import pathlib
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import torch_side
from networks import PEERS, VERSIONS, Peer
from packages import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

import jaxinterp
from jaxinterp import Model, models
from tests.models import recipe, subject

LIMITS = {
    "eval f32": 1e-4,
    "eval f64": 1e-9,
    "train f32": 1e-2,
    "torch f32": 1e-2,
    "train f64": 1e-9,
    "stats f64": 1e-9,
    "native f32": 1e-4,
    "folded f64": 1e-9,
}
"""Columns of the table, and the largest deviation that each may have.

In training, few values to a normalisation magnify what float32 rounds: "torch f32" is PyTorch's own deviation there.
"""


class Worst(NamedTuple):
    """The largest deviation, and where it is."""

    value: float
    layer: str


def compare(name: str, peer: Peer, folder: pathlib.Path) -> dict[str, Worst]:
    """Column -> the largest deviation of one architecture.

    Raises:
        ValueError: other defaults, or weights that do not pass unchanged from PyTorch to jaxinterp and back.
    """
    module = torch_side.build(peer, reduced=False)
    _check_defaults(name, peer, module)
    model = _imported(name, peer, module, folder, image_size=peer.image_size)
    _check_export(name, peer, model, folder)
    sites = peer.sites(module)
    images = recipe.images(peer.num_images, peer.image_size)
    trained_on = recipe.images(peer.training["num_images"], peer.training["image_size"])
    native = recipe.images(1, peer.native_size)

    reference = torch_side.activations(module.eval(), sites, images)
    far = torch_side.activations(module, sites, native)
    rounded = torch_side.activations(copy.deepcopy(module).float().train(), sites, trained_on)
    trained = torch_side.activations(module.train(), sites, trained_on)
    running = {name: value for name, value in torch_side.state(module).items() if ".running_" in name}
    single = subject.answers(model, images, trained_on, dtype="float32")
    double = subject.answers(model, images, trained_on, dtype="float64")
    found = {
        "eval f32": _worst(single.activations, reference),
        "eval f64": _worst(double.activations, reference),
        "train f32": _worst(single.training, trained),
        "torch f32": _worst(rounded, trained),
        "train f64": _worst(double.training, trained),
        "stats f64": _worst(double.statistics, running),
    }
    if running:
        found["folded f64"] = _worst(_folded(model, images), reference)
    del single, double, rounded, reference, trained
    wide = _imported(name, peer, None, folder, image_size=peer.native_size)
    found["native f32"] = _worst(subject.answers(wide, native, None, dtype="float32").activations, far)
    return found


def _check_defaults(name: str, peer: Peer, module: nn.Module) -> None:
    """Compares mean, std and side of images, where nothing is said, with what the peer publishes beside its weights."""
    if peer.origin == "timm":
        about = module.default_cfg
        expected = about["mean"], about["std"], about["input_size"][-1]
    elif peer.origin == "torchvision":
        about = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].transforms()
        half = (0.5, 0.5, 0.5) if name in ("googlenet", "inception_v3") else None  # transform_input, inside the network
        expected = half or tuple(about.mean), half or tuple(about.std), about.crop_size[0]
    else:
        return
    network: Any = models.abstract(lambda: getattr(models, peer.builder)(key=jax.random.key(0), **peer.knobs)).network
    found = network.mean, network.std, network.image_size
    if found != expected or peer.native_size != expected[-1]:
        raise ValueError(f"{name}: expected mean, std and image_size {expected}, got {found}")


def _folded(model: Model, images: np.ndarray) -> dict[str, np.ndarray]:
    """The layers of the folded network; folded in float64, since float32 rounds the new kernels."""
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda leaf: leaf.astype("float64"), model)
        return subject.answers(models.fold_batch_norm(exact), images, None, dtype="float64").activations


def _imported(name: str, peer: Peer, module: nn.Module | None, folder: pathlib.Path, *, image_size: int) -> Model:
    """The network with the weights of a file that PyTorch wrote."""
    path = folder / f"{name}.safetensors"
    if module is not None:
        state = {key: value.float() if value.is_floating_point() else value for key, value in module.state_dict().items()}
        save_file(state, path)
    knobs = {**peer.knobs, "image_size": image_size, "num_classes": peer.num_classes, "mean": recipe.MEAN, "std": recipe.STD}
    return getattr(models, peer.builder)(weights=path, **knobs)


def _check_export(name: str, peer: Peer, model: Model, folder: pathlib.Path) -> None:
    """Writes the weights, loads them strictly into a fresh module and into a fresh network, and looks for any changed bit."""
    path = folder / f"{name}.out.safetensors"
    fresh = peer.build()
    expected = torch_side.draw(fresh, gain=peer.gain)
    for write in (models.save, models.export):
        write(model, path)
        fresh.load_state_dict(load_file(path), strict=True)
        changed = [key for key, value in fresh.state_dict().items() if not value.equal(expected[key])]
        if changed:
            raise ValueError(f"{name}: {len(changed)} weights came back changed; first {changed[0]}")
        if models.fingerprint(models.load(path, model)) != models.fingerprint(model):
            raise ValueError(f"{name}: another fingerprint after {write.__name__} and load")
        path.unlink()


def _worst(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> Worst:
    """The largest deviation over the arrays; names and shapes must be the same."""
    if set(got) != set(want):
        raise ValueError(f"expected {sorted(want)}, got {sorted(got)}")
    return max(_deviations(got, want), default=Worst(0.0, "none"))


def _deviations(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> Iterator[Worst]:
    for layer, value in want.items():
        if got[layer].shape != value.shape:
            raise ValueError(f"{layer}: expected shape {value.shape}, got {got[layer].shape}")
        yield Worst(float(np.abs(got[layer] - value).max() / np.abs(value).max()), layer)


def main() -> None:
    """Prints a row for every architecture; fails where a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architecture", nargs="*", help="all that jaxinterp.models has where none is given")
    known = parser.parse_args()
    missing = [name for name, peer in PEERS.items() if not hasattr(models, peer.builder)]
    chosen = known.architecture or [name for name in PEERS if name not in missing]
    wrong = [name for name in chosen if name not in PEERS or name in missing]
    if wrong:
        raise SystemExit(f"expected some of {', '.join(name for name in PEERS if name not in missing)}, got {', '.join(wrong)}")
    versions = {**VERSIONS, "jax": jax.__version__, "jaxinterp": jaxinterp.__version__}
    print(", ".join(f"{package} {version}" for package, version in versions.items()))
    print(f"{'architecture':20s}", *(f"{column:>11s}" for column in LIMITS), " worst float32 layer in evaluation", flush=True)
    failed = []
    for name in chosen:
        try:
            with tempfile.TemporaryDirectory() as folder:
                found = compare(name, PEERS[name], pathlib.Path(folder))
        except ValueError as error:
            failed.append(str(error))
            print(f"{name:20s} {error}", flush=True)
            continue
        cells = (f"{found[column].value:11.1e}" if column in found else f"{'-':>11s}" for column in LIMITS)
        print(f"{name:20s}", *cells, f" {found['eval f32'].layer}", flush=True)
        wrong = [column for column, worst in found.items() if not worst.value < LIMITS[column]]
        failed += [f"{name}: {column} deviates by {found[column].value:.1e} at {found[column].layer}" for column in wrong]
    if missing and not known.architecture:
        print(f"not in jaxinterp.models: {', '.join(missing)}")
    if failed:
        sys.exit("\n".join(["failed:", *failed]))


if __name__ == "__main__":
    main()
