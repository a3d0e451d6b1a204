"""A network against its fixture: weights by name and shape, layers by name, shape and value, batch statistics."""

from collections.abc import Mapping
from typing import Any

import pytest

from jaxinterp import Model
from tests.models import fixture, recipe, subject
from tests.models.fixture import Fixture
from tests.models.subject import Answers

FLOAT32, FLOAT64 = 1e-4, 1e-9
"""Largest deviations, relative to the maximum of a layer."""

BRANCHED = ("densenet", "googlenet", "inception")
"""What the second test file takes: a worker runs a whole file."""

REPEATED = ("resnet50", "resnet101", "resnet152", "resnetv2")
"""Networks of many equal blocks."""


DEEPER = (
    *("cifar_resnet32", "cifar_resnet44", "cifar_resnet56", "resnet101", "resnet152", "resnetv2_101", "resnetv2_152"),
    *("densenet161", "vgg13", "vgg13_bn", "vgg16_bn", "vgg19", "vgg19_bn"),
)
"""Networks of the blocks of another one, in other numbers: the default run compares names and shapes, the slow one values."""


def names(*, branched: bool) -> list[Any]:
    """The architectures of one of the two test files, the deeper ones marked as slow."""
    found = [name for name in fixture.names() if name.startswith(BRANCHED) == branched]
    return [pytest.param(name, marks=pytest.mark.slow) if name in DEEPER else name for name in found]


def deeper(*, branched: bool) -> list[str]:
    """Those of them whose values the default run leaves out."""
    return [name for name in DEEPER if name.startswith(BRANCHED) == branched]


def check_outline(name: str) -> Model:
    """Fails where names, shapes or the order of weights and layers differ from PyTorch's; the network without weights."""
    expected = fixture.read(name)
    facts = expected.facts
    knobs = facts["knobs"] | {"image_size": facts["image_size"]}
    model = subject.outline(facts["builder"], knobs)
    _check_same(subject.shapes(model), expected.shapes)
    if facts["reduced"]:
        model = subject.outline(facts["builder"], knobs | facts["reduced"])
    described = {layer.name: layer.shape for layer in model.layers}
    _check_same(described, {name: (1, 1, *shape)[-3:] for name, shape in expected.layers.items()})
    assert list(described) == list(expected.layers), "the layers come in another order"
    return model


def check(name: str) -> None:
    """Fails at the first difference between the network and what PyTorch said."""
    model, expected = check_outline(name), fixture.read(name)
    facts = expected.facts
    jit = not name.startswith(REPEATED)
    model = subject.filled(model, gain=facts["gain"])
    images = recipe.images(facts["num_images"], facts["image_size"])
    trained_on = recipe.images(facts["training"]["num_images"], facts["training"]["image_size"])
    _check_layers(subject.answers(model, images, None, dtype="float32", jit=jit), expected, FLOAT32)
    answers = subject.answers(model, images, trained_on, dtype="float64", jit=jit)
    _check_layers(answers, expected, FLOAT64)
    trained = recipe.deviation(recipe.summary("logits", answers.training["logits"]), expected.logits)
    assert trained < FLOAT64, f"logits in training mode deviate by {trained:.1e}"
    _check_each(
        {
            name: recipe.deviation(recipe.summary(name, answers.statistics[name], samples=recipe.NUM_STATISTICS), want)
            for name, want in expected.statistics.items()
        },
        FLOAT64,
    )


def _check_layers(answers: Answers, expected: Fixture, tolerance: float) -> None:
    _check_same({name: value.shape[1:] for name, value in answers.activations.items()}, expected.layers)
    _check_each(
        {
            name: recipe.deviation(recipe.summary(name, answers.activations[name]), want)
            for name, want in zip(expected.layers, expected.activations, strict=True)
        },
        tolerance,
    )


def _check_same(got: Mapping[str, tuple[int, ...]], want: Mapping[str, tuple[int, ...]]) -> None:
    """Names and shapes; names some that are on one side only."""
    one, other = ({f"{name} {list(shape)}" for name, shape in side.items()} for side in (got, want))
    assert one == other, f"only here: {sorted(one - other)[:5]}; only in PyTorch: {sorted(other - one)[:5]}"


def _check_each(deviations: Mapping[str, float], tolerance: float) -> None:
    """Names the first that deviates, in the order of the network."""
    wrong = [name for name, value in deviations.items() if not value < tolerance]
    assert not wrong, (
        f"{len(wrong)} of {len(deviations)} deviate by {tolerance} or more; first {wrong[0]}: {deviations[wrong[0]]:.1e}"
    )
