"""The table of attacks, one file a family."""

from tests.attacks.cases import _ensembles, _fixed_radius, _minimum_norm, _query, _universal
from tests.attacks.cases._case import Case as Case

CASES: dict[str, Case] = {**_fixed_radius.CASES, **_ensembles.CASES, **_minimum_norm.CASES, **_query.CASES, **_universal.CASES}
"""Name of the exported function -> its case; several rows of one function are told apart by a word in brackets."""
