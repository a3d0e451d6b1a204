"""Tests of attacks compile thousands of programs of toy networks and run each of them once or twice."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def fast(programs_compile_fast: None) -> None:
    """All files of this folder."""


@pytest.fixture
def float64() -> Iterator[None]:
    """Laws and transcriptions are equalities: in float32 a sign may flip where a gradient is near zero."""
    with jax.enable_x64(True):
        yield
