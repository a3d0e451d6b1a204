"""Tests of metrics compile many small programs and run each of them once or twice."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def fast(programs_compile_fast: None) -> None:
    """All files of this folder."""
