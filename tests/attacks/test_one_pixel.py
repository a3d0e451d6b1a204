"""The one-pixel attack beside differential evolution with loops, from the same draws, and the best pixel of a linear model."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import Model, attacks
from jaxinterp.attacks._query._one_pixel import _others
from tests.attacks import toys

pytestmark = pytest.mark.usefixtures("float64")

KEY, POPULATION, GENERATIONS = jax.random.key(5), 6, 5
INIT = np.uint32(2**32 - 1)


def key_of(index: Any, example: int) -> jax.Array:
    return jax.random.fold_in(jax.random.fold_in(KEY, index), example)


def painted(clean: np.ndarray, genes: np.ndarray) -> np.ndarray:
    image = clean.copy()
    for gene in genes:
        row, column = (min(int(np.float32(u) * toys.SIZE), toys.SIZE - 1) for u in gene[:2])
        image[row, column] = gene[2:]
    return image


def transcribed(model: Model, batch: Any, num_pixels: int) -> tuple[np.ndarray, np.ndarray]:
    weight, bias = np.asarray(model.params["weight"]), np.asarray(model.params["bias"])
    answers, queries = [], []
    for i, clean in enumerate(np.asarray(batch.image)):
        label, target = int(batch.label[i]), int(batch.target[i])

        def judged(image: np.ndarray, label: int = label, target: int = target) -> tuple[float, bool]:
            logits = image.ravel() @ weight + bias
            p = np.exp(logits) / np.exp(logits).sum()
            return (-p[target], logits.argmax() == target) if target >= 0 else (p[label], logits.argmax() != label)

        (best, won), answer, spent = judged(clean), clean, 1
        place, colour = jax.random.split(key_of(INIT, i))
        shape = (POPULATION, num_pixels)
        colours = np.asarray(128 / 255 + 127 / 255 * jax.random.normal(colour, (*shape, 3), jnp.float64))
        places = np.asarray(jax.random.uniform(place, (*shape, 2), jnp.float64))
        population, fitness = np.concatenate([places, np.clip(colours, 0, 1)], axis=-1), np.full(POPULATION, np.inf)
        for generation in range(1 + GENERATIONS):
            if won:
                break
            bred = population.copy()
            if generation:
                draws = np.asarray(jax.random.uniform(key_of(generation, i), (POPULATION, 3 + num_pixels * 5), jnp.float64))
                for j in range(POPULATION):
                    left = [k for k in range(POPULATION) if k != j]
                    one, two, three = (left.pop(int(np.float32(u) * np.float32(len(left)))) for u in draws[j, :3])
                    child = population[one] + 0.5 * (population[two] - population[three])
                    outside = (child < 0) | (child > 1)
                    bred[j] = np.where(outside, draws[j, 3:].reshape(child.shape), child)
            found = [judged(painted(clean, genes)) for genes in bred]
            for j, (value, _) in enumerate(found):
                if value <= fitness[j]:
                    population[j], fitness[j] = bred[j], value
            spent += POPULATION
            winners = [j for j, (_, success) in enumerate(found) if success]
            j = min(winners or range(POPULATION), key=lambda j: found[j][0])
            if winners or found[j][0] < best:
                best, answer, won = found[j][0], painted(clean, bred[j]), bool(winners)
        answers.append(answer)
        queries.append(spent)
    return np.stack(answers), np.asarray(queries)


@pytest.mark.parametrize("num_pixels", [1, 3])
def test_transcribed(num_pixels: int) -> None:
    model, batch = toys.linear_model(scale=0.1, dtype=np.float64), toys.make_batch(dtype=np.float64)
    label = model(batch.image)[0].argmax(1).astype(np.int32)
    batch = batch._replace(target=batch.target.at[2:].set(-1), label=label)
    settings: Any = {"num_pixels": num_pixels, "population": POPULATION}
    attack = attacks.one_pixel(**settings, max_queries=1 + POPULATION * (1 + GENERATIONS))
    state = attacks.run_batch(attack, model, batch, key=KEY, unroll=False)
    answers, queries = transcribed(model, batch, num_pixels)
    np.testing.assert_allclose(state.adversarial, answers, atol=1e-12, rtol=0)
    np.testing.assert_array_equal(state.queries, queries)
    changed = np.any(np.asarray(state.adversarial) != np.asarray(batch.image), axis=3).sum((1, 2))
    assert 1 <= changed.max() <= num_pixels


def test_nearly_the_best_pixel_of_a_linear_model() -> None:
    """Towards a target of whose logit one pixel is worth too little to win: how much it gains at the best place and colour."""
    model = toys.linear_model(scale=0.01, dtype=np.float64)
    model = Model({**model.params, "bias": jnp.asarray([0.0, 9, 9, 9, 9])}, {}, model.network)
    batch = toys.make_batch(dtype=np.float64)
    batch = batch._replace(target=batch.target * 0, label=model(batch.image)[0].argmax(1).astype(np.int32))
    attack = attacks.one_pixel(population=60, max_queries=1 + 60 * 40)
    result = np.asarray(attacks.run_batch(attack, model, batch, key=KEY, unroll=False).adversarial)
    weight, image = np.asarray(model.params["weight"]), np.asarray(batch.image)
    p = np.exp(np.asarray(model(batch.image)[0]) - 9)
    p[:, 0] = 0
    p /= p.sum(1, keepdims=True)
    slope = (weight[:, 0] - p @ weight.T).reshape(image.shape)
    gained = (slope * (result - image)).sum((1, 2, 3))
    best = (np.abs(slope) * np.where(slope > 0, 1 - image, image)).sum(3).max((1, 2))
    assert np.all(gained <= best * 1.01)
    assert np.all(gained >= best * 0.8)


def test_three_others_are_different() -> None:
    draws = jax.random.uniform(KEY, (5, 3), jnp.float32)
    four = np.stack([np.arange(5), *(np.asarray(each) for each in _others(draws))], axis=1)
    assert all(len(set(row)) == 4 for row in four)
    extreme = np.stack([np.asarray(each) for each in _others(jnp.full((4, 3), np.float32(1) - np.finfo(np.float32).epsneg))])
    assert all(len({j, *extreme[:, j]}) == 4 and extreme[:, j].max() < 4 for j in range(4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_pixels": 0}, "expected num_pixels >= 1, got 0; write num_pixels=1."),
        ({"population": 3}, "expected population >= 4, got 3; write population=400."),
        ({"difference_weight": 0}, r"expected difference_weight in \(0, 2\], got 0; write difference_weight=0.5."),
        ({"max_queries": 400}, "expected max_queries >= 401, got 400; write max_queries=401 or more."),
    ],
)
def test_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attacks.one_pixel(**arguments)
