"""A comparison from the command line: its networks, its figures, its page, its errors."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import optax
import pytest

from jaxinterp import _mesh, metrics, models, pipelines, report
from jaxinterp.cli import main
from jaxinterp.pipelines._context import Run
from jaxinterp.pipelines._exhibits_comparison import comparison_page
from jaxinterp.pipelines._identity import describe
from jaxinterp.pipelines._quantities import ACCURACIES, UNITS, figures_of
from jaxinterp.pipelines._stages import run_study
from tests.attacks.toys import conv_model
from tests.pipelines.compared import compared

RECIPE = str(pathlib.Path(__file__).parent / "compared.py")
CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"


def compare(folder, *arguments):
    return main(["compare", RECIPE, "--workdir", str(folder), "--devices", "1", *arguments])


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison") / "run"
    assert compare(folder) == 0
    return folder


def figures(folder, name, seed):
    return json.loads((folder / "stages" / f"network.{name}-{seed}.json").read_text())["figures"]


def test_every_network_has_its_folders_and_figures(done):
    known = {quantity.name for quantity in (*ACCURACIES, *UNITS)}
    for name in ("normal", "consistent"):
        folder = done / "networks" / f"{name}-1"
        assert (folder / "train" / "index.html").exists() and (folder / "units" / "index.html").exists()
        found = figures(done, name, 1)
        assert {"clean", "fgsm", "pgd", "success", "distortion", "r1"} <= set(found) and set(found) - known == {"weight norm"}
    page = (done / "index.html").read_text()
    assert "networks/normal-1/units/index.html" in page and "Differences to normal" in page


def test_figures_are_those_of_the_network_that_was_trained(done):
    trained = models.load(done / "networks" / "consistent-1" / "train" / "weights" / "network.safetensors", conv_model(1))
    assert figures(done, "consistent", 1)["weight norm"] == pytest.approx(float(optax.tree.norm(trained.params)))
    study = (
        compared().contenders[1].study(1, str(done / "networks" / "consistent-1" / "train" / "weights" / "network.safetensors"))
    )
    run = Run(study, pipelines.WorkDir(done / "networks" / "consistent-1" / "units"), mesh=_mesh.data_mesh(1))
    _, arrays = run.workdir.load("evaluate.normal")
    assert figures(done, "consistent", 1)["pgd"] == (arrays["network/pgd"] < 1).mean()
    _, arrays = run.workdir.load("consistency.normal")
    assert figures(done, "consistent", 1)["r1"] == pytest.approx(np.nanmean(arrays["network/adversarial/all/r1"]))


def test_a_network_whose_training_collapsed_is_studied_too(tmp_path):
    constant = jax.tree.map(np.zeros_like, conv_model(1))
    models.save(constant, tmp_path / "weights.safetensors")
    study = compared().contenders[0].study(1, str(tmp_path / "weights.safetensors"))
    run = Run(study, pipelines.WorkDir(tmp_path / "run"), mesh=_mesh.data_mesh(1))
    run_study(run, knobs={}, recipe_text="", announce=lambda line: None)
    found = figures_of(run)
    assert found["clean"] == found["pgd"] < 0.5 and not {"cs1", "cs2", "r1", "r2"} & set(found)
    assert "Level and consistency" in (tmp_path / "run" / "index.html").read_text()


def test_another_network_that_cannot_be_read_is_named_before_anything_is_trained(tmp_path):
    whole = compared()
    first = whole.contenders[0]

    def study(seed, weights):
        found = first.study(seed, weights)
        assert found.robustness is not None
        other = dataclasses.replace(
            found.robustness, transferred_from=lambda: models.load(tmp_path / "nowhere.npz", conv_model())
        )
        return dataclasses.replace(found, robustness=other)

    changed = dataclasses.replace(first, study=study)
    comparison = dataclasses.replace(whole, contenders=(changed, *whole.contenders[1:]))
    with pytest.raises(ValueError, match=r"nowhere\.npz"):
        pipelines.run_comparison(comparison, pipelines.WorkDir(tmp_path / "run"))
    assert not list((tmp_path / "run" / "networks").glob("*/train"))


def test_page_holds_means_and_paired_differences(done):
    comparison = compared(seeds=(0, 1, 2))
    values = {"normal": [0.2, 0.3, 0.4], "consistent": [0.5, 0.62, 0.71]}
    found = {(name, seed): {"pgd": value} for name, row in values.items() for seed, value in enumerate(row)}
    first, second = comparison_page(comparison, found, pipelines.WorkDir(done)).sections[1].items[1:]
    assert isinstance(first, report.Table) and isinstance(second, report.Table)
    mean = metrics.mean_interval(100 * np.asarray(values["consistent"]))
    assert first.rows == (("PGD", first.rows[0][1], f"{mean.estimate:.1f} ({mean.low:.1f} to {mean.high:.1f}), n = 3"),)
    paired = metrics.mean_interval(100 * np.subtract(values["consistent"], values["normal"]))
    assert second.rows == (("PGD", f"{paired.estimate:+.1f} ({paired.low:.1f} to {paired.high:.1f}), rises"),)


def test_no_direction_from_two_pairs_or_across_zero(done):
    for values in ([0.5, 0.6], [0.5, 0.2, 0.3]):
        comparison = compared(seeds=tuple(range(len(values))))
        found = {("normal", seed): {"pgd": 0.3} for seed in comparison.seeds}
        found |= {("consistent", seed): {"pgd": value} for seed, value in enumerate(values)}
        table = comparison_page(comparison, found, pipelines.WorkDir(done)).sections[1].items[2]
        assert isinstance(table, report.Table) and not {"rises", "falls"} & set(str(table.rows[0][1]).split())


def test_the_same_line_goes_on_and_another_is_refused(done, capsys):
    (done / "stages" / "network.consistent-1.json").unlink()
    before = (done / "networks" / "consistent-1" / "train" / "weights" / "network.safetensors").stat().st_mtime_ns
    assert compare(done) == 0
    assert (done / "stages" / "network.consistent-1.json").exists()
    assert (done / "networks" / "consistent-1" / "train" / "weights" / "network.safetensors").stat().st_mtime_ns == before
    capsys.readouterr()
    assert compare(done, "--feature-weight", "2") == 2
    assert "is the work directory of another recipe: knobs.feature_weight was 1.0, now 2.0" in capsys.readouterr().err


def test_a_verb_of_another_kind_is_refused(tmp_path, capsys):
    assert main(["study", RECIPE, "--workdir", str(tmp_path / "run")]) == 2
    assert "got one of a comparison; write jaxinterp compare" in capsys.readouterr().err


def test_show_names_the_contenders(capsys):
    assert main(["show", RECIPE]) == 0
    assert "consistent, seeds 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": ()}, "expected different seeds"),
        ({"seeds": (1, 1)}, "expected different seeds"),
        ({"baseline": "other"}, "expected baseline= one of normal, consistent, got 'other'"),
        ({"contenders": compared().contenders[:1]}, "expected at least two contenders"),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(compared(), **changes)


def test_a_contender_is_trained_or_given():
    study = compared().contenders[0].study
    with pytest.raises(ValueError, match="expected either fit= a training or weights= files"):
        pipelines.Contender("both", study)
    with pytest.raises(ValueError, match="expected a name without '/'"):
        pipelines.Contender("a/b", study, weights=lambda seed: "file")


def test_the_recipe_of_cifar_builds_what_it_says():
    from jaxinterp.cli._recipe import load_recipe

    recipe = load_recipe(str(CONFIGS / "cifar10_comparison.py"))
    built = recipe(images="somewhere", weights="somewhere.npz", contenders="ablation", seeds=(3,))
    assert isinstance(built, pipelines.Comparison)
    fits = {one.name: one.fit(3) for one in built.contenders if one.fit is not None}
    assert len(fits) == 7 and fits["beta 0"].seed == 3
    assert "radius 8" in fits and "epsilon 8/255" in fits["radius 8"].description
    study = built.contenders[-1].study(3, "trained.safetensors")
    assert study.robustness is not None and study.robustness.epsilon == 4 / 255 and study.seed == 3

    matched = recipe(images="somewhere", weights="somewhere.npz", contenders="matched", seeds=(3,), trained="before")
    assert isinstance(matched, pipelines.Comparison)
    files = {one.name: one.weights(3) for one in matched.contenders if one.weights is not None}
    assert files["normal, attacked as hard"] == files["normal"] == "before/networks/normal-3/train/weights/network.safetensors"
    weights = {one.name: describe(one.study(3, "file"))["attack"]["closure"]["distance_weight"] for one in matched.contenders}
    assert weights == {"normal": 2e4, "normal, attacked as hard": 1e3, "consistent": 1e3}


def test_the_recipe_of_neighbours_builds_what_it_says():
    from jaxinterp.cli._recipe import load_recipe

    recipe = load_recipe(str(CONFIGS / "neighbours.py"))
    built = recipe(images="somewhere", weights="somewhere.npz", seeds=(3,), num_steps=90)
    assert isinstance(built, pipelines.Comparison)
    assert [one.name for one in built.contenders] == ["normal", "consistent", "class-specific", "invertible"]
    fits = [one.fit(3) for one in built.contenders if one.fit is not None]
    assert [fit.num_steps for fit in fits] == [90, 90, 90, 2000] and {fit.seed for fit in fits} == {3}
    layers = [one.study(3, "trained.safetensors").members[0].layer for one in built.contenders]
    assert layers == ["layer3.2", "layer3.2", "layer3.2", "layer3.1"]
    short = recipe(images="somewhere", weights="somewhere.npz", contenders="gates")
    assert isinstance(short, pipelines.Comparison) and len(short.contenders) == 2


@pytest.mark.parametrize("contenders", ["objectives", "attacks", "gates"])
def test_the_recipe_of_the_world_builds_what_it_says(contenders):
    from jaxinterp.cli._recipe import load_recipe

    built = load_recipe(str(CONFIGS / "world_comparison.py"))(contenders=contenders, seeds=(1,), num_steps=30)
    assert isinstance(built, pipelines.Comparison)
    assert built.contenders[0].name == built.against == "normal"
    for contender in built.contenders:
        assert contender.fit is not None and contender.fit(1).num_steps == 30
        study = contender.study(1, "trained.safetensors")
        assert study.seed == 1 and (study.gates is not None) == (contenders == "gates")
        assert study.gates is None or study.gates.category == "object"
