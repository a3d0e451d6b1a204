"""What a fixture of `parity/` holds: how another library's network answers to the recipe's weights and images."""

import json
import pathlib
from typing import Any, NamedTuple

import numpy as np

FOLDER = pathlib.Path(__file__).parent / "parity"


class Fixture(NamedTuple):
    """One architecture.

    Attributes:
        facts: `origin` and `versions` of what it was made with; `builder` and `knobs` of the same network in
            `jaxinterp.models`, and `reduced`, the knobs of the network that gave the numbers, where it is a smaller one;
            `gain` of the recipe; `image_size`, `num_images` in evaluation and in `training`.
        shapes: name -> shape of every weight of the whole network.
        layers: layer -> (height, width, units) or (units,), in the order of the network.
        activations: `[layers, 3 + samples]`, `recipe.summary` of every layer in evaluation.
        logits: `[3 + samples]`, the same of the logits in training mode.
        statistics: name -> `[3 + samples]`, the same of every new running mean and variance after one batch in training.
    """

    facts: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    layers: dict[str, tuple[int, ...]]
    activations: np.ndarray
    logits: np.ndarray
    statistics: dict[str, np.ndarray]


def names() -> list[str]:
    """Every architecture that has a fixture."""
    return sorted(path.stem for path in FOLDER.glob("*.npz"))


def read(name: str) -> Fixture:
    """The fixture of that architecture."""
    with np.load(FOLDER / f"{name}.npz") as arrays:
        text = json.loads(arrays["text"].tobytes())
        statistics = dict(zip(text["statistics"], arrays["statistics"], strict=True))
        shapes, layers = ({key: tuple(shape) for key, shape in text[part].items()} for part in ("shapes", "layers"))
        return Fixture(text["facts"], shapes, layers, arrays["activations"], arrays["logits"], statistics)


def write(name: str, fixture: Fixture) -> None:
    """Writes the fixture of that architecture."""
    FOLDER.mkdir(exist_ok=True)
    text = {
        "facts": fixture.facts,
        "shapes": fixture.shapes,
        "layers": fixture.layers,
        "statistics": list(fixture.statistics),
    }
    np.savez_compressed(
        FOLDER / f"{name}.npz",
        text=np.frombuffer(json.dumps(text).encode(), np.uint8),
        activations=fixture.activations,
        logits=fixture.logits,
        statistics=np.array(list(fixture.statistics.values())),
    )
