"""The matrix of gates."""

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
