"""Fixtures of this folder."""

from tests.compiling import float64, programs_compile_fast

__all__ = ["float64", "programs_compile_fast"]
