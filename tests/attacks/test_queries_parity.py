"""Query attacks beside those of peers at equal budgets; `.ci/peers/attacks/queries.py` writes what the peers find."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import attacks
from tests.attacks import toys

pytestmark = pytest.mark.usefixtures("float64")

PEERS = np.load(pathlib.Path(__file__).parent / "parity" / "queries.npz")
KEY = jax.random.key(0)


def test_square_finds_what_that_of_its_authors_finds() -> None:
    """On 16 images and six seeds, 60 queries each. Theirs count no clean image, and no window reaches the last edges."""
    model, batch = toys.conv_model(dtype=np.float64, scale=1.5), toys.make_batch(16, dtype=np.float64)
    batch = batch._replace(label=model(batch.image)[0].argmax(1).astype(np.int32), target=batch.target * 0 - 1)
    copies = jax.tree.map(lambda leaf: jnp.tile(leaf, (6,) + (1,) * (leaf.ndim - 1)), batch)
    copies = copies._replace(id=jnp.arange(96, dtype=jnp.int32))
    state = attacks.run_batch(attacks.square(32 / 255, max_queries=60), model, copies, key=KEY, unroll=False)
    success = np.asarray(attacks.misclassified(None, model, state.adversarial, copies)).reshape(6, 16)
    theirs, queries = PEERS["square_success"], np.asarray(state.queries).reshape(6, 16) - 1
    assert 0 < theirs.mean() < 1
    assert abs(success.mean() - theirs.mean()) < 0.1
    assert abs(queries.mean() / PEERS["square_queries"].mean() - 1) < 0.1


@pytest.mark.parametrize("name", ["boundary", "hop_skip_jump"])
def test_decision_based_attacks_are_as_near_as_those_of_foolbox(name: str) -> None:
    """At exactly as many queries, on nearly undecided images of a linear model, one by one.

    Their boundary attack changes its steps after a thousand proposals for the first time and is much further away.
    """
    model, batch = toys.centred_linear_model(dtype=np.float64), toys.make_batch(8, dtype=np.float64)
    batch = batch._replace(image=0.4 + 0.2 * batch.image, target=batch.target * 0 - 1)
    batch = batch._replace(label=model(batch.image)[0].argmax(1).astype(np.int32))
    for index, budget in enumerate((500, 2000)):
        attack: Any = getattr(attacks, name)(max_queries=budget)
        ours = np.asarray(attacks.run_batch(attack, model, batch, key=KEY, unroll=False).distance)
        assert np.median(ours) <= 1.1 * np.median(PEERS[name][index])


def test_hop_skip_jump_of_foolbox_depends_on_the_batch() -> None:
    """Theirs divides the normal of each image by a norm over all of them, so that jumps of a batch are shorter."""
    assert np.all(np.median(PEERS["hop_skip_jump_batch"], axis=1) > 1.15 * np.median(PEERS["hop_skip_jump"], axis=1))
