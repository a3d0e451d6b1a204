"""Attacks on several networks."""

from typing import Any

from jaxinterp import Attack, attacks
from tests.attacks.cases._case import Case


def _optimization(epsilon: Any, *, loss: Any, num_steps: int) -> Attack:
    del epsilon, loss
    return attacks.ensemble_optimization(distance_weight=100.0, num_steps=num_steps)


CASES = {"ensemble_optimization": Case(_optimization, "penalty", takes_ensembles=True)}
