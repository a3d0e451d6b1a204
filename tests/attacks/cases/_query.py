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


def _one_pixel(epsilon: Any, *, loss: Any, num_steps: int) -> Attack:
    del epsilon, loss
    return attacks.one_pixel(num_pixels=3, population=8, max_queries=1 + 8 * num_steps + 3)


def _zoo(epsilon: Any, *, loss: Any, num_steps: int) -> Attack:
    del epsilon, loss
    settings = {"step_size": 0.3, "initial_weight": 10.0, "num_search_steps": 2}
    return attacks.zoo(num_coordinates=12, max_queries=1 + 25 * num_steps * 2 + 5, **settings)


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
    "one_pixel": Case(_one_pixel, "query", norm=0, pixels=True, num_steps=4, budget=36, random=True, evaluations=2),
    "zoo": Case(_zoo, "query", norm=2, num_steps=4, budget=206, random=True, evaluations=3),
}
