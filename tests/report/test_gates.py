"""The matrices of gates, of similar units and of masked filters."""

import io

import numpy as np
import PIL.Image
import pytest

from jaxinterp import report


def test_every_network_has_its_panel():
    gate = np.repeat(np.eye(3), 2, axis=0)
    png = report.gate_matrix(
        {"trained": gate, "fitted": 1 - gate}, {"trained": np.arange(6), "fitted": np.arange(6)}, class_names="abc"
    )
    image = PIL.Image.open(io.BytesIO(png))
    assert image.info["Description"].endswith("trained: density 0.333; fitted: density 0.667")
    with pytest.raises(ValueError, match="'trained': expected an order of 6 units and 2 classes, as the gate has"):
        report.gate_matrix({"trained": gate}, {"trained": np.arange(6)}, class_names="ab")


def test_units_are_drawn_in_the_order_that_is_given():
    similarity = np.eye(6)
    png = report.similarity_matrix({"a": similarity, "b": similarity}, {name: np.arange(6) for name in "ab"})
    assert PIL.Image.open(io.BytesIO(png)).info["Description"] == "Correlation of units, sorted by class, in a, b."
    similarity[0, 5] = similarity[5, 0] = 1
    order = np.asarray([0, 5, 1, 2, 3, 4])
    moved = report.similarity_matrix({"a": similarity[np.ix_(order, order)]}, {"a": np.arange(6)})
    assert report.similarity_matrix({"a": similarity}, {"a": order}) == moved
    with pytest.raises(ValueError, match="'a': expected an order of its 6 units"):
        report.similarity_matrix({"a": similarity}, {"b": order})


def test_classes_without_images_stay_empty():
    table = np.asarray([[0.0, 1.0], [np.nan, 0.5]])
    png = report.filters_matrix({"masked": table, "kept": 1 - table, "both": table}, class_names="ab")
    assert PIL.Image.open(io.BytesIO(png)).info["Description"].endswith("masked, kept, both.")
    assert report.filters_matrix({"masked": np.eye(30)}, class_names=[str(name) for name in range(30)])
    with pytest.raises(ValueError, match="'masked': expected 3 rows and columns, one a class"):
        report.filters_matrix({"masked": table}, class_names="abc")
