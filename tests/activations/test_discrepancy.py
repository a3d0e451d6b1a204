"""Discrepancy maps against a plain loop, on units whose pixels are known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import _mesh, activations, models
from jaxinterp.activations import DiscrepancyMaps, discrepancy_maps, discrepancy_on_image, discrepancy_regions
from jaxinterp.activations._discrepancy import _occluded, _whole

SIZE, CELL = 16, 4
ONE: dict[str, Any] = {"layers": ("cells",), "occluder": 4, "stride": 2, "batch_size": 49}


def _apply(params, images):
    """Unit k: the mean of channel k over cells of 4 x 4, weighted; a second layer mixes the units of a cell."""
    cells = images.reshape(images.shape[0], SIZE // CELL, CELL, SIZE // CELL, CELL, 3).mean(axis=(2, 4))
    cells = models.named("cells", jax.nn.relu(cells * params["scale"][None, None, None]))
    mixed = models.named("mixed", jnp.tanh(cells @ params["mix"]))
    return mixed.mean(axis=(1, 2))


@pytest.fixture(scope="module")
def model():
    mix = jnp.asarray(np.random.default_rng(0).normal(size=(3, 5)), jnp.float32)
    return models.from_function(_apply, {"scale": jnp.asarray([1.0, 2.0, -1.0]), "mix": mix}, image_size=SIZE)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).random((3, SIZE, SIZE, 3)).astype(np.float32)


def _hidden(key, image, *, occluder, stride):
    """The image with every place of the grid occluded, in reading order."""
    left, side = (SIZE - occluder) % stride // 2, (SIZE - occluder) // stride + 1
    keys = jax.vmap(lambda place: jax.random.fold_in(key, place))(jnp.arange(side * side))
    pixels = np.asarray(jax.vmap(lambda key: jax.random.uniform(key, (occluder, occluder, 3)))(keys))
    result = np.stack([image] * side * side)
    for place in range(side * side):
        row, column = (left + stride * i for i in divmod(place, side))
        result[place, row : row + occluder, column : column + occluder] = pixels[place]
    return result


def _drops(whole, hidden, drop):
    """Maps of one image `[p u]` and of its occluded versions `[places p u]` to drops `[side side u]`."""
    side = round(len(hidden) ** 0.5)
    at_peak = hidden[:, whole.argmax(axis=0), np.arange(whole.shape[1])]
    left = hidden.max(axis=1) if drop == "maximum" else at_peak
    return (whole.max(axis=0) - left).reshape(side, side, -1)


def test_equals_a_loop_over_places_and_every_batch_size(model, images):
    key, knobs = jax.random.key(3), dict[str, Any](occluder=5, stride=4)
    layers, evaluate = ("cells", "mixed"), jax.jit(lambda model, images: model(images)[1])
    seen = evaluate(model, np.concatenate([images, *(_hidden(key, image, **knobs) for image in images)]))
    found = {}
    drops: tuple[tuple[Any, int], ...] = (("position", 7), ("maximum", 64))
    for drop, batch_size in drops:
        found = discrepancy_maps(key, model, images, layers=layers, batch_size=batch_size, drop=drop, **knobs)
        for layer, maps in found.items():
            flat = np.asarray(seen[layer]).reshape(len(seen[layer]), 16, -1)
            whole, hidden = flat[:3], flat[3:].reshape(3, 9, 16, -1)
            expected = [_drops(*pair, drop) for pair in zip(whole, hidden, strict=True)]
            np.testing.assert_allclose(maps.drop, np.stack(expected), atol=1e-6)
            np.testing.assert_allclose(maps.value, whole.max(axis=1), rtol=1e-6)
            assert np.array_equal(maps.position, whole.argmax(axis=1))
    some = discrepancy_maps(key, model, images, layers=layers, units={"mixed": [2, 0]}, batch_size=64, drop="maximum", **knobs)
    assert np.array_equal(some["mixed"].drop, found["mixed"].drop[..., [2, 0]])
    assert np.array_equal(some["cells"].drop, found["cells"].drop)
    assert some["mixed"].units.tolist() == [2, 0]
    turned = discrepancy_maps(key, model, images[::-1] * 1, layers=layers, batch_size=64, drop="maximum", **knobs)
    np.testing.assert_allclose(turned["mixed"].drop[::-1], found["mixed"].drop, atol=1e-6)


def test_occluded_images_are_split_over_devices(model, images):
    knobs: dict[str, Any] = {"layers": ("cells", "mixed"), "occluder": 5, "stride": 4}
    alone = discrepancy_maps(jax.random.key(3), model, images, batch_size=8, **knobs)
    split = discrepancy_maps(jax.random.key(3), model, images, batch_size=8, mesh=jax.make_mesh((4,), ("rows",)), **knobs)
    for name, maps in alone.items():
        np.testing.assert_allclose(split[name].drop, maps.drop, atol=1e-6)
        assert np.array_equal(split[name].position, maps.position)
    with pytest.raises(ValueError, match="a batch_size that 4 devices divide, got 6"):
        discrepancy_maps(jax.random.key(3), model, images, batch_size=6, mesh=_mesh.data_mesh(4), **knobs)


def test_one_trace_for_every_batch(model, images):
    programs: tuple[Any, ...] = (_whole, _occluded)
    before = [one._cache_size() for one in programs]
    for number in range(2):
        discrepancy_maps(jax.random.key(number), model, images[:1] * 0.5**number, **ONE)
    assert [one._cache_size() for one in programs] == [count + 1 for count in before]


def test_the_drop_is_where_the_pixels_are(model):
    image = np.zeros((1, SIZE, SIZE, 3), np.float32)
    image[0, 4:8, 8:12, 0] = 8.0  # far above what random pixels can reach: the drop says how many of them are hidden
    maps = discrepancy_maps(jax.random.key(0), model, image, **ONE)["cells"]
    assert (maps.drop.shape, maps.offset, maps.stride) == ((1, 7, 7, 3), 1.5, 2)
    assert divmod(maps.drop[0, ..., 0].argmax(), 7) == (2, 4)
    known, regions = image[0, ..., 0] > 0, discrepancy_regions(maps, share=0.5)
    assert regions.shape == (1, SIZE, SIZE, 3)
    assert (regions[0, ..., 0] & known).sum() / (regions[0, ..., 0] | known).sum() > 0.6
    assert not regions[0, ..., 2].any()  # silent: nothing can lower it
    assert discrepancy_on_image(maps, size=8).shape == (1, 8, 8, 3)
    with pytest.raises(ValueError, match=r"expected 0 <= share < 1, got 1\.0"):
        discrepancy_regions(maps, share=1.0)


def test_maximum_is_made_up_for_by_a_second_instance(model):
    image = np.zeros((1, SIZE, SIZE, 3), np.float32)
    image[0, 0:4, 0:4, 0] = image[0, 8:12, 8:12, 0] = 8.0
    drops: tuple[Any, ...] = ("position", "maximum")
    by_position, by_maximum = (
        discrepancy_maps(jax.random.key(0), model, image, drop=drop, **ONE)["cells"].drop[0, ..., 0] for drop in drops
    )
    assert by_position.max() > 7
    assert by_position.argmax() == 0
    assert abs(by_maximum).max() < 1e-6


@pytest.mark.parametrize(("occluder", "stride"), [(3, 2), (5, 3), (2, 3)])
def test_on_image_by_the_definitions(occluder, stride):
    side = (SIZE - occluder) // stride + 1
    first = (SIZE - occluder) % stride // 2
    drop = np.random.default_rng(0).random((2, side, side, 3)).astype(np.float32)
    nothing = np.zeros((2, 3), np.int32)
    offset = first + (occluder - 1) / 2
    maps = DiscrepancyMaps(drop, nothing.astype(np.float32), nothing, nothing[0], occluder, stride, offset, SIZE)
    if occluder % 2:
        centres = int(offset) + stride * np.arange(side)
        on_image = discrepancy_on_image(maps, spread="centre")
        np.testing.assert_array_equal(on_image[:, centres[:, None], centres[None, :]], drop)
    sums, counts = np.zeros((2, SIZE, SIZE, 3)), np.zeros((SIZE, SIZE))
    for place in range(side * side):
        row, column = (first + stride * i for i in divmod(place, side))
        sums[:, row : row + occluder, column : column + occluder] += drop[:, place // side, place % side][:, None, None]
        counts[row : row + occluder, column : column + occluder] += 1
    found, covered = discrepancy_on_image(maps), counts > 0
    np.testing.assert_allclose(found[:, covered], (sums[:, covered] / counts[covered][None, :, None]), rtol=1e-5)
    if first:
        np.testing.assert_array_equal(found[:, 0], found[:, first])


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"layers": ("cell",)}, "unknown layer 'cell'.*did you mean 'cells'"),
        ({"layers": ()}, "at least one layer"),
        ({"layers": ("cells",), "occluder": 17}, "an occluder of at most 16 pixels"),
        ({"layers": ("cells",), "stride": 0}, "stride >= 1, got 0"),
        ({"layers": ("cells",), "units": {"mixed": [0]}}, "add it to layers"),
        ({"layers": ("cells",), "units": {"cells": [3]}}, "units from 0 to 2"),
    ],
)
def test_bad_arguments_are_named(model, images, knobs, message):
    with pytest.raises(ValueError, match=message):
        activations.discrepancy_maps(jax.random.key(0), model, images, **knobs)
