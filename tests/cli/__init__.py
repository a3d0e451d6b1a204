"""Tests of jaxinterp.cli."""
