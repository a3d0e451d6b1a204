"""What every test stands on: shapes checked at run time, four virtual devices, and the real data where it is."""

import os
import pathlib
import warnings
from collections.abc import Iterator

from tests.quick import xla_flags

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count=4 {xla_flags()}")
os.environ.setdefault("MPLBACKEND", "Agg")

from jaxtyping import install_import_hook

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHAPED = [path.relative_to(ROOT) for path in (ROOT / "jaxinterp").rglob("*.py") if "jaxtyping" in path.read_text()]
"""Modules that state shapes; to check the others would cost minutes, in helpers that are called a million times."""

install_import_hook([".".join(path.with_suffix("").parts) for path in SHAPED], "beartype.beartype")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

SHARED = ROOT.parent / "shared"
"""Real images, weights and masks, where they are; tests that need them are skipped elsewhere."""

warnings.filterwarnings("ignore", category=DeprecationWarning, module="tensorflow_datasets")


@pytest.fixture(autouse=True, scope="module")
def programs_go_with_the_module() -> Iterator[None]:
    """Compiled programs are dropped after each file of tests: kept for the whole run they come to gigabytes a worker."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="module")
def programs_compile_fast() -> Iterator[None]:
    """Without the optimisations of machine code, for files that compile much and run it once or twice.

    What JAX and the compiler make of a program before that stays as it is.
    """
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def float64() -> Iterator[None]:
    """Laws and transcriptions are equalities: in float32 a sign may flip where a gradient is near zero."""
    with jax.enable_x64(True):
        yield
