"""The marks on the pictures of a gallery that come from sliding an occluder."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import _mesh, activations, attacks, data, models, pipelines
from jaxinterp.pipelines import _galleries
from jaxinterp.pipelines._stages import run_study

SIZE, CELL = 16, 4


def cells_of(params, images):
    """Unit k: the mean of channel k over cells of 4 x 4 pixels."""
    cells = models.named("cells", images.reshape(-1, SIZE // CELL, CELL, SIZE // CELL, CELL, 3).mean(axis=(2, 4)))
    return cells.mean(axis=(1, 2)) @ params["mix"]


def study(occlusion):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (7, SIZE, SIZE, 3)).astype(np.uint8)
    names = ["n02084071", "n02121620", "n02374451"]
    return pipelines.Study(
        title="Cells",
        description="",
        methods="",
        members=(
            pipelines.Member("cells", lambda: models.from_function(cells_of, {"mix": jnp.eye(3)}, image_size=SIZE), "cells"),
        ),
        source=lambda: data.from_arrays(pictures, rng.integers(0, 3, 7), classes=names),
        attack=lambda phase: attacks.ensemble_optimization(num_steps=1),
        num_targets=1,
        occlusion=occlusion,
    )


@pytest.mark.parametrize("drops", [2**24, 16 * 16 * 3 * 2])
def test_marks_are_the_discrepancy_regions_of_the_first_pictures(tmp_path, monkeypatch, drops):
    """Whether all images fit in memory at once, or two at a time."""
    monkeypatch.setattr(_galleries, "_DROPS", drops)
    settings = pipelines.Occlusion(occluder=4, stride=2, share=0.3, num_pictures=2, batch_size=49)
    run = pipelines.Run(study(settings), pipelines.WorkDir(tmp_path / "run"), mesh=_mesh.data_mesh(2))
    model = run.built[0]
    index = np.asarray([[6, 2, 0], [2, -1, -1], [5, 6, 3]])
    masks = _galleries._needed(run, model, model.layer("cells"), run.source, index, settings, "")
    images = np.stack([run.source[row].image for row in (2, 5, 6)]).astype(np.float32) / 255
    maps = activations.discrepancy_maps(run.key(12), model, images, layers=("cells",), occluder=4, stride=2)["cells"]
    regions = activations.discrepancy_regions(maps, share=0.3)
    for unit, place, row in ((0, 0, 2), (0, 1, 0), (1, 0, 0), (2, 0, 1), (2, 1, 2)):
        assert regions[row, ..., unit].any()
        np.testing.assert_array_equal(masks[unit, place], regions[row, ..., unit])
    assert not masks[:, 2].any() and not masks[1, 1].any()


def test_an_occluder_larger_than_the_images_is_refused_before_anything_runs(tmp_path):
    run = pipelines.Run(study(pipelines.Occlusion(occluder=17)), pipelines.WorkDir(tmp_path / "run"), mesh=_mesh.data_mesh(1))
    with pytest.raises(ValueError, match="an occluder of at most 16 px, the side of the images, got 17"):
        run_study(run, announce=lambda line: None)
    assert not (tmp_path / "run" / "stages").exists()


@pytest.mark.parametrize(
    "knobs, message",
    [
        ({"stride": 0}, "stride of at least 1, got 0"),
        ({"share": 1.0}, r"expected 0 <= share < 1, got 1\.0"),
        ({"drop": "mean"}, 'drop="position" or "maximum", got \'mean\''),
    ],
)
def test_bad_settings_are_named(knobs, message):
    with pytest.raises(ValueError, match=message):
        pipelines.Occlusion(**knobs)
