"""A network against its fixture: weights by name and shape, layers by name, shape and value, batch statistics."""

from collections.abc import Mapping

from tests.models import fixture, recipe, subject
from tests.models.fixture import Fixture
from tests.models.subject import Answers

FLOAT32, FLOAT64 = 1e-4, 1e-9
"""Largest deviations, relative to the maximum of a layer."""

BRANCHED = ("densenet", "googlenet", "inception")
"""What the second test file takes: a worker runs a whole file."""


def names(*, branched: bool) -> list[str]:
    """The architectures of one of the two test files."""
    return [name for name in fixture.names() if name.startswith(BRANCHED) == branched]


def check(name: str) -> None:
    """Fails at the first difference between the network and what PyTorch said."""
    expected = fixture.read(name)
    facts = expected.facts
    knobs = facts["knobs"] | {"image_size": facts["image_size"]}
    model = subject.outline(facts["builder"], knobs)
    assert subject.shapes(model) == expected.shapes
    if facts["reduced"]:
        model = subject.outline(facts["builder"], knobs | facts["reduced"])
    described = {layer.name: layer.shape for layer in model.layers}
    assert list(described) == list(expected.layers)
    assert described == {name: shape if len(shape) == 3 else (1, 1, *shape) for name, shape in expected.layers.items()}

    model = subject.filled(model, gain=facts["gain"])
    images = recipe.images(facts["num_images"], facts["image_size"])
    trained_on = recipe.images(facts["training"]["num_images"], facts["training"]["image_size"])
    _check_layers(subject.answers(model, images, None, dtype="float32"), expected, FLOAT32)
    answers = subject.answers(model, images, trained_on, dtype="float64")
    _check_layers(answers, expected, FLOAT64)
    trained = recipe.deviation(recipe.summary("logits", answers.training["logits"]), expected.logits)
    assert trained < FLOAT64, f"logits in training mode deviate by {trained:.1e}"
    assert set(answers.statistics) == set(expected.statistics)
    _check_each(
        {
            name: recipe.deviation(recipe.summary(name, answers.statistics[name], samples=recipe.NUM_STATISTICS), want)
            for name, want in expected.statistics.items()
        },
        FLOAT64,
    )


def _check_layers(answers: Answers, expected: Fixture, tolerance: float) -> None:
    assert set(answers.activations) == set(expected.layers)
    for name, shape in expected.layers.items():
        assert answers.activations[name].shape[1:] == shape, name
    _check_each(
        {
            name: recipe.deviation(recipe.summary(name, answers.activations[name]), want)
            for name, want in zip(expected.layers, expected.activations, strict=True)
        },
        tolerance,
    )


def _check_each(deviations: Mapping[str, float], tolerance: float) -> None:
    """Names the first that deviates, in the order of the network."""
    wrong = [name for name, value in deviations.items() if not value < tolerance]
    assert not wrong, (
        f"{len(wrong)} of {len(deviations)} deviate by {tolerance} or more; first {wrong[0]}: {deviations[wrong[0]]:.1e}"
    )
