"""The form for evaluation: folded normalisation, computing in bfloat16, and the networks that ship."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import Model, data, models
from jaxinterp.models._files._weights import torchvision_shapes

NARROW: dict[str, Any] = {"num_classes": 4, "width": 1 / 16}
SMALL: dict[str, Any] = dict(NARROW, image_size=32, output_stride=8, hidden=8, pool_size=2, batch_norm=True)
BUILDS = {
    "alexnet": lambda: models.alexnet(**SMALL, key=jax.random.key(0)),
    "vgg16": lambda: models.vgg16(**SMALL, key=jax.random.key(0)),
    "resnet18": lambda: models.resnet18(**NARROW, image_size=40, key=jax.random.key(0)),
    "googlenet": lambda: models.googlenet(**NARROW, image_size=40, key=jax.random.key(0)),
    "inception_v3": lambda: models.inception_v3(**NARROW, image_size=80, aux=False, key=jax.random.key(0)),
    "resnetv2_50": lambda: models.resnetv2_50(**NARROW, image_size=40, key=jax.random.key(0)),
    "densenet121": lambda: models.densenet121(**NARROW, image_size=40, key=jax.random.key(0)),
    "mobilenet_v2": lambda: models.mobilenet_v2(**NARROW, image_size=40, key=jax.random.key(0)),
    "cifar_resnet20": lambda: models.cifar_resnet20(**NARROW, image_size=16, key=jax.random.key(0)),
}
EVALUATE = jax.jit(lambda model, images: model(images))


def roughened(model: Model) -> Model:
    """The model with scales, biases and batch statistics that are not 0 and 1."""
    rng = np.random.default_rng(0)

    def shift(path, leaf):
        return leaf if path[-1].key == "kernel" else leaf + jnp.asarray(rng.uniform(0, 0.3, leaf.shape), leaf.dtype)

    params, stats = jax.tree_util.tree_map_with_path(shift, (model.params, model.stats))
    return Model(params, stats, model.network)


def images_for(model, count=2):
    size = model.image_size
    return jnp.asarray(np.random.default_rng(1).random((count, size, size, 3)), jnp.float32)


def size_of(model):
    return sum(leaf.nbytes for leaf in jax.tree.leaves((model.params, model.stats)))


@pytest.mark.parametrize("name", BUILDS)
def test_folding_changes_no_layer_and_is_undone(name):
    model = roughened(BUILDS[name]())
    folded = models.fold_batch_norm(model)
    logits, before = EVALUATE(model, images_for(model))
    again, after = EVALUATE(folded, images_for(model))
    np.testing.assert_allclose(again, logits, rtol=0, atol=1e-5 * float(jnp.abs(logits).max()))
    assert [layer.name for layer in folded.layers] == [layer.name for layer in model.layers]
    for layer in model.layers:
        scale = float(jnp.abs(before[layer.name]).max())
        np.testing.assert_allclose(after[layer.name], before[layer.name], rtol=0, atol=3e-5 * scale, err_msg=layer.name)
    assert size_of(folded) < size_of(model)
    assert (folded.stats == {}) == (name not in ("densenet121", "resnetv2_50"))
    with pytest.raises(ValueError, match="expected a network with batch normalisation to fold"):
        models.fold_batch_norm(folded)
    unfolded = models.unfold_batch_norm(folded)
    if name in ("alexnet", "vgg16"):
        assert unfolded is folded
    else:
        assert torchvision_shapes(unfolded.params, unfolded.stats) == torchvision_shapes(model.params, model.stats)
        assert unfolded.network == model.network
    np.testing.assert_allclose(EVALUATE(unfolded, images_for(model))[0], again, rtol=1e-5, atol=1e-6)


def test_plain_networks_are_what_folded_vgg_and_alexnet_become():
    for build in (models.alexnet, models.vgg16):
        plain = models.fold_batch_norm(build(**SMALL, key=jax.random.key(0)))
        assert plain.network == build(**dict(SMALL, batch_norm=False), key=jax.random.key(1)).network
        assert models.unfold_batch_norm(plain) is plain


def test_only_networks_with_normalisation_are_folded():
    model = models.squeezenet1_1(**NARROW, image_size=40, key=jax.random.key(0))
    with pytest.raises(ValueError, match="expected a network with batch normalisation to fold, got SqueezeNet"):
        models.fold_batch_norm(model)


def test_a_resized_model_is_folded_inside():
    model = models.at_size(roughened(BUILDS["cifar_resnet20"]()), 24)
    folded = models.fold_batch_norm(model)
    assert folded.image_size == 24
    np.testing.assert_allclose(EVALUATE(folded, images_for(model))[0], EVALUATE(model, images_for(model))[0], atol=1e-5)


@pytest.mark.parametrize("name", ["vgg16", "resnet18", "googlenet", "mobilenet_v2"])
def test_bfloat16_computes_the_same_to_its_precision_and_keeps_float32_outside(name):
    model = roughened(BUILDS[name]())
    narrow = models.with_dtype(model, "bfloat16")
    seen = []
    last = models.last_conv(model)
    _, before = EVALUATE(model, images_for(model))
    again, after = jax.jit(lambda model, images: model(images, taps={last: lambda a: seen.append(a.dtype) or a}))(
        narrow, images_for(model)
    )
    assert seen == [jnp.float32]
    assert again.dtype == jnp.float32
    assert {value.dtype for value in after.values()} == {jnp.dtype("float32")}
    assert {leaf.dtype for leaf in jax.tree.leaves(narrow)} == {jnp.dtype("float32")}
    spread = float(jnp.abs(before[last]).max())
    difference = np.abs(np.asarray(after[last] - before[last])).max() / spread
    assert 1e-6 < difference < 0.1
    assert models.fingerprint(narrow) != models.fingerprint(model)
    assert models.with_dtype(narrow, None).network == model.network


def test_batch_statistics_stay_float32_in_bfloat16():
    model = models.with_dtype(BUILDS["resnet18"](), "bfloat16")
    images = images_for(model, 4)
    _, _, stats = jax.jit(lambda model: model.train(images, key=jax.random.key(0)))(model)
    _, _, exact = jax.jit(lambda model: model.train(images, key=jax.random.key(0)))(models.with_dtype(model, None))
    assert {leaf.dtype for leaf in jax.tree.leaves(stats)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(stats["bn1"]["var"], exact["bn1"]["var"], rtol=0.02)
    with pytest.raises(ValueError, match="expected dtype 'bfloat16', 'float16' or None, got 'int8'"):
        models.with_dtype(model, "int8")


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
