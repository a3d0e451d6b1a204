"""Minimum-norm attacks beside those of peers; `.ci/peers/attacks/minimum_norm.py` writes what the peers find."""

import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import Attack, Batch, attacks
from tests.attacks import toys

PEERS = np.load(pathlib.Path(__file__).parent / "parity" / "minimum_norm.npz")


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def example(*, aimed: bool = False) -> tuple[Any, Batch]:
    """The toy that the peers get; its labels are what it predicts, its targets the third likeliest classes."""
    model, batch = toys.conv_model(dtype=np.float64, scale=1.5), toys.make_batch(4, dtype=np.float64)
    order = jnp.argsort(-model(batch.image)[0], axis=-1).astype(jnp.int32)
    return model, batch._replace(label=order[:, 0], target=order[:, 2] if aimed else order[:, 2] * 0 - 1)


def answer(attack: Attack, *, aimed: bool = False) -> np.ndarray:
    model, batch = example(aimed=aimed)
    return np.asarray(attacks.run_batch(attack, model, batch, key=jax.random.key(0), unroll=False).adversarial)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_fab_is_that_of_its_authors(norm: Any) -> None:
    ours = answer(attacks.fab(norm=norm, num_steps=10))
    np.testing.assert_allclose(ours, PEERS[f"fab_{norm}"], atol=1e-9, rtol=0)
    assert np.abs(ours - np.asarray(example()[1].image)).max((1, 2, 3)).min() > 0


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_fab_towards_one_class_is_that_of_its_authors(norm: Any) -> None:
    ours = answer(attacks.fab(norm=norm, num_steps=10, towards="target"), aimed=True)
    np.testing.assert_allclose(ours, PEERS[f"fab_{norm}_target"], atol=1e-9, rtol=0)
