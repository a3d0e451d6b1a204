"""Tests of this folder compile thousands of programs of toy networks and run each of them once or twice."""

import numpy as np
import pytest

from jaxinterp import Batch, Model
from tests.attacks.toys import conv_model, make_batch


@pytest.fixture(autouse=True, scope="module")
def fast(programs_compile_fast: None) -> None:
    """All files of this folder."""


@pytest.fixture
def model(float64: None) -> Model:
    """The convolutional toy in float64."""
    return conv_model(dtype=np.float64)


@pytest.fixture
def batch(float64: None) -> Batch:
    """Eight rows for it."""
    return make_batch(8, dtype=np.float64)
