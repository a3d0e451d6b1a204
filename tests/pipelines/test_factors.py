"""Factors: readings of one training, weights passed on, killed and resumed with the same bytes, errors that advise."""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxinterp import Model, _mesh, data, metrics, models, pipelines, report, training
from jaxinterp.cli import main
from jaxinterp.pipelines import Condition, WorkDir
from jaxinterp.pipelines._exhibits_factors import factors_page
from tests.attacks.toys import Conv, conv_model


def network() -> Model:
    model = conv_model()
    head = 0.1 * jax.random.normal(jax.random.key(1), (6, 24))
    return dataclasses.replace(model, params={**model.params, "head": head}, network=Conv(image_size=32, num_classes=24))


def world(first: int = 0, count: int = 72) -> data.Source:
    return data.cached(data.concept_world(seed=3, num_images=count, image_size=32, first=first))


@functools.cache
def training_world() -> data.Source:
    return world(1000, 16)


def sgd(rate: float):
    return lambda num_steps: optax.sgd(rate)


WHOLE: dict[str, Any] = {"build": network, "layers": ("conv2",), "source": training_world, "optimizer": sgd(0.1)}
CONDITIONS = (
    Condition("base", "iterations", num_steps=4, **WHOLE),
    Condition("two", "iterations", title="2 steps", of="base", at_step=2),
    Condition("again", "tasks", of="base"),
    Condition("lower", "tasks", of="base", layers=("conv1",)),
    Condition("rotation", "tasks", num_steps=2, objective=training.rotation(layer="conv2"), **WHOLE),
    Condition("still", "tuned", start="base", num_steps=1, **{**WHOLE, "optimizer": sgd(0.0), "layers": ("conv1", "conv2")}),
)


def factors(conditions=CONDITIONS, **knobs: Any) -> pipelines.Factors:
    return pipelines.Factors(
        title="Factors of a toy",
        description="toy",
        conditions=conditions,
        dissection=pipelines.Dissection(
            source=world, adversarial=False, min_images=3, num_null_draws=5, label_size=8, null_label_size=8, num_top=1
        ),
        probe_training=world,
        held_out=lambda: world(100, 48),
        batch_size=8,
        **knobs,
    )


def run(path: pathlib.Path, **knobs: Any) -> WorkDir:
    workdir = WorkDir(path)
    conditions = knobs.pop("conditions", CONDITIONS)
    pipelines.run_factors(factors(conditions), workdir, mesh=_mesh.data_mesh(1), **{"announce": lambda line: None, **knobs})
    return workdir


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> WorkDir:
    return run(tmp_path_factory.mktemp("factors") / "whole")


def weights(workdir: WorkDir, name: str) -> Any:
    return models.load(workdir.path / "weights" / name, network()).params


def test_a_killed_run_goes_on_with_the_same_bytes(done, tmp_path):
    def stop(line: str) -> None:
        if "2 steps" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", announce=stop, conditions=CONDITIONS[:2])
    again = run(tmp_path / "killed", conditions=CONDITIONS[:2])
    for condition in CONDITIONS[:2]:
        name = f"stages/condition.{condition.name}.json"
        assert (again.path / name).read_bytes() == (done.path / name).read_bytes(), name
    text = (done.path / "index.html").read_text()
    assert all((condition.title or condition.name) in text for condition in CONDITIONS)
    assert "Layer by layer" in text


def test_the_page_says_what_is_beyond_another_start(done):
    """Of every condition but the repeats and the readings of one of them; where fewer than two are finished, of none."""
    assert "Beyond another start" not in (done.path / "index.html").read_text()
    settings = factors(repeats="iterations")
    found = {one.name: done.load(f"condition.{one.name}")[0] for one in CONDITIONS}
    page = factors_page(settings, found, done)
    table = next(one for one in page.sections[0].items if isinstance(one, report.Table) and "Beyond" in one.title)
    assert [row[1] for row in table.rows] == ["rotation", "still"]
    excess = [unique["observed"] - unique["mean"] for unique in (_unique(found[name]) for name in ("base", "two", "rotation"))]
    interval = metrics.prediction_interval(np.asarray(excess[:2]))
    side = "above" if excess[2] > interval.high else "below" if excess[2] < interval.low else "within"
    assert table.rows[0][2] == f"{excess[2]:.1f}, {side}"
    short = factors_page(settings, {"base": found["base"]}, done)
    assert not any("Beyond" in one.title for one in short.sections[0].items)
    with pytest.raises(ValueError, match="expected repeats= one of the groups"):
        factors(repeats="start")


