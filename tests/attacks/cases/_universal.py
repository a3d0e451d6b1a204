"""Attacks that look for one perturbation of many images."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxinterp import Attack, attacks
from tests.attacks.cases._case import Case


def _l2(epsilon: Any, **keywords: Any) -> Attack:
    return attacks.universal_perturbation(epsilon, norm="l2", **keywords)


def _case(build: Callable[..., Attack], norm: float) -> Case:
    return Case(functools.partial(build), "universal", norm=norm, num_steps=5, evaluations=1)


CASES: dict[str, Case] = {
    "universal_perturbation[linf]": _case(attacks.universal_perturbation, np.inf),
    "universal_perturbation[l2]": _case(_l2, 2),
}
