"""Writes `tests/models/parity/*.npz`: how PyTorch's networks answer to the recipe of `tests/models/recipe.py`.

Each file holds names and shapes of the weights and, of the recipe's weights and images in float64, a few values of every
named layer in evaluation, of the logits in training mode and of the batch statistics after it. The default suite compares
`jaxinterp.models` with them and so needs no PyTorch. This script needs what `.ci/peers/requirements.txt` names:

    PYTHONPATH=.:.ci/peers python scripts/make_parity.py [architecture ...] [--check]

With `--check` nothing is written; it fails where a committed file says something else.
"""
# pyright: reportMissingImports=false

import argparse

import numpy as np
import torch_side
from networks import PEERS, VERSIONS, Peer

from tests.models import fixture, recipe
from tests.models.fixture import Fixture

TOLERANCE = 1e-11
"""Of a check: another processor adds in another order."""


def make(peer: Peer) -> Fixture:
    """Runs a network in evaluation and in training mode."""
    module = torch_side.build(peer, reduced=True).eval()
    sites = peer.sites(module)
    maps = torch_side.activations(module, sites, recipe.images(peer.num_images, peer.image_size))
    _check_that_it_says_something(maps)
    training = peer.training
    trained = torch_side.activations(module.train(), sites, recipe.images(training["num_images"], training["image_size"]))
    statistics = {name: value for name, value in torch_side.state(module).items() if ".running_" in name}
    facts = {
        "origin": peer.origin,
        "versions": VERSIONS,
        "builder": peer.builder,
        "knobs": peer.knobs,
        "reduced": peer.reduced,
        "gain": peer.gain,
        "image_size": peer.image_size,
        "num_images": peer.num_images,
        "training": training,
    }
    return Fixture(
        facts,
        torch_side.shapes(peer.build()),
        {name: value.shape[1:] for name, value in maps.items()},
        np.array([recipe.summary(name, value) for name, value in maps.items()]),
        recipe.summary("logits", trained["logits"]),
        {name: recipe.summary(name, value, samples=recipe.NUM_STATISTICS) for name, value in statistics.items()},
    )


def _check_that_it_says_something(maps: dict[str, np.ndarray]) -> None:
    """Stops where a layer is nearly dead, explodes, or hardly depends on the image: it would hide mistakes."""
    for name, value in maps.items():
        scale, alive = np.abs(value).max(), np.mean(value != 0)
        between = np.abs(value[0] - value[1]).max() / scale
        if not (0.1 < scale < 1000 and alive > 0.2 and between > 0.01):
            raise SystemExit(f"{name}: maximum {scale:.2g}, {alive:.0%} not zero, images differ by {between:.2g}")


def compare(got: Fixture, want: Fixture) -> float:
    """The largest relative deviation of two fixtures; infinite where they are not of the same network."""
    if (got.shapes, got.layers, list(got.statistics)) != (want.shapes, want.layers, list(want.statistics)):
        return np.inf
    pairs = [
        *zip(got.activations, want.activations, strict=True),
        (got.logits, want.logits),
        *zip(got.statistics.values(), want.statistics.values(), strict=True),
    ]
    return max(recipe.deviation(one, other) for one, other in pairs)


def main() -> None:
    """Writes or checks the fixtures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architecture", nargs="*", help="all of them where none is given")
    parser.add_argument("--check", action="store_true", help="compare with the files that are there")
    known = parser.parse_args()
    unknown = [name for name in known.architecture if name not in PEERS]
    if unknown:
        raise SystemExit(f"expected some of {', '.join(PEERS)}, got {', '.join(unknown)}")
    print(", ".join(f"{package} {version}" for package, version in VERSIONS.items()))
    failed = []
    for name in known.architecture or PEERS:
        made = make(PEERS[name])
        if known.check:
            worst = compare(made, fixture.read(name)) if name in fixture.names() else np.inf
            failed += [name] if not worst < TOLERANCE else []
            print(f"{name}: deviates by {worst:.1e} from the committed file", flush=True)
        else:
            fixture.write(name, made)
            print(f"{name}: {len(made.layers)} layers, {(fixture.FOLDER / f'{name}.npz').stat().st_size} bytes", flush=True)
    if failed:
        raise SystemExit(f"expected the committed files, got others of {', '.join(failed)}; write them without --check")


if __name__ == "__main__":
    main()
