"""Attacks that look for the nearest adversarial image."""

from tests.attacks.cases._case import Case

CASES: dict[str, Case] = {}
