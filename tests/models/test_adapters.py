"""Models for others: the pure pair, and foolbox where it is installed."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import attacks, models
from tests.models.own_networks import linen

IMAGES = jnp.asarray(np.random.default_rng(0).random((6, 16, 16, 3)), jnp.float32)


@pytest.fixture(scope="module")
def model():
    return linen()


@pytest.fixture(scope="module")
def labels(model):
    return jnp.argmax(jax.jit(lambda model: model(IMAGES)[0])(model), 1)


def test_a_model_is_a_pure_function_and_back(model):
    apply, variables = models.to_function(model)
    traces = []
    compiled = jax.jit(lambda apply, *arguments: traces.append(apply) or apply(*arguments), static_argnums=0)
    logits, activations = jax.jit(lambda model: model(IMAGES))(model)
    np.testing.assert_allclose(compiled(apply, variables, IMAGES), logits, rtol=1e-5, atol=1e-6)
    assert apply == models.to_function(linen(1))[0]
    compiled(*models.to_function(linen(1)), IMAGES)
    assert len(traces) == 1
    gradient = jax.jit(jax.grad(lambda variables: apply(variables, IMAGES).sum()))(variables)
    assert jax.tree.structure(gradient["params"]) == jax.tree.structure(model.params)
    again = models.from_function(apply, variables, image_size=16)
    np.testing.assert_allclose(jax.jit(lambda model: model(IMAGES)[0])(again), logits, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="expected images of 16 x 16, got 8 x 8"):
        apply(variables, IMAGES[:, :8, :8])
    assert activations["block2/relu"].shape[0] == 6


def test_without_foolbox_it_is_said_what_to_install(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "foolbox", None)
    with pytest.raises(ImportError, match=r"expected foolbox to be installed; write pip install foolbox\."):
        models.to_foolbox(model)


@pytest.mark.filterwarnings("ignore")
def test_foolbox_attacks_the_same_network(model, labels):
    foolbox = pytest.importorskip("foolbox")
    wrapped = models.to_foolbox(model)
    assert wrapped.bounds == (0, 1)
    wrong = labels.at[0].add(1) % 5
    assert foolbox.accuracy(wrapped, IMAGES, wrong) == pytest.approx(5 / 6)
    for attack, ours in (
        (foolbox.attacks.FGSM(random_start=False), attacks.fgsm(0.02)),
        (foolbox.attacks.LinfPGD(steps=4), None),
    ):
        _, adversarial, success = attack(wrapped, IMAGES, labels, epsilons=0.02)
        assert abs(np.asarray(adversarial) - np.asarray(IMAGES)).max() <= 0.02 + 1e-6
        predicted = jax.jit(lambda model, images: model(images)[0])(model, jnp.asarray(adversarial)).argmax(1)
        np.testing.assert_array_equal(success, predicted != labels)
        if ours is not None:
            result = attacks.run(ours, model, IMAGES, labels, key=jax.random.key(0))
            assert (abs(np.asarray(result.adversarial) - np.asarray(adversarial)) < 1e-6).mean() > 0.999
