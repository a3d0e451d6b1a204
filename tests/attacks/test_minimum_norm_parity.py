"""Minimum-norm attacks beside those of peers; `.ci/peers/attacks/minimum_norm.py` writes what the peers find."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import Attack, Batch, attacks
from tests.attacks import toys

pytestmark = pytest.mark.usefixtures("float64")

PEERS = np.load(pathlib.Path(__file__).parent / "parity" / "minimum_norm.npz")


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


def test_deepfool_is_as_near_as_that_of_torchattacks() -> None:
    """Theirs is linearised at overshot images and ours, like the paper's, at images without the overshoot."""
    model, batch = example()
    image = 0.4 + 0.2 * batch.image
    batch = batch._replace(image=image, label=jnp.argmax(model(image)[0], axis=-1).astype(jnp.int32))
    state = attacks.run_batch(attacks.deepfool(num_steps=20), model, batch, key=jax.random.key(0), unroll=False)
    ours, theirs = (np.asarray(each - image) for each in (state.adversarial, PEERS["deepfool"]))
    found = np.abs(ours).max((1, 2, 3)) > 0
    assert found.any()
    ratio = np.linalg.norm(ours.reshape(4, -1), axis=1)[found] / np.linalg.norm(theirs.reshape(4, -1), axis=1)[found]
    assert np.all(np.abs(ratio - 1) < 0.03)


SEARCH = {"num_search_steps": 3, "num_steps": 20, "initial_weight": 0.125}
CARLINI_WAGNER = attacks.carlini_wagner(step_size=0.1, **SEARCH)


def missing_as_clean(images: np.ndarray, batch: Batch) -> np.ndarray:
    """Foolbox gives a black image where C&W and EAD find nothing, and all of them an image that is not adversarial."""
    empty = np.abs(images).max((1, 2, 3)) == 0
    return np.where(empty[:, None, None, None], np.asarray(batch.image), images)


@pytest.mark.parametrize(
    ("name", "attack", "aimed"),
    [
        ("ddn", attacks.ddn(num_steps=20), False),
        ("ddn_target", attacks.ddn(num_steps=20), True),
        ("carlini_wagner", CARLINI_WAGNER, False),
        ("carlini_wagner_target", CARLINI_WAGNER, True),
        ("fmn_linf", attacks.fmn(norm="linf", num_steps=20), False),
        ("fmn_l1", attacks.fmn(norm="l1", num_steps=20), False),
        ("ead_l1", attacks.ead(decision="l1", **SEARCH), False),
        ("ead_en", attacks.ead(decision="elastic_net", **SEARCH), False),
    ],
)
def test_attack_is_that_of_foolbox(name: str, attack: Attack, aimed: bool) -> None:
    batch = example(aimed=aimed)[1]
    ours, theirs = answer(attack, aimed=aimed), missing_as_clean(PEERS[name], batch)
    moved = np.abs(theirs - np.asarray(batch.image)).max((1, 2, 3)) > 0
    assert moved.any()
    # Foolbox's DDN multiplies the radius by 0.95 and 1.05 of float32.
    np.testing.assert_allclose(ours, theirs, atol=1e-6 if "ddn" in name else 1e-9, rtol=0)


def test_fmn_of_foolbox_does_not_project_in_l2() -> None:
    """Algorithm 1 projects onto the ball; foolbox multiplies by a norm over itself, and its answers lie further away."""
    image = np.asarray(example()[1].image)
    ours, theirs = answer(attacks.fmn(norm="l2", num_steps=20)) - image, PEERS["fmn_l2"] - image
    assert np.all(np.linalg.norm(ours.reshape(4, -1), axis=1) < np.linalg.norm(theirs.reshape(4, -1), axis=1))
