"""The stage of class-specific gates: what it finds in a network with planted filters, its place in a study, and its page."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import data, metrics, models, pipelines
from jaxinterp.pipelines._context import Run
from jaxinterp.pipelines._quantities import figures_of
from tests.pipelines.smoke import smoke

SETTINGS = pipelines.Gates(
    num_steps=3,
    batch_size=16,
    num_permutations=1,
    num_groups=0,
    num_controls=2,
    num_null_draws=5,
    category="object",
    num_localised=6,
)


def network():
    knobs = {"num_classes": 24, "width": 1 / 16, "image_size": 32, "output_stride": 8}
    return models.alexnet(hidden=16, pool_size=2, dropout=0.0, key=jax.random.key(0), **knobs)


def gated():
    gate = np.zeros((16, 24), np.float32)
    gate[np.arange(16), np.arange(16)] = 1
    return models.gated(network(), layer="conv5", gate=gate)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    members = (pipelines.Member("plain", network, "conv5"), pipelines.Member("gated", gated, "conv5"))
    study = dataclasses.replace(
        smoke(num_images=24, num_attacked=8),
        members=members,
        source=lambda: data.concept_world(seed=0, num_images=24, image_size=32),
        held_out=lambda: data.concept_world(seed=0, num_images=48, image_size=32, first=1000),
        pretraining=None,
        finetuning=None,
        robustness=None,
        gates=SETTINGS,
    )
    run = Run(study, pipelines.WorkDir(tmp_path_factory.mktemp("gates") / "run"))
    pipelines.run_study(run, verb="gates", announce=lambda line: None)
    return run


def test_only_what_it_needs_is_run(run):
    assert run.workdir.finished("gates.normal") and run.workdir.finished("generate.normal")
    assert not run.workdir.finished("dissect.normal")
    assert pipelines.stages_of(run.study, "gates") == ("generate.normal", "gates.normal")


def test_a_network_is_shown_with_its_own_gate_and_with_a_fitted_one(run):
    values, arrays = run.workdir.load("gates.normal")
    np.testing.assert_array_equal(arrays["gated/gate/own"], models.gate_of(gated()))
    assert "plain/gate/own" not in arrays
    # The same weights: the same gate is fitted to both, up to the draws of a step, of which there are none.
    np.testing.assert_allclose(arrays["gated/gate/fitted"], arrays["plain/gate/fitted"], atol=1e-6)
    assert np.abs(arrays["plain/gate/fitted"] - 0.5).max() > 1e-3
    for name in ("plain", "gated"):
        found = values["members"][name]
        assert found["densities"]["fitted"] == pytest.approx(metrics.gate_density(arrays[f"{name}/gate/fitted"]))
        assert found["score"][0] == pytest.approx(arrays[f"{name}/mutual_information"].max(axis=1).mean())
        assert 0 <= found["detection"][0] <= 1
    np.testing.assert_array_equal(arrays["plain/predictions"], arrays["gated/predictions"])
    assert values["members"]["gated"]["localised"]["num_images"] <= 6


def test_figures_and_the_page(run):
    text = (run.workdir.path / "index.html").read_text()
    assert "Units and classes" in text and "Without the filters of a class" in text and "Localisation" in text
    assert "@inproceedings{liang2020" in text
    study = dataclasses.replace(run.study, members=(run.study.members[1],))
    found = figures_of(Run(study, run.workdir))
    assert found["gate_density"] == pytest.approx(1 / 24)
    assert found["fitted_density"] != found["gate_density"]
    assert {"mis", "mis_excess", "masked_own", "kept_own", "detection"} <= found.keys()


def _planted(params, images):
    """Class k is the channel that is largest, by units 2 k and 2 k + 1; units 6 to 11 do nothing."""
    cells = models.named("units", jnp.maximum(images[:, ::4, ::4] @ params["units"], 0))
    return cells.mean(axis=(1, 2)) @ params["head"]


def _planted_network():
    units, head = np.full((3, 12), 0.4, np.float32), np.zeros((12, 3), np.float32)
    units[:, :6] = np.repeat(np.eye(3), 2, axis=1)
    head[:6] = np.repeat(np.eye(3), 2, axis=0)
    params = {"units": jnp.asarray(units), "head": jnp.asarray(head)}
    bare = models.from_function(_planted, params, image_size=8)
    return models.gated(bare, layer="units", gate=np.concatenate([head[:6], np.zeros((6, 3), np.float32)]))


def test_planted_filters_carry_their_class_and_no_other(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    images = rng.integers(0, 128, (60, 8, 8, 3)).astype(np.uint8)
    images[np.arange(60), :, :, labels] += 100
    study = pipelines.Study(
        title="Planted",
        description="Two units a class.",
        methods="",
        members=(pipelines.Member("planted", _planted_network, "units"),),
        source=None,
        held_out=lambda: data.from_arrays(images, labels, classes=("red", "green", "blue")),
        attack=smoke().attack,
        num_targets=1,
        gates=dataclasses.replace(SETTINGS, category=None, num_steps=60, learning_rate=50.0, num_controls=20),
    )
    run = Run(study, pipelines.WorkDir(tmp_path / "run"))
    assert study.stage_names() == ("gates.normal",)
    pipelines.run_study(run, announce=lambda line: None)
    values, arrays = run.workdir.load("gates.normal")
    found = values["members"]["planted"]
    without = found["without"]
    shares = {name: without[name]["accuracy"] for name in ("masked/own", "masked/others", "kept/own", "kept/others")}
    assert shares == {"masked/own": 0.0, "masked/others": 1.0, "kept/own": 1.0, "kept/others": 0.0}
    assert without["masked/own"]["random"] > 0.5
    assert found["block_score"] > 0.5 > np.nanmax(arrays["planted/block_null"])
    np.testing.assert_array_equal(arrays["planted/mutual_information"][:6].argmax(axis=1), np.repeat(np.arange(3), 2))
    assert found["score"][0] > found["permuted"]
    # The fitted gate closes units to classes that they say nothing for before it closes them to their own.
    fitted = arrays["planted/gate/fitted"]
    own = np.repeat(np.eye(3, dtype=bool), 2, axis=0)
    assert fitted[:6][own].min() > fitted[:6][~own].max()


def test_what_it_does_not_take():
    with pytest.raises(ValueError, match="num_steps"):
        pipelines.Gates(num_steps=0)
    with pytest.raises(ValueError, match="density"):
        pipelines.Gates(density=2.0)
    with pytest.raises(ValueError, match="threshold"):
        pipelines.Gates(threshold=1.0)
    with pytest.raises(ValueError, match="learning_rate"):
        pipelines.Gates(learning_rate=-1.0)
