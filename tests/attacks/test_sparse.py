"""Carlini-Wagner in L0 and JSMA beside transcriptions in float64, and beside the fewest pixels that fool a linear model."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import Batch, Model, attacks
from tests.attacks import toys
from tests.attacks.test_contract import fewest

pytestmark = pytest.mark.usefixtures("float64")

KEY = jax.random.key(0)


def example(make: Any = toys.linear_model, *, count: int = 4, **keywords: Any) -> tuple[Model, Batch]:
    """Images that the model classifies correctly, the second half of them with a target."""
    model, batch = make(dtype=np.float64, **keywords), toys.make_batch(count, dtype=np.float64)
    batch = batch._replace(image=0.4 + 0.2 * batch.image)
    label = model(batch.image)[0].argmax(1).astype(np.int32)
    target = jnp.where(batch.id < count // 2, -1, (label + 1) % toys.CLASSES).astype(jnp.int32)
    return model, batch._replace(label=label, target=target)


def run(attack: Any, model: Model, batch: Batch) -> np.ndarray:
    return np.asarray(attacks.run_batch(attack, model, batch, key=KEY, unroll=False).adversarial)


def margin_and_slope(model: Model, batch: Batch, i: int, image: np.ndarray) -> tuple[float, np.ndarray]:
    """What is to fall below zero, and its gradient, on a linear model."""
    weight, label, target = np.asarray(model.params["weight"]), int(batch.label[i]), int(batch.target[i])
    logits = image.ravel() @ weight + np.asarray(model.params["bias"])
    own = target if target >= 0 else label
    other = int(np.argmax(np.where(np.arange(toys.CLASSES) == own, -np.inf, logits)))
    first, second = (other, own) if target >= 0 else (own, other)
    return logits[first] - logits[second], (weight[:, first] - weight[:, second]).reshape(image.shape)


def carlini_wagner_transcribed(model: Model, batch: Batch, *, steps: int, num_steps: int, weight: float) -> np.ndarray:
    """Section VI.B, image by image: a set of allowed pixels that loses those of least effect whenever the attack succeeds."""
    answers = []
    for i, clean in enumerate(np.asarray(batch.image)):
        w0 = np.arctanh((2 * clean - 1) * 0.999999)
        w, allowed, c, tries = w0.copy(), np.ones(clean.shape[:2], bool), weight, 0
        first, second, t = np.zeros_like(clean), np.zeros_like(clean), 0
        best, fewest_so_far = clean, np.inf
        for _ in range(steps):
            image = np.where(allowed[..., None], clean + (np.tanh(w) - np.tanh(w0)) / 2, clean)
            margin, slope = margin_and_slope(model, batch, i, image)
            change = image - clean
            pixels = int(np.any(change != 0, axis=2).sum())
            if margin < 0:
                if pixels < fewest_so_far:
                    best, fewest_so_far = image, pixels
                effect = -(slope * change).sum(2)
                still = [(effect[place], place) for place in zip(*np.nonzero(allowed), strict=True)]
                for _, place in sorted(still)[: int(np.ceil(0.3 * pixels**0.5))]:
                    allowed[place] = False
                first, second, t, tries = np.zeros_like(clean), np.zeros_like(clean), 0, 0
                if not allowed.any():
                    break
                continue
            gradient = (c * slope + 2 * change) * (1 - np.tanh(w) ** 2) / 2 * allowed[..., None]
            t, tries = t + 1, tries + 1
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            w = w - 0.1 * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
            if tries == num_steps:
                c, tries = 2 * c, 0
        answers.append(best)
    return np.stack(answers)


def test_carlini_wagner_l0_transcribed() -> None:
    model, batch = example(scale=0.1)
    attack = attacks.carlini_wagner_l0(step_size=0.1, num_steps=6, num_rounds=20, initial_weight=0.05)
    expected = carlini_wagner_transcribed(model, batch, steps=120, num_steps=6, weight=0.05)
    ours = run(attack, model, batch)
    np.testing.assert_allclose(ours, expected, atol=1e-9, rtol=0)
    changed = np.any(ours != np.asarray(batch.image), axis=3).sum((1, 2))
    assert np.all(changed > 0)
    assert np.all(changed < 36)


@pytest.mark.parametrize(
    ("attack", "pixels", "excess"),
    [
        (attacks.carlini_wagner_l0(num_steps=20, num_rounds=20, initial_weight=1.0, step_size=0.05), True, 0.1),
        # The saliency map does not see which class is next.
        (attacks.jsma(num_steps=40, direction="both"), False, 1.0),
        (attacks.jsma(num_steps=80, direction="both", pairs=False), False, 1.0),
    ],
    ids=["carlini_wagner_l0", "jsma", "jsma single"],
)
def test_as_few_as_it_takes_on_a_linear_model(attack: Any, pixels: bool, excess: float) -> None:
    """Of a model that leans towards one class."""
    model, batch = example(scale=0.1, count=8)
    model = Model({**model.params, "bias": model.params["bias"] * 0 + jnp.asarray([0, 0, 2.0, 0, 0])}, {}, model.network)
    batch = batch._replace(target=batch.target * 0 - 1, label=batch.label * 0 + 2)
    ours, least = run(attack, model, batch), fewest(model, batch, pixels=pixels)
    assert np.all(np.asarray(model(jnp.asarray(ours))[0].argmax(1)) != np.asarray(batch.label))
    changed = ours != np.asarray(batch.image)
    count = np.any(changed, axis=3).sum((1, 2)) if pixels else changed.sum((1, 2, 3))
    assert np.all(count >= least)
    assert least.max() > 2
    assert np.median(count / least) <= 1 + excess


def jsma_transcribed(
    model: Model, batch: Batch, *, theta: float, signs: tuple[int, ...], pairs: bool, softmax: bool, num_steps: int
) -> np.ndarray:
    """Algorithms 2 and 3, over all pairs."""

    def outputs(image: jax.Array) -> jax.Array:
        logits = model(image[None])[0][0]
        return jax.nn.softmax(logits) if softmax else logits

    jacobian, answers = jax.jit(jax.jacrev(outputs)), []
    for i, clean in enumerate(np.asarray(batch.image)):
        label, target = int(batch.label[i]), int(batch.target[i])
        (own, sense), x = (target, 1) if target >= 0 else (label, -1), clean.copy()
        for _ in range(num_steps):
            rows = np.asarray(jacobian(jnp.asarray(x))).reshape(toys.CLASSES, -1)
            a, b = sense * rows[own], sense * (rows.sum(0) - rows[own])
            best, chosen = 0.0, None
            for sign, flat in itertools.product(signs, [x.ravel()]):
                open_ = np.flatnonzero(flat < 1 if sign > 0 else flat > 0)
                for group in itertools.combinations(open_, 2) if pairs else open_[:, None]:
                    alpha, beta = sign * a[list(group)].sum(), sign * b[list(group)].sum()
                    if alpha > 0 and beta < 0 and -alpha * beta > best:
                        best, chosen = -alpha * beta, (sign, list(group))
            if chosen is None:
                break
            flat = x.ravel().copy()
            flat[chosen[1]] = np.clip(flat[chosen[1]] + chosen[0] * theta, 0, 1)
            x = flat.reshape(clean.shape)
            prediction = int(outputs(jnp.asarray(x)).argmax())
            if (prediction == target) if target >= 0 else (prediction != label):
                answers.append(x)
                break
        if len(answers) == i:
            answers.append(clean)
    return np.stack(answers)


@pytest.mark.parametrize(
    ("signs", "direction", "pairs", "outputs", "theta"),
    [
        ((1,), "increase", True, "logits", 1.0),
        ((-1,), "decrease", True, "logits", 0.3),
        ((1, -1), "both", True, "probabilities", 1.0),
        ((1, -1), "both", False, "logits", 0.3),
    ],
)
def test_jsma_transcribed(signs: tuple[int, ...], direction: str, pairs: bool, outputs: str, theta: float) -> None:
    model, batch = example(toys.conv_model)
    attack = attacks.jsma(direction=direction, pairs=pairs, outputs=outputs, step_size=theta, num_steps=12)
    softmax = outputs == "probabilities"
    expected = jsma_transcribed(model, batch, theta=theta, signs=signs, pairs=pairs, softmax=softmax, num_steps=12)
    ours = run(attack, model, batch)
    np.testing.assert_allclose(ours, expected, atol=1e-9, rtol=0)
    assert np.abs(ours - np.asarray(batch.image)).max() > 0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: attacks.carlini_wagner_l0(shrink=0.0), r"expected shrink in \(0, inf\), got 0.0; write shrink=0.3."),
        (lambda: attacks.carlini_wagner_l0(num_rounds=0), "expected num_rounds >= 1, got 0; write num_rounds=20."),
        (lambda: attacks.carlini_wagner_l0(num_steps=0), "expected num_steps >= 1, got 0"),
        (lambda: attacks.carlini_wagner_l0(largest_weight=1e-6), "expected largest_weight >= 0.001, got 1e-06"),
        (lambda: attacks.carlini_wagner_l0(confidence=-1.0), "expected confidence >= 0, got -1.0"),
        (lambda: attacks.jsma(step_size=0.0), r"expected step_size in \(0, 1\], got 0.0"),
        (lambda: attacks.jsma(num_steps=0), "expected num_steps >= 1, got 0"),
        (lambda: attacks.jsma(direction="up"), "expected direction in increase, decrease, both, got 'up'; write direction='in"),
        (lambda: attacks.jsma(outputs="softmax"), "expected outputs in logits, probabilities, got 'softmax'"),
        (lambda: attacks.jsma(num_candidates=1), "expected num_candidates >= 2, got 1; write num_candidates=128."),
    ],
)
def test_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
