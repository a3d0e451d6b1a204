"""The Square attack beside a transcription of its algorithms with loops and slices, in float64, from the same draws."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import attacks
from jaxinterp.attacks._query._square import side_of_window
from jaxinterp.attacks._query._windows import _peaks, linf
from tests.attacks import toys

KEY = jax.random.key(5)
BUDGET = 60
START = np.uint32(2**32 - 1)


def draws_of(index: Any, count: int) -> np.ndarray:
    """What the images 0 to 3 draw in one step."""
    step_key = jax.random.fold_in(KEY, index)
    return np.stack([jax.random.uniform(jax.random.fold_in(step_key, i), (count,), jnp.float32) for i in range(4)])


def share(index: int) -> float:
    """Of the pixels, that window `index` covers."""
    scaled = index * 10_000 // BUDGET
    return 0.8 / 2 ** sum(scaled > last for last in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000))


def corner(draws: np.ndarray, side: int) -> tuple[int, int]:
    row, column = (int(np.float32(u) * np.float32(toys.SIZE - side + 1)) for u in draws)
    return row, column


def loss_of(logits: np.ndarray, label: int, target: int) -> float:
    if target >= 0:
        return float(np.log(np.exp(logits - logits[target]).sum()))
    return float(logits[label] - np.delete(logits, label).max())


def transcribed(start: Callable[..., Any], window: Callable[..., Any], model: Any, batch: Any) -> tuple[np.ndarray, np.ndarray]:
    """Algorithm 1, image by image; the clean image is asked for first."""
    weight, bias = np.asarray(model.params["weight"]), np.asarray(model.params["bias"])
    answers, queries = [], []
    for i, clean in enumerate(np.asarray(batch.image)):
        label, target = int(batch.label[i]), int(batch.target[i])
        logits_of = lambda image: image.reshape(-1) @ weight + bias  # noqa: E731
        won = lambda z: z.argmax() == target if target >= 0 else z.argmax() != label  # noqa: E731, B023
        image, spent = clean, 1
        if not won(logits_of(clean)):
            image = start(i, clean)
            best, spent = loss_of(logits_of(image), label, target), 2
            while spent < BUDGET and not won(logits_of(image)):
                moved = window(i, spent, image, clean, share(spent - 2))
                loss, spent = loss_of(logits_of(moved), label, target), spent + 1
                if loss < best or won(logits_of(moved)):
                    image, best = moved, loss
        answers.append(image)
        queries.append(spent)
    return np.stack(answers), np.asarray(queries)


def linf_start(epsilon: float, i: int, clean: np.ndarray) -> np.ndarray:
    signs = np.where(draws_of(START, toys.SIZE * 3)[i] < 0.5, -1, 1).reshape(toys.SIZE, 3)
    return np.clip(clean + epsilon * signs[None], 0, 1)


def linf_window(epsilon: float, i: int, index: int, image: np.ndarray, clean: np.ndarray, p: float) -> np.ndarray:
    """Algorithm 2, and the projection of algorithm 1."""
    draws, side = draws_of(index, 5)[i], max(round((p * toys.SIZE**2) ** 0.5), 1)
    (row, column), change = corner(draws[:2], side), np.zeros_like(clean)
    for channel in range(3):
        change[row : row + side, column : column + side, channel] = -2 * epsilon if draws[2 + channel] < 0.5 else 2 * epsilon
    return np.clip(np.clip(image + change, clean - epsilon, clean + epsilon), 0, 1)


def rectangles(height: int, width: int) -> np.ndarray:
    """Equation 2: one rectangle around the other, the widest first."""
    result, reach = np.zeros((height, width)), max(height, width) // 2
    for k in range(reach + 1):
        wide = reach - k
        top, left = height // 2 - wide, width // 2 - wide
        result[max(top, 0) : height // 2 + wide + 1, max(left, 0) : width // 2 + wide + 1] += 1 / (reach + 1 - k) ** 2
    return result / np.linalg.norm(result)


def peaks(side: int) -> np.ndarray:
    half = side // 2
    result = np.concatenate([rectangles(half, side), -rectangles(side - half, side)])
    return result / np.linalg.norm(result)


def unit(values: np.ndarray) -> np.ndarray:
    return values / max(np.linalg.norm(values), 1e-300)


def l2_start(epsilon: float, i: int, clean: np.ndarray) -> np.ndarray:
    """Tiles of one pixel at this size."""
    signs = np.where(draws_of(START, 100)[i, 25:] < 0.5, -1, 1).reshape(5, 5, 3)
    change = np.zeros_like(clean)
    change[:5, :5] = -signs
    return np.clip(clean + epsilon * unit(change), 0, 1)


def l2_window(epsilon: float, i: int, index: int, image: np.ndarray, clean: np.ndarray, p: float) -> np.ndarray:
    """Algorithm 3."""
    draws, side = draws_of(index, 8)[i], max(round((p * toys.SIZE**2) ** 0.5), 3)
    side = min(side + (side % 2 == 0), toys.SIZE)
    (r1, s1), (r2, s2) = corner(draws[:2], side), corner(draws[2:4], side)
    nu = image - clean
    either = np.zeros((toys.SIZE, toys.SIZE), bool)
    either[r1 : r1 + side, s1 : s1 + side] = either[r2 : r2 + side, s2 : s2 + side] = True
    unused = max(epsilon**2 - np.sum(nu**2), 0)
    pattern = peaks(side).T if draws[4] < 0.5 else peaks(side)
    new = nu.copy()
    for channel in range(3):
        old = nu[r1 : r1 + side, s1 : s1 + side, channel]
        mixed = (-1 if draws[5 + channel] < 0.5 else 1) * pattern + unit(old)
        available = np.sqrt(np.sum(nu[either, channel] ** 2) + unused / 3)
        new[r2 : r2 + side, s2 : s2 + side, channel] = 0
        new[r1 : r1 + side, s1 : s1 + side, channel] = unit(mixed) * available
    return np.clip(clean + epsilon * unit(new), 0, 1)


@pytest.mark.parametrize(
    ("norm", "epsilon", "start", "window"), [("linf", 0.1, linf_start, linf_window), ("l2", 0.8, l2_start, l2_window)]
)
def test_transcribed(norm: str, epsilon: float, start: Callable[..., Any], window: Callable[..., Any]) -> None:
    with jax.enable_x64(True):
        model, batch = toys.linear_model(scale=0.1, dtype=np.float64), toys.make_batch(dtype=np.float64)
        batch = batch._replace(target=batch.target.at[2:].set(-1))
        batch = batch._replace(label=batch.label.at[2:].set(model(batch.image)[0][2:].argmax(1).astype(np.int32)))
        attack = attacks.square(epsilon, norm=norm, max_queries=BUDGET)
        state = attacks.run_batch(attack, model, batch, key=KEY, unroll=False)
        answers, queries = transcribed(functools.partial(start, epsilon), functools.partial(window, epsilon), model, batch)
        np.testing.assert_allclose(state.adversarial, answers, atol=1e-12, rtol=0)
        np.testing.assert_array_equal(state.queries, queries)
        assert queries.max() > 20


@pytest.mark.parametrize("side", [3, 4, 5, 8, 9])
def test_peaks(side: int) -> None:
    here = np.arange(12) - 2
    inside = (here >= 0) & (here < side)
    for turned in (False, True):
        rows, columns = (here[None], here[:, None]) if turned else (here[:, None], here[None])
        window = np.asarray(_peaks(jnp.asarray(rows), jnp.asarray(columns), jnp.asarray(side)))
        np.testing.assert_allclose(window[np.ix_(inside, inside)], peaks(side).T if turned else peaks(side), atol=1e-6)
        np.testing.assert_allclose(np.sum(window**2), 1, rtol=1e-5)


def test_sides_of_the_reference_at_its_budget() -> None:
    """224 x 224 and 5 000 queries: the schedule of 10 000 queries at twice the speed."""
    index = jnp.asarray([0, 5, 6, 25, 26, 100, 101, 4000, 4001, 4999])
    expected = [round((0.8 / 2**k) ** 0.5 * 224) for k in (0, 0, 1, 1, 2, 2, 3, 8, 9, 9)]
    np.testing.assert_array_equal(side_of_window(index, (224, 224), 5000, 0.8, 1), expected)
    np.testing.assert_array_equal(side_of_window(index[:1], (224, 224), 5000, 0.8, 3), [201])
    np.testing.assert_array_equal(side_of_window(index[-1:], (32, 24), 5000, 0.8, 1), [1])


def test_windows_reach_every_edge() -> None:
    """Unlike those of the authors' code, which draw the corner from one place too few."""
    clean, side = jnp.full((6, 6, 3), 0.5), jnp.asarray(4)
    paint = jax.vmap(lambda key: linf(0.1).paint(key, clean, clean, side))
    painted = np.abs(np.asarray(paint(jax.random.split(KEY, 64))) - 0.5).max((0, 3)) > 0
    assert painted.all()


