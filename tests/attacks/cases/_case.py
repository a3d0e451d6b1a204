"""What the contract test knows of an attack."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxinterp import Attack


class Case(NamedTuple):
    """How to build an attack, what it promises and what its distance is measured in.

    Attributes:
        build: `(epsilon, *, loss, num_steps) -> attack`; what an attack does not take is left out by its row.
        kind: decides which laws hold.
        norm: order of the norm that it bounds or minimises: 0, 1, 2 or infinity.
        pixels: with norm 0: what changed is counted in pixels, not in their channels.
        num_steps: with which the laws are tested; three where that is enough to move.
        evaluations: how often, at most, one step (and `init`) has the network in its program.
        random: another key gives another answer, with whatever it is built.
        looks_ahead: takes gradients elsewhere than at the iterate within one step, so that a step towards a class is not minus
            the step away from it.
        place: `(state, images) -> state` from which the next step starts at these images.
        own_target: it chooses the class that it drives to by itself, whatever loss and target it is given.
        takes_ensembles: is made for a tuple of models.
        converged: of kind "minimum_norm": `() -> ` the attack with as many steps as it needs on a linear model.
        excess: how much further away, relative to the nearest adversarial image, its answer on a linear model may be.
        target_is_a_direction: success is any answer other than the label, also where there is a target.
        budget: of kind "query": the queries that `build` allows for an image.
        radius: of kind "query": keeps to the ball of radius epsilon.
        tie: how far apart two answers may be where rounding decides between images of equal loss.
        aims: finds a way to a target; False where it needs an image of the target to start from.
    """

    build: Callable[..., Attack]
    kind: str
    norm: float = np.inf
    pixels: bool = False
    num_steps: int = 3
    evaluations: int = 2
    random: bool = False
    looks_ahead: bool = False
    place: Callable[[Any, Any], Any] = lambda state, images: state._replace(iterate=images)
    own_target: bool = False
    takes_ensembles: bool = False
    converged: Callable[[], Attack] | None = None
    excess: float = 0.0
    target_is_a_direction: bool = False
    budget: int = 0
    radius: bool = False
    tie: float = 1e-12
    aims: bool = True
