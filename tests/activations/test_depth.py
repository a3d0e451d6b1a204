"""Bins of depth, responses and selectivity against closed forms and plain NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import activations
from jaxinterp.activations import DepthBins
from tests.activations.scenes import IMAGE_SIZE, LAYER, Scene, upsampled_loop

BINS = DepthBins(smallest=0.75, largest=10.0, num_bins=6)


def selectivity_loop(response, chosen=None):
    """DS_k unit by unit."""
    found = []
    for unit, row in enumerate(response):
        size = np.abs(row[np.isfinite(row)])
        place = (
            int(size.argmax()) if chosen is None else int(np.flatnonzero(np.flatnonzero(np.isfinite(row)) == chosen[unit])[0])
        )
        largest, others = size[place], np.delete(size, place).mean()
        found.append((largest - others) / (largest + others))
    return np.asarray(found)


def test_bins_are_those_of_their_edges():
    for bins in (BINS, activations.nyu_bins(), activations.kitti_bins()):
        depth = np.concatenate([bins.edges, np.random.default_rng(0).uniform(0, 90, 2000), [0, -1, np.nan, np.inf]])
        depth = depth.astype(np.float32)
        expected = np.digitize(depth, bins.edges) - 1
        expected[depth == bins.edges[-1]] = bins.num_bins - 1
        expected[~((depth >= bins.edges[0]) & (depth <= bins.edges[-1]))] = -1
        np.testing.assert_array_equal(np.asarray(bins.bin_of(depth)), expected)
        np.testing.assert_allclose(np.diff(np.log(bins.edges)), np.log(bins.largest / bins.smallest) / bins.num_bins, rtol=1e-4)
    assert (activations.nyu_bins().smallest, activations.kitti_bins().largest) == (0.75, 80.0)


@pytest.mark.parametrize("anchor", ["receptive_field", "plain"])
def test_responses_are_means_of_upsampled_maps(anchor, float64):
    """Gathering pixels at positions is upsampling and averaging, in float64."""
    scene = Scene(3, 5, exact=False)
    mask = np.arange(5) != 2
    total, count = jax.jit(
        lambda maps, depth: activations.response_sums(
            maps, depth, jnp.asarray(mask), LAYER, BINS, image_size=IMAGE_SIZE, anchor=anchor
        )
    )(jnp.asarray(scene.maps.astype(np.float64)), jnp.asarray(scene.depth))
    place = np.digitize(scene.depth, BINS.edges) - 1
    place[(scene.depth < 0.75) | (scene.depth > 10) | ~mask[:, None, None]] = -1
    for unit in range(LAYER.shape[2]):
        maps = np.stack([upsampled_loop(one[..., unit], LAYER, IMAGE_SIZE, anchor=anchor) for one in scene.maps])
        for number in range(6):
            assert count[number] == (place == number).sum()
            np.testing.assert_allclose(total[unit, number], maps[place == number].sum(), rtol=1e-9, atol=1e-9)


def test_planted_units_have_the_closed_form():
    """A unit that answers a in one bin and b in the D - 1 others has (a - b) / (a + b), through the whole statistic."""
    layer = LAYER._replace(shape=(16, 16, 4), stride=1.0, offset=0.0)
    depth = np.tile(np.sqrt(BINS.edges[1:] * BINS.edges[:-1])[np.arange(16) % 6], (8, 16, 1)).astype(np.float32)
    place = np.asarray(BINS.bin_of(depth))
    levels = [(3.0, 1.0, 0), (2.0, 0.0, 4), (1.0, 1.0, 5), (0.0, 0.0, 0)]
    maps = np.stack([np.where(place == where, high, low) for high, low, where in levels], axis=-1).astype(np.float32)
    scene = Scene(0, 8, layer=layer)
    scene.maps, scene.depth = maps, depth
    statistic = activations.depth_response(layer, BINS, image_size=16)
    state = jax.jit(statistic.update)(statistic.init(), *scene.batch(np.arange(8), 8))
    found = statistic.compute(state)
    closed = [(3 - 1) / (3 + 1), 1.0, 0.0, 0.0]
    np.testing.assert_allclose(activations.depth_selectivity(found.response), closed, atol=1e-6)
    np.testing.assert_allclose(activations.cross_validated_selectivity(found), closed, atol=1e-12)
    np.testing.assert_array_equal(activations.selective_bins(found.response)[:2], [0, 4])
    assert found.num_images.sum() == 8 and (found.pixels.sum(axis=0) > 0).all()
    few = activations.DepthResponse(found.total, np.stack([found.pixels[0], 0 * found.pixels[1]]), found.num_images)
    assert np.isnan(activations.cross_validated_selectivity(few)).all()


def test_selectivity_equals_numpy_and_has_a_gradient(float64):
    response = np.random.default_rng(1).normal(size=(7, 9))
    response[:, [2, 5]] = np.nan
    chosen = np.asarray([0, 1, 3, 4, 6, 7, 8])
    np.testing.assert_allclose(activations.depth_selectivity(response), selectivity_loop(response), rtol=1e-12)
    np.testing.assert_allclose(activations.depth_selectivity(response, chosen=chosen), selectivity_loop(response, chosen))
    present = np.asarray(np.isfinite(response).all(axis=0))

    def score(values):
        return jnp.nansum(activations.depth_selectivity(values, present=present, chosen=chosen))

    whole, step = jnp.asarray(np.nan_to_num(response)), 1e-6
    gradient = jax.grad(score)(whole)
    moved = [score(whole.at[3, 4].add(sign * step)) for sign in (1, -1)]
    np.testing.assert_allclose(gradient[3, 4], (moved[0] - moved[1]) / (2 * step), rtol=1e-6)
    assert not np.asarray(gradient)[:, ~present].any()
    assert np.isfinite(jax.grad(score)(jnp.zeros_like(whole))).all()
    absent = activations.depth_selectivity(response, chosen=np.full(7, 2))
    assert np.isnan(absent).all()


def test_noise_in_the_choice_does_not_raise_the_cross_validated_score():
    rng = np.random.default_rng(0)
    total = 1 + 0.3 * rng.normal(size=(2, 400, 64))
    found = activations.DepthResponse(total, np.ones((2, 64), np.int64), np.ones(2, np.int64))
    assert np.asarray(activations.depth_selectivity(found.response)).mean() > 0.15
    assert activations.cross_validated_selectivity(found).mean() < 0.02


def test_assigned_bins():
    np.testing.assert_array_equal(activations.assigned_bins(128, 64), np.repeat(np.arange(64), 2))
    np.testing.assert_array_equal(activations.assigned_bins(4, 64), [0, 16, 32, 48])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DepthBins(0.0, 1.0), "0 < smallest < largest"),
        (lambda: DepthBins(1.0, 2.0, 1), "num_bins >= 2"),
        (lambda: activations.depth_maps(Scene(0, 2).batch([0, 1], 2)[0], name="metres"), r"batch.extra\['metres'\]"),
    ],
)
def test_errors_say_what_to_write(build, message):
    with pytest.raises(ValueError, match=message):
        build()
