"""The tally is the plain NumPy computation, bit by bit, and never overflows."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import Layer, data
from jaxinterp.activations import _tally, masks, pooled, tally, top_k
from jaxinterp.activations._counts import WideCount, wide_add, wide_int64, wide_merge
from tests.activations.scenes import CATEGORIES, IMAGE_SIZE, LAYER, Scene, equal, fold, quantile_loop, tally_loop


@pytest.mark.parametrize(("anchor", "max_present"), [("receptive_field", 7), ("plain", 10)])
def test_equals_plain_numpy_on_real_numbers(anchor, max_present):
    layer = Layer("conv", (6, 6, 5), stride=3.7, offset=-1.3, receptive_field=11)
    scene = Scene(3, num_images=17, layer=layer, size=21, exact=False)
    thresholds = quantile_loop(scene.maps, 0.05)
    knobs: dict[str, Any] = {"label_size": 21, "image_size": 23, "anchor": anchor, "max_present": max_present}
    statistic = tally(layer, thresholds=thresholds, categories=CATEGORIES, **knobs)
    result = statistic.compute(fold(statistic, scene.batches(np.arange(17), 6)))
    expected = tally_loop(scene, thresholds, image_size=23, anchor=anchor)
    assert equal(result, expected)
    assert result.intersection.any(axis=0)[1:].all()


@pytest.mark.parametrize(("touched", "unit_block"), [(False, 32), (True, 64), (True, 1000)])
def test_blocks_of_units_and_of_concepts_add_up(monkeypatch, touched, unit_block):
    """On CPU units come in blocks, elsewhere in one product; both are run here."""
    monkeypatch.setattr(_tally, "UNIT_BLOCK", unit_block)
    _tally._update.cache_clear()
    layer, categories = Layer("conv", (4, 4, 150), 4.0, 1.5, 7), (*CATEGORIES, *["part"] * 10)
    scene = Scene(9, num_images=5, layer=layer, categories=categories)
    scene.maps[1, ..., 70:] = -9  # fewer units than a block answer
    scene.maps[2] = -9
    scene.concepts[3] = 0
    thresholds = quantile_loop(scene.maps, 0.1)
    rule = "touched" if touched else "carried"
    knobs: dict[str, Any] = {"label_size": 16, "image_size": 16, "max_present": 6, "area_rule": rule}
    statistic = tally(layer, thresholds=thresholds, categories=categories, **knobs)
    expected = tally_loop(scene, thresholds, image_size=16, touched=touched)
    assert equal(statistic.compute(fold(statistic, scene.batches(np.arange(5), 3))), expected)
    _tally._update.cache_clear()


def test_concept_carried_twice_counts_once():
    scene = Scene(4, num_images=3)
    scene.concepts[:] = 3
    statistic = tally(LAYER, thresholds=np.full(5, -1, np.float32), categories=CATEGORIES, label_size=16, image_size=16)
    result = statistic.compute(fold(statistic, scene.batches(np.arange(3), 3)))
    assert result.label_area.tolist() == [0, 0, 0, 3 * 256, 0, 0, 0, 0, 0, 0]
    assert (result.intersection[:, 3] == 3 * 256).all()
    assert (result.unit_area == np.asarray([0, 768, 0, 0, 0])).all(), "only images of the category count"
    assert (result.mask_area == 768).all()


def test_concept_maps_of_another_size_are_sampled():
    scene = Scene(5)
    coarse = np.repeat(np.repeat(scene.concepts, 3, axis=1), 3, axis=2)
    thresholds = quantile_loop(scene.maps, 0.05)
    statistic = tally(LAYER, thresholds=thresholds, categories=CATEGORIES, label_size=IMAGE_SIZE, image_size=IMAGE_SIZE)
    expected = statistic.compute(fold(statistic, scene.batches(np.arange(23), 23)))
    scene.concepts = coarse
    assert equal(statistic.compute(fold(statistic, scene.batches(np.arange(23), 23))), expected)


def test_wide_counts_do_not_overflow():
    add = jax.jit(wide_add)
    count, total = WideCount(jnp.zeros(2, jnp.int32), jnp.zeros(2, jnp.int32)), np.zeros(2, np.int64)
    step = np.asarray([2**30 - 1, 5], np.int32)
    for _ in range(9):
        count, total = add(count, step), total + step
    assert np.array_equal(wide_int64(count), total)
    merged = wide_merge(count, wide_merge(count, count))
    assert np.array_equal(wide_int64(merged), 3 * total)
    assert total[0] > 2**33 and (np.asarray(merged.low) < 2**30).all()


def test_bad_arguments_are_named():
    knobs: dict[str, Any] = {"label_size": 16, "image_size": 16}
    with pytest.raises(ValueError, match="expected 5 thresholds for layer 'conv'"):
        tally(LAYER, thresholds=np.zeros(4, np.float32), categories=CATEGORIES, **knobs)
    with pytest.raises(ValueError, match='"none" first'):
        tally(LAYER, thresholds=np.zeros(5, np.float32), categories=CATEGORIES[1:], **knobs)
    # The rule is checked before any shape is known, so the type checker of the tests is not what refuses "image".
    unchecked: Any = getattr(tally, "__wrapped__", tally)
    other: dict[str, Any] = {"area_rule": "image"}
    with pytest.raises(ValueError, match='expected area_rule="carried" or "touched"'):
        unchecked(LAYER, thresholds=np.zeros(5, np.float32), categories=CATEGORIES, **knobs, **other)
    with pytest.raises(ValueError, match="expected label_size <= 4096"):
        tally(LAYER, thresholds=np.zeros(5, np.float32), categories=CATEGORIES, label_size=5000, image_size=16)
    statistic = tally(LAYER, thresholds=np.zeros(5, np.float32), categories=CATEGORIES, **knobs)
    batch, maps = Scene(7, num_images=2).batch(np.arange(2), 2)
    with pytest.raises(ValueError, match=r"expected batch\.extra"):
        statistic.update(statistic.init(), batch._replace(extra={}), maps)
    stored = masks(LAYER, thresholds=np.zeros(5, np.float32), num_images=9, label_layers=2, **knobs)
    with pytest.raises(ValueError, match="write label_layers=3"):
        stored.update(stored.init(), batch, maps)


def test_ids_outside_the_rows_are_refused():
    batch, maps = Scene(8, num_images=3).batch(np.arange(3), 4)
    statistic = pooled("conv", num_units=5, num_images=2, first_id=7)
    with pytest.raises(ValueError, match=r"expected ids in \[7, 9\), got 1 image"):
        statistic.compute(jax.jit(statistic.update)(statistic.init(), batch, maps))


def test_equals_plain_numpy_on_the_concept_world():
    source = data.concept_world(num_images=32, seed=5)
    examples = [source[i] for i in range(32)]
    size = source.image_size
    layer = Layer("conv", (size // 8, size // 8, 6), stride=8.0, offset=3.5, receptive_field=8)
    images = np.stack([example.image for example in examples]).astype(np.float32) / 255
    kernel = np.random.default_rng(0).normal(size=(8, 8, 3, 6)).astype(np.float32)
    blocks = images.reshape(32, size // 8, 8, size // 8, 8, 3)
    categories = source.concepts.categories
    scene = Scene(0, num_images=32, layer=layer, size=size, categories=categories)
    scene.maps = np.maximum(np.einsum("nyaxbc,abcu->nyxu", blocks, kernel), 0).astype(np.float32)
    scene.concepts = np.stack([np.asarray(example.concepts) for example in examples])
    thresholds = quantile_loop(scene.maps, 0.005)
    statistic = tally(layer, thresholds=thresholds, categories=categories, label_size=size, image_size=size)
    result = statistic.compute(fold(statistic, scene.batches(np.arange(32), 12)))
    assert equal(result, tally_loop(scene, thresholds, image_size=size))
    best = top_k("conv", num_units=6, k=1)
    winners = best.compute(fold(best, scene.batches(np.arange(32), 12)))
    assert np.array_equal(winners.value[:, 0], scene.maps.max(axis=(0, 1, 2)))
