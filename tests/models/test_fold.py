"""Normalisation folded into convolutions: the same function, the plain layout, and the networks that ship."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import data, models

SMALL = {"image_size": 32, "output_stride": 8, "num_classes": 4, "width": 1 / 32, "hidden": 8, "pool_size": 2, "dropout": 0.0}


@pytest.mark.parametrize("build", [models.alexnet, models.vgg16])
def test_folding_changes_no_logit(build):
    rng = np.random.default_rng(0)
    model = build(**SMALL, batch_norm=True, key=jax.random.key(0))
    shift = lambda leaf: leaf + jnp.asarray(rng.uniform(0, 0.5, leaf.shape), leaf.dtype)  # noqa: E731
    model = dataclasses.replace(model, params=jax.tree.map(shift, model.params), stats=jax.tree.map(shift, model.stats))
    plain = models.fold_batch_norm(model)
    images = jnp.asarray(rng.random((2, 32, 32, 3)), jnp.float32)
    (logits, before), (folded, after) = model(images), plain(images)
    np.testing.assert_allclose(folded, logits, rtol=1e-4, atol=1e-5 * float(jnp.abs(logits).max()))
    np.testing.assert_allclose(after[models.last_conv(plain)], before[models.last_conv(model)], rtol=1e-3, atol=1e-3)
    assert plain.stats == {}
    assert plain.network == build(**SMALL, key=jax.random.key(1)).network


def test_only_networks_with_normalisation_are_folded():
    with pytest.raises(ValueError, match="expected a network built with batch_norm=True"):
        models.fold_batch_norm(models.vgg16(**SMALL, key=jax.random.key(0)))


@pytest.mark.parametrize("build", [models.small_alexnet, models.small_vgg16, models.small_resnet18])
def test_shipped_networks_know_the_concept_world(build):
    """40 pictures that no training saw: at least 36 right with the object, at most 8 by the background alone."""
    model = build()
    assert model.layer(models.last_conv(model)).shape[:2] == (8, 8)
    right = []
    for background_only in (False, True):
        world = data.concept_world(seed=4321, num_images=40, background_only=background_only)
        batch = next(data.batches(world, batch_size=40, read_concepts=False))
        right.append(int((np.asarray(model(jnp.asarray(batch.image))[0]).argmax(axis=1) == batch.label).sum()))
    assert right[0] >= 36 and right[1] <= 8
