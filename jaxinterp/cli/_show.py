"""What a recipe is, without running it."""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import jax

from jaxinterp import models
from jaxinterp.cli._recipe import Recipe
from jaxinterp.pipelines import Comparison, DepthStudy, Factors, Fit, Member, stages_of, topology_lines


def show(recipe: Callable[..., Recipe], knobs: dict[str, Any], *, topology: str | None = None) -> str:
    """A recipe's purpose, knobs, stages, members and layers as text; shapes only, no weight is read.

    Args:
        recipe: the recipe.
        knobs: its resolved knobs.
        topology: of a TPU pod for which the step of a training is compiled, such as "v5e:4x4"; None compiles nothing.

    Returns:
        Text of several lines.

    Raises:
        ValueError: a topology for what is no training of one network, or one that cannot be compiled for.
    """
    study = recipe(**knobs)
    if topology is not None:
        if not isinstance(study, Fit):
            raise ValueError("expected a recipe of one training beside --topology, got another; take configs/train_cifar10.py.")
        return "\n".join(topology_lines(study, topology))
    lines = [study.title, "", inspect.cleandoc(recipe.__doc__ or ""), "", "knobs"]
    lines += [f"  --{name.replace('_', '-'):24} {_number(value)}" for name, value in knobs.items()]
    if isinstance(study, Factors):
        lines += ["", "conditions"]
        lines += [
            f"  {one.group}: {one.name}, {study.trained(one).num_steps if one.at_step is None else one.at_step} steps"
            for one in study.conditions
        ]
        members = [Member(one.name, one.build, one.layers[-1]) for one in study.conditions if one.build is not None]
    elif isinstance(study, Comparison):
        lines += ["", "contenders"]
        lines += [f"  {one.name}, seeds {', '.join(map(str, study.seeds))}" for one in study.contenders]
        members = [
            Member(one.name, one.fit(study.seeds[0]).build, one.study(study.seeds[0], "").members[0].layer)
            for one in study.contenders
            if one.fit is not None
        ]
    elif isinstance(study, DepthStudy):
        trainings = [f"{one.title}, seeds {', '.join(map(str, study.seeds))}" for one in study.conditions]
        lines += ["", f"{study.num_steps:,} steps of {study.batch_size:,} images", *(f"  {one}" for one in trainings)]
        members = [Member("network", functools.partial(study.build, study.seed), study.ablated)]
    elif isinstance(study, Fit):
        lines += ["", f"{study.num_steps:,} steps of {study.batch_size:,} images"]
        members = [Member("network", study.build, "")]
    else:
        lines += ["", "stages", "  " + " -> ".join(stages_of(study, "study"))]
        members = list(study.members)
    for member in members:
        lines += ["", *_member_lines(member)]
    return "\n".join(lines)


def _member_lines(member: Member) -> list[str]:
    model = models.abstract(member.build)
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(model.params))
    lines = [f"{member.name}: {parameters:,} parameters, images of {model.image_size} px, {model.num_classes} classes"]
    lines.append(f"  {'layer':24} {'h x w x units':>16} {'stride':>7} {'field':>6}")
    for layer in model.layers:
        shape = " x ".join(str(side) for side in layer.shape)
        studied = "  <- studied" if layer.name == member.layer else ""
        lines.append(f"  {layer.name:24} {shape:>16} {layer.stride:>7g} {layer.receptive_field:>6}{studied}")
    return lines


def _number(value: Any) -> str:
    """As one would write it: the shorter of a decimal number and a fraction of 255."""
    if isinstance(value, float) and 0 < value < 0.2 and abs(value * 255 - round(value * 255, 3)) < 1e-9:
        return min(str(value), f"{value * 255:g}/255", key=len)
    return str(value)
