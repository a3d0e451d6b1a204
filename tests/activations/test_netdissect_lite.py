"""The tally equals that of NetDissect-Lite's own code, and differs where that code leaves the paper.

The numbers were written by .ci/peers/dissection/netdissect_lite.py, which runs `tally_job` and `tally` of a checkout. All maps
are multiples of 1/8 and the label maps four times as large, so that interpolation is exact on both sides.
"""

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import data
from jaxinterp.activations import AreaRule, masks, tally
from jaxinterp.metrics import detectors, iou_table, tally_of_masks
from tests.activations import broden_sets as sets
from tests.activations.scenes import equal, fold, quantile_loop

ROWS, LAYERS = 26, 10
FIXTURE = np.load(pathlib.Path(__file__).parent / "netdissect_lite.npz")


class Theirs:
    """The fixture of one set, and the same set read back from a folder in Broden's format."""

    labels: np.ndarray
    eighths: np.ndarray
    thresholds: np.ndarray
    kept: np.ndarray
    both: np.ndarray
    unit_area: np.ndarray
    mask_area: np.ndarray
    label_area: np.ndarray
    label: np.ndarray
    iou: np.ndarray
    best: np.ndarray
    categories: np.ndarray
    sketch: np.ndarray

    def __init__(self, name, folder):
        found = {key.partition("/")[2]: FIXTURE[key] for key in FIXTURE.files if key.startswith(f"{name}/")}
        self.__dict__.update(found)
        self.source = data.broden(
            sets.write(name, self.labels, folder / name), image_size=sets.IMAGE_SIZE, label_size=sets.LABEL_SIZE
        )
        concepts = self.source.concepts
        pairs = dict(zip(zip(sets.TABLE.categories, sets.TABLE.names, strict=True), range(len(sets.TABLE.names)), strict=True))
        pairs["material", "car"] = sets.CAR
        self.number = np.asarray([pairs[pair] for pair in zip(concepts.categories, concepts.names, strict=True)])
        """The label number of the files of each of our concepts."""
        self.columns = [list(self.categories).index(name) for name in dict.fromkeys(concepts.categories[1:])]
        """Their category of each of ours."""
        (batch,) = data.batches(self.source, batch_size=ROWS)
        missing = LAYERS - batch.extra["concepts"].shape[3]
        self.batch = batch._replace(extra={"concepts": jnp.pad(batch.extra["concepts"], ((0, 0),) * 3 + ((0, missing),))})
        rows = np.pad(self.eighths, ((0, ROWS - len(self.eighths)), (0, 0), (0, 0), (0, 0)))
        self.maps = {sets.LAYER.name: jnp.asarray(rows / np.float32(8))}

    def knobs(self) -> dict[str, Any]:
        geometry = {"label_size": sets.LABEL_SIZE, "image_size": sets.IMAGE_SIZE, "anchor": "plain"}
        return {"thresholds": self.thresholds} | geometry

    def ours(self, area_rule: AreaRule = "touched"):
        categories = self.source.concepts.categories
        statistic = tally(sets.LAYER, categories=categories, area_rule=area_rule, **self.knobs())
        return statistic.compute(_jitted(statistic.update)(statistic.init(), self.batch, self.maps))


@functools.cache
def _jitted(update):
    return jax.jit(update)


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    folder = tmp_path_factory.mktemp("broden")
    return lambda name: Theirs(name, folder)


@pytest.fixture(scope="module")
def plain(read):
    return read("plain")


def test_the_maps_are_what_was_drawn():
    for name in sets.SETS:
        labels, eighths = sets.draw(name)
        assert np.array_equal(labels, FIXTURE[f"{name}/labels"])
        assert np.array_equal(eighths, FIXTURE[f"{name}/eighths"])
        assert np.array_equal(FIXTURE[f"{name}/thresholds"], quantile_loop(eighths / np.float32(8), sets.QUANTILE))


def test_counts_are_identical(plain):
    ours = plain.ours()
    assert np.array_equal(ours.intersection, plain.both[:, plain.number])
    assert np.array_equal(ours.label_area, plain.label_area[plain.number] * (plain.number > 0))
    assert np.array_equal(ours.unit_area, plain.unit_area[:, plain.columns])
    dropped = np.setdiff1d(np.arange(len(plain.labels)), plain.kept)
    assert dropped.tolist() == [4, 17], "theirs leaves images without any label out"
    assert (ours.mask_area >= plain.mask_area).all() and ours.mask_area.sum() > plain.mask_area.sum()
    assert (plain.both > 0).any(axis=0)[1:].all(), "every concept is met"


