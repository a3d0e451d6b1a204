"""ZOO beside a transcription with loops, from the same draws, and the nearest image of a linear model."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import Batch, Model, attacks
from tests.attacks import toys
from tests.attacks.test_contract import nearest

pytestmark = pytest.mark.usefixtures("float64")

KEY, COORDINATES, STEPS = jax.random.key(5), 40, 6


def undecided(count: int = 4) -> tuple[Model, Batch]:
    model, batch = toys.centred_linear_model(dtype=np.float64), toys.make_batch(count, dtype=np.float64)
    batch = batch._replace(image=0.4 + 0.2 * batch.image, target=batch.target * 0 - 1)
    return model, batch._replace(label=model(batch.image)[0].argmax(1).astype(np.int32))


def transcribed(model: Model, batch: Batch, rounds: int) -> np.ndarray:
    """Coordinate-wise Adam, image by image."""
    weight, bias, answers = np.asarray(model.params["weight"]), np.asarray(model.params["bias"]), []
    for i, clean in enumerate(np.asarray(batch.image).reshape(len(batch.id), -1)):
        label, target = int(batch.label[i]), int(batch.target[i])

        def margin(x: np.ndarray, label: int = label, target: int = target) -> float:
            logits = x @ weight + bias
            own = target if target >= 0 else label
            ahead = logits[own] - np.delete(logits, own).max()
            return -ahead if target >= 0 else ahead

        best, distance, c, low, high = clean, np.inf, 2.0, 0.0, np.inf
        for number in range(rounds):
            x, first, second, times, found = clean.copy(), clean * 0, clean * 0, clean * 0, False
            for index in range(STEPS):
                key = jax.random.fold_in(jax.random.fold_in(KEY, number * STEPS + index), i)
                moved = x.copy()
                for place in np.asarray(jax.random.permutation(key, clean.size))[:COORDINATES]:
                    up, down = x.copy(), x.copy()
                    up[place] += 1e-3
                    down[place] -= 1e-3
                    values = [c * max(margin(image), 0) + ((image - clean) ** 2).sum() for image in (up, down)]
                    gradient = (values[0] - values[1]) / 2e-3
                    times[place] += 1
                    first[place] = 0.9 * first[place] + 0.1 * gradient
                    second[place] = 0.999 * second[place] + 0.001 * gradient**2
                    mean, square = first[place] / (1 - 0.9 ** times[place]), second[place] / (1 - 0.999 ** times[place])
                    moved[place] = np.clip(x[place] - 0.05 * mean / (square**0.5 + 1e-8), 0, 1)
                x = moved
                if margin(x) < 0:
                    found = True
                    if np.linalg.norm(x - clean) < distance:
                        best, distance = x, np.linalg.norm(x - clean)
            low, high = (low, c) if found else (c, high)
            c = 10 * c if np.isinf(high) else (low + high) / 2
        answers.append(best.reshape(batch.image.shape[1:]))
    return np.stack(answers)


def test_transcribed() -> None:
    model, batch = undecided()
    other = (batch.label + 1) % toys.CLASSES
    batch = batch._replace(target=jnp.where(batch.id < 2, batch.target, other))
    cost, rounds = 2 * COORDINATES + 1, 3
    attack = attacks.zoo(
        num_coordinates=COORDINATES,
        step_size=0.05,
        initial_weight=2.0,
        num_search_steps=rounds,
        max_queries=1 + cost * STEPS * rounds + 10,
    )
    state = attacks.run_batch(attack, model, batch, key=KEY, unroll=False)
    np.testing.assert_allclose(state.adversarial, transcribed(model, batch, rounds), atol=1e-8, rtol=0)
    np.testing.assert_array_equal(state.queries, 1 + cost * STEPS * rounds)
    assert bool(state.done.all())
    assert bool(jnp.isfinite(state.distance).any())


def test_nearest_image_of_a_linear_model() -> None:
    model, batch = undecided(8)
    settings: Any = {"num_coordinates": 108, "step_size": 0.005, "initial_weight": 0.05, "num_search_steps": 6}
    attack = attacks.zoo(**settings, max_queries=1 + 217 * 60 * 6)
    result = attacks.run_batch(attack, model, batch, key=KEY, unroll=False).adversarial
    assert np.all(np.asarray(model(result)[0].argmax(1)) != np.asarray(batch.label))
    distance = np.linalg.norm(np.asarray(result - batch.image).reshape(8, -1), axis=1)
    least = nearest(model, batch, 2)
    assert np.all(distance >= least * (1 - 1e-9))
    assert np.median(distance / least) < 1.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"confidence": -1.0}, "expected confidence >= 0, got -1.0"),
        ({"step_size": 0.0}, r"expected step_size in \(0, inf\), got 0.0; write step_size=0.01."),
        ({"probe_size": 0.0}, r"expected probe_size in \(0, inf\), got 0.0; write probe_size=0.001."),
        ({"num_coordinates": 0}, "expected num_coordinates >= 1, got 0; write num_coordinates=128."),
        ({"num_search_steps": 0}, "expected num_search_steps >= 1, got 0"),
        ({"initial_weight": 0.0}, r"expected initial_weight in \(0, inf\), got 0.0"),
        ({"num_search_steps": 2, "max_queries": 500}, "expected max_queries >= 515, got 500"),
    ],
)
def test_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attacks.zoo(**arguments)


def test_more_coordinates_than_values_are_refused() -> None:
    model, batch = undecided()
    with pytest.raises(ValueError, match="expected num_coordinates <= 108, got 128; an image has no more values"):
        attacks.run_batch(attacks.zoo(), model, batch, key=KEY, unroll=False)
