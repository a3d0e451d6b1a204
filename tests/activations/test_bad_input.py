"""Bad input is refused in one line, and every odd case has a defined result."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import Layer
from jaxinterp.activations import masks, pooled, tally, top_k
from jaxinterp.metrics import detectors, iou_table
from tests.activations.scenes import CATEGORIES, LAYER, Scene, equal, fold, quantile_loop, tally_loop

SIZES: dict[str, Any] = {"label_size": 16, "image_size": 16}


def _tally(scene, thresholds):
    statistic = tally(scene.layer, thresholds=thresholds, categories=scene.categories, **SIZES)
    return statistic.compute(fold(statistic, scene.batches(np.arange(len(scene)), 4)))


STATISTICS = {
    "top_k": lambda: top_k("conv", num_units=5, k=2),
    "pooled": lambda: pooled("conv", num_units=5, num_images=4, first_id=7),
    "tally": lambda: tally(LAYER, thresholds=np.zeros(5, np.float32), categories=CATEGORIES, **SIZES),
    "masks": lambda: masks(LAYER, thresholds=np.zeros(5, np.float32), num_images=4, first_id=7, label_layers=3, **SIZES),
}


@pytest.mark.parametrize("name", STATISTICS)
def test_activations_that_are_not_finite_are_refused(name):
    statistic = STATISTICS[name]()
    scene = Scene(0, num_images=3)
    scene.maps[1, 2, 3, 4], scene.maps[2, 0, 0, 0] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"expected finite activations, got NaN or infinity 2 time\(s\) in layer 'conv'"):
        statistic.compute(fold(statistic, scene.batches(np.arange(3), 4)))
    statistic.compute(fold(statistic, scene.batches(np.arange(1), 4)))


@pytest.mark.parametrize("number", [-1, len(CATEGORIES)])
def test_concept_numbers_outside_the_table_are_refused(number):
    scene = Scene(1, num_images=2)
    scene.concepts[1, 3, 3, 0] = number
    with pytest.raises(ValueError, match=r"expected concept numbers in \[0, 10\), got 1 pixel"):
        _tally(scene, np.zeros(5, np.float32))


@pytest.mark.parametrize("number", [-1, 2**16])
def test_stored_concept_numbers_have_16_bits(number):
    scene = Scene(1, num_images=2)
    scene.concepts[1, 3, 3, 0] = number
    statistic = STATISTICS["masks"]()
    with pytest.raises(ValueError, match=r"expected concept numbers in \[0, 65536\), got 1 image"):
        statistic.compute(fold(statistic, scene.batches(np.arange(2), 4)))


def test_images_without_concept_maps_are_refused():
    batch, maps = Scene(2, num_images=2).batch(np.arange(2), 2)
    for name in ("tally", "masks"):
        statistic = STATISTICS[name]()
        with pytest.raises(ValueError, match=r'expected batch.extra\["concepts"\] \[n h w l\], got none'):
            statistic.update(statistic.init(), batch._replace(extra={}), maps)


def test_a_dead_unit_has_empty_masks_and_no_label():
    scene = Scene(3)
    scene.maps[..., 2] = 0
    thresholds = quantile_loop(scene.maps)
    result = _tally(scene, thresholds)
    assert thresholds[2] == 0 and result.mask_area[2] == 0 and not result.intersection[2].any()
    found = detectors(result, min_images=1)
    assert (found.concept[2], found.iou[2], found.detects[2]) == (0, 0, False)
    assert not iou_table(result)[2].any()


def test_a_concept_that_never_appears_has_iou_zero():
    scene = Scene(4)
    scene.concepts[scene.concepts == 4] = 0
    result = _tally(scene, quantile_loop(scene.maps, 0.05))
    assert result.label_area[4] == result.concept_images[4] == 0
    assert not iou_table(result)[:, 4].any()
    found = detectors(result, min_images=1)
    assert found.excluded == 1 and found.by_category["scene"] == 0 and 4 not in found.concept


def test_no_concept_at_all():
    scene = Scene(5)
    scene.concepts[:] = 0
    result = _tally(scene, quantile_loop(scene.maps, 0.05))
    assert not result.unit_area.any() and result.mask_area.any()
    assert detectors(result).number == detectors(result).eligible == 0


def test_without_positions_a_mask_is_the_image_or_nothing():
    layer = Layer("fc", (1, 1, 6), 1.0, 0.0, 16)
    scene = Scene(6, layer=layer)
    thresholds = quantile_loop(scene.maps, 0.2)
    expected = tally_loop(scene, thresholds, image_size=16)
    statistic = tally(layer, thresholds=thresholds, categories=CATEGORIES, **SIZES)
    flat = [(batch, {"fc": maps["fc"][:, 0, 0]}) for batch, maps in scene.batches(np.arange(23), 8)]
    assert equal(statistic.compute(fold(statistic, flat)), expected)
    assert np.array_equal(expected.mask_area, 256 * (scene.maps[:, 0, 0] > thresholds).sum(axis=0))


@pytest.mark.parametrize("label_size", [112, 224])
def test_counts_of_ten_times_broden_do_not_overflow(label_size):
    """633 050 images on which every unit answers everywhere, by merging states."""
    layer = Layer("fc", (1, 1, 2), 1.0, 0.0, 16)
    categories = ("none", "object")
    statistic = tally(
        layer, thresholds=np.zeros(2, np.float32), categories=categories, label_size=label_size, image_size=label_size
    )
    scene = Scene(7, num_images=1, layer=layer, size=label_size, categories=categories, label_layers=1)
    scene.maps[:], scene.concepts[:] = 1, 1
    power, total, number, left = fold(statistic, scene.batches(np.arange(1), 1)), None, 0, 633_050
    merge = jax.jit(statistic.merge)
    while left:
        if left & 1:
            total, number = power if total is None else merge(total, power), number + 1
        power, left = merge(power, power), left >> 1
    assert total is not None and number == (633_050).bit_count()
    result = statistic.compute(total)
    pixels = 633_050 * label_size**2
    assert result.num_images == 633_050 and pixels > 2**32
    for array in (result.intersection[:, 1], result.unit_area, result.mask_area, result.label_area[1:]):
        assert (array == pixels).all() and array.dtype == np.int64
    assert (iou_table(result)[:, 1] == 1).all()


def test_units_that_answer_with_negative_numbers():
    scene = Scene(8)
    scene.maps -= 5
    thresholds = quantile_loop(scene.maps, 0.05)
    assert (thresholds < 0).all()
    assert equal(_tally(scene, thresholds), tally_loop(scene, thresholds, image_size=16))
    batch, maps = scene.batch(np.arange(3), 4)
    best = top_k("conv", num_units=5, k=4)
    state = best.update(best.init(), batch._replace(mask=jnp.asarray([True, True, True, False])), maps)
    assert (best.compute(state).value[:, :3] < 0).all()