def test_labels_are_identical_by_both_rules(plain):
    ours = plain.ours()
    table = iou_table(ours)
    found = detectors(ours, min_images=1)
    rows = np.arange(len(table))
    assert np.array_equal(plain.number[found.concept], plain.label[rows, plain.best])
    np.testing.assert_allclose(found.iou, plain.iou[rows, plain.best], rtol=1e-11)
    detects = plain.iou.max(axis=1) > 0.04
    assert np.array_equal(found.detects, detects) and 5 < detects.sum() < len(detects)
    categories = np.asarray(ours.categories)
    for name, column in zip(ours.category_names, plain.columns, strict=True):
        within = np.where(categories == name, table, 0)
        assert np.array_equal(plain.number[within.argmax(axis=1)], plain.label[:, column])
        np.testing.assert_allclose(within.max(axis=1), plain.iou[:, column], rtol=1e-11)
        assert found.by_category[name] == (plain.iou[:, column] > 0.04).sum()
        assert found.by_best[name] == ((plain.best == column) & detects).sum()


def test_equation_1_counts_masks_on_images_that_carry_the_category(plain):
    paper, code = plain.ours("carried"), plain.ours("touched")
    assert equal(paper._replace(unit_area=code.unit_area), code)
    assert (paper.unit_area >= code.unit_area).all()
    assert paper.unit_area.sum() > code.unit_area.sum()
    assert (iou_table(paper) <= iou_table(code)).all(), "the code's union is smaller"


def test_stored_masks_count_by_both_rules(plain):
    stored = masks(sets.LAYER, num_images=ROWS, label_layers=LAYERS, **plain.knobs())
    kept = stored.compute(fold(stored, [(plain.batch, plain.maps)]))
    categories = plain.source.concepts.categories
    rules: tuple[AreaRule, ...] = ("carried", "touched")
    for rule in rules:
        assert equal(tally_of_masks(kept, categories, area_rule=rule), plain.ours(rule))


def test_images_of_bare_numbers_alone_count_for_the_categories_of_others(read):
    theirs = read("stale")
    ours, only = theirs.ours(), [list(theirs.categories).index(name) for name in ("scene", "texture")]
    assert np.array_equal(ours.intersection, theirs.both[:, theirs.number])
    wrong = theirs.unit_area[:, theirs.columns] - ours.unit_area
    assert (wrong >= 0).all() and wrong.any(), "|M_k| of equation 1 is counted on images without that category"
    others = [place for place, column in enumerate(theirs.columns) if column not in only]
    carried = theirs.ours("carried").unit_area[:, others]
    assert (theirs.unit_area[:, theirs.columns][:, others] > carried).any(), "more than on all images that carry it"


def test_labels_in_two_layers_count_twice(read):
    theirs = read("twice")
    ours, objects = theirs.ours(), np.asarray(theirs.source.concepts.categories) == "object"
    assert np.array_equal(theirs.label_area[theirs.number][objects], 2 * ours.label_area[objects])
    assert np.array_equal(theirs.both[:, theirs.number][:, objects], 2 * ours.intersection[:, objects])
    others = ~objects & (theirs.number > 0)
    assert np.array_equal(theirs.both[:, theirs.number][:, others], ours.intersection[:, others])
    assert np.array_equal(theirs.unit_area[:, theirs.columns], ours.unit_area)


def test_a_label_of_two_categories_counts_in_one(read):
    theirs = read("shared")
    ours, table = theirs.ours(), theirs.source.concepts
    both = [table.number("object", "car"), table.number("material", "car")]
    assert (theirs.number[both] == sets.CAR).all()
    assert (ours.intersection[:, both].sum(axis=0) > 0).all()
    assert np.array_equal(theirs.both[:, sets.CAR], ours.intersection[:, both].sum(axis=1))
    assert theirs.label_area[sets.CAR] == ours.label_area[both].sum()
    larger = np.argsort(-ours.label_area[both])
    places = [ours.category_names.index(("object", "material")[place]) for place in larger]
    wrong = theirs.unit_area[:, theirs.columns] - ours.unit_area
    assert (wrong[:, places[0]] >= 0).all() and (wrong[:, places[1]] <= 0).all() and wrong.any()
    assert not np.delete(wrong, places, axis=1).any()


def test_their_thresholds_are_not_the_quantile(plain):
    """P(a_k > T_k) = q: theirs reads place int(1000 (1 - q) - 1) of quantiles that end at place 999, and interpolates."""
    exact = quantile_loop(plain.eighths / np.float32(8), 0.005)
    values = (plain.eighths / 8).reshape(-1, plain.eighths.shape[-1])
    order, level = np.sort(values, axis=0), (1000 * (1 - 0.005) - 1) / 999
    places = (np.arange(len(order)) + 0.5) / len(order)
    read = np.asarray([np.interp(level, places, column) for column in order.T])
    assert np.abs(plain.sketch - read).max() < 2e-3, "so few values are all kept"
    assert np.isin(exact, values).all() and not np.isin(plain.sketch[:-1], values).all()
    above, rank = (values > exact).sum(axis=0), int(0.005 * len(values))
    assert (above <= rank).all()
    assert (plain.sketch != exact).sum() > 8
