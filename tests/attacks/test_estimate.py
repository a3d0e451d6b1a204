"""NES and SPSA beside transcriptions in float64, from the same draws."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import attacks
from tests.attacks import toys

KEY = jax.random.key(5)
EPSILON, PAIRS = 0.02, 6


def log_probability(logits: np.ndarray, label: int) -> float:
    """Log-probability of the label: what is to fall."""
    return float(logits[label] - np.log(np.exp(logits).sum()))


def margin(logits: np.ndarray, label: int) -> float:
    return float(logits[label] - np.delete(logits, label).max())


def transcribed(name: str, draw: Any, loss: Any, probe_size: float, model: Any, batch: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both algorithms, image by image, for three steps."""
    weight, bias = np.asarray(model.params["weight"]), np.asarray(model.params["bias"])
    logits_of = lambda image: image.reshape(-1) @ weight + bias  # noqa: E731
    answers, queries = [], []
    for i, clean in enumerate(np.asarray(batch.image)):
        aimed = int(batch.target[i]) >= 0
        wanted = int(batch.target[i]) if aimed else int(batch.label[i])
        sign = -1 if aimed else 1
        value = lambda x, w=wanted, s=sign: s * loss(logits_of(x), w)  # noqa: E731
        won = lambda x, w=wanted, a=aimed: (logits_of(x).argmax() == w) == a  # noqa: E731
        x, spent, first, second = clean, 1, np.zeros_like(clean), np.zeros_like(clean)
        for index in range(3):
            if won(x):
                break
            key = jax.random.fold_in(jax.random.fold_in(KEY, index), i)
            gradient = np.zeros_like(clean)
            for u in np.asarray(draw(key, (PAIRS, *clean.shape), jnp.float64)):
                gradient += (value(x + probe_size * u) - value(x - probe_size * u)) * u / (2 * probe_size * PAIRS)
            if name == "nes":
                change = 0.01 * np.sign(gradient)
            else:
                first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
                corrected = first / (1 - 0.9 ** (index + 1)), second / (1 - 0.999 ** (index + 1))
                change = 0.01 * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
            x, spent = np.clip(np.clip(x - change, clean - EPSILON, clean + EPSILON), 0, 1), spent + 2 * PAIRS + 1
        answers.append(x)
        queries.append(spent)
    return np.stack(answers), np.asarray(queries)


@pytest.mark.parametrize(
    ("name", "draw", "loss", "probe_size"),
    [("nes", jax.random.normal, log_probability, 0.001), ("spsa", jax.random.rademacher, margin, 0.01)],
)
def test_transcribed(name: str, draw: Any, loss: Any, probe_size: float) -> None:
    with jax.enable_x64(True):
        model, batch = toys.linear_model(scale=0.1, dtype=np.float64), toys.make_batch(dtype=np.float64)
        label = model(batch.image)[0].argmax(1).astype(np.int32)
        batch = batch._replace(target=batch.target.at[1:].set(-1), label=label.at[1].set((label[1] + 1) % toys.CLASSES))
        attack = getattr(attacks, name)(EPSILON, num_directions=PAIRS, max_queries=1 + 3 * (2 * PAIRS + 1))
        state = attacks.run_batch(attack, model, batch, key=KEY, unroll=False)
        answers, queries = transcribed(name, draw, loss, probe_size, model, batch)
        np.testing.assert_allclose(state.adversarial, answers, atol=1e-9, rtol=0)
        np.testing.assert_array_equal(state.queries, queries)
        assert queries[1] == 1
        assert queries.max() == 1 + 3 * (2 * PAIRS + 1)


def test_many_directions_are_the_gradient() -> None:
    """On a linear model the margin is linear: with enough directions most signs of the first step are those of FGSM."""
    model, batch = toys.linear_model(), toys.make_batch()
    batch = batch._replace(label=model(batch.image)[0].argmax(1).astype(np.int32), target=batch.target * 0 - 1)
    exact = attacks.run_batch(attacks.fgsm(0.001, loss=attacks.margin), model, batch, key=KEY).adversarial
    attack = attacks.spsa(0.001, step_size=0.001, num_directions=3000, max_queries=6002)
    estimated = attacks.run_batch(attack, model, batch, key=KEY).adversarial
    assert np.mean(np.abs(estimated - exact) < 1e-6) > 0.9


def test_a_step_that_the_budget_does_not_pay_for_is_not_begun() -> None:
    model, batch = toys.linear_model(scale=0.0), toys.make_batch()
    batch = batch._replace(label=model(batch.image)[0].argmax(1).astype(np.int32), target=batch.target * 0 - 1)
    for budget, expected in ((42, 22), (43, 43)):
        state = attacks.run_batch(attacks.nes(0.1, num_directions=10, max_queries=budget), model, batch, key=KEY)
        np.testing.assert_array_equal(state.queries, expected)
        assert bool(state.done.all())


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        *((name, *case) for name, case in itertools.product(("nes", "spsa"), [
            ({"epsilon": 8}, r"expected epsilon in \(0, 1\], got 8; write 8 / 255."),
            ({"step_size": 0}, r"expected step_size in \(0, 1\], got 0"),
            ({"probe_size": 0}, "expected probe_size > 0, got 0; write probe_size=0.001."),
            ({"num_directions": 0}, "expected num_directions >= 1, got 0; write num_directions=25."),
            ({"num_directions": 50, "max_queries": 50}, "expected max_queries >= 102, got 50; write max_queries=102 or more."),
        ])),
        ("nes", {"decay": -1}, "expected decay >= 0, got -1; write decay=0.9."),
    ],
)  # fmt: skip
def test_refused(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(attacks, name)(**{"epsilon": 0.1, **arguments})
