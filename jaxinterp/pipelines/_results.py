"""What a run has finished so far, as the page needs it: results by stage, images by id, masks of units."""

import functools
from typing import Any

import numpy as np

from jaxinterp import activations
from jaxinterp.data import Source
from jaxinterp.pipelines._consistency import ALL
from jaxinterp.pipelines._context import NORMAL, ROBUST, Run
from jaxinterp.pipelines._dissection import ADVERSARIAL, REAL, STALE
from jaxinterp.pipelines._generation import adversarial_images
from jaxinterp.pipelines._passes import forward
from jaxinterp.pipelines._workdir import below

WHEN = {NORMAL: "before", ROBUST: "after"}
"""What the page calls the phases: before and after adversarial training."""


class Results:
    """The finished stages of a run.

    Args:
        run: the run.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.members = run.study.members

    def has(self, stage: str) -> bool:
        """Whether a stage is finished."""
        return self.run.workdir.finished(stage)

    @functools.cache  # noqa: B019 - results live as long as one page is written
    def load(self, stage: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Values and arrays of a finished stage."""
        return self.run.workdir.load(stage)

    def phases(self, stage: str) -> tuple[str, ...]:
        """The phases for which a stage is finished."""
        return tuple(phase for phase in self.run.phases() if self.has(f"{stage}.{phase}"))

    def of(self, stage: str, member: str) -> dict[str, np.ndarray]:
        """The arrays of one member in a finished stage."""
        return below(self.load(stage)[1], member)

    def images(self, phase: str, kind: str) -> Source:
        """The images of a set that a phase's networks were dissected on."""
        if kind == REAL:
            return self.run.source
        return adversarial_images(self.run, NORMAL if kind == STALE else phase)

    def title(self, member: str, phase: str) -> str:
        """A network and its state."""
        return f"{member}, {WHEN[phase]}" if self.run.study.finetuning else member

    def pages(self, stage: str) -> tuple[tuple[str, str], ...]:
        """Title and address of the pages of units that a kind of stage wrote."""
        return tuple(
            (f"Units of {title}{f', {WHEN[phase]} training' if self.run.study.finetuning else ''}", address)
            for phase in self.phases(stage)
            for title, address in self.load(f"{stage}.{phase}")[0]["pages"].items()
        )

    def class_name(self, label: int) -> str:
        """What people call a class."""
        return self.run.source.class_names[label]

    def top_pictures(
        self, phase: str, kind: str, member: str, unit: int, *, count: int
    ) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """The top images of a unit, where it answers in them, and their captions.

        A unit answers where its map, upsampled, exceeds its dissection threshold, or half of its maximum where it was
        not dissected against concepts.

        Args:
            phase: whose network.
            kind: which set of images.
            member: name of the network.
            unit: which unit.
            count: how many images.

        Returns:
            Images `[n h w 3]` uint8, masks `[n h w]`, captions.
        """
        part = self.of(f"dissect.{phase}", member)
        source = self.images(phase, kind)
        row = {int(name): index for index, name in enumerate(part[f"{kind}/id"])}
        ids = [int(name) for name in part[f"{kind}/top_ids"][unit] if name >= 0]
        examples = [source[row[name]] for name in _different(ids, self.run.study.num_targets, kind)[:count]]
        pixels = np.stack([example.image for example in examples])
        position = [member.name for member in self.members].index(member)
        model = self.run.models(phase)[position]
        layer = model.layer(self.members[position].layer)
        maps = forward(model, layer.name, pixels.astype(np.float32) / 255)[1]
        size = source.image_size
        high = np.asarray(activations.upsample(maps[..., unit : unit + 1], layer, size, image_size=size))[..., 0]
        threshold = part[f"{kind}/thresholds"][unit] if f"{kind}/thresholds" in part else high.max() / 2
        captions = [
            self.class_name(example.label) + ("" if kind == REAL else f" → {self.class_name(example.target)}")
            for example in examples
        ]
        return pixels, high > threshold, captions

    def featured_unit(self, member: str) -> int:
        """The unit that the page shows first: the surviving detector of highest IoU, or the one of highest LC_U."""
        part = self.of(f"dissect.{NORMAL}", member)
        if f"{REAL}/best_iou" in part:
            return int(np.argmax(part[f"{REAL}/best_iou"] * (0.5 + part[f"{REAL}/survives"])))
        if self.has(f"consistency.{NORMAL}"):
            found = self.of(f"consistency.{NORMAL}", member)
            alive = np.flatnonzero(found[f"{ADVERSARIAL}/{ALL}/alive"])
            if f"{ADVERSARIAL}/{ALL}/score/lc_u" in found and len(alive):
                return int(alive[np.nanargmax(found[f"{ADVERSARIAL}/{ALL}/score/lc_u"])])
        return int(np.argmax(part[f"{REAL}/top_values"][:, 0]))


def _different(ids: list[int], num_targets: int, kind: str) -> list[int]:
    """The ids, of adversarial images only the first that each source image has."""
    if kind == REAL:
        return ids
    seen: dict[int, int] = {}
    for name in ids:
        seen.setdefault(name // num_targets, name)
    return list(seen.values())
