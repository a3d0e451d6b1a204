"""Attacks that only ask the network."""

from tests.attacks.cases._case import Case

CASES: dict[str, Case] = {}
