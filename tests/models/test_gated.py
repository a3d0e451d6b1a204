"""Gates beside weights: the plain path stays, the gated one multiplies, files hold both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxinterp import models
from tests.attacks.toys import CLASSES, conv_model, make_batch


@pytest.fixture(scope="module")
def small():
    return models.cifar_resnet20(key=jax.random.key(0), width=1 / 4, image_size=8)


def table(units, classes):
    return np.random.default_rng(0).uniform(size=(units, classes)).astype(np.float32)


def test_the_plain_path_is_the_model():
    model, images = conv_model(), make_batch(3).image
    gated = models.gated(model, layer="conv2", gate=table(6, CLASSES))
    assert gated.layers == model.layers and hash(gated.network) == hash(models.gated(model, layer="conv2").network)
    taps = {"conv1": lambda activation: 2 * activation}
    for given in (None, taps):
        jax.tree.map(np.testing.assert_array_equal, gated(images, taps=given), model(images, taps=given))
    jax.tree.map(np.testing.assert_array_equal, gated.train(images, key=jax.random.key(0))[:2], model(images))
    assert models.without_gate(gated).network == model.network and models.without_gate(gated).params is model.params
    np.testing.assert_array_equal(models.gate_of(models.gated(model, layer="conv2")), 0.5)


def test_the_gated_path_multiplies_by_the_label_s_column():
    model, batch, gate = conv_model(), make_batch(4), table(6, CLASSES)
    gated = models.gated(model, layer="conv2", gate=gate)
    label = batch.label.at[3].set(-1)
    logits, maps = gated(batch.image, taps=models.gated_path(gated, label))
    plain = np.asarray(model(batch.image)[1]["conv2"])
    factor = np.where((np.asarray(label) >= 0)[:, None], gate.T[np.asarray(label)], 0)
    np.testing.assert_allclose(maps["conv2"], plain * factor[:, None, None], rtol=1e-6)
    np.testing.assert_allclose(
        logits, (plain * factor[:, None, None]).mean((1, 2)) @ model.params["head"], rtol=2e-4, atol=1e-5
    )
    shut = gated(batch.image, taps=models.gated_path(gated, label, where=jnp.asarray(False)))
    jax.tree.map(np.testing.assert_array_equal, shut, gated(batch.image))


def test_files_hold_the_network_in_its_layout_and_the_gate(tmp_path, small):
    model = models.gated(small, gate=table(16, 10))
    path, plain = tmp_path / "gated.safetensors", tmp_path / "plain.safetensors"
    models.save(model, path)
    models.save(small, plain)
    state, without = load_file(path), load_file(plain)
    np.testing.assert_array_equal(state.pop("gate.weight"), np.asarray(models.gate_of(model)).T)
    jax.tree.map(np.testing.assert_array_equal, state, without)
    for given in (model, model.network, models.at_size(model, 12)):
        again = models.load(path, given)
        jax.tree.map(np.testing.assert_array_equal, again.params, model.params)
    assert models.fingerprint(models.load(path, model)) == models.fingerprint(model)
    assert len({models.fingerprint(m) for m in (model, small, models.gated(small))}) == 3
    assert models.last_conv(model) == models.gated_layer(model) == "layer3.2"
    with pytest.raises(ValueError, match=r"not in this network gate.weight"):
        models.load(path, small)
    wrapped = models.without_gate(models.at_size(model, 12))
    assert wrapped.network == models.at_size(small, 12).network


def test_own_networks_have_their_own_names(tmp_path):
    model = models.gated(conv_model(), layer="conv2")
    models.save(model, tmp_path / "own.safetensors")
    assert set(load_file(tmp_path / "own.safetensors")) == {"gate", "network/conv1", "network/conv2", "network/head"}
    jax.tree.map(np.testing.assert_array_equal, models.load(tmp_path / "own.safetensors", model).params, model.params)


def test_errors(small):
    with pytest.raises(ValueError, match=r"expected a model with a gate, got one without; write models.gated\(model\)"):
        models.gate_of(small)
    with pytest.raises(ValueError, match="expected a model without a gate"):
        models.gated(models.gated(small))
    with pytest.raises(
        ValueError, match=r"expected a gate \[16 10\], the units of 'layer3.2' times classes, got shape \(10, 16\)"
    ):
        models.gated(small, gate=np.zeros((10, 16), np.float32))
