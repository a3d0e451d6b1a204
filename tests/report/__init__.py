"""Tests of the figures and of the page."""
