"""The standard evaluation: exact on a linear model, resumable between rounds, and close to the reference on real networks."""

import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import Model, attacks, data, models, pipelines
from jaxinterp.cli import main
from jaxinterp.pipelines._robustness import _looks
from tests.attacks import toys

KEY = jax.random.key(0)
EPSILON = 2 / 255
CLASSES = [f"class {index}" for index in range(toys.CLASSES)]


def world(count: int = 24) -> tuple[Model, data.Source]:
    """Grey images and a linear model that is nearly undecided about them; every fourth label is wrong."""
    model = toys.centred_linear_model()
    images = np.random.default_rng(0).integers(100, 156, (count, toys.SIZE, toys.SIZE, 3), np.uint8)
    labels = np.asarray(model(jnp.asarray(images / 255, jnp.float32))[0].argmax(1))
    labels = np.where(np.arange(count) % 4 == 3, (labels + 1) % toys.CLASSES, labels)
    return model, data.from_arrays(images, labels, classes=CLASSES)


def settings(**knobs: Any) -> pipelines.Standard:
    return pipelines.Standard(
        **{"epsilon": EPSILON, "num_steps": 20, "num_targets": 9, "max_queries": 50, "batch_size": 8, **knobs}
    )


def distances(model: Model, source: data.Source, dual: float) -> np.ndarray:
    """To the nearest boundary, in closed form; not positive where the label is not predicted."""
    weight, found = np.asarray(model.params["weight"], np.float64), []
    for index in range(len(source)):
        example = source[index]
        logits = (example.image / 255).ravel() @ weight + np.asarray(model.params["bias"], np.float64)
        label, others = example.label, [k for k in range(toys.CLASSES) if k != example.label]
        found.append(min((logits[label] - logits[k]) / np.linalg.norm(weight[:, label] - weight[:, k], dual) for k in others))
    return np.asarray(found)


@pytest.fixture(scope="module")
def evaluated():
    model, source = world()
    return model, source, pipelines.standard_evaluation(KEY, model, source, settings())


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
def test_on_a_linear_model_it_is_exact(norm, dual):
    model, source = world()
    exact = distances(model, source, dual)
    epsilon = float(np.median(exact[exact > 0]))
    verdicts = pipelines.standard_evaluation(KEY, model, source, settings(norm=norm, epsilon=epsilon))
    np.testing.assert_array_equal(verdicts.broken_by == -2, exact <= 0)
    near = abs(exact - epsilon) < 1e-3 * epsilon
    np.testing.assert_array_equal((verdicts.broken_by == -1)[~near], (exact > epsilon)[~near])
    broken = verdicts.broken_by >= 0
    assert 3 < broken.sum() < 21
    assert np.all(verdicts.distance[broken] <= epsilon + 1e-6)
    assert np.all(verdicts.distance[broken] >= exact[broken] * (1 - 1e-4))
    assert np.all(verdicts.distance[~broken] == 0)


def test_begun_and_continued_is_the_same(evaluated):
    model, source, whole = evaluated
    saved: list[pipelines.Verdicts] = []
    again = pipelines.standard_evaluation(KEY, model, source, settings(), save=saved.append)
    assert [verdicts.num_rounds for verdicts in saved] == list(range(1, 11))  # 1 + 4 + 4 + 1: there are four wrong classes
    continued = pipelines.standard_evaluation(KEY, model, source, settings(), begun=saved[4])
    for one, other, third in zip(whole, again, continued, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, third)


def test_the_card_counts_what_the_verdicts_say(evaluated):
    model, source, verdicts = evaluated
    card = json.loads(json.dumps(pipelines.robustness_card(model, source, settings(), verdicts)))
    assert list(card["accuracy"]) == ["clean", "apgd-ce", "apgd-t", "fab-t", "square"]
    assert card["accuracy"]["clean"]["estimate"] == 18 / 24
    assert card["robust_accuracy"]["estimate"] == np.mean(verdicts.broken_by == -1)
    falling = [found["estimate"] for found in card["accuracy"].values()]
    assert falling == sorted(falling, reverse=True)
    assert card["robust_accuracy"]["low"] < card["robust_accuracy"]["estimate"] < card["robust_accuracy"]["high"]
    assert card["threat_model"] == {"norm": "linf", "epsilon": EPSILON, "of_255": 2.0}
    assert not any(card["flags"].values())
    assert card["model_fingerprint"] == models.fingerprint(model)
    lines = pipelines.card_lines(card)
    assert lines[0] == "linf, epsilon = 2/255, 24 images, per cent of all (95 % interval)"
    assert lines[1].split() == ["clean", "75.0", "(55.1", "to", "88.0)"]


def test_a_network_that_draws_is_evaluated_by_means_over_draws():
    """With noise that is next to nothing the answer is that of the linear model, in closed form."""
    model, source = world()
    exact = distances(model, source, 1)
    epsilon = float(np.median(exact[exact > 0]))
    noisy, threat = models.with_gaussian_noise(model, 1e-6), settings(epsilon=epsilon, num_draws=3, num_steps=10)
    verdicts = pipelines.standard_evaluation(KEY, noisy, source, threat)
    clear = abs(exact - epsilon) > 1e-2 * epsilon
    np.testing.assert_array_equal((verdicts.broken_by == -1)[clear], (exact > epsilon)[clear])
    card = json.loads(json.dumps(pipelines.robustness_card(noisy, source, threat, verdicts)))
    assert list(card["accuracy"]) == ["clean", "apgd-ce", "apgd-dlr"]
    assert not any(card["flags"].values())
    assert "  gradients and predictions are means over 3 draws of the network" in pipelines.card_lines(card)


