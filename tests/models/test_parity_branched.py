"""The second half of `test_parity_fixtures.py`: networks whose layers are joined from branches."""

import pytest

from tests.models import parity_checks


@pytest.mark.parametrize("name", parity_checks.names(branched=True))
def test_pytorch_says_the_same(name):
    parity_checks.check(name)


@pytest.mark.parametrize("name", parity_checks.deeper(branched=True))
def test_a_deeper_network_has_pytorchs_names_and_shapes(name):
    parity_checks.check_outline(name)
