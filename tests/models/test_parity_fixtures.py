"""Every network against numbers of torchvision, timm or a transcription in PyTorch; see `scripts/make_parity.py`.

The networks with branches are in `test_parity_branched.py`, so that two workers share the time.
"""

import inspect

import numpy as np
import pytest

from jaxinterp import models
from tests.models import fixture, parity_checks, recipe


@pytest.mark.parametrize("name", parity_checks.names(branched=False))
def test_pytorch_says_the_same(name):
    parity_checks.check(name)


@pytest.mark.parametrize("name", parity_checks.deeper(branched=False))
def test_a_deeper_network_has_pytorchs_names_and_shapes(name):
    parity_checks.check_outline(name)


def test_every_network_has_a_fixture():
    kinds = {
        name: {parameter.kind for parameter in inspect.signature(value).parameters.values()}
        for name, value in vars(models).items()
        if inspect.isfunction(value)
    }
    keywords_only = {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}
    builders = {name for name, kind in kinds.items() if inspect.Parameter.VAR_KEYWORD in kind <= keywords_only}
    assert builders == {fixture.read(name).facts["builder"] for name in fixture.names()}


def test_fixtures_stay_small():
    assert sum(path.stat().st_size for path in fixture.FOLDER.iterdir()) < 700_000


def test_the_recipe_draws_what_the_fixtures_were_made_of():
    kernel = recipe.weight("conv1.weight", (64, 3, 7, 7), gain=2.0)
    assert kernel.dtype == np.float32
    np.testing.assert_allclose(kernel.std(), (2 / 147) ** 0.5, rtol=0.02)
    variance = recipe.weight("bn1.running_var", (4096,), gain=2.0)
    assert 0.5 <= variance.min() < 0.51 and 1.49 < variance.max() < 1.5
    one, other = recipe.images(2, 33)
    assert one.shape == (33, 33, 3) and one.min() >= 0 and one.max() < 1 and abs(one - other).mean() > 0.1
    again = recipe.images(4, 33)
    assert np.array_equal(again.astype(np.float32), again)


def test_a_summary_notices_what_it_should():
    value = np.random.default_rng(0).standard_normal((2, 5, 5, 64))
    want = recipe.summary("layer", value)
    assert recipe.deviation(recipe.summary("layer", value), want) == 0
    assert recipe.deviation(recipe.summary("layer", value[:, ::-1]), want) > 0.1
    assert recipe.deviation(recipe.summary("layer", value[..., ::-1]), want) > 0.1
    assert 0.9e-6 < recipe.deviation(recipe.summary("layer", value * (1 + 1e-6)), want) < 1.1e-6
    one = value.copy()
    one[1, 2, 3, 4] += 1
    assert recipe.deviation(recipe.summary("layer", one), want) > 1e-5