def _unique(values: dict[str, Any]) -> dict[str, float]:
    return list(values["layers"].values())[-1]["unique"]


def test_readings_are_those_of_one_training(done):
    base, two = (done.load(f"condition.{name}")[0] for name in ("base", "two"))
    assert (base["num_steps"], two["num_steps"]) == (4, 2)
    assert done.load("condition.again")[0] == base
    lower = done.load("condition.lower")[0]
    assert list(lower["layers"]) == ["conv1"] and lower["accuracy"] == base["accuracy"], (
        "the layers it names, not those of base"
    )
    step = jax.jit(training.train_step(training.standard(), optax.sgd(0.1)))
    batches = data.training_batches(training_world(), batch_size=8, seed=0, flip=True)
    state = training.init_state(optax.sgd(0.1), network())
    for name in ("base/2.safetensors", "base/4.safetensors"):
        for _ in range(2):
            state, _ = step(jax.random.key(9), state, next(batches))
        jax.tree.map(
            lambda got, want: np.testing.assert_allclose(got, want, atol=1e-5), weights(done, name), state.model.params
        )


def test_what_is_read_adds_up(done):
    read = done.load("condition.base")[0]["layers"]["conv2"]
    assert sum(one["observed"] for one in read["unique_by_best"].values()) == read["unique"]["observed"]
    assert read["num_units"] == 6 and read["probe"]["num_held_out"] == 48
    assert "accuracy" in done.load("condition.base")[0] and "accuracy" not in done.load("condition.rotation")[0]


def test_training_begins_with_the_weights_of_another(done):
    base, still = weights(done, "base/4.safetensors"), weights(done, "still/1.safetensors")
    jax.tree.map(np.testing.assert_array_equal, base, still)
    read = done.load("condition.still")[0]
    assert list(read["layers"]) == ["conv1", "conv2"]
    assert (
        read["layers"]["conv2"]["number"]["observed"] == done.load("condition.base")[0]["layers"]["conv2"]["number"]["observed"]
    )


def test_the_head_is_dropped(done):
    trained = weights(done, "rotation/2.safetensors")
    assert set(trained) == set(network().params)
    assert float(jnp.abs(trained["conv1"] - network().params["conv1"]).max()) > 0


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Condition("a/b", "g", of="c"), "a name without '/'"),
        (lambda: Condition("a", "g"), "either build="),
        (lambda: Condition("a", "g", build=network), "expected layers="),
        (lambda: Condition("a", "g", build=network, layers=("conv2",), num_steps=3), "with source= the training images"),
        (lambda: Condition("a", "g", build=network, layers=("conv2",), start="b"), "write of='b' to read it"),
        (lambda: factors(()), "at least one condition"),
        (lambda: factors((CONDITIONS[0], CONDITIONS[0])), "got 'base' twice"),
        (lambda: factors((CONDITIONS[1],)), "that comes before it, got 'base'"),
        (lambda: factors((CONDITIONS[0], Condition("late", "g", of="base", at_step=5))), "at_step of 0 to 4, got 5"),
    ],
)
def test_errors_say_what_to_write(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_verbs_fit_recipes(tmp_path, capsys):
    recipe = str(pathlib.Path(__file__).parents[2] / "configs" / "factors.py")
    assert main(["study", recipe, "--workdir", str(tmp_path / "run")]) == 2
    assert "write jaxinterp factors" in capsys.readouterr().err
    assert main(["show", recipe]) == 0
    shown = capsys.readouterr().out
    assert "without labels: jigsaw, 2000 steps" in shown and "conv5" in shown
    assert main(["show", recipe, "--images", "somewhere", "--groups", "fine-tuning"]) == 0
    shown = capsys.readouterr().out
    assert "fine-tuning: tuned, 1000 steps" in shown and "images of 32 px, 10 classes" in shown and "seed 1" not in shown
