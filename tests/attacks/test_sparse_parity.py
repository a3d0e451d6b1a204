"""JSMA and the one-pixel attack beside those of torchattacks; `.ci/peers/attacks/sparse.py` writes what these find."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import Batch, Model, attacks
from tests.attacks import toys

pytestmark = pytest.mark.usefixtures("float64")

PEERS = np.load(pathlib.Path(__file__).parent / "parity" / "sparse.npz")


def example(scale: float) -> tuple[Model, Batch]:
    """The toy and the images that torchattacks gets."""
    model, batch = toys.linear_model(dtype=np.float64, scale=scale), toys.make_batch(8, dtype=np.float64)
    batch = batch._replace(image=0.4 + 0.2 * batch.image)
    order = jnp.argsort(-model(batch.image)[0], axis=-1).astype(jnp.int32)
    return model, batch._replace(label=order[:, 0], target=order[:, 2])


def jsma(model: Model, batch: Batch) -> np.ndarray:
    attack = attacks.jsma(num_steps=14)
    return np.asarray(attacks.run_batch(attack, model, batch, key=jax.random.key(0), unroll=False).adversarial)


def test_jsma_is_that_of_torchattacks() -> None:
    """Where it succeeds; where it does not, theirs is the last image and ours the clean one."""
    model, batch = example(0.2)
    reached = np.asarray(attacks.joint_success(None, model, jnp.asarray(PEERS["jsma"]), batch))
    assert reached.any()
    expected = np.where(reached[:, None, None, None], PEERS["jsma"], np.asarray(batch.image))
    np.testing.assert_allclose(jsma(model, batch), expected, atol=1e-9, rtol=0)


def test_jsma_of_torchattacks_moves_the_first_value_where_no_pair_qualifies() -> None:
    """Algorithm 3 chooses a pair with a positive and a negative sum only; theirs takes the first place of an empty map."""
    model, batch = example(0.0)
    image = np.asarray(batch.image)
    np.testing.assert_array_equal(jsma(model, batch), image)
    moved = PEERS["jsma_flat"].transpose(0, 3, 1, 2).reshape(8, -1) != image.transpose(0, 3, 1, 2).reshape(8, -1)
    assert moved[:, 0].all()
    assert not moved[:, 1:].any()


def test_one_pixel_succeeds_as_often_as_that_of_torchattacks() -> None:
    """At the same budget, over six seeds. Theirs mutates the best individual, where the paper takes a random one."""
    model, batch = example(0.07)
    attack = attacks.one_pixel(population=40, max_queries=1 + 40 * 11)
    # One run on copies of the images with other names, which draw differently.
    copies = jax.tree.map(lambda leaf: jnp.repeat(leaf, 6, axis=0), batch._replace(target=batch.target * 0 - 1))
    copies = copies._replace(id=jnp.arange(48, dtype=jnp.int32))
    state = attacks.run_batch(attack, model, copies, key=jax.random.key(0), unroll=False)
    ours = np.asarray(attacks.joint_success(None, model, state.adversarial, copies)).reshape(8, 6).mean(1)
    theirs = PEERS["one_pixel"].mean(0)
    assert 0 < theirs.mean() < 1
    assert abs(ours.mean() - theirs.mean()) < 0.2
    np.testing.assert_array_equal(ours[theirs == theirs.round()], theirs[theirs == theirs.round()])
