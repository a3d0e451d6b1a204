"""Dissection over concept images: equal to plain NumPy, the noise control, the verb, killed and resumed."""

import dataclasses
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import _mesh, activations, data, metrics, models, pipelines
from jaxinterp.cli import main
from jaxinterp.pipelines import _concepts, _passes
from jaxinterp.pipelines._concept_sets import concept_images, noise_control
from jaxinterp.pipelines._galleries import _masks
from jaxinterp.pipelines._workdir import below
from tests.activations.scenes import Scene, equal, quantile_loop, tally_loop
from tests.pipelines.dissected import dissected

RECIPE = str(pathlib.Path(__file__).with_name("dissected.py"))
KEY = jax.random.key(0)
WORLD = data.concept_world(seed=7, num_images=18)


def settings(**knobs: Any) -> pipelines.Dissection:
    sizes = {"quantile": 0.02, "min_images": 2, "num_null_draws": 5, "num_null_images": 9, "num_top": 3, "batch_size": 8}
    return pipelines.Dissection(**{"source": lambda: WORLD, "label_size": 16, **sizes, **knobs})


def dissect(layers=("conv3", "conv5"), **knobs: Any) -> dict[str, pipelines.LayerDissection]:
    options = {name: knobs.pop(name) for name in ("thresholds", "mesh", "scratch") if name in knobs}
    return pipelines.dissect_layers(
        KEY, models.small_alexnet(), WORLD, layers=layers, settings=settings(**knobs), **{"mesh": _mesh.data_mesh(1), **options}
    )


@pytest.fixture(scope="module")
def found() -> dict[str, pipelines.LayerDissection]:
    return dissect()


def test_equals_plain_numpy(found):
    model = models.small_alexnet()
    examples = [WORLD[index] for index in range(len(WORLD))]
    images = np.stack([example.image for example in examples]).astype(np.float32) / 255
    maps = np.asarray(model(jnp.asarray(images))[1]["conv5"])
    np.testing.assert_allclose(found["conv5"].thresholds, quantile_loop(maps, 0.02), rtol=1e-5)
    scene = Scene(0, len(WORLD), layer=model.layer("conv5"), size=16, categories=WORLD.concepts.categories)
    scene.maps = maps
    scene.concepts = np.stack([np.asarray(example.concepts) for example in examples])[:, 2::4, 2::4]
    assert equal(found["conv5"].tally, tally_loop(scene, found["conv5"].thresholds, image_size=64))
    best = np.sort(maps.max(axis=(1, 2)), axis=0)[::-1][:3].T
    np.testing.assert_allclose(found["conv5"].top.value, best, rtol=1e-5)


def test_layers_and_devices_do_not_matter(found):
    alone = dissect(("conv5",), mesh=_mesh.data_mesh(4))["conv5"]
    np.testing.assert_allclose(alone.thresholds, found["conv5"].thresholds, rtol=1e-5)
    again = dissect(("conv5",), thresholds={"conv5": found["conv5"].thresholds}, mesh=_mesh.data_mesh(2))["conv5"]
    difference = np.abs(again.tally.intersection - found["conv5"].tally.intersection).sum()
    assert difference <= 2, "float32 sums differ with the number of devices, a pixel on the threshold may too"
    assert np.array_equal(again.tally.label_area, found["conv5"].tally.label_area)
    assert found["conv3"].thresholds.shape == (72,)


@pytest.fixture
def forward_passes(monkeypatch):
    """The batches on which a network ran."""
    seen: list[int] = []
    maps_of = _passes.maps_of

    def counted(model, layers, images):
        seen.append(len(images))
        return maps_of(model, layers, images)

    monkeypatch.setattr(_passes, "maps_of", counted)
    return seen


