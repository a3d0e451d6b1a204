"""Top sets are exact: ties, buffers that overflow, fewer images than places."""

import jax
import numpy as np
import pytest

from jaxinterp import Layer
from jaxinterp.activations import top_count, top_k
from tests.activations.scenes import Scene, fold

LAYER = Layer("fc", (1, 1, 3), 1.0, 0.0, 1)


def _expected(scene, k, reduce):
    pooled = getattr(scene.maps, reduce)(axis=(1, 2))
    orders = [np.lexsort((scene.id, -column))[:k] for column in pooled.T]
    return np.stack([scene.id[o] for o in orders]), np.stack([pooled[o, u] for u, o in enumerate(orders)])


@pytest.mark.parametrize("reduce", ["max", "mean"])
@pytest.mark.parametrize(("k", "width"), [(3, 64), (40, 100), (300, 200), (5, 400)])
def test_buffer_settles_exactly(k, width, reduce):
    scene = Scene(k, num_images=700, layer=LAYER, size=1)
    scene.maps = np.clip(scene.maps, 0, 1)  # nine values for 700 images: mostly ties
    statistic = top_k("fc", num_units=3, k=k, reduce=reduce)
    result = statistic.compute(fold(statistic, scene.batches(np.arange(700), width)))
    ids, values = _expected(scene, k, reduce)
    assert np.array_equal(result.id, ids)
    assert np.array_equal(result.value, values)


def test_fewer_images_than_places():
    scene = Scene(1, num_images=4, layer=LAYER, size=1)
    statistic = top_k("fc", num_units=3, k=6)
    result = statistic.compute(fold(statistic, scene.batches(np.arange(4), 8)))
    assert (result.id[:, 4:] == -1).all()
    assert (result.position[:, 4:] == -1).all()
    assert np.isneginf(result.value[:, 4:]).all()
    assert (np.sort(result.id[:, :4]) == np.sort(scene.id)).all()


def test_layer_without_positions():
    scene = Scene(2, num_images=9, layer=LAYER, size=1)
    batch, activations = scene.batch(np.arange(9), 9)
    statistic = top_k("fc", num_units=3, k=4)
    flat = statistic.compute(jax.jit(statistic.update)(statistic.init(), batch, {"fc": activations["fc"][:, 0, 0]}))
    assert np.array_equal(flat.id, _expected(scene, 4, "max")[0])


def test_position_is_the_first_maximum():
    scene = Scene(3, num_images=1, layer=Layer("conv", (3, 4, 2), 1.0, 0.0, 1))
    scene.maps[:] = 0
    scene.maps[0, 1, 2, 0] = scene.maps[0, 2, 3, 0] = 5
    statistic = top_k("conv", num_units=2, k=1)
    result = statistic.compute(fold(statistic, scene.batches(np.arange(1), 1)))
    assert divmod(int(result.position[0, 0]), 4) == (1, 2)
    assert result.position[1, 0] == 0


def test_top_count_is_one_per_cent_but_a_hundred():
    assert [top_count(n) for n in (1, 99, 100, 5_000, 10_000, 50_000, 500_000)] == [1, 99, 100, 100, 100, 500, 5_000]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "expected k >= 1, got 0"),
        ({"k": 1, "num_units": 0}, "expected num_units >= 1"),
        ({"k": 1, "reduce": "sum"}, 'expected reduce="max" or "mean"'),
    ],
)
def test_bad_arguments(arguments, message):
    # The checks run before any shape is known, so the type checker of the tests is not what refuses "sum".
    make = getattr(top_k, "__wrapped__", top_k)
    with pytest.raises(ValueError, match=message):
        make("fc", **{"num_units": 3, **arguments})