def test_colours_are_corners_of_the_ball_and_of_the_box() -> None:
    batch, model = toys.make_batch(), toys.linear_model(scale=0.0)
    batch = batch._replace(label=batch.label * 0 + int(model(batch.image)[0][0].argmax()), target=batch.target * 0 - 1)
    result = attacks.run_batch(attacks.square(0.2, max_queries=30), model, batch, key=KEY).adversarial
    clean = np.asarray(batch.image)
    low, high = np.maximum(clean - np.float32(0.2), 0), np.minimum(clean + np.float32(0.2), 1)
    assert np.all((result == low) | (result == high))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epsilon": 8}, r"expected epsilon in \(0, 1\], got 8; write 8 / 255."),
        ({"epsilon": -1, "norm": "l2"}, r"expected epsilon in \(0, inf\), got -1"),
        ({"norm": "l1"}, """expected norm to be "linf" or "l2", got 'l1'; write norm="linf"."""),
        ({"max_queries": 0}, "expected max_queries >= 1, got 0; write max_queries=1 or more."),
        ({"initial_size": 0}, r"expected initial_size in \(0, 1\], got 0; write initial_size=0.8."),
    ],
)
def test_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attacks.square(**{"epsilon": 0.1, **arguments})


def test_images_too_small_for_the_grid_are_refused() -> None:
    batch, model = toys.make_batch(), toys.linear_model()
    small = batch._replace(image=batch.image[:, :4, :4])
    with pytest.raises(ValueError, match=r'expected images of at least 5 x 5, got 4 x 4; write norm="linf".'):
        attacks.run_batch(attacks.square(1.0, norm="l2"), model, small, key=KEY)
