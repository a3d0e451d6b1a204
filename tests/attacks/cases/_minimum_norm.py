"""Attacks that look for the nearest adversarial image."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxinterp import Attack, attacks
from tests.attacks.cases._case import Case

ORDERS = {"linf": np.inf, "l2": 2, "l1": 1}


def _case(attack: Callable[..., Attack], norm: str, *, converged: dict[str, Any], **fields: Any) -> Case:
    """A row of an attack that takes neither a radius nor a loss."""

    def build(epsilon: Any, *, loss: Any, num_steps: int) -> Attack:
        del epsilon, loss
        return attack(num_steps=num_steps)

    longer = functools.partial(attack, **converged)
    return Case(build, "minimum_norm", norm=ORDERS[norm], converged=longer, **fields)


CASES: dict[str, Case] = {
    **{
        f"fab[{norm}]": _case(
            functools.partial(attacks.fab, norm=norm), norm, converged={"num_steps": 12}, num_steps=6, excess=6e-3
        )
        for norm in ORDERS
    },
    "fab[target]": _case(
        functools.partial(attacks.fab, norm="linf", towards="target"),
        "linf",
        converged={"num_steps": 12},
        num_steps=6,
        excess=6e-3,
        target_is_a_direction=True,
    ),
}
