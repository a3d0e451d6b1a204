"""Tests of training compile steps of toy networks and take few of them."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def fast(programs_compile_fast: None) -> None:
    """All files of this folder."""
