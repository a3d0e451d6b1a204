"""A depth study of a toy: killed and resumed with the same bytes, refused when it changed, ablations, the page."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from jaxinterp import Layer, Model, _mesh, activations, data, pipelines, report, training
from jaxinterp.cli import main
from jaxinterp.pipelines import DepthCondition, DepthStudy, WorkDir
from tests.conftest import SHARED

SIZE = 32
BINS = activations.DepthBins(*data.WORLD_DEPTH, 6)


@dataclasses.dataclass(frozen=True)
class Toy:
    """One convolution, and the log depth of every pixel from it."""

    image_size: int = SIZE
    num_classes: int = SIZE * SIZE

    @property
    def layers(self) -> tuple[Layer, ...]:
        return (Layer("conv", (SIZE, SIZE, 6), 1.0, 0.0, 5), Layer("depth", (SIZE, SIZE, 1), 1.0, 0.0, 5))

    def apply(self, params: Any, stats: Any, images: Array, *, key: Any, taps: Any, train: bool) -> Any:
        maps = jax.lax.conv_general_dilated(images, params["conv"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        maps = taps.get("conv", lambda a: a)(jax.nn.relu(maps))
        depth = jnp.exp(maps @ params["head"] + 1.5)
        return jnp.log(depth).reshape(len(images), -1), {"conv": maps, "depth": depth}, stats


def network(seed: int) -> Model:
    rng = np.random.default_rng(seed)
    shapes = {"conv": (5, 5, 3, 6), "head": (6, 1)}
    return Model({name: jnp.asarray(0.2 * rng.normal(size=s), jnp.float32) for name, s in shapes.items()}, {}, Toy())


def world(count: int, first: int) -> data.Source:
    return data.cached(data.concept_world(seed=1, num_images=count, first=first, image_size=SIZE, depth=True))


def study(**knobs: Any) -> DepthStudy:
    whole: dict[str, Any] = {
        "title": "Depth of a toy",
        "description": "As small as it can be.",
        "conditions": (
            DepthCondition("plain", "plain", training.depth(BINS)),
            DepthCondition("assigned", "assigned", training.depth(BINS, layers=("conv",), selectivity_weight=1.0)),
        ),
        "build": network,
        "source": lambda: world(16, 0),
        "held_out": lambda: world(10, 500),
        "bins": BINS,
        "layers": ("conv",),
        "optimizer": optax.adam(1e-2),
        "num_steps": 4,
        "batch_size": 8,
        "seeds": (0, 1),
        "ablated": "conv",
        "ablations": (1, 6),
        "num_random": 2,
        "pairs": (pipelines.DepthPairs("others", lambda: world(10, 900), BINS),),
        "num_checkpoints": 2,
    }
    return DepthStudy(**(whole | knobs))


def run(path: pathlib.Path, **knobs: Any) -> WorkDir:
    workdir = WorkDir(path)
    asked = {"announce": knobs.pop("announce", lambda line: None), "fresh": knobs.pop("fresh", False)}
    pipelines.run_depth(study(**knobs), workdir, mesh=_mesh.data_mesh(1), **asked)
    return workdir


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> WorkDir:
    return run(tmp_path_factory.mktemp("depth") / "whole")


def test_a_killed_run_goes_on_with_the_same_bytes(done, tmp_path):
    def stop(line: str) -> None:
        if line.startswith("assigned, seed 0"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", announce=stop, seeds=(0,))
    again = run(tmp_path / "killed", seeds=(0,))
    for name in ("plain", "assigned"):
        for file in (f"weights/{name}/0.safetensors", f"stages/depth.{name}.0.json"):
            assert (again.path / file).read_bytes() == (done.path / file).read_bytes(), file


def test_another_study_is_refused(done):
    with pytest.raises(ValueError, match=r"is the work directory of another recipe: recipe\.num_steps was 4, now 5"):
        run(done.path, num_steps=5)


def test_what_is_read_adds_up(done):
    values, arrays = done.load("depth.assigned.0")
    assert values["num_images"] == 10 and values["pairs/others"]["num_images"] == 10
    whole = arrays["errors/total"].sum(axis=0)[0] / arrays["errors/count"].sum()
    assert whole == pytest.approx(values["errors"]["abs_rel"])
    score = activations.depth_selectivity(arrays["response/conv"])
    assert values["selectivity"]["conv"]["same_images"] == pytest.approx(float(np.nanmean(np.asarray(score))), abs=1e-6)
    np.testing.assert_allclose(arrays["ablated/6/selective"], arrays["ablated/6/random"], rtol=1e-6)
    assert np.abs(arrays["ablated/1/selective"] - arrays["per_image/abs_rel"]).max() > 0
    history = (done.path / "weights/assigned/0.history.json").read_text()
    assert "selectivity" in history


def test_the_page(done):
    text = (done.path / "index.html").read_text()
    assert "@inproceedings{you2021" in text
    for part in ("Every training", "What assignment changes", "Depth error after ablation", "Where errors lie", "Real pairs"):
        assert part in text
    assert "Responses against depth, conv" in text


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"ablated": "other"}, "expected ablated= one of the layers conv"),
        ({"ablations": (4, 2)}, "rising numbers of ablated units"),
        ({"conditions": ()}, "expected conditions, each once"),
        ({"seeds": (1, 1)}, "expected seeds, each once"),
        ({"num_steps": 0}, "num_steps of at least 1"),
    ],
)
def test_errors_at_construction(knobs, message):
    with pytest.raises(ValueError, match=message):
        study(**knobs)


def test_errors_before_training(tmp_path):
    with pytest.raises(ValueError, match="expected at most 6 ablated units"):
        run(tmp_path / "one", ablations=(7,))
    without = data.cached(data.concept_world(seed=1, num_images=8, image_size=SIZE))
    with pytest.raises(ValueError, match="expected training images with depth of 32 px"):
        run(tmp_path / "two", source=lambda: without)


def test_the_command_line_shows_the_recipe_and_refuses_another_verb(capsys, tmp_path):
    recipe = str(pathlib.Path(__file__).parents[2] / "configs" / "depth.py")
    assert main(["show", recipe]) == 0
    shown = capsys.readouterr().out
    assert "assigned, seeds 0, 1, 2" in shown and "decoder.3" in shown
    assert main(["study", recipe, "--workdir", str(tmp_path / "none")]) == 2
    assert "write jaxinterp depth" in capsys.readouterr().err


@pytest.mark.skipif(not (SHARED / "data" / "depth").is_dir(), reason="needs the real pairs")
def test_real_pairs_run_through(tmp_path):
    from jaxinterp.cli._recipe import load_recipe

    recipe: Any = load_recipe(str(pathlib.Path(__file__).parents[2] / "configs" / "depth.py"))
    pairs = recipe.__globals__["real_pairs"](SHARED / "data" / "depth", image_size=SIZE)
    assert {one.name: len(one.source()) for one in pairs}["7-scenes"] == 15
    found = run(
        tmp_path / "real",
        pairs=pairs[3:4],
        ablations=(6,),
        num_random=1,
        seeds=(0,),
        conditions=study().conditions[:1],
        num_steps=1,
    )
    values, _ = found.load("depth.plain.0")
    for one in pairs[3:4]:
        read = values[f"pairs/{one.name}"]
        assert 0 < read["errors"]["abs_rel"] < 5 and 0 <= read["selectivity"]["conv"]["same_images"] <= 1


def test_figures_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="expected responses of 6 bins, got 4"):
        report.depth_responses({"toy": np.ones((2, 4))}, BINS.edges)
    with pytest.raises(ValueError, match="expected 6 values, got 4"):
        report.depth_curves({"error": {"toy": np.ones(4)}}, BINS.edges)
