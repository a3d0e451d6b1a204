"""Auto-PGD: a transcription of its algorithm, and the authors' code."""

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import attacks
from tests.attacks import toys
from tests.attacks.apgd_runs import NUM_STEPS, RUNS, example, start

KEY = jax.random.key(0)
PEER = np.load(pathlib.Path(__file__).parent / "parity" / "apgd.npz")
LOSSES = {"ce": attacks.cross_entropy, "dlr": attacks.dlr, "dlr-targeted": attacks.targeted_dlr}


def from_start(attack: Any, model: Any, batch: Any, first: Any) -> Any:
    """The last state of an attack that starts at given images."""
    state = jax.jit(attack.init)(KEY, model, batch._replace(image=jnp.asarray(first)))
    step = jax.jit(attack.step)
    for _ in range(attack.num_steps):
        state, _ = step(KEY, state, model, batch)
    return state


@functools.partial(jax.jit, static_argnums=0)
def evaluate(loss: Any, model: Any, image: Any, row: Any) -> Any:
    """The paper's objective, which is maximised, and its gradient."""
    return jax.value_and_grad(lambda image: -loss(None, model, image[None], row)[0])(image)


def transcribed(
    model: Any, batch: Any, first: np.ndarray, norm: str, epsilon: float, loss: Any, *, first_gain_free: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Algorithm 1, one image at a time: its best image and loss.

    With `first_gain_free` the first step counts as a gain where its objective is positive, as in the authors' code, which
    compares the first entry of its record with the last one, a zero still; condition 1 of the paper compares neighbours.
    """

    def project(image: np.ndarray, clean: np.ndarray) -> np.ndarray:
        change = image - clean
        if norm == "linf":
            return np.clip(clean + np.clip(change, -epsilon, epsilon), 0, 1)
        return np.clip(clean + change * min(1, epsilon / max(np.sqrt((change**2).sum()), 1e-12)), 0, 1)

    answers, losses = [], []
    for index in range(len(batch.id)):
        row = jax.tree.map(lambda a, i=index: a[i : i + 1], batch)
        clean, x = np.asarray(row.image[0]), first[index]
        value, gradient = (np.asarray(a) for a in evaluate(loss, model, x, row))
        best, best_value, best_gradient = x, value, gradient
        before, size, values = x, 2 * epsilon, [value]
        window, since, halved, checked = int(0.22 * NUM_STEPS), 0, True, value
        for count in range(NUM_STEPS):
            direction = np.sign(gradient) if norm == "linf" else gradient / max(np.sqrt((gradient**2).sum()), 1e-12)
            z = project(x + size * direction, clean)
            share = 0.75 if count else 1.0
            before, x = x, project(x + share * (z - x) + (1 - share) * (x - before), clean)
            value, gradient = (np.asarray(a) for a in evaluate(loss, model, x, row))
            values.append(value)
            if value > best_value:
                best, best_value, best_gradient = x, value, gradient
            since += 1
            if since == window:
                pairs = list(zip(values[-window - 1 :], values[-window:], strict=False))
                gains = [after > previous for previous, after in pairs]
                if first_gain_free and count + 1 == window:
                    gains[0] = values[1] > 0
                halve = sum(gains) <= 0.75 * window or (not halved and checked >= best_value)
                halved, checked, since = halve, best_value, 0
                if halve:
                    size, x, gradient = size / 2, best, best_gradient
                window = max(window - max(int(0.03 * NUM_STEPS), 1), int(0.06 * NUM_STEPS), 1)
        answers.append(best)
        losses.append(best_value)
    return np.stack(answers), np.stack(losses)


@pytest.mark.parametrize("name", RUNS)
def test_transcribed_and_as_the_authors_code(name: str) -> None:
    norm, epsilon, kind = RUNS[name]
    with jax.enable_x64(True):
        model, batch = example()
        first = start(batch, norm, epsilon)
        attack = attacks.apgd(
            epsilon, norm=norm, num_steps=NUM_STEPS, loss=LOSSES[kind], success=attacks.misclassified, random_start=False
        )
        state = from_start(attack, model, batch, first)
        best, values = transcribed(model, batch, first, norm, epsilon, LOSSES[kind])
        np.testing.assert_allclose(state.best, best, atol=1e-9)
        np.testing.assert_allclose(-state.best_loss, values, atol=1e-9)
        authors, _ = transcribed(model, batch, first, norm, epsilon, LOSSES[kind], first_gain_free=True)
        np.testing.assert_allclose(authors, PEER[f"{name}_best"], atol=1e-9)

        same = np.abs(authors - best).max((1, 2, 3)) < 1e-9
        assert same.mean() >= 0.5
        np.testing.assert_allclose(state.best[same], PEER[f"{name}_best"][same], atol=1e-9)
        np.testing.assert_allclose(-state.best_loss[same], PEER[f"{name}_loss"][same], atol=1e-9)
        np.testing.assert_array_equal(np.isinf(state.found)[same], PEER[f"{name}_accurate"][same])
        # The authors' code gives the newest image that succeeded, ours the one of the least loss.
        for image, loss in ((state.adversarial, state.found), (PEER[f"{name}_found"], None)):
            reached = np.isfinite(state.found) & same
            wrong = np.asarray(attacks.misclassified(None, model, jnp.asarray(image), batch))
            assert wrong[reached].all()
            if loss is not None:
                again = LOSSES[kind](None, model, image, batch)
                np.testing.assert_allclose(again[reached], loss[reached], atol=1e-12)


def test_l2_stays_in_its_ball_and_starts_on_its_surface() -> None:
    with jax.enable_x64(True):
        model, batch = toys.linear_model(dtype=np.float64), toys.make_batch(dtype=np.float64)
        batch = batch._replace(image=0.4 + 0.2 * batch.image)
        attack = attacks.apgd(0.2, norm="l2", num_steps=5)
        state = jax.jit(attack.init)(KEY, model, batch)
        change = np.asarray(state.iterate - batch.image).reshape(4, -1)
        np.testing.assert_allclose(np.linalg.norm(change, axis=1), 0.2, rtol=1e-12)
        state = attacks.run_batch(attack, model, batch, key=KEY)
        change = np.asarray(state.adversarial - batch.image).reshape(4, -1)
        assert np.linalg.norm(change, axis=1).max() <= 0.2 * (1 + 1e-12)


def test_an_image_that_succeeded_is_preferred_to_one_of_less_loss() -> None:
    """A loss that has nothing to do with success: the darker, the better."""
    model, batch = toys.linear_model(), toys.make_batch()
    attack = attacks.apgd(
        0.1,
        num_steps=6,
        loss=lambda key, model, adversarial, batch: jnp.mean(adversarial, axis=(1, 2, 3)),
        success=lambda key, model, adversarial, batch: jnp.mean(adversarial - batch.image, axis=(1, 2, 3)) > -0.05,
    )
    state = attacks.run_batch(attack, model, batch, key=KEY)
    assert np.all(np.mean(np.asarray(state.adversarial - batch.image), axis=(1, 2, 3)) > -0.05)
    assert np.all(np.asarray(state.best_loss) < np.asarray(state.found))


def test_one_evaluation_of_the_network_a_step() -> None:
    """The criterion costs nothing: it asks for the logits that the gradient has already."""
    model, batch = toys.conv_model(), toys.make_batch()
    attack = attacks.apgd(0.1)
    state = jax.eval_shape(attack.init, KEY, model, batch)

    def gradient(model: Any, images: Any) -> Any:
        return jax.grad(lambda images: jnp.sum(attacks.cross_entropy(KEY, model, images, batch)))(images)

    def convolutions(function: Any, *arguments: Any) -> int:
        program: Any = jax.jit(function).lower(*arguments).compile()
        return program.as_text().count(" convolution(")

    assert convolutions(attack.step, KEY, state, model, batch) == convolutions(gradient, model, batch.image)


def test_errors() -> None:
    with pytest.raises(ValueError, match="expected norm 'linf' or 'l2', got 'l1'; write norm='linf'"):
        attacks.apgd(0.1, norm="l1")
    with pytest.raises(ValueError, match=r"expected momentum in \(0, 1\], got 0"):
        attacks.apgd(0.1, momentum=0)
    with pytest.raises(ValueError, match=r"expected rho in \[0, 1\], got 2"):
        attacks.apgd(0.1, rho=2)
    with pytest.raises(ValueError, match="expected num_steps >= 1"):
        attacks.apgd(0.1, num_steps=0)
    with pytest.raises(ValueError, match=r"expected epsilon in \(0, 1\], got 8"):
        attacks.apgd(8)
