"""Attacks that only ask the network."""

from typing import Any

from jaxinterp import Attack, attacks
from tests.attacks.cases._case import Case


def _square(norm: str) -> Any:
    def build(epsilon: Any, *, loss: Any, num_steps: int) -> Attack:
        del loss
        return attacks.square(epsilon, norm=norm, max_queries=num_steps)

    return build


def _estimate(make: Any) -> Any:
    def build(epsilon: Any, *, loss: Any, num_steps: int) -> Attack:
        del loss
        return make(epsilon, num_directions=10, max_queries=1 + 21 * num_steps + 5)

    return build


def _decision(make: Any, **settings: Any) -> Any:
    def build(epsilon: Any, *, loss: Any, num_steps: int) -> Attack:
        del epsilon, loss
        return make(max_queries=num_steps, **settings)

    return build


CASES: dict[str, Case] = {
    "square": Case(_square("linf"), "query", num_steps=20, budget=20, random=True, radius=True, evaluations=1),
    "square[l2]": Case(
        _square("l2"), "query", norm=2, num_steps=20, budget=20, random=True, radius=True, evaluations=1, tie=1e-4
    ),
    "nes": Case(_estimate(attacks.nes), "query", budget=64, random=True, radius=True, evaluations=3),
    "spsa": Case(_estimate(attacks.spsa), "query", budget=64, random=True, radius=True, evaluations=3),
    "boundary": Case(
        _decision(attacks.boundary), "query", norm=2, num_steps=60, budget=60, random=True, evaluations=1, aims=False
    ),
    "hop_skip_jump": Case(
        _decision(attacks.hop_skip_jump, initial_probes=10),
        "query",
        norm=2,
        num_steps=60,
        budget=60,
        random=True,
        evaluations=1,
        aims=False,
    ),
}
