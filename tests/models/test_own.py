"""Laws of own models: every law for a Linen module, an NNX module and a pure function."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxinterp import Layer, Model, _mesh, activations, attacks, models, tracing, training
from tests.attacks.toys import make_batch
from tests.models.own_networks import BUILDS, CLASSES, LAST, PLAIN, SIZE, NnxBlock, NnxNet, flax_nnx, linen, module

IMAGES = jnp.asarray(np.random.default_rng(1).random((8, SIZE, SIZE, 3)), jnp.float32)
LABELS = np.arange(8) % CLASSES
KEY = jax.random.key(0, impl="rbg")  # dropout compiles in no time
EVALUATE = jax.jit(lambda model, images: model(images))
SILENCED = jax.jit(
    lambda model, images, layer: model(images, taps={layer: lambda a: a.at[..., 2].set(0.0)})[0], static_argnums=2
)
TRAIN = jax.jit(lambda model, images, key: model.train(images, key=key))
every_kind = pytest.mark.parametrize("kind", BUILDS)


@every_kind
def test_logits_are_those_of_the_code_itself(kind):
    model = BUILDS[kind]()
    logits, found = EVALUATE(model, IMAGES)
    np.testing.assert_allclose(logits, PLAIN[kind](model, IMAGES), rtol=1e-5, atol=1e-6)
    assert model.num_classes == CLASSES
    assert {layer.name: (8, *layer.shape) for layer in model.layers if layer.shape[0] > 1} == {
        name: value.shape for name, value in found.items() if value.ndim == 4
    }
    assert [layer.name for layer in model.layers][-1] == "logits"


@every_kind
def test_normalisation_is_the_first_layer(kind):
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    normalised = (IMAGES - jnp.asarray(mean)[None, None, None]) / jnp.asarray(std)[None, None, None]
    logits = EVALUATE(BUILDS[kind](mean=mean, std=std), IMAGES)[0]
    np.testing.assert_allclose(logits, EVALUATE(BUILDS[kind](), normalised)[0], rtol=1e-4, atol=1e-5)


@every_kind
def test_two_builds_share_one_trace_and_weights_are_arguments(kind):
    traces = []

    @jax.jit
    def logits(model, images):
        traces.append(model.network)
        return model(images)[0]

    first, second = BUILDS[kind](1), BUILDS[kind](2)
    assert first.network == second.network
    assert hash(first.network) == hash(second.network)
    assert not np.array_equal(logits(first, IMAGES), logits(second, IMAGES))
    assert len(traces) == 1
    logits(BUILDS[kind](1, mean=0.5), IMAGES)
    assert len(traces) == 2
    program = jax.make_jaxpr(lambda model, images: model(images))(first, IMAGES)
    assert sum(np.size(constant) for constant in program.consts) < 10
    assert jax.tree.structure(jax.tree.map(jnp.add, first, second)) == jax.tree.structure(first)


@every_kind
def test_a_tap_on_every_layer_reaches_the_logits_and_is_what_is_recorded(kind):
    model = BUILDS[kind]()

    @jax.jit
    def tapped(model, images, place):
        """One program for all layers: the tap of layer `i` adds 1, 2, ... to its units exactly when `place` is `i`."""
        taps = {
            layer.name: lambda a, i=i: a + ((place == i) * (1.0 + jnp.arange(a.shape[-1]))).reshape((1,) * (a.ndim - 1) + (-1,))
            for i, layer in enumerate(model.layers)
        }
        return model(images, taps=taps)

    plain, before = tapped(model, IMAGES, -1)
    np.testing.assert_allclose(plain, EVALUATE(model, IMAGES)[0], rtol=1e-4, atol=1e-5)
    for i, layer in enumerate(model.layers):
        logits, after = tapped(model, IMAGES, i)
        assert np.abs(np.asarray(logits - plain)).max() > 1e-4, layer.name
        added = np.broadcast_to(1 + np.arange(layer.shape[-1]), before[layer.name].shape)
        np.testing.assert_allclose(after[layer.name] - before[layer.name], added, rtol=1e-3, atol=1e-3)
        for earlier in model.layers[:i]:
            np.testing.assert_array_equal(after[earlier.name], before[earlier.name])


@every_kind
def test_training_returns_new_statistics_and_evaluation_keeps_them(kind):
    model = BUILDS[kind]()
    logits, _, stats = TRAIN(model, IMAGES, KEY)
    again, _, _ = TRAIN(model, IMAGES, KEY)
    other, _, _ = TRAIN(model, IMAGES, jax.random.fold_in(KEY, 1))
    np.testing.assert_array_equal(logits, again)
    assert not np.array_equal(logits, other)
    assert jax.tree.structure(stats) == jax.tree.structure(model.stats)
    changed = [not np.array_equal(old, new) for old, new in zip(*map(jax.tree.leaves, (model.stats, stats)), strict=True)]
    assert all(changed)
    evaluate = jax.jit(lambda model: model.network.apply(model.params, model.stats, IMAGES, key=None, taps={}, train=False)[2])
    evaluated = evaluate(model)
    assert all(np.array_equal(*pair) for pair in zip(jax.tree.leaves(evaluated), jax.tree.leaves(model.stats), strict=True))
    with_key = jax.jit(lambda model: model(IMAGES, key=jax.random.key(5))[0])(model)
    np.testing.assert_allclose(with_key, EVALUATE(model, IMAGES)[0], rtol=1e-5, atol=1e-6)


@every_kind
def test_weights_go_to_a_file_and_come_back(kind, tmp_path):
    model, path = BUILDS[kind](1), tmp_path / "own.safetensors"
    models.save(model, path)
    again = models.load(path, BUILDS[kind](2))
    for got, want in zip(jax.tree.leaves(again), jax.tree.leaves(model), strict=True):
        np.testing.assert_array_equal(got, want)
    assert models.fingerprint(again) == models.fingerprint(model)
    others = [BUILDS[kind](2), BUILDS[kind](1, mean=0.1), BUILDS[kind](1, layers=["logits"], last_conv=None)]
    assert len({models.fingerprint(other) for other in [model, *others, models.at_size(model, 20)]}) == 5
    models.save(model, path, dtype="float16")
    halved = models.load(path, model)
    np.testing.assert_allclose(EVALUATE(halved, IMAGES)[0], EVALUATE(model, IMAGES)[0], atol=0.01)
    with pytest.raises(ValueError, match=r"expected a model of .*, got the network alone, .*; write load\(path, model\)"):
        models.load(path, model.network)


def test_names_in_the_file_are_those_of_the_tree(tmp_path):
    from safetensors.numpy import load_file

    expected = {
        "linen": {"block1/Conv_0/kernel", "head/bias", "batch_stats/block2/BatchNorm_0/mean"},
        "nnx": {"blocks.0.conv.kernel", "head.bias", "blocks.1.norm.mean"},
        "function": {"conv1", "head", "mean2"},
    }
    for kind, names in expected.items():
        models.save(BUILDS[kind](), tmp_path / kind)
        assert names <= set(load_file(tmp_path / kind)), kind
    with pytest.raises(ValueError, match=r"missing blocks\S+, .* and \d+ more; not in this network batch_stats/.*\.$"):
        models.load(tmp_path / "linen", BUILDS["nnx"]())


@every_kind
def test_another_image_size(kind):
    model = BUILDS[kind]()
    wide = models.at_size(model, 24)
    images = jax.image.resize(IMAGES, (8, 24, 24, 3), "bilinear", antialias=False)
    small = jax.image.resize(images, (8, SIZE, SIZE, 3), "bilinear", antialias=False)
    np.testing.assert_allclose(EVALUATE(wide, images)[0], EVALUATE(model, small)[0], rtol=1e-4, atol=1e-5)
    assert wide.layer(LAST[kind]).stride == 3.0
    assert models.last_conv(wide) == LAST[kind]
    assert models.at_size(wide, SIZE).network == model.network


@every_kind
def test_attacks_tracing_and_statistics_work(kind):
    model, layer = BUILDS[kind](), LAST[kind]
    labels = np.asarray(EVALUATE(model, IMAGES)[0]).argmax(1)
    result = attacks.run(attacks.pgd(0.1, num_steps=3), model, IMAGES, labels, key=jax.random.key(0))
    harder = optax.softmax_cross_entropy_with_integer_labels(EVALUATE(model, result.adversarial)[0], jnp.asarray(labels))
    assert (harder > optax.softmax_cross_entropy_with_integer_labels(EVALUATE(model, IMAGES)[0], jnp.asarray(labels))).all()
    found = jax.jit(functools.partial(tracing.prediction_difference, layer=layer))(model, IMAGES, jnp.asarray(labels))
    logits, maps = EVALUATE(model, IMAGES)
    gone = jax.nn.softmax(logits) - jax.nn.softmax(SILENCED(model, IMAGES, layer))
    np.testing.assert_allclose(found[:, 2], gone[np.arange(8), labels], atol=1e-5)
    statistic = activations.top_k(layer, k=3, num_units=8)
    answer = statistic.compute(statistic.update(statistic.init(), make_batch(8), maps))
    best = np.asarray(maps[layer]).max((0, 1, 2))
    np.testing.assert_allclose(np.asarray(answer.value)[:, 0], best, rtol=1e-6)
    place = model.layer(layer)
    upsampled = activations.upsample(maps[layer], place, SIZE, image_size=SIZE)
    centres = (place.offset + place.stride * np.arange(place.shape[0])).astype(int)
    inside = centres < SIZE
    np.testing.assert_allclose(upsampled[:, centres[inside]][:, :, centres[inside]], maps[layer][:, inside][:, :, inside])


@every_kind
def test_training_steps_learn(kind):
    model = BUILDS[kind]()
    batch = make_batch(8)._replace(image=IMAGES, label=jnp.asarray(LABELS, jnp.int32))
    objective = training.consistent(attacks.fgsm(2 / 255), layer=LAST[kind]) if kind == "nnx" else training.standard()
    optimizer = optax.adam(0.01)
    step = jax.jit(training.train_step(objective, optimizer))
    state, losses = training.init_state(optimizer, model), []
    for _ in range(8):
        state, metrics = step(KEY, state, batch)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0]
    assert any(not np.array_equal(*pair) for pair in zip(*map(jax.tree.leaves, (model.stats, state.model.stats)), strict=True))
    spread = training.sharded_step(training.standard(), optimizer, _mesh.data_mesh(4))
    after, _ = jax.eval_shape(spread, KEY, training.init_state(optimizer, model), batch)
    assert jax.tree.structure(after.model) == jax.tree.structure(model)


def test_models_of_every_kind_are_one_ensemble():
    ensemble = tuple(build() for build in BUILDS.values())
    attack = attacks.ensemble_optimization(num_steps=2)
    result = attacks.run(attack, ensemble, IMAGES, LABELS, targets=LABELS, key=jax.random.key(0))
    assert result.adversarial.shape == IMAGES.shape


@every_kind
def test_shapes_without_weights_and_models_side_by_side(kind):
    abstract = jax.eval_shape(BUILDS[kind])
    assert abstract.layers == BUILDS[kind]().layers
    builds = [BUILDS[kind](seed) for seed in (1, 2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *builds)
    both, maps = jax.jit(jax.vmap(lambda model: model(IMAGES)))(stacked)
    for got, model in zip(both, builds, strict=True):
        np.testing.assert_allclose(got, EVALUATE(model, IMAGES)[0], rtol=1e-4, atol=1e-5)
    assert maps[LAST[kind]].shape == (2, 8, 8, 8, 8)
    each = jax.jit(jax.vmap(lambda image: SILENCED(builds[0], image[None], LAST[kind])[0]))(IMAGES)
    np.testing.assert_allclose(each, SILENCED(builds[0], IMAGES, LAST[kind]), rtol=1e-4, atol=1e-5)


def test_layers_are_those_asked_for_in_the_order_of_passing():
    shape = (8, 8, 8)
    given = Layer("block2", shape, 2.0, 0.0, 99)
    model = linen(layers=(given, "block1/relu"), last_conv=None)
    assert [layer.name for layer in model.layers] == ["block1/relu", "block2"]
    assert model.layer("block2") == given
    assert set(EVALUATE(model, IMAGES)[1]) == {"block1/relu", "block2"}


def test_an_nnx_module_is_left_alone_and_its_weights_come_back():
    network, model = module(0), flax_nnx(0)
    kept = nnx.Not(nnx.RngState)
    before, graph = jax.tree.map(jnp.copy, nnx.to_pure_dict(nnx.state(network, kept))), nnx.graphdef(network)
    TRAIN(model, IMAGES, KEY)
    assert jax.tree.all(jax.tree.map(np.array_equal, before, nnx.to_pure_dict(nnx.state(network, kept))))
    assert nnx.graphdef(network) == graph
    kinds = {NnxNet, NnxBlock, nnx.List, nnx.Conv, nnx.BatchNorm, nnx.Dropout, nnx.Linear}
    assert {type(part) for _, part in nnx.iter_modules(network)} == kinds
    trained = Model(jax.tree.map(lambda leaf: leaf + 1, model.params), model.stats, model.network)
    restored: Any = models.to_nnx(trained)
    np.testing.assert_array_equal(restored.head.kernel[...], network.head.kernel[...] + 1)
    with pytest.raises(ValueError, match=r"expected a model made by models\.from_nnx, got"):
        models.to_nnx(linen())


def test_last_conv_has_to_be_told():
    with pytest.raises(ValueError, match=r"expected a model whose last convolution is named; write last_conv= one of block1/"):
        models.last_conv(linen(last_conv=None))


class Odd(nnx.Module):
    """An array that is no variable, a static dict, and a checkpoint around a part with statistics and dropout."""

    def __init__(self, *, rngs):
        self.shift, self.knobs = jnp.ones(3), {"relu": jax.nn.relu}
        zeros = nnx.initializers.zeros_init()  # nothing to compile
        self.conv, self.norm = nnx.Conv(3, 4, (3, 3), kernel_init=zeros, rngs=rngs), nnx.BatchNorm(4, rngs=rngs)
        self.dropout, self.head = nnx.Dropout(0.5, rngs=rngs), nnx.Linear(4, CLASSES, kernel_init=zeros, rngs=rngs)

    @nnx.remat
    def block(self, images):
        return self.dropout(self.norm(self.conv(images + self.shift[None, None, None])))

    def __call__(self, images):
        return self.head(models.named("after", self.knobs["relu"](self.block(images))).mean((1, 2)))


def test_nnx_modules_with_arrays_and_checkpoints():
    model = models.from_nnx(Odd(rngs=nnx.Rngs(0)), image_size=SIZE)
    assert [layer.name for layer in model.layers] == ["after", "head", "logits"]
    assert model.layer("after").receptive_field == 3
    assert set(model.stats) == {"shift", "norm.mean", "norm.var"}
    logits, _, stats = jax.eval_shape(lambda model: model.train(IMAGES, key=jax.random.key(0)), model)
    assert logits.shape == (8, CLASSES)
    assert jax.tree.structure(stats) == jax.tree.structure(model.stats)
