"""The two-pass quantile is NumPy's order statistic, bit by bit."""

import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import Batch
from jaxinterp.activations import quantile_coarse, quantile_fine


def _batch(maps):
    n = len(maps)
    ids = jnp.arange(n, dtype=jnp.int32)
    return Batch(jnp.zeros((n, 2, 2, 3)), ids, ids, ids, ids, jnp.ones(n, bool), {}), {"conv": jnp.asarray(maps)}


def _threshold(maps, quantile=0.005):
    batch, activations = _batch(maps)
    coarse = quantile_coarse("conv", num_units=maps.shape[-1], quantile=quantile)
    counts = coarse.compute(jax.jit(coarse.update)(coarse.init(), batch, activations))
    fine = quantile_fine("conv", counts)
    return fine.compute(jax.jit(fine.update)(fine.init(), batch, activations))


def _data(kind, shape):
    random = np.random.default_rng(len(kind))
    values = random.normal(size=shape)
    if kind == "post-relu":
        values = np.maximum(values - 1.5, 0)
    elif kind == "mostly zero":
        values = np.where(random.random(shape) < 0.002, values, 0)
    elif kind == "negative":
        values = -np.exp(3 * values)
    elif kind == "tied":
        values = np.round(2 * values) / 2
    elif kind == "constant":
        values = np.full(shape, -0.25)
    elif kind == "signed zeros":
        values = np.where(values > 0, 0.0, -0.0)
    elif kind == "wide":
        values = np.sign(values) * 10.0 ** random.uniform(-44, 38, shape)
    elif kind == "one bin":
        values = 1 + random.integers(0, 1000, shape) * 2.0**-23
    return values.astype(np.float32)


KINDS = ("normal", "post-relu", "mostly zero", "negative", "tied", "constant", "signed zeros", "wide", "one bin")


@pytest.mark.parametrize("kind", KINDS)
def test_equals_numpy(kind):
    maps = _data(kind, (40, 5, 5, 4))
    flat = np.sort(maps.reshape(-1, 4), axis=0)
    threshold = _threshold(maps)
    assert np.array_equal(threshold, flat[::-1][5]), "rank floor(.005 * 1000) = 5 in descending order"
    assert ((flat > threshold).sum(0) <= 5).all()
    below = np.where(flat < threshold, flat, -np.inf).max(axis=0)
    assert ((flat > below).sum(0) > 5).all(), "a smaller threshold exists"


@pytest.mark.parametrize("quantile", [0.25, 0.125, 0.75, 0.03125])
def test_equals_numpy_inverted_cdf(quantile):
    maps = _data("normal", (33, 3, 3, 3))
    expected = np.quantile(maps.reshape(-1, 3), 1 - quantile, axis=0, method="inverted_cdf")
    assert np.array_equal(_threshold(maps, quantile), expected)


def test_decimal_quantile_is_taken_as_written():
    maps = np.arange(1000, dtype=np.float32).reshape(10, 10, 10, 1)
    # In binary, 0.29 * 100 is 28.999...; the 29 largest of 100 must lie above.
    assert _threshold(maps[:1], 0.29) == 99 - 29
    assert _threshold(maps[:1], 0.004) == 99


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, -np.nan])
def test_values_that_are_not_finite_are_refused(value):
    maps = _data("normal", (10, 4, 5, 2))
    maps[3, 2, 1, 0] = value
    with pytest.raises(ValueError, match=r"expected finite activations, got NaN or infinity 1 time\(s\) in layer 'conv'"):
        _threshold(maps)
    maps[3, 2, 1, 0] = np.finfo(np.float32).min
    maps[3, 2, 1, 1] = np.finfo(np.float32).max
    assert np.array_equal(_threshold(maps, 0.01), np.sort(maps.reshape(-1, 2), axis=0)[::-1][2])


def test_dead_units_have_threshold_zero():
    maps = _data("post-relu", (10, 4, 5, 3))
    maps[..., 1] = 0
    maps[..., 2] = np.where(maps[..., 2] > 0, -0.0, 0.0)
    expected = np.sort(maps.reshape(-1, 3), axis=0)[::-1][10]
    assert np.array_equal(_threshold(maps, 0.05), expected) and not expected[1:].any()


def test_reading_the_bins_makes_no_copy_of_them():
    maps = _data("post-relu", (10, 4, 5, 64))
    coarse = quantile_coarse("conv", num_units=64)
    state = coarse.update(coarse.init(), *_batch(maps))
    tracemalloc.start()
    coarse.compute(state)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < state.counts.nbytes / 8


def test_no_wrong_threshold_beyond_the_range_of_int32():
    """Early layers at ten times Broden: the pass says so instead of wrapping around."""
    maps = _data("normal", (10, 4, 5, 2))
    coarse = quantile_coarse("conv", num_units=2)
    once = coarse.update(coarse.init(), *_batch(maps))
    state = once
    for _ in range(23):
        state = coarse.merge(state, state)
    assert np.array_equal(coarse.compute(state).high, coarse.compute(once).high), "1.7e9 positions a unit"
    with pytest.raises(ValueError, match=r"expected fewer than 2\*\*31 positions a unit, got 3355443200"):
        coarse.compute(coarse.merge(state, state))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"expected 0 < quantile < 1, got 1\.0"):
        quantile_coarse("conv", num_units=2, quantile=1.0)
    statistic = quantile_coarse("conv", num_units=2)
    with pytest.raises(ValueError, match="at least one image"):
        statistic.compute(statistic.init())


def test_passes_over_different_images_are_refused():
    maps = _data("normal", (10, 4, 5, 2))
    coarse = quantile_coarse("conv", num_units=2)
    fine = quantile_fine("conv", coarse.compute(jax.jit(coarse.update)(coarse.init(), *_batch(maps))))
    update = jax.jit(fine.update)
    once = update(fine.init(), *_batch(maps))
    with pytest.raises(ValueError, match=r"expected the activations of the first pass \(200 a unit\), got others \(400"):
        fine.compute(update(once, *_batch(maps)))
    with pytest.raises(ValueError, match="expected the activations of the first pass"):
        fine.compute(update(fine.init(), *_batch(maps + 1)))
