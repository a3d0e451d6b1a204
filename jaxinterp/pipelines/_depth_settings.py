"""What a recipe of a depth study builds: networks trained with and without assigned units."""

import dataclasses
from collections.abc import Callable

import optax

from jaxinterp import data
from jaxinterp._base import Model
from jaxinterp.activations import Anchor, DepthBins
from jaxinterp.data import Source
from jaxinterp.pipelines._workdir import check_name
from jaxinterp.training import Objective


@dataclasses.dataclass(frozen=True)
class DepthCondition:
    """A way of training.

    Attributes:
        name: names it in files; no "/".
        title: printed.
        objective: what is minimised, such as `training.depth(bins, layers=...)`.
    """

    name: str
    title: str
    objective: Objective


@dataclasses.dataclass(frozen=True)
class DepthPairs:
    """Pairs on which the trained networks are read besides.

    Attributes:
        name: printed, and names it in files; no "/".
        source: builds the pairs.
        bins: of their depth.
    """

    name: str
    source: Callable[[], Source]
    bins: DepthBins


@dataclasses.dataclass(frozen=True)
class DepthStudy:
    """Depth selectivity of networks trained in several ways from the same seeds.

    Attributes:
        title: heads the page.
        description: one line under the title.
        conditions: ways of training; the others are compared with the first.
        build: `(seed) -> model`, a network whose logits are log depth, see `models.depth_network`.
        source: builds the training images, with depth.
        held_out: builds the images on which everything is measured.
        bins: of depth.
        layers: whose units are read.
        optimizer: of every training.
        num_steps: of every training.
        batch_size: images in a step, over all devices.
        seeds: one training of each condition with each; of weights, order and every draw.
        ablated: the layer whose units are switched off; one of `layers`.
        ablations: how many units at a time, rising.
        num_random: draws of as many random units.
        pairs: further images with depth, which only run through.
        augment: changes every training image at random.
        anchor: where positions of maps lie, see `activations.upsample`.
        num_checkpoints: written on the way of each training.

    Raises:
        ValueError: nothing to compare, two of one name, or a number out of range.
    """

    title: str
    description: str
    conditions: tuple[DepthCondition, ...]
    build: Callable[[int], Model]
    source: Callable[[], Source]
    held_out: Callable[[], Source]
    bins: DepthBins
    layers: tuple[str, ...]
    optimizer: optax.GradientTransformation
    num_steps: int
    batch_size: int = 32
    seeds: tuple[int, ...] = (0, 1, 2)
    ablated: str = ""
    ablations: tuple[int, ...] = (1, 4, 16)
    num_random: int = 3
    pairs: tuple[DepthPairs, ...] = ()
    augment: data.Augment | None = None
    anchor: Anchor = "receptive_field"
    num_checkpoints: int = 4

    def __post_init__(self) -> None:
        for what, names in (
            ("conditions", [one.name for one in self.conditions]),
            ("layers", self.layers),
            ("seeds", self.seeds),
            ("pairs", [one.name for one in self.pairs]),
        ):
            if len(set(names)) != len(names) or (what != "pairs" and not names):
                raise ValueError(f"expected {what}, each once, got {tuple(names)}.")
        for name in (*(one.name for one in self.conditions), *(one.name for one in self.pairs)):
            check_name(name)
        if self.ablated not in self.layers:
            raise ValueError(f"expected ablated= one of the layers {', '.join(self.layers)}, got {self.ablated!r}.")
        for name in ("num_steps", "batch_size", "num_random", "num_checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}.")
        if not self.ablations or min(self.ablations) < 1 or list(self.ablations) != sorted(set(self.ablations)):
            raise ValueError(f"expected rising numbers of ablated units, got {self.ablations}; write (1, 4, 16).")

    @property
    def seed(self) -> int:
        """The first of the seeds."""
        return self.seeds[0]
