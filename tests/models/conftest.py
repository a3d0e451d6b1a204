"""Tests of models compile every architecture and run it once or twice."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def fast(programs_compile_fast: None) -> None:
    """All files of this folder."""
