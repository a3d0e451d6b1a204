"""What a recipe of factors builds: networks in conditions that differ in one thing, and what they are read with."""

import dataclasses
from collections.abc import Callable

import optax

from jaxinterp import training
from jaxinterp._base import Model
from jaxinterp.data import Source
from jaxinterp.pipelines._dissection_settings import Dissection
from jaxinterp.pipelines._workdir import check_name
from jaxinterp.training import Objective, Pretext


@dataclasses.dataclass(frozen=True)
class Condition:
    """A network in one condition: trained, or a reading of the training of an earlier condition.

    Attributes:
        name: names it in files, and other conditions refer to it; no "/".
        group: the factor it belongs to, such as "dropout"; conditions of a group follow each other.
        title: printed under its bar; the name by default.
        build: the network as it is trained, with fresh weights; None for a reading of another condition.
        layers: what is dissected, the last of them behind bar and probe; those of `of` by default.
        source: builds the training images.
        num_steps: of training; 0 reads the network as built.
        objective: what is minimised; a `training.Pretext` brings its head, which is dropped after training.
        optimizer: `(num_steps) -> optax transformation`.
        start: an earlier condition whose trained weights this training begins with, in place of those of `build`.
        finish: turns what was trained into the network that is read, such as `models.fold_batch_norm`; None keeps it.
        of: an earlier condition that is read here, which trains nothing.
        at_step: after how many steps of that training; None for its end.

    Raises:
        ValueError: neither `build` nor `of`, or what only the other kind has.
    """

    name: str
    group: str
    _: dataclasses.KW_ONLY
    title: str = ""
    build: Callable[[], Model] | None = None
    layers: tuple[str, ...] = ()
    source: Callable[[], Source] | None = None
    num_steps: int = 0
    objective: Objective | Pretext = dataclasses.field(default_factory=training.standard)
    optimizer: Callable[[int], optax.GradientTransformation] = lambda num_steps: optax.adamw(1e-3)
    start: str | None = None
    finish: Callable[[Model], Model] | None = None
    of: str | None = None
    at_step: int | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if (self.build is None) == (self.of is None):
            raise ValueError(f"{self.name!r}: expected either build= a network or of= a condition, got neither or both.")
        if self.of is None and (not self.layers or self.at_step is not None):
            raise ValueError(f"{self.name!r}: expected layers= and no at_step= beside build=; at_step= goes with of=.")
        if self.num_steps < 0 or (self.num_steps and self.source is None):
            raise ValueError(f"{self.name!r}: expected num_steps of 0, or above it with source= the training images.")
        if self.start is not None and not self.num_steps:
            raise ValueError(f"{self.name!r}: expected num_steps above 0 beside start=; write of={self.start!r} to read it.")


@dataclasses.dataclass(frozen=True)
class Factors:
    """How interpretability depends on what a network is and how it was trained.

    Attributes:
        title: heads the page.
        description: one line under the title.
        conditions: in the order of the bars; what a condition refers to comes before it.
        dissection: concept images and how they are read; `layers`, `adversarial`, `num_images` and `num_formula_draws` are not
            looked at.
        probe_training: builds the images that linear probes are fitted to.
        held_out: builds the images on which probes and accuracy are measured.
        batch_size: training images in a step, over all devices.
        num_checkpoints: written on the way of each training, evenly spaced.
        flip: mirror every other training image, at random.
        seed: of the order of the images and of every draw; the same for all conditions.
        repeats: the group whose conditions are one training from several starts; the page then says of every other condition
            whether it is beyond what one more start would make of that training. None leaves this out.

    Raises:
        ValueError: no condition, two of one name, a reference to one that does not come before, or repeats of another group.
    """

    title: str
    description: str
    conditions: tuple[Condition, ...]
    dissection: Dissection
    probe_training: Callable[[], Source]
    held_out: Callable[[], Source]
    batch_size: int = 64
    num_checkpoints: int = 4
    flip: bool = True
    seed: int = 0
    repeats: str | None = None

    def __post_init__(self) -> None:
        known: dict[str, Condition] = {}
        if not self.conditions:
            raise ValueError("expected at least one condition, got none.")
        for condition in self.conditions:
            if condition.name in known:
                raise ValueError(f"expected conditions of different names, got {condition.name!r} twice.")
            for other in (condition.of, condition.start):
                if other is not None and (other not in known or known[other].build is None):
                    trained = [name for name, one in known.items() if one.build is not None]
                    raise ValueError(
                        f"{condition.name!r}: expected a condition with build= that comes before it, got {other!r}; "
                        f"there are: {', '.join(trained)}."
                    )
            if condition.start is not None and not known[condition.start].num_steps:
                raise ValueError(f"{condition.name!r}: expected start= a condition that is trained, got {condition.start!r}.")
            steps = known[condition.of].num_steps if condition.of else 0
            if condition.at_step is not None and not 0 <= condition.at_step <= steps:
                raise ValueError(f"{condition.name!r}: expected at_step of 0 to {steps}, got {condition.at_step}.")
            known[condition.name] = condition
        groups = {condition.group for condition in self.conditions}
        if self.repeats is not None and self.repeats not in groups:
            raise ValueError(f"expected repeats= one of the groups {', '.join(sorted(groups))}, got {self.repeats!r}.")

    def trained(self, condition: Condition) -> Condition:
        """The condition whose training this one reads; itself where it has its own."""
        return next(one for one in self.conditions if one.name == condition.of) if condition.of else condition

    def kept_steps(self, condition: Condition) -> tuple[int, ...]:
        """After which steps of a condition's training its weights are kept, because another condition reads them."""
        asked = {one.at_step for one in self.conditions if one.of == condition.name and one.at_step is not None}
        return tuple(sorted(asked - {condition.num_steps}))
