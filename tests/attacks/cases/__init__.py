"""The table of attacks, one file a family."""

from tests.attacks.cases import _ensembles, _fixed_radius, _minimum_norm, _query
from tests.attacks.cases._case import Case as Case

CASES: dict[str, Case] = {**_fixed_radius.CASES, **_ensembles.CASES, **_minimum_norm.CASES, **_query.CASES}
"""Name of the exported function -> its case; `name/variant` for another way to build it."""
