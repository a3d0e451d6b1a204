"""Tests of training compile many programs of toy networks and run each of them a few times."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True, scope="package")
def programs_compile_fast() -> Iterator[None]:
    """Without the optimisations of machine code; what JAX and the compiler make of a program before that stays as it is."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def float64() -> Iterator[None]:
    """In float32 the signs of vanishing gradients, and so FGSM, depend on the order of additions."""
    with jax.enable_x64(True):
        yield
