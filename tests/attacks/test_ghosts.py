"""Erosion and ghost networks."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from jaxinterp import Layer, Model, Taps, attacks, models
from tests.attacks import toys

KEY = jax.random.key(3)
EPSILON = 8 / 255


@dataclasses.dataclass(frozen=True)
class Residual:
    """A convolution, a residual block, global average pooling, a linear classifier."""

    image_size: int = toys.SIZE
    num_classes: int = toys.CLASSES

    @property
    def layers(self) -> tuple[Layer, ...]:
        side = self.image_size
        maps = [Layer(name, (side, side, 6), 1.0, 0.0, 3) for name in ("conv1", "block.shortcut", "block")]
        return (*maps, Layer("features", (1, 1, 6), 6.0, 2.5, 6))

    def apply(
        self, params: Any, stats: Any, images: Array, *, key: Array | None, taps: Taps, train: bool
    ) -> tuple[Array, dict[str, Array], Any]:
        toys.TRACES.append("residual")
        found: dict[str, Array] = {}

        def site(name: str, value: Array) -> Array:
            found[name] = taps.get(name, lambda a: a)(value)
            return found[name]

        def conv(name: str, maps: Array) -> Array:
            return jax.lax.conv_general_dilated(maps, params[name], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

        first = site("conv1", jax.nn.relu(conv("conv1", images - 0.5)))
        found["residual"] = conv("conv2", first)
        block = site("block", jax.nn.relu(found["residual"] + site("block.shortcut", first)))
        return site("features", block.mean((1, 2))) @ params["head"], found, stats


def residual_model(seed: int = 0) -> Model:
    rng = np.random.default_rng(seed)
    shapes = {"conv1": (3, 3, 3, 6), "conv2": (3, 3, 6, 6), "head": (6, toys.CLASSES)}
    params = {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}
    return Model(params, {}, Residual())


def adversarial(loss: Any, model: Any, batch: Any, *, key: Array = KEY) -> np.ndarray:
    attack = attacks.mi_fgsm(EPSILON, step_size=2 / 255, num_steps=3, loss=loss)
    return np.asarray(attacks.run_batch(attack, model, batch, key=key).adversarial)


def rows(batch: Any, index: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[np.asarray(index)], batch)


def test_skip_erosion_scales_the_channels_of_the_shortcut() -> None:
    batch, model = toys.make_batch(), residual_model()
    taps = attacks.skip_erosion(strength=0.3)(KEY, model, batch)
    assert list(taps) == ["block.shortcut"]
    _, plain = model(batch.image)
    _, found = model(batch.image, taps=taps)
    weight = np.asarray(taps["block.shortcut"](jnp.ones((4, 6, 6, 6))))
    assert np.ptp(weight, axis=(0, 1, 2)).max() == 0  # one per channel, for the whole batch
    assert np.ptp(weight) > 0.1
    expected = np.maximum(weight * np.asarray(plain["conv1"]) + np.asarray(plain["residual"]), 0)
    np.testing.assert_allclose(found["block"], expected, rtol=1e-5, atol=1e-6)
    wide = np.asarray(taps["block.shortcut"](jnp.ones((1, 1, 1, 20_000))))
    assert 0.7 <= wide.min() < 0.71
    assert 1.29 < wide.max() <= 1.3
    np.testing.assert_allclose([wide.mean(), wide.var()], [1, 0.3**2 / 3], atol=0.01)


def test_dropout_erosion_drops_and_rescales_the_maps() -> None:
    batch, model = toys.make_batch(), residual_model()
    taps = attacks.dropout_erosion(rate=0.25)(KEY, model, batch)
    _, plain = model(batch.image)
    _, found = model(batch.image, taps=taps)
    first, eroded = np.asarray(plain["conv1"]), np.asarray(found["conv1"])
    kept = (eroded != 0) | (first == 0)
    np.testing.assert_allclose(eroded[kept], first[kept] / 0.75, rtol=1e-6)
    mask = np.asarray(taps["conv1"](jnp.ones((2, 50, 50, 8)))) > 0
    np.testing.assert_array_equal(mask[0], mask[1])
    assert abs(mask.mean() - 0.75) < 0.01
    assert np.any(mask != (np.asarray(taps["block"](jnp.ones((2, 50, 50, 8)))) > 0))
    features = jnp.ones((2, 6))
    assert "features" not in taps or np.all(np.asarray(taps["features"](features)) == 1)
    named = attacks.dropout_erosion(rate=0.25, layers=("features",))(KEY, model, batch)
    assert list(named) == ["features"]
    assert np.any(np.asarray(named["features"](jnp.ones((2, 60)))) == 0)


SHORTCUTS = {
    "alexnet": 0,
    "vgg11": 0,
    "resnet18": 8,
    "resnet50": 16,
    "resnetv2_50": 16,
    "cifar_resnet20": 9,
    "googlenet": 0,
    "inception_v3": 0,
    "inception_v4": 0,
    "inception_resnet_v2": 40,
    "densenet121": 0,
    "squeezenet1_1": 0,
    "mobilenet_v2": 10,
}
"""A builder of every architecture -> its skip connections."""


@pytest.mark.parametrize("name", SHORTCUTS)
def test_every_architecture_is_eroded_after_every_block(name: str) -> None:
    model = models.abstract(lambda: getattr(models, name)(num_classes=4, key=jax.random.key(0)))
    key, images = jax.random.key(0), jax.ShapeDtypeStruct((1, model.image_size, model.image_size, 3), jnp.float32)
    changed = []

    def watched(layer: str, tap: Any) -> Any:
        def watch(activation: Array) -> Array:
            eroded = tap(activation)
            changed.append(layer) if eroded is not activation else None
            return eroded

        return watch

    def activations(key: Any, model: Any, images: Any) -> Any:
        taps = attacks.dropout_erosion(rate=0.01)(key, model, toys.make_batch())
        if SHORTCUTS[name]:
            taps = {**taps, **attacks.skip_erosion(strength=0.2)(key, model, toys.make_batch())}
        return model(images, taps={layer: watched(layer, tap) for layer, tap in taps.items()})[1]

    shapes = jax.eval_shape(activations, key, model, images)
    maps = [layer.name for layer in model.layers if shapes[layer.name].ndim == 4]
    assert sorted(changed) == sorted(maps)
    assert sum(layer.endswith(".shortcut") for layer in changed) == SHORTCUTS[name]
    assert {"logits", "features", "fc6"}.isdisjoint(changed)
    if not SHORTCUTS[name]:
        with pytest.raises(ValueError, match=r"expected a network with skip connections, .* write dropout_erosion"):
            attacks.skip_erosion(strength=0.2)(key, model, toys.make_batch())


def test_the_paper_erodes_what_there_is() -> None:
    for name, erosion in attacks.EROSIONS.items():
        assert hasattr(models, name)
        attacks.ghost(attacks.cross_entropy, **erosion)


def test_no_erosion_is_the_plain_attack() -> None:
    batch, model = toys.make_batch(), residual_model()
    plain = adversarial(attacks.cross_entropy, model, batch)
    np.testing.assert_array_equal(adversarial(attacks.ghost(attacks.cross_entropy), model, batch), plain)
    zero = jnp.zeros(())
    for make_taps in (attacks.dropout_erosion(rate=zero), attacks.skip_erosion(strength=zero)):
        taps = make_taps(KEY, model, batch)
        assert taps
        np.testing.assert_array_equal(model(batch.image, taps=taps)[0], model(batch.image)[0])
    eroded = adversarial(attacks.ghost(attacks.cross_entropy, dropout=0.1, skip=0.4), model, batch)
    assert np.abs(eroded - plain).max() > 1e-3


def test_ghosts_are_drawn_for_the_whole_batch_and_images_stand_alone() -> None:
    batch, model = toys.make_batch(), residual_model()
    loss = attacks.ghost(attacks.cross_entropy, dropout=0.1, skip=0.4, num_ghosts=2, fusion="losses")
    whole = adversarial(loss, model, batch)
    np.testing.assert_allclose(adversarial(loss, model, rows(batch, [2, 0, 2, 0])), whole[[2, 0, 2, 0]], atol=1e-6)
    assert np.abs(adversarial(loss, model, batch, key=jax.random.key(4)) - whole).max() > 1e-3


def test_each_key_is_another_ghost_and_a_fixed_one_stays() -> None:
    batch, model = toys.make_batch(), residual_model()
    amounts: Any = {"dropout": 0.1, "skip": 0.4}
    new, fixed = attacks.ghost(attacks.margin, **amounts), attacks.ghost(attacks.margin, **amounts, fixed=KEY)
    keys = [jax.random.key(seed) for seed in range(3)]
    plain, *several = (np.asarray(new(key, model, batch.image, batch)) for key in (None, *keys))
    np.testing.assert_array_equal(plain, attacks.margin(None, model, batch.image, batch))
    assert len({float(values[0]) for values in (plain, *several)}) == 4
    network = attacks.ghost_network(KEY, model, **amounts)
    same = np.asarray(attacks.margin(None, network, batch.image, batch))
    assert np.abs(same - plain).max() > 1e-3
    for key in (None, *keys):
        np.testing.assert_allclose(fixed(key, model, batch.image, batch), same, rtol=1e-5)


def test_several_ghosts_average_logits_or_losses() -> None:
    batch, model = toys.make_batch(), residual_model()
    amounts: Any = {"dropout": 0.1, "skip": 0.4}
    ghosts = [attacks.ghost_network(key, model, **amounts) for key in jax.random.split(KEY, 3)]
    logits = np.mean([np.asarray(network(batch.image)[0]) for network in ghosts], axis=0)
    expected = attacks.cross_entropy(None, lambda images, key: (jnp.asarray(logits), {}), batch.image, batch)
    loss = attacks.ghost(attacks.cross_entropy, **amounts, num_ghosts=3, fixed=KEY)
    np.testing.assert_allclose(loss(None, model, batch.image, batch), expected, rtol=1e-5)

    expected = np.mean([np.asarray(attacks.margin(None, network, batch.image, batch)) for network in ghosts], axis=0)
    loss = attacks.ghost(attacks.margin, **amounts, num_ghosts=3, fusion="losses", fixed=KEY)
    np.testing.assert_allclose(loss(None, model, batch.image, batch), expected, rtol=1e-4)


def test_several_models_are_eroded_each_by_itself() -> None:
    batch, members = toys.make_batch(), (residual_model(0), toys.conv_model(1))
    for transform in (attacks.ensemble, attacks.ensemble_logits):
        loss = attacks.ghost(transform(attacks.margin), skip=(0.4, 0), dropout=(0, 0.2), fixed=KEY)
        wrapped = (
            attacks.ghost_network(jax.random.fold_in(KEY, 0), members[0], skip=0.4),
            attacks.ghost_network(jax.random.fold_in(KEY, 1), members[1], dropout=0.2),
        )
        expected = transform(attacks.margin)(None, wrapped, batch.image, batch)
        np.testing.assert_allclose(loss(KEY, members, batch.image, batch), expected, rtol=1e-5)
    inside = attacks.ensemble_logits(attacks.ghost(attacks.margin, skip=0.4, num_ghosts=2))
    assert np.all(np.asarray(inside(KEY, members, batch.image, batch)) != np.asarray(inside(None, members, batch.image, batch)))


def test_a_ghost_is_a_model_and_another_key_needs_no_new_program() -> None:
    batch, model = toys.make_batch(), residual_model()
    attack = attacks.mi_cwa(EPSILON, num_steps=2)
    traces, answers = [], []
    for seed in range(2):
        ghosts = tuple(attacks.ghost_network(key, model, skip=0.4) for key in jax.random.split(jax.random.key(seed), 2))
        before = len(toys.TRACES)
        answers.append(np.asarray(attacks.run_batch(attack, ghosts, batch, key=KEY).adversarial))
        traces.append(len(toys.TRACES) - before)
    assert traces[1] == 0 < traces[0]
    assert np.abs(answers[0] - answers[1]).max() > 1e-3
    ghost = attacks.ghost_network(KEY, model, skip=0.4)
    assert (ghost.image_size, ghost.num_classes, ghost.layer("block")) == (6, 5, model.layer("block"))
    _, found = ghost(batch.image, taps={"block.shortcut": lambda a: a * 0})
    np.testing.assert_array_equal(found["block.shortcut"], 0)


def test_errors() -> None:
    batch, model = toys.make_batch(), toys.conv_model()
    with pytest.raises(ValueError, match=r"rate in \[0, 1\), got 1; write rate=0.006"):
        attacks.dropout_erosion(rate=1)
    with pytest.raises(ValueError, match=r"strength in \[0, 1\], got 1.5; write strength=0.22"):
        attacks.skip_erosion(strength=1.5)
    with pytest.raises(ValueError, match="unknown layer 'conv9'"):
        attacks.dropout_erosion(rate=0.1, layers=("conv9",))(KEY, model, batch)
    with pytest.raises(ValueError, match=r"skip in \[0, 1\], got -0.1"):
        attacks.ghost(attacks.margin, skip=-0.1)
    with pytest.raises(ValueError, match=r"dropout in \[0, 1\), got 1"):
        attacks.ghost_network(KEY, model, dropout=1)
    with pytest.raises(ValueError, match="num_ghosts >= 1, got 0"):
        attacks.ghost(attacks.margin, num_ghosts=0)
    with pytest.raises(ValueError, match='fusion "logits" or "losses", got \'mean\''):
        attacks.ghost(attacks.margin, fusion="mean")
    with pytest.raises(ValueError, match="one amount of erosion per model, got 2 for 1"):
        attacks.ghost(attacks.margin, skip=(0.1, 0.1))(KEY, model, batch.image, batch)
    with pytest.raises(ValueError, match="a network with skip connections"):
        attacks.ghost(attacks.margin, skip=0.1)(KEY, model, batch.image, batch)
