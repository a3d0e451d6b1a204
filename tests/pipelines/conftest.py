"""Tests of pipelines compile every stage for toy networks and take few images through it."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def fast(programs_compile_fast: None) -> None:
    """All files of this folder."""