def test_draws_that_err_by_chance_do_not_count():
    """Strong noise turns a single draw now and then, and the mean over many much more seldom."""
    model, source = world()
    noisy = models.with_gaussian_noise(model, 0.02)
    batch = next(data.batches(source, batch_size=24))
    image = jnp.asarray(batch.image)
    single = jax.vmap(lambda key: attacks.misclassified(key, noisy, image, batch))(jax.random.split(KEY, 64))
    mean = attacks.misclassified_on_average(32)(KEY, noisy, image, batch)
    mostly = np.asarray(single).mean(0)
    assert np.any((mostly > 0) & (mostly < 0.2)), "no image is near enough to a boundary for this test"
    np.testing.assert_array_equal(np.asarray(mean)[abs(mostly - 0.5) > 0.3], (mostly > 0.5)[abs(mostly - 0.5) > 0.3])


def test_flags():
    model, source = world(8)
    batch = next(data.batches(source, batch_size=8))
    assert {name: float(value) for name, value in _looks(model, batch).items()} == {
        "spread": 0,
        "probabilities": 0,
        "without_gradient": 0,
    }
    flat = Model(jax.tree.map(jnp.zeros_like, model.params), {}, model.network)
    assert float(_looks(flat, batch)["without_gradient"]) == 1

    def probabilities(params: Any, images: jax.Array, key: jax.Array | None) -> jax.Array:
        logits = images.reshape(len(images), -1) @ params["weight"]
        return jax.nn.softmax(logits + (0 if key is None else jax.random.normal(key, logits.shape)))

    shown = _looks(_Callable(model.params, probabilities), batch)
    assert float(shown["spread"]) > 0
    assert float(shown["probabilities"]) == 1


@jax.tree_util.register_pytree_node_class
class _Callable:
    """Parameters and what they mean, where a model is asked."""

    def __init__(self, params: Any, function: Any) -> None:
        self.params, self.function = params, function

    def __call__(self, images: jax.Array, *, key: jax.Array | None = None) -> tuple[jax.Array, dict]:
        return self.function(self.params, images, key), {}

    def tree_flatten(self) -> tuple[tuple[Any], Any]:
        return (self.params,), self.function

    @classmethod
    def tree_unflatten(cls, function: Any, children: tuple[Any]) -> "_Callable":
        return cls(children[0], function)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": 8.0}, r"expected epsilon in \(0, 1\], got 8.0; write 8.0 / 255"),
        ({"norm": "l1"}, "expected norm 'linf' or 'l2', got 'l1'"),
        ({"num_steps": 0}, "expected num_steps >= 1, got 0"),
        ({"num_targets": 0}, "expected num_targets >= 1, got 0"),
        ({"num_draws": -1}, "expected num_draws >= 0, got -1"),
        ({"batch_size": 0}, "expected batch_size of at least 1, got 0"),
    ],
)
def test_refused_settings(change, message):
    with pytest.raises(ValueError, match=message):
        settings(**change)


def test_refused_images(evaluated):
    model, source, verdicts = evaluated
    other = data.from_arrays(np.zeros((2, 8, 8, 3), np.uint8), np.zeros(2, int), classes=CLASSES)
    with pytest.raises(ValueError, match="expected images of 6 px, got 8"):
        pipelines.standard_evaluation(KEY, model, other, settings())
    fewer = data.from_arrays(np.zeros((2, 6, 6, 3), np.uint8), np.zeros(2, int), classes=CLASSES[:3])
    with pytest.raises(ValueError, match="expected images of 5 classes, as the model has, got 3"):
        pipelines.standard_evaluation(KEY, model, fewer, settings())
    with pytest.raises(ValueError, match="expected verdicts of 4 images, got 24; begin anew"):
        pipelines.standard_evaluation(KEY, model, data.subset(source, range(4)), settings(), begun=verdicts)


def test_the_verb_prints_the_card_and_resumes(tmp_path, capsys):
    recipe, workdir = str(pathlib.Path(__file__).with_name("threat.py")), tmp_path / "run"
    line = ["robustness", recipe, "--workdir", str(workdir), "--num-images", "12"]
    assert main(line) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "ResNet-18 (normal)"
    assert shown[1] == "linf, epsilon = 8/255, 12 images, per cent of all (95 % interval)"
    assert shown[-1] == str(workdir / "index.html")
    card = json.loads((workdir / "cards" / "normal" / "ResNet-18.json").read_text())
    assert card["network"] == "ResNet-18"
    assert card["accuracy"]["clean"]["estimate"] > 0.7 > card["robust_accuracy"]["estimate"]
    assert "Standard evaluation" in (workdir / "index.html").read_text()
    stored = workdir / "robustness" / "normal" / "ResNet-18.npz"
    before = np.load(stored)["num_rounds"], stored.stat().st_mtime_ns
    (workdir / "stages" / "robustness.normal.json").unlink()
    assert main(line) == 0
    assert capsys.readouterr().out.splitlines() == shown
    assert (np.load(stored)["num_rounds"], stored.stat().st_mtime_ns) == before == (6, before[1])
    assert main([*line[:-1], "8"]) == 2
    assert "is the work directory of another recipe" in capsys.readouterr().err


def test_a_study_without_threat_model_has_no_such_verb(tmp_path, capsys):
    recipe = str(pathlib.Path(__file__).with_name("smoke.py"))
    assert main(["robustness", recipe, "--workdir", str(tmp_path / "run")]) == 2
    assert "this recipe has no stage 'robustness'" in capsys.readouterr().err
