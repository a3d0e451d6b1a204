"""What a recipe of one training builds."""

import dataclasses
from collections.abc import Callable

import optax

from jaxinterp import data, training
from jaxinterp._base import Model
from jaxinterp.data import Source
from jaxinterp.pipelines._study import Robustness
from jaxinterp.training import Objective


@dataclasses.dataclass(frozen=True)
class Fit:
    """The training of one network, from its images to a file of weights that PyTorch reads.

    Attributes:
        title: heads the page.
        description: one line under the title.
        build: makes the network where training starts.
        source: builds the training images; they may differ in size where `augment` cuts them to one.
        objective: what is minimised.
        optimizer: turns gradients into updates.
        num_steps: how many in all.
        batch_size: images in a step, over all devices of all hosts.
        held_out: builds the images on which accuracy is measured.
        robustness: radius and number of images of the accuracies under FGSM and PGD; None measures clean accuracy alone.
        evaluate_every: steps between evaluations on the way; None evaluates at the end.
        augment: changes every training image at random; None takes them as they are.
        options: how a step is computed.
        filling: builds what other networks add to every batch, `training.adversaries_of` or `training.answers_of`; None for
            objectives that need nothing.
        finish: turns what was trained into the network that is saved, such as `models.fold_batch_norm`; None keeps it.
        num_checkpoints: written on the way, evenly spaced.
        num_points: of the curves.
        num_threads: that read images ahead, see `data.training_batches`.
        num_workers: processes that read images ahead.
        seed: of the order of the images and of every draw.

    Raises:
        ValueError: a number below 1, or radius and number of images without images.
    """

    title: str
    description: str
    build: Callable[[], Model]
    source: Callable[[], Source]
    objective: Objective
    optimizer: optax.GradientTransformation
    num_steps: int
    batch_size: int = 128
    held_out: Callable[[], Source] | None = None
    robustness: Robustness | None = None
    evaluate_every: int | None = None
    augment: data.Augment | None = None
    options: training.StepOptions = dataclasses.field(default_factory=training.StepOptions)
    filling: Callable[[], training.Filling] | None = None
    finish: Callable[[Model], Model] | None = None
    num_checkpoints: int = 10
    num_points: int = 200
    num_threads: int = 2
    num_workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_steps", "batch_size", "num_checkpoints", "num_points", "evaluate_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"expected {name} of at least 1, got {value}.")
        if self.held_out is None and (self.robustness is not None or self.evaluate_every is not None):
            raise ValueError("expected held_out= beside robustness= and evaluate_every=, got none; give it images.")
