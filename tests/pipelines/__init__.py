"""Tests of jaxinterp.pipelines."""
