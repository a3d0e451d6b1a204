"""Decision-based attacks: HopSkipJump beside a transcription, and distances on a linear model against the nearest ones."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import Batch, Model, attacks
from tests.attacks import toys

KEY = jax.random.key(5)
PROBES = 8


def undecided(count: int = 4, *, dtype: Any = np.float32) -> tuple[Model, Batch]:
    """Images whose every boundary is near, labelled as a linear model sees them."""
    model, batch = toys.centred_linear_model(dtype=dtype), toys.make_batch(count, dtype=dtype)
    batch = batch._replace(image=0.4 + 0.2 * batch.image, target=batch.target * 0 - 1)
    return model, batch._replace(label=model(batch.image)[0].argmax(1).astype(np.int32))


def transcribed(model: Model, batch: Batch, norm: str, budget: int) -> np.ndarray:
    """Algorithm 2 with its loops, image by image; what it asks for is cut off after the budget."""
    weight, bias = np.asarray(model.params["weight"]), np.asarray(model.params["bias"])

    class Spent(Exception):
        pass

    def walk(i: int, clean: np.ndarray, ask: Any, draw: Any) -> None:
        length = lambda v: np.linalg.norm(v) if norm == "l2" else np.abs(v).max()  # noqa: E731
        d = clean.size
        assert not ask(clean)
        far = draw("noise")
        while not ask(far):
            far = draw("noise")
        t = 1
        while True:
            low, high, near = 0.0, 1.0, far
            for _ in range(math.ceil((1.5 if norm == "l2" else 2) * math.log2(d))):
                share, radius = (low + high) / 2, (low + high) / 2 * length(far - clean)
                middle = clean + share * (far - clean) if norm == "l2" else np.clip(far, clean - radius, clean + radius)
                if ask(middle):
                    high, near = share, middle
                else:
                    low = share
            reach = 0.1 if t == 1 else max(length(near - clean) / d, 8 * np.finfo(float).eps * d**0.5)
            signs, directions = [], []
            for _ in range(int(PROBES * t**0.5)):
                probe = draw("probe")
                probe = np.clip(near + reach * probe / np.linalg.norm(probe), 0, 1)
                signs.append(1.0 if ask(probe) else -1.0)
                directions.append((probe - near) / reach)
            weights = np.asarray(signs)
            weights = weights if abs(weights.mean()) == 1 else weights - weights.mean()
            normal = np.einsum("b,bhwc->hwc", weights, np.asarray(directions))
            normal = normal / np.linalg.norm(normal) if norm == "l2" else np.sign(normal)
            step = length(near - clean) / t**0.5
            while not ask(np.clip(near + step * normal, 0, 1)):
                step /= 2
            far, t = np.clip(near + step * normal, 0, 1), t + 1

    answers = []
    for i, clean in enumerate(np.asarray(batch.image)):
        best, distance, spent = clean, np.inf, 0

        def draw(what: str, i: int = i, clean: np.ndarray = clean) -> np.ndarray:
            key = jax.random.fold_in(jax.random.fold_in(KEY, spent), i)  # noqa: B023
            if what == "probe" and norm == "l2":
                return np.asarray(jax.random.normal(key, clean.shape, jnp.float64))
            return np.asarray(jax.random.uniform(key, clean.shape, jnp.float64, 0.0 if what == "noise" else -1.0, 1.0))

        def ask(image: np.ndarray, i: int = i, clean: np.ndarray = clean) -> bool:
            nonlocal best, distance, spent
            if spent == budget:
                raise Spent
            spent += 1
            errs = (image.reshape(-1) @ weight + bias).argmax() != int(batch.label[i])
            size = np.linalg.norm(image - clean) if norm == "l2" else np.abs(image - clean).max()
            if errs and size < distance:
                best, distance = image, size
            return bool(errs)

        with pytest.raises(Spent):
            walk(i, clean, ask, draw)
        answers.append(best)
    return np.stack(answers)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_hop_skip_jump_transcribed(norm: str) -> None:
    with jax.enable_x64(True):
        model, batch = undecided(2, dtype=np.float64)
        attack = attacks.hop_skip_jump(norm=norm, max_queries=90, initial_probes=PROBES)
        state = attacks.run_batch(attack, model, batch, key=KEY, unroll=False)
        assert int(state.walk.iteration.min()) >= 3
        np.testing.assert_allclose(state.adversarial, transcribed(model, batch, norm, 90), atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("attack", "norm", "excess"),
    [
        (attacks.hop_skip_jump(max_queries=1500), 2, 0.15),
        (attacks.hop_skip_jump(norm="linf", max_queries=1500), np.inf, 0.6),
        (attacks.boundary(max_queries=1500), 2, 1.0),
    ],
    ids=["hop_skip_jump", "hop_skip_jump linf", "boundary"],
)
def test_distance_to_the_nearest_boundary(attack: Any, norm: float, excess: float) -> None:
    model, batch = undecided(8)
    result = attacks.run_batch(attack, model, batch, key=KEY, unroll=False).adversarial
    change = np.asarray(result - batch.image).reshape(8, -1)
    weight, logits, label = np.asarray(model.params["weight"]), np.asarray(model(batch.image)[0]), np.asarray(batch.label)
    dual = 2 if norm == 2 else 1
    least = [
        min((z[k] - z[j]) / np.linalg.norm(weight[:, k] - weight[:, j], dual) for j in range(toys.CLASSES) if j != k)
        for z, k in zip(logits, label, strict=True)
    ]
    assert np.all(np.asarray(model(result)[0].argmax(1)) != label)
    distance = np.linalg.norm(change, norm, axis=1)
    assert np.all(distance >= np.asarray(least) * (1 - 1e-3))
    assert np.median(distance / least) <= 1 + excess


@pytest.mark.parametrize("make", [attacks.boundary, attacks.hop_skip_jump])
def test_a_start_leads_to_the_target(make: Any) -> None:
    """Of two rows with a target that noise does not show, the one that starts at an image of the target gets there."""
    model, batch = toys.linear_model(), toys.make_batch(2)
    batch = batch._replace(label=model(batch.image)[0].argmax(1).astype(np.int32))
    weight, target = np.asarray(model.params["weight"]), (np.asarray(batch.label) + 1) % toys.CLASSES
    others = np.stack([weight[:, t] - weight.mean(1) for t in target]).reshape(batch.image.shape)
    start = np.where(np.arange(2)[:, None, None, None] == 0, others > 0, np.asarray(batch.image)).astype(np.float32)
    assert int(model(jnp.asarray(start))[0][0].argmax()) == target[0]
    batch = batch._replace(target=jnp.asarray(target.astype(np.int32)), extra={"start": jnp.asarray(start)})
    state = attacks.run_batch(make(max_queries=40), model, batch, key=KEY, unroll=False)
    reached = np.asarray(attacks.joint_success(None, model, state.adversarial, batch))
    assert reached[0]
    assert 0 < np.linalg.norm(state.adversarial[0] - batch.image[0]) < np.linalg.norm(start[0] - batch.image[0])
    assert reached[1] or np.array_equal(state.adversarial[1], batch.image[1])
    np.testing.assert_array_equal(state.queries, 40)


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (attacks.boundary, {"max_queries": 0}, "expected max_queries >= 1, got 0; write max_queries=1 or more."),
        (attacks.boundary, {"source_step": 1}, r"expected source_step in \(0, 1\), got 1; write source_step=0.01."),
        (attacks.boundary, {"orthogonal_step": 0}, r"expected orthogonal_step in \(0, 1\), got 0; write orthogonal_step=0.01."),
        (attacks.hop_skip_jump, {"max_queries": -1}, "expected max_queries >= 1, got -1"),
        (attacks.hop_skip_jump, {"norm": "l1"}, """expected norm to be "l2" or "linf", got 'l1'; write norm="l2"."""),
        (attacks.hop_skip_jump, {"initial_probes": 0}, "expected initial_probes >= 1, got 0; write initial_probes=100."),
    ],
)
def test_refused(make: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**arguments)
