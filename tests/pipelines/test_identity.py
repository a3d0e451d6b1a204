"""What changes the identity of a run, and what does not."""

import dataclasses
import functools
import json
import os
import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import optax
import pytest

from jaxinterp import attacks, data
from jaxinterp.pipelines._identity import describe, first_difference

RECIPE = """
    def build(width):
        {comment}
        def inner(member):
            return ({constant}, width)
        return inner
"""


def built(width, *, constant="0.5", comment="pass"):
    scope: dict[str, Any] = {"__name__": "recipe"}
    exec(textwrap.dedent(RECIPE.format(constant=constant, comment=comment)), scope)
    return scope["build"](width)


def test_comments_do_not_count_and_constants_do():
    assert describe(built(8)) == describe(built(8, comment="pass  # a remark\n        "))
    assert describe(built(8)) != describe(built(8, constant="0.25"))
    assert describe(built(8)) != describe(built(16))


def test_attacks_and_optimisers_are_described_by_their_numbers():
    assert describe(attacks.fgsm(4 / 255)) == describe(attacks.fgsm(4 / 255))
    assert describe(attacks.fgsm(4 / 255)) != describe(attacks.fgsm(8 / 255))
    assert describe(optax.adam(1e-3)) == describe(optax.adam(1e-3))
    assert describe(optax.adam(1e-3)) != describe(optax.adam(1e-4))
    slow, fast = (attacks.ensemble_optimization(distance_weight=weight) for weight in (1e4, 1e5))
    assert describe(slow) != describe(fast)


def test_sources_are_described_by_their_fingerprint():
    one, other = (data.concept_world(seed=seed, num_images=4) for seed in (0, 1))
    assert describe(one) != describe(other)
    assert describe(one) == {"type": "ConceptWorld", "fingerprint": one.fingerprint}


def test_arrays_partials_and_records():
    @dataclasses.dataclass(frozen=True)
    class Record:
        values: np.ndarray

    assert describe(Record(np.arange(3))) != describe(Record(np.arange(1, 4)))
    assert describe(functools.partial(max, 1)) != describe(functools.partial(max, 2))
    assert describe({"b": (1, 2.5), "a": None, "c": {3}}) == {"b": [1, 2.5], "a": None, "c": [3]}
    json.dumps(describe(Record(np.arange(3))))


def test_the_same_in_another_process():
    script = (
        "from jaxinterp import attacks; from jaxinterp.pipelines._identity import describe, digest; "
        "print(digest(describe(attacks.ensemble_optimization())))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1 and len(found.pop().strip()) == 16


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ("a.b", 1, 2)),
        ({"a": [1, 2]}, {"a": [1, 3]}, ("a.1", 2, 3)),
        ({"a": 1}, {"a": 1, "c": 2}, ("c", None, 2)),
        ({"a": [1]}, {"a": [1, 2]}, ("a", [1], [1, 2])),
    ],
)
def test_first_difference(old, new, expected):
    assert first_difference(old, new) == expected
