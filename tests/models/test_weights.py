"""Files of weights: what comes back, what is refused, and the digest."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from jaxinterp import Model, models
from jaxinterp.models._files._weights import torchvision_shapes

SMALL: dict[str, Any] = {"num_classes": 3, "width": 1 / 32, "image_size": 32, "output_stride": 8}
BUILDS: dict[str, Any] = {
    "alexnet": models.alexnet,
    "vgg16": models.vgg16,
    "resnet18": models.resnet18,
    "squeezenet1_1": models.squeezenet1_1,
}

EVALUATE = jax.jit(lambda model, images: model(images)[0])


def resnet(seed=0, **knobs):
    return models.resnet18(**(dict(SMALL, key=jax.random.key(seed)) | knobs))


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "weights.safetensors"
    models.save(resnet(), path)
    return path


def edited(path, change):
    """The file after `change(state)`."""
    state = load_file(path)
    change(state)
    save_file(state, path)
    return path


@pytest.mark.parametrize("name", BUILDS)
def test_what_is_saved_is_what_is_loaded(name, tmp_path):
    model = BUILDS[name](key=jax.random.key(1), **SMALL)
    models.save(model, tmp_path / "a.safetensors")
    for again in (
        models.load(tmp_path / "a.safetensors", model),
        models.load(tmp_path / "a.safetensors", model.network),
        BUILDS[name](weights=tmp_path / "a.safetensors", **SMALL),
    ):
        assert again.network == model.network
        assert jax.tree.structure(again) == jax.tree.structure(model)
        for got, want in zip(jax.tree.leaves(again), jax.tree.leaves(model), strict=True):
            np.testing.assert_array_equal(got, want)
            assert got.dtype == want.dtype == jnp.float32
        assert models.fingerprint(again) == models.fingerprint(model)
    models.save(again, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_the_file_is_laid_out_as_torchvisions(saved):
    state = load_file(saved)
    model = resnet()
    assert state["bn1.num_batches_tracked"].dtype == np.int64
    assert state["bn1.num_batches_tracked"].shape == ()
    np.testing.assert_array_equal(state["conv1.weight"], np.transpose(model.params["conv1"]["kernel"], (3, 2, 0, 1)))
    np.testing.assert_array_equal(state["fc.weight"], np.transpose(model.params["fc"]["kernel"]))
    np.testing.assert_array_equal(state["layer2.0.downsample.1.running_var"], model.stats["layer2.0.downsample.1"]["var"])


def test_float16_halves_the_file_and_rounds_once(tmp_path):
    model = resnet(width=1 / 8)
    models.save(model, tmp_path / "full.safetensors")
    models.save(model, tmp_path / "half.safetensors", dtype="float16")
    half, full = (tmp_path / f"{name}.safetensors" for name in ("half", "full"))
    assert half.stat().st_size < 0.55 * full.stat().st_size
    again = models.load(half, model)
    for got, want in zip(jax.tree.leaves(again), jax.tree.leaves(model), strict=True):
        np.testing.assert_array_equal(got, np.asarray(want).astype(np.float16).astype(np.float32))
    with pytest.raises(ValueError, match="expected dtype 'float32' or 'float16', got 'int8'"):
        models.save(model, half, dtype="int8")
    huge = Model(jax.tree.map(lambda leaf: leaf * 0 + 1e6, model.params), model.stats, model.network)
    with pytest.raises(ValueError, match=r"expected weights that float16 can hold, got NaN or infinity in .* and .* more"):
        models.save(huge, half, dtype="float16")
    assert models.fingerprint(models.load(half, model)) == models.fingerprint(again)


def test_the_digest_names_weights_and_knobs(saved):
    model = resnet()
    digest = models.fingerprint(model)
    assert len(digest) == 64
    assert digest == models.fingerprint(jax.device_put(resnet(), jax.devices()[-1]))
    others = [resnet(seed=1), resnet(output_stride=16), resnet(mean=(0.0, 0.0, 0.0)), models.at_size(model, 40)]
    assert len({digest, *map(models.fingerprint, others)}) == 5
    flipped = jax.tree.map(lambda leaf: leaf, model)
    flipped.stats["bn1"]["var"] = flipped.stats["bn1"]["var"].at[0].add(1e-6)
    assert models.fingerprint(flipped) != digest


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda s: s.update({"fc.weight": np.ones((4, 16), np.float32)}),
            r"of another shape fc.weight \(expected \[3, 16\], got \[4, 16\]\)\.$",
        ),
        (lambda s: s.pop("fc.bias"), r"missing fc.bias\.$"),
        (lambda s: s.update({"fc2.bias": np.ones(3, np.float32)}), r"not in this network fc2.bias\.$"),
        (
            lambda s: [s.pop(k) for k in list(s) if k.startswith("layer4")],
            r"missing layer4\S+, layer4\S+, layer4\S+ and 22 more\.$",
        ),
        (lambda s: s["fc.bias"].fill(np.nan), r"expected finite weights in .*, got NaN or infinity in fc.bias\.$"),
        (lambda s: s["bn1.running_var"].fill(np.inf), r"NaN or infinity in bn1.running_var\.$"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(saved, change, message):
    with pytest.raises(ValueError, match=message) as caught:
        models.load(edited(saved, change), resnet())
    assert "\n" not in str(caught.value)
    assert str(saved) in str(caught.value)


def test_weights_of_another_network_are_refused(saved):
    with pytest.raises(
        ValueError, match=r"expected the 16 weights of this network .* got \d+ names: missing classifier.1.bias, "
    ):
        models.alexnet(weights=saved, **SMALL)


def test_counters_may_be_absent(saved):
    def drop(state):
        for name in [name for name in state if name.endswith("num_batches_tracked")]:
            del state[name]

    assert models.fingerprint(models.load(edited(saved, drop), resnet())) == models.fingerprint(resnet())


def test_what_is_no_file_of_weights_is_refused(tmp_path, saved):
    with pytest.raises(ValueError, match=r"expected a file of weights, got .*none\.safetensors, which is not there; "):
        models.load(tmp_path / "none.safetensors", resnet())
    for content in (b"", b"PK\x03\x04 not weights at all", saved.read_bytes()[:-100], b"\x02\x00\x00\x00\x00\x00\x00\x00[]"):
        saved.write_bytes(content)
        with pytest.raises(ValueError, match=r"expected a file of weights, got .*weights\.safetensors, .*; .*\.$") as caught:
            models.load(saved, resnet())
        assert "\n" not in str(caught.value)


def test_knobs_out_of_range_are_refused_in_one_line(saved):
    key = jax.random.key(0)
    cases = [
        (models.resnet18, {}, "expected either weights or key, got neither"),
        (models.resnet18, {"key": key, "weights": saved}, "expected either weights or key, got both"),
        (models.alexnet, {"key": key, "image_size": 62}, "expected image_size >= 63 for this AlexNet, got 62"),
        (models.vgg16, {"key": key, "image_size": 31}, "expected image_size >= 32 for this VGG, got 31"),
        (models.resnet18, {"key": key, "image_size": 31}, "expected image_size >= 32 for this ResNet, got 31"),
        (models.resnet50, {"key": key, "image_size": 7, "output_stride": 8}, "expected image_size >= 8 for this ResNet, got 7"),
        (models.squeezenet1_1, {"key": key, "image_size": 16}, "expected image_size >= 17 for this SqueezeNet, got 16"),
        (models.vgg16, {"key": key, "output_stride": 3}, "expected output_stride None or one of 1, 2, 4, 8, 16, got 3"),
        (models.vgg16, {"key": key, "width": 0.0}, "expected 0 < width <= 8, got 0.0"),
        (models.vgg16, {"key": key, "hidden": 0}, "expected hidden >= 1, got 0"),
        (models.alexnet, {"key": key, "pool_size": 0}, "expected pool_size >= 1, got 0"),
        (models.alexnet, {"key": key, "dropout": 1.0}, "expected 0 <= dropout < 1, got 1.0"),
        (models.alexnet, {"key": key, "num_classes": 0}, "expected num_classes >= 1, got 0"),
        (models.alexnet, {"key": key, "std": (0.0, 1.0, 1.0)}, "expected a std above 0, got"),
    ]
    for build, knobs, message in cases:
        with pytest.raises(ValueError, match=message) as caught:
            build(**knobs)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name, size, stride, pool", [("alexnet", 63, None, 1), ("alexnet", 7, 8, 1), ("vgg16", 32, None, 1), ("vgg16", 4, 2, 1)]
)
def test_the_smallest_image_works(name, size, stride, pool):
    model = BUILDS[name](
        num_classes=2, width=1 / 64, image_size=size, output_stride=stride, pool_size=pool, key=jax.random.key(0)
    )
    assert np.isfinite(EVALUATE(model, jnp.zeros((1, size, size, 3)))).all()


def test_resizing_inside():
    model = models.alexnet(key=jax.random.key(0), pool_size=1, **SMALL)
    wide = models.at_size(model, 48)
    images = jnp.asarray(np.random.default_rng(0).random((2, 48, 48, 3), np.float32))
    small = jax.image.resize(images, (2, 32, 32, 3), "bilinear", antialias=False)
    np.testing.assert_allclose(EVALUATE(wide, images), EVALUATE(model, small), rtol=1e-4, atol=1e-5)
    assert wide.image_size == 48
    assert wide.num_classes == 3
    assert models.last_conv(wide) == "conv5"
    assert models.at_size(wide, 32).network == model.network
    assert models.at_size(models.at_size(wide, 40), 48).network == wide.network
    assert wide.params is model.params
    means = np.asarray(small).reshape(2, 16, 2, 16, 2, 3).mean((2, 4))
    coarse = models.alexnet(key=jax.random.key(0), pool_size=1, **dict(SMALL, image_size=16))
    half = models.at_size(coarse, 32)  # between pixels at exactly half the size: the mean of four
    np.testing.assert_allclose(EVALUATE(half, small), EVALUATE(coarse, means), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="expected images of 48 x 48, got 32 x 32"):
        wide(small)
    with pytest.raises(ValueError, match="expected size >= 1, got 0"):
        models.at_size(model, 0)


def test_an_exported_network_has_every_name_of_torchvisions_and_comes_back(tmp_path):
    model = models.resnet18(num_classes=3, width=1 / 32, key=jax.random.key(0))
    path = tmp_path / "exported.safetensors"
    models.export(model, path)
    counters = {f"{module}.num_batches_tracked" for module in model.stats}
    assert set(load_file(path)) == set(torchvision_shapes(model.params, model.stats)) | counters
    assert models.fingerprint(models.load(path, model)) == models.fingerprint(model)
    with safe_open(path, "np") as opened:
        about = opened.metadata()
    assert about["format"] == "pt" and about["image_size"] == "224" and about["mean"] == "[0.485, 0.456, 0.406]"


def test_a_folded_network_is_exported_with_its_normalisation(tmp_path):
    model = models.cifar_resnet20(width=1 / 4, image_size=16, key=jax.random.key(0))
    path = tmp_path / "exported.safetensors"
    models.export(models.at_size(models.fold_batch_norm(model), 20), path)
    images = jnp.asarray(np.random.default_rng(0).random((2, 16, 16, 3), np.float32))
    again = models.load(path, model)
    np.testing.assert_allclose(EVALUATE(again, images), EVALUATE(model, images), rtol=0, atol=1e-4)


@pytest.mark.parametrize("build, knobs", [(models.resnet18, {"output_stride": 8}), (models.alexnet, {"batch_norm": True})])
def test_what_torchvision_does_not_have_is_not_exported(tmp_path, build, knobs):
    model = build(num_classes=2, width=1 / 64, image_size=64, key=jax.random.key(0), **knobs)
    with pytest.raises(ValueError, match="expected a network that torchvision has, got a variant with"):
        models.export(model, tmp_path / "none.safetensors")
    assert not (tmp_path / "none.safetensors").exists()


def test_a_new_head_keeps_the_other_weights(saved):
    knobs = dict(SMALL, num_classes=1000)
    model = models.resnet18(**knobs, weights=saved, head=7, key=jax.random.key(3))
    assert model.num_classes == model.layer("logits").shape[-1] == 7
    assert model.params["fc"]["kernel"].shape == (16, 7)
    old = resnet()
    for name in set(old.params) - {"fc"}:
        for leaf, value in old.params[name].items():
            np.testing.assert_array_equal(model.params[name][leaf], value)
    again = models.resnet18(**knobs, weights=saved, head=7, key=jax.random.key(3))
    assert models.fingerprint(again) == models.fingerprint(model)
    with pytest.raises(ValueError, match="expected both weights and key with head"):
        models.resnet18(**knobs, weights=saved, head=7)
    with pytest.raises(ValueError, match="expected head >= 1, got 0"):
        models.resnet18(**knobs, weights=saved, head=0, key=jax.random.key(3))


def test_auxiliary_classifiers_of_a_file_may_be_left_out(tmp_path):
    with_aux = models.googlenet(num_classes=3, width=1 / 32, image_size=32, key=jax.random.key(0))
    path = tmp_path / "aux.safetensors"
    models.save(with_aux, path)
    without = models.googlenet(num_classes=3, width=1 / 32, image_size=32, aux=False, weights=path)
    images = jnp.asarray(np.random.default_rng(0).random((2, 32, 32, 3), np.float32))
    np.testing.assert_allclose(EVALUATE(without, images), EVALUATE(with_aux, images), rtol=1e-5, atol=1e-7)
    assert {"aux1", "aux2"} & {layer.name for layer in without.layers} == set()
    headed = models.googlenet(width=1 / 32, image_size=32, weights=path, head=5, key=jax.random.key(1))
    assert headed.layer("aux1").shape == headed.layer("logits").shape == (1, 1, 5)
