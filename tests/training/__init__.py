"""Tests of jaxinterp.training."""
