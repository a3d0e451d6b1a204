"""Attacks that stay within a given distance of the clean image."""
