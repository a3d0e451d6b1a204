"""Every statistic keeps the laws of its kind: any split, any order, padding, one trace; and equals plain NumPy."""

import inspect
import typing

import jax
import numpy as np
import pytest

from jaxinterp import Statistic, activations
from jaxinterp.activations import MaskSet, TopK
from tests.activations.scenes import (
    CATEGORIES,
    IMAGE_SIZE,
    LAYER,
    Scene,
    equal,
    fold,
    mask_loop,
    quantile_loop,
    tally_loop,
    upsampled_loop,
)

SCENE = Scene(0)
UNITS = LAYER.shape[2]
QUANTILE = 0.04
THRESHOLDS = quantile_loop(SCENE.maps, QUANTILE)
DISSECT = {"thresholds": THRESHOLDS, "label_size": IMAGE_SIZE, "image_size": IMAGE_SIZE}


def _top_k(k):
    order = [
        sorted(range(len(SCENE)), key=lambda i, u=u: (-SCENE.maps[i, ..., u].max(), SCENE.id[i]))[:k] for u in range(UNITS)
    ]
    best = [[SCENE.maps[i, ..., u] for i in order[u]] for u in range(UNITS)]
    return TopK(
        np.asarray([SCENE.id[rows] for rows in order]),
        np.asarray([[m.max() for m in row] for row in best]),
        np.asarray([[np.argmax(m) for m in row] for row in best]),
    )


def _rows(per_image, num_rows, first_id):
    table = np.full((num_rows, UNITS), np.nan, np.float32)
    table[SCENE.id - first_id] = per_image
    return table


def _coarse():
    statistic = activations.quantile_coarse("conv", num_units=UNITS, quantile=QUANTILE)
    return statistic.compute(fold(statistic, SCENE.batches(np.arange(len(SCENE)), 8)))


def _high_bits(values):
    bits = np.ascontiguousarray(np.where(values == 0, np.float32(0), values)).view(np.uint32)
    return (np.where(bits >> 31 == 1, ~bits, bits | np.uint32(2**31)) >> 16).astype(np.int64)


def _coarse_loop():
    high, total = _high_bits(SCENE.maps.reshape(-1, UNITS)), SCENE.maps[..., 0].size
    wanted = _high_bits(THRESHOLDS)
    return activations.CoarseQuantile(wanted, (high > wanted).sum(0), (high == wanted).sum(0), total, QUANTILE)


def _masks():
    order = np.argsort(SCENE.id)
    units = range(UNITS)
    masks = [
        np.stack([mask_loop(SCENE.maps[i, ..., k], THRESHOLDS[k], LAYER, 16, image_size=16).ravel() for k in units], 1)
        for i in order
    ]
    concepts = SCENE.concepts[order].reshape(len(SCENE), 256, 3).astype(np.uint16)
    return MaskSet(SCENE.id[order], SCENE.id[order], np.packbits(np.stack(masks), axis=1), concepts, IMAGE_SIZE)


EDGES = activations.histogram_edges(SCENE.maps.max(axis=(1, 2))[::2], num_bins=6)


def _concept_histogram():
    value, present = SCENE.maps.max(axis=(1, 2)), np.zeros((len(SCENE), len(CATEGORIES)), bool)
    for row, concepts in enumerate(SCENE.concepts):
        present[row, np.unique(concepts)] = True
    present[:, 0] = True
    bins = (value[:, :, None] > EDGES[None]).sum(axis=2)
    one_hot = bins[:, :, None] == np.arange(6)[None, None]
    return activations.ConceptHistogram(np.einsum("nq,nub->qub", present, one_hot, dtype=np.int64), EDGES)


def _mean():
    return SCENE.maps.astype(np.float64).mean(axis=(1, 2))


BINS = activations.DepthBins(smallest=1.0, largest=8.0, num_bins=3)


def _depth_response():
    total, count, images = np.zeros((2, UNITS, 3)), np.zeros((2, 3), np.int64), np.zeros(2, np.int64)
    for row in range(len(SCENE)):
        half = (int(SCENE.id[row]) * 2654435761 % 2**32) >> 31
        maps = np.stack([upsampled_loop(SCENE.maps[row, ..., u], LAYER, IMAGE_SIZE) for u in range(UNITS)])
        images[half] += 1
        for place, (near, far) in enumerate(((1, 2), (2, 4), (4, 8.1))):
            inside = (SCENE.depth[row] >= near) & (SCENE.depth[row] < far)
            total[half, :, place] += maps[:, inside].sum(axis=1)
            count[half, place] += inside.sum()
    return activations.DepthResponse(total, count, images)


