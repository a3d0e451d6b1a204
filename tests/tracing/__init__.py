"""Tests of jaxinterp.tracing."""
