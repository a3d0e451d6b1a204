"""Attacks on several networks."""

from typing import Any

from jaxinterp import Attack, attacks
from tests.attacks.cases._case import Case


def _optimization(epsilon: Any, *, loss: Any, num_steps: int) -> Attack:
    del epsilon, loss
    return attacks.ensemble_optimization(distance_weight=100.0, num_steps=num_steps)


CASES = {
    "ensemble_optimization": Case(_optimization, "penalty", takes_ensembles=True),
    "svre": Case(attacks.svre, "fixed_radius", evaluations=3, looks_ahead=True, takes_ensembles=True),
    "mi_cwa": Case(attacks.mi_cwa, "fixed_radius", looks_ahead=True, takes_ensembles=True),
}