TABLE = {
    "depth_response": (lambda: activations.depth_response(LAYER, BINS, image_size=IMAGE_SIZE), _depth_response),
    "top_k": (lambda: activations.top_k("conv", num_units=UNITS, k=6), lambda: _top_k(6)),
    "pooled": (
        lambda: activations.pooled("conv", num_units=UNITS, num_images=30, first_id=5),
        lambda: _rows(SCENE.maps.max(axis=(1, 2)), 30, 5),
    ),
    "mean_pooled": (
        lambda: activations.mean_pooled("conv", num_units=UNITS, num_images=23, first_id=7),
        lambda: _rows(_mean(), 23, 7),
    ),
    "quantile_coarse": (lambda: activations.quantile_coarse("conv", num_units=UNITS, quantile=QUANTILE), _coarse_loop),
    "quantile_fine": (lambda: activations.quantile_fine("conv", _coarse()), lambda: THRESHOLDS),
    "tally": (
        lambda: activations.tally(LAYER, categories=CATEGORIES, max_present=7, **DISSECT),
        lambda: tally_loop(SCENE, THRESHOLDS, image_size=IMAGE_SIZE),
    ),
    "concept_histogram": (
        lambda: activations.concept_histogram("conv", edges=EDGES, num_concepts=len(CATEGORIES)),
        _concept_histogram,
    ),
    "masks": (lambda: activations.masks(LAYER, num_images=24, first_id=7, label_layers=3, **DISSECT), _masks),
}


def test_every_statistic_is_in_the_table():
    found = {
        name
        for name, value in vars(activations).items()
        if inspect.isfunction(value) and typing.get_type_hints(value).get("return") is Statistic
    }
    assert found == set(TABLE)


@pytest.fixture(scope="module", params=TABLE)
def case(request):
    build, loop = TABLE[request.param]
    statistic = build()
    return statistic, jax.jit(statistic.update, donate_argnums=0), loop()


def test_laws(case):
    statistic, update, expected = case
    rows = np.arange(len(SCENE))
    whole = fold(statistic, SCENE.batches(rows, 8), update)
    assert equal(statistic.compute(whole), expected), "fold differs from plain NumPy"

    shuffled = np.random.default_rng(1).permutation(rows)
    assert equal(statistic.compute(fold(statistic, SCENE.batches(shuffled, 8), update)), expected), "order matters"

    parts = [fold(statistic, SCENE.batches(part, 8), update) for part in np.split(shuffled, [4, 17])]
    left = statistic.merge(statistic.merge(parts[0], parts[1]), parts[2])
    right = statistic.merge(parts[0], jax.jit(statistic.merge)(parts[1], parts[2]))
    assert equal(statistic.compute(left), expected), "merge of a split differs from the fold"
    assert equal(statistic.compute(right), expected), "merge is not associative"
    for merged in (statistic.merge(statistic.init(), left), statistic.merge(left, statistic.init())):
        assert equal(statistic.compute(merged), expected), "init is not the identity of merge"

    padded = update(fold(statistic, SCENE.batches(rows, 8), update), *SCENE.batch(rows[:0], 8))
    assert equal(statistic.compute(padded), expected), "padding rows change something"
    assert update._cache_size() == 1, "traced more than once"


def test_sharded_over_devices(case):
    statistic, _, expected = case
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:4]), ("data",))
    data = jax.sharding.PartitionSpec("data")

    def shard(state, batch, maps):
        state = statistic.update(jax.tree.map(lambda leaf: leaf[0], state), batch, maps)
        return jax.tree.map(lambda leaf: leaf[None], state)

    update = jax.jit(jax.shard_map(shard, mesh=mesh, in_specs=data, out_specs=data, check_vma=False), donate_argnums=0)
    states = jax.tree.map(lambda leaf: np.stack([np.asarray(leaf)] * 4), statistic.init())
    for batch, maps in SCENE.batches(np.arange(len(SCENE)), 8):
        states = update(states, batch, maps)
    merged = statistic.init()
    for device in range(4):
        merged = statistic.merge(merged, jax.tree.map(lambda leaf, device=device: np.asarray(leaf)[device], states))
    assert equal(statistic.compute(merged), expected)


@pytest.mark.parametrize("name", TABLE)
def test_unknown_layer_is_named(name):
    statistic = TABLE[name][0]()
    batch, maps = SCENE.batch(np.arange(2), 2)
    with pytest.raises(ValueError, match=r"unknown layer 'conv'.*did you mean 'conv1'"):
        statistic.update(statistic.init(), batch, {"conv1": maps["conv"]})


@pytest.mark.parametrize("name", TABLE)
def test_wrong_number_of_units_is_named(name):
    statistic = TABLE[name][0]()
    batch, maps = SCENE.batch(np.arange(2), 2)
    with pytest.raises(ValueError, match=r"expected activations \[n h w 5\].*got shape \(2, 4, 4, 4\)"):
        statistic.update(statistic.init(), batch, {"conv": maps["conv"][..., :4]})
