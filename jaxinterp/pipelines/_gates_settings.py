"""How the units of a study's members are asked for the classes that they speak for."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Gates:
    """Class-specific gates of the members of a study, and how far their units belong to classes.

    A member that was trained with a gate, `models.gated`, is shown with its own. One is also fitted to every member with its
    weights frozen, so that networks are compared by gates of one making: on the study's images or, without them, the held-out
    ones.

    Attributes:
        num_images: held-out images on which everything is measured, spread evenly over them; None for all.
        num_steps: in which a gate is fitted.
        learning_rate: of plain gradient descent on the gate.
        batch_size: images in a step.
        regulariser_weight: of the excess of the gate's L1 norm, as in `training.class_specific`.
        density: share of the gate up to which its norm is free; 0 penalises all of it.
        threshold: units whose gate is above it are a class's filters.
        num_permutations: of the labels, behind the mutual information score that chance gives.
        num_groups: of images in the jackknife behind the interval of that score; 0 leaves the interval out.
        num_controls: sets of random units beside a class's filters, of the same size.
        num_null_draws: permutations of the units behind the block score that chance gives.
        category: of the concept that bears an image's class as its name, such as "object": where the images have concept maps,
            its pixels are where the class is. None leaves localisation out.
        num_localised: images on which localisation is measured.

    Raises:
        ValueError: a number below 1, a negative rate or weight, or a density or threshold that is none.
    """

    num_images: int | None = None
    num_steps: int = 100
    learning_rate: float = 5.0
    batch_size: int = 64
    regulariser_weight: float = 1e-3
    density: float = 0.2
    threshold: float = 0.5
    num_permutations: int = 5
    num_groups: int = 5
    num_controls: int = 10
    num_null_draws: int = 200
    category: str | None = None
    num_localised: int = 200

    def __post_init__(self) -> None:
        for name in ("num_steps", "batch_size", "num_permutations", "num_controls", "num_null_draws", "num_localised"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}.")
        if self.num_images is not None and self.num_images < 1:
            raise ValueError(f"expected num_images of at least 1, got {self.num_images}; leave it out for all.")
        if self.num_groups < 0 or self.num_groups == 1:
            raise ValueError(f"expected num_groups of 0 or at least 2, got {self.num_groups}; write 5.")
        for name in ("learning_rate", "regulariser_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"expected {name} of at least 0, got {getattr(self, name)}.")
        if not 0 <= self.density <= 1:
            raise ValueError(f"expected a density from 0 to 1, got {self.density}; write 0.2.")
        if not 0 <= self.threshold < 1:
            raise ValueError(f"expected a threshold in [0, 1), got {self.threshold}; write 0.5.")
