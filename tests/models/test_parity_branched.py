"""The second half of `test_parity_fixtures.py`: networks whose layers are joined from branches."""

import pytest

from tests.models import parity_checks

pytestmark = pytest.mark.usefixtures("programs_compile_fast")


@pytest.mark.parametrize("name", parity_checks.names(branched=True))
def test_pytorch_says_the_same(name):
    parity_checks.check(name)
