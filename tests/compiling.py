"""For folders whose tests compile many programs of small networks and run each of them once or twice."""

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
    """Laws and transcriptions are equalities: in float32 a sign may flip where a gradient is near zero."""
    with jax.enable_x64(True):
        yield
