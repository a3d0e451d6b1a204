"""Weights of the terms of a loss: numbers, or functions of the step."""

import math
from typing import Any

import optax
from jax import Array

from jaxinterp.attacks._ball import Scalar

Weight = Scalar | optax.Schedule
"""A number, or a function of how many steps were taken before, such as `optax.linear_schedule(0.0, 1.0, 1000)`."""


def weight_at(weight: Weight, step: Array) -> Any:
    """The weight at a step."""
    return weight(step) if callable(weight) else weight


def is_zero(weight: Weight) -> bool:
    """Whether the weight is zero at every step, as far as one can tell without computing it."""
    return isinstance(weight, float | int) and weight == 0


def check_weight(weight: Weight, *, name: str, largest: float = math.inf) -> None:
    """Raises `ValueError` for a number outside [0, `largest`]; arrays and schedules have no value to look at and pass."""
    if isinstance(weight, float | int) and not 0 <= weight <= largest:
        bounds = f"{name} >= 0" if largest == math.inf else f"{name} in [0, {largest:g}]"
        raise ValueError(f"expected {bounds}, got {weight}; write {'1.0' if largest == math.inf else '0.5'}.")