@pytest.mark.parametrize("num_devices", [1, 2])
def test_kept_maps_change_nothing_but_how_often_the_network_runs(tmp_path, forward_passes, num_devices):
    mesh = _mesh.data_mesh(num_devices)
    thresholds = {layer: one.thresholds / 2 for layer, one in dissect(mesh=mesh).items()}
    for given in ({}, {"thresholds": thresholds}):
        forward_passes.clear()
        anew = dissect(mesh=mesh, **given)
        assert len(forward_passes) == 3 * 3 + 2 * 2, "three passes of three batches, and a sample of two for each layer"
        forward_passes.clear()
        kept = dissect(mesh=mesh, scratch=tmp_path, **given)
        assert len(forward_passes) == 3 and not list(tmp_path.iterdir())
        for ours, theirs in zip(jax.tree.leaves(kept), jax.tree.leaves(anew), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_maps_are_kept_only_up_to_the_limit(tmp_path, forward_passes):
    shapes = [models.small_alexnet().layer(layer).shape for layer in ("conv3", "conv5")]
    size = sum(4 * len(WORLD) * int(np.prod(shape)) for shape in shapes)
    dissect(scratch=tmp_path, max_kept_bytes=size - 1)
    assert len(forward_passes) == 13
    forward_passes.clear()
    dissect(scratch=tmp_path, max_kept_bytes=size)
    assert len(forward_passes) == 3


def test_maps_of_half_precision_are_kept_as_they_are(tmp_path):
    model = models.with_dtype(models.small_alexnet(), "bfloat16")
    knobs: dict[str, Any] = {"layers": ("conv5",), "settings": settings(), "mesh": _mesh.data_mesh(1)}
    anew = pipelines.dissect_layers(KEY, model, WORLD, **knobs)["conv5"]
    kept = pipelines.dissect_layers(KEY, model, WORLD, scratch=tmp_path, **knobs)["conv5"]
    np.testing.assert_array_equal(kept.thresholds, anew.thresholds)
    assert equal(kept.tally, anew.tally)


def test_own_thresholds_are_a_second_reading(found):
    half = {"conv5": found["conv5"].thresholds / 2}
    again = dissect(("conv5",), thresholds=half)["conv5"]
    assert again.tally.mask_area.sum() > found["conv5"].tally.mask_area.sum()
    assert again.own.number == found["conv5"].own.number == found["conv5"].detectors.number
    np.testing.assert_array_equal(again.top.id, found["conv5"].top.id)


def test_null_is_counted_on_the_sample(found):
    null = found["conv5"].null
    assert (null.num_images, len(null.draws)) == (9, 5) and found["conv5"].masks.label_size == 8
    observed = metrics.detectors(metrics.tally_of_masks(found["conv5"].masks, WORLD.concepts.categories), min_images=2)
    assert null.number.observed == observed.number
    np.testing.assert_array_equal(found["conv5"].stability.concept, observed.concept)
    assert 0 < found["conv5"].stability.kept.mean() < 1 and found["conv5"].stability.num_draws == 200


def test_formulas_and_average_precision_are_those_of_the_sample(found):
    assert found["conv5"].beyond is None
    again = dissect(("conv5",), num_formula_draws=5)["conv5"]
    assert again.beyond is not None
    masks, categories = again.masks, WORLD.concepts.categories
    expected = metrics.formulas(KEY, masks, categories, num_draws=5, min_images=2)
    for name in ("first", "operator", "second", "iou"):
        np.testing.assert_array_equal(getattr(again.beyond.formulas, name), getattr(expected, name))
    rows = np.arange(0, len(WORLD), 2)
    images = np.stack([WORLD[int(row)].image for row in rows]).astype(np.float32) / 255
    pooled = np.asarray(models.small_alexnet()(jnp.asarray(images))[1]["conv5"]).max(axis=(1, 2))
    present = np.stack([np.isin(np.arange(len(categories)), one) for one in masks.concepts])
    ranked = metrics.precision_null(KEY, pooled, present, num_draws=5, min_images=2, max_share=0.5).observed
    assert (again.beyond.precise.observed.concept == ranked.concept).mean() > 0.9, "float32 sums may order two images anew"
    np.testing.assert_allclose(again.beyond.precise.observed.lift, ranked.lift, atol=0.05)
    with pytest.raises(ValueError, match="expected num_formula_draws of 0 or at least 5, got 3; write 20"):
        settings(num_formula_draws=3)


def test_noise_is_another_images_perturbation_of_the_same_norm():
    random = np.random.default_rng(0)
    clean = data.from_arrays(random.integers(60, 196, (7, 8, 8, 3), np.uint8), np.zeros(7, np.int32), classes=["a"])
    pixels = [clean[index].image + random.integers(-1 - index, 2 + index, (8, 8, 3)) for index in range(7)]
    adversarial = data.from_arrays(np.stack(pixels).astype(np.uint8), np.zeros(7, np.int32), classes=["a"])
    noise = noise_control(KEY, clean, adversarial)
    own = [adversarial[index].image.astype(int) - clean[index].image for index in range(7)]
    given = [noise[index].image.astype(int) - clean[index].image for index in range(7)]
    for index in range(7):
        size = np.linalg.norm(own[index])
        assert abs(np.linalg.norm(given[index]) - size) < 0.2 * size + 4, "rounding to 8 bits"
        match = [np.corrcoef(given[index].ravel(), other.ravel())[0, 1] for other in own]
        assert int(np.argmax(match)) != index and max(match) > 0.7
    assert noise[3].id == clean[3].id
    with pytest.raises(ValueError, match="an adversarial version of each"):
        noise_control(KEY, clean, data.subset(adversarial, range(3)))


def test_bad_input_is_one_line():
    with pytest.raises(ValueError, match="expected images of 64 px, got 32"):
        world = data.concept_world(seed=7, num_images=4, image_size=32)
        pipelines.dissect_layers(KEY, models.small_alexnet(), world, layers=("conv5",), settings=settings())
    plain = data.from_arrays(np.zeros((2, 64, 64, 3), np.uint8), np.zeros(2, np.int32), classes=["a"])
    with pytest.raises(ValueError, match="expected images with concept labels"):
        pipelines.dissect_layers(KEY, models.small_alexnet(), plain, layers=("conv5",), settings=settings())
    with pytest.raises(ValueError, match="unknown layer 'conv9'"):
        dissect(("conv9",))
    with pytest.raises(ValueError, match="expected num_top of at least 1, got 0"):
        settings(num_top=0)
    with pytest.raises(ValueError, match="expected layers of members, got 'VGG'"):
        dataclasses.replace(dissected(), dissection=settings(layers={"VGG": ()}))
    with pytest.raises(ValueError, match="expected source= or dissection=, got neither"):
        dataclasses.replace(dissected(), dissection=None)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("concepts") / "run"
    assert main(["dissect", RECIPE, "--workdir", str(path), "--devices", "1"]) == 0
    return path


def test_the_verb_counts_three_sets(workdir):
    values = json.loads((workdir / "stages" / "concepts.normal.json").read_text())
    assert values["sets"] == ["real", "adversarial", "noise"] and values["num_images"] == 24
    layers = values["members"]["AlexNet"]["layers"]
    assert list(layers) == ["conv3", "conv5"]
    arrays = np.load(workdir / "stages" / "concepts.normal.npz")
    for layer, entry in layers.items():
        thresholds = [arrays[f"AlexNet/{layer}/{kind}/thresholds"] for kind in values["sets"]]
        assert np.array_equal(thresholds[0], thresholds[1]) and np.array_equal(thresholds[0], thresholds[2])
        for kind, counts in entry["sets"].items():
            assert counts["number"] == int(arrays[f"AlexNet/{layer}/{kind}/detects"].sum())
        observed = {kind: entry["sets"][kind]["null"]["number"]["observed"] for kind in values["sets"]}
        assert entry["effect"]["number"]["estimate"] == observed["adversarial"] - observed["noise"]
    said = values["members"]["AlexNet"]["predictions"]
    assert abs(said["rms"]["noise"] / said["rms"]["adversarial"] - 1) < 0.1
    assert said["changed"]["adversarial"] > said["changed"]["noise"]


def test_adversarial_versions_leave_the_clean_prediction(workdir):
    stored = data.adversarial_set(workdir / "adversarial" / "concepts.normal", split="adversarial")
    assert len(stored) == 24
    for index in range(24):
        record = stored.record(index)
        assert record.label == record.clean_predictions[0] != record.target


def test_the_page_has_the_section_and_nothing_else(workdir):
    page = (workdir / "index.html").read_text()
    for words in ("Concept images", "noise control", "own T_k", "What the attack does beyond noise", "least likely"):
        assert words in page, words
    assert "Images and networks" not in page
    assert "fewer detect one on adversarial images than on noise" in page and "under-powered" in page
    assert "Beyond one concept by IoU" in page
    values = json.loads((workdir / "stages" / "concepts.normal.json").read_text())
    assert list(values["pages"]) == ["AlexNet, conv3", "AlexNet, conv5"]
    for address in values["pages"].values():
        assert f'href="{address}"' in page
        gallery = (workdir / address).read_text()
        assert "noise" in gallery and 'src="http' not in gallery
        table = (workdir / address).with_suffix(".csv").read_text()
        assert table.count("\n") == 1 + (72 if "conv3" in address else 48)
        heading = table.split("\n", 1)[0]
        assert all(name in heading for name in ("formula", "formula IoU", "ranks first", "AP at random"))


def test_masks_of_the_gallery_are_those_of_the_top_images(workdir):
    run = pipelines.Run(dissected(), pipelines.WorkDir(workdir), mesh=_mesh.data_mesh(1))
    model, layer = run.built[0], run.built[0].layer("conv5")
    arrays = below(run.workdir.load("concepts.normal")[1], "AlexNet")
    found = below(arrays, "conv5/real")
    index = np.searchsorted(arrays["ids"], found["top_ids"])
    assert run.study.dissection is not None
    images = concept_images(run.study.dissection)
    masks = _masks(run, model, layer, images, index, found["thresholds"], "receptive_field", "")
    for unit, place in ((0, 0), (17, 3), (47, 1)):
        image = jnp.asarray(images[int(index[unit, place])].image[None] / np.float32(255))
        maps = model(image)[1]["conv5"]
        assert np.isclose(maps[..., unit].max(), found["top_values"][unit, place], rtol=1e-5)
        expected = activations.unit_masks(maps, jnp.asarray(found["thresholds"]), layer, 56, image_size=64)[0, ..., unit]
        assert (np.asarray(expected) != masks[unit, place]).mean() < 0.002


def test_a_part_that_is_lost_is_made_again_with_the_same_bytes(workdir, monkeypatch):
    stages = workdir / "stages"
    before = {path.name: path.read_bytes() for path in stages.iterdir()}
    (stages / "concepts.normal.json").unlink()
    monkeypatch.setattr(_concepts, "_dissect_member", None)
    assert main(["dissect", RECIPE, "--workdir", str(workdir), "--devices", "1"]) == 0, "the part is kept"
    monkeypatch.undo()
    for name in ("concepts.normal.json", "concepts.normal.AlexNet.json"):
        (stages / name).unlink()
    assert main(["dissect", RECIPE, "--workdir", str(workdir), "--devices", "1"]) == 0
    assert {path.name: path.read_bytes() for path in stages.iterdir()} == before


def test_without_attacks_there_is_one_set(tmp_path):
    study = dissected(num_images=9, adversarial=False)
    run = pipelines.Run(study, pipelines.WorkDir(tmp_path / "run"), mesh=_mesh.data_mesh(1))
    pipelines.run_study(run, verb="dissect", announce=lambda line: None)
    values, _ = run.workdir.load("concepts.normal")
    assert values["sets"] == ["real"] and not (tmp_path / "run" / "adversarial").exists()
    assert "beyond noise" not in (tmp_path / "run" / "index.html").read_text()
