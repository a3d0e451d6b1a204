"""What `models.named` promises: it is heard during one evaluation, wherever it is honest, and leaves nothing behind."""

import threading

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import Model, models
from jaxinterp.models._own._named import current

IMAGES = jnp.asarray(np.random.default_rng(0).random((4, 8, 8, 3)), jnp.float32)
PARAMS = jnp.asarray(np.random.default_rng(1).standard_normal((3, 5)), jnp.float32)


def head(params, value):
    return models.named("pooled", value.mean((1, 2))) @ params


def plain(params, images):
    return head(params, models.named("relu", jax.nn.relu(images - 0.5)))


def one_image(params, image):
    value = models.named("relu", jax.nn.relu(image - 0.5))
    return models.named("pooled", value.mean((0, 1))) @ params


def vmapped(params, images):
    return jax.vmap(one_image, in_axes=(None, 0))(params, images)


def twice_vmapped(params, images):
    rows = images.reshape(2, -1, *images.shape[1:])
    return jax.vmap(jax.vmap(lambda image: one_image(params, image)))(rows).reshape(len(images), -1)


def model_of(function, **knobs):
    return models.from_function(function, PARAMS, image_size=8, **knobs)


def test_outside_an_evaluation_it_is_the_value_itself():
    assert models.named("relu", IMAGES) is IMAGES
    assert current() is None


def test_under_vmap_inside_the_network_the_layer_is_the_whole_batch():
    whole, each = model_of(plain), model_of(vmapped)
    assert each.layers == whole.layers
    taps = {"relu": lambda a: a.at[:, :, :, 0].multiply(jnp.arange(a.shape[0])[:, None, None]), "pooled": lambda a: a + 1}

    def loss(model, images):
        logits, found = model(images, taps=taps)
        return logits[:, 2].sum(), (logits, found)

    expected, shape = (jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(model, IMAGES) for model in (whole, each))
    for got, want in zip(jax.tree.leaves(shape), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_vmap_in_vmap_is_seen_as_it_is():
    with pytest.raises(ValueError, match=r"expected \[n h w u\] or \[n u\], got shape \(2, 1, 8, 8, 3\)"):
        model_of(twice_vmapped, layers=("relu",))
    found = model_of(twice_vmapped)
    np.testing.assert_allclose(found(IMAGES)[0], model_of(plain)(IMAGES)[0], rtol=1e-5)


def test_a_name_passed_again_is_numbered():
    def apply(params, images):
        value = images
        for _ in range(3):
            value = models.named("step", jnp.tanh(value + 1))
        return head(params, value)

    model = model_of(apply)
    assert [layer.name for layer in model.layers] == ["step", "step:2", "step:3", "pooled", "logits"]
    _, found = model(IMAGES, taps={"step:2": jnp.zeros_like})
    np.testing.assert_allclose(found["step:3"], np.full(IMAGES.shape, np.tanh(1)), rtol=1e-6)


@pytest.mark.parametrize(
    "wrap",
    [jax.jit, jax.checkpoint, lambda f: lambda a: jax.lax.map(lambda row: f(row[None])[0], a)],
    ids=["jit", "checkpoint", "map"],
)
def test_where_it_cannot_be_honest_it_is_no_layer(wrap):
    def apply(params, images):
        return head(params, wrap(lambda a: models.named("inside", jnp.tanh(a)))(images))

    model = model_of(apply)
    assert [layer.name for layer in model.layers] == ["pooled", "logits"]
    np.testing.assert_allclose(model(IMAGES)[0], jnp.tanh(IMAGES).mean((1, 2)) @ PARAMS, rtol=1e-5)
    jax.jit(jax.grad(lambda images: model(images)[0].sum()))(IMAGES)
    with pytest.raises(ValueError, match=r"cannot make 'inside' a layer: it is passed inside jit, scan or checkpoint"):
        model_of(apply, layers=("inside",))


def test_a_jitted_function_is_taken_without_its_jit():
    assert model_of(jax.jit(plain)).network == model_of(plain).network


def test_an_exception_leaves_nothing_behind():
    def apply(params, images):
        value = models.named("relu", images)
        if params.shape[-1] == 4:
            raise RuntimeError("in the network")
        return head(params, value)

    model = model_of(apply)
    with pytest.raises(RuntimeError, match="in the network"):
        model.network.apply(PARAMS[:, :4], {}, IMAGES, key=None, taps={"relu": jnp.zeros_like}, train=False)
    assert current() is None
    with pytest.raises(ZeroDivisionError):
        model(IMAGES, taps={"relu": lambda a: a / (1 // 0)})
    assert models.named("relu", IMAGES) is IMAGES
    np.testing.assert_allclose(model(IMAGES)[0], IMAGES.mean((1, 2)) @ PARAMS, rtol=1e-5)


def test_a_model_inside_a_model_has_its_own_names():
    network = model_of(plain).network

    def apply(params, images):
        value = models.named("relu", 2 * images)
        logits, _ = Model(params, {}, network)(images, taps={"relu": jnp.zeros_like})
        return head(params, value) + logits

    model = model_of(apply)
    assert [layer.name for layer in model.layers] == ["relu", "pooled", "logits"]
    np.testing.assert_allclose(model(IMAGES)[0], 2 * IMAGES.mean((1, 2)) @ PARAMS, rtol=1e-5)


def test_threads_do_not_hear_each_other():
    def apply(params, images):
        value = models.named("relu", images)
        barrier.wait(timeout=30)
        return head(params, value)

    barrier = threading.Barrier(1)
    model, answers = model_of(apply), {}
    barrier = threading.Barrier(2)

    def evaluate(scale):
        answers[scale] = model(IMAGES, taps={"relu": lambda a: scale * a})[0]

    threads = [threading.Thread(target=evaluate, args=(scale,)) for scale in (2.0, 3.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for scale, logits in answers.items():
        np.testing.assert_allclose(logits, scale * IMAGES.mean((1, 2)) @ PARAMS, rtol=1e-5)


def test_a_linen_site_behind_checkpoint_is_no_layer_and_its_parent_is():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, images):
            value = nn.remat(nn.Conv)(4, (3, 3), name="conv")(images)
            return nn.Dense(5)(models.named("after", value).mean((1, 2)))

    variables = Net().init(jax.random.key(0), IMAGES)
    model = models.from_linen(Net(), variables, image_size=8)
    assert [layer.name for layer in model.layers] == ["after", "Dense_0", "logits"]
    assert model.layer("after").receptive_field == 3
    with pytest.raises(ValueError, match=r"cannot make 'conv' a layer: it is passed inside jit, scan or checkpoint"):
        models.from_linen(Net(), variables, image_size=8, layers=("conv",))
