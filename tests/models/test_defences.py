"""Transformations of the image in front of a network: against references, as values, and under attack."""

import dataclasses
import io
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from jaxinterp import Model, attacks, models
from jaxinterp.models._defences._bit_depth import BitDepth
from jaxinterp.models._defences._jpeg import Jpeg, quantisation_tables
from jaxinterp.models._defences._median_filter import MedianFilter
from jaxinterp.models._defences._random_resize_pad import RandomResizePad
from jaxinterp.models._defences._total_variation import TotalVariation
from tests.attacks.toys import Conv, conv_model
from tests.conftest import SHARED

KEY = jax.random.key(0)
DEFENCES = {
    "jpeg": models.with_jpeg,
    "bit_depth": lambda model: models.with_bit_depth(model, 3),
    "median_filter": lambda model: models.with_median_filter(model, 2),
    "total_variation": lambda model: models.with_total_variation(model, 0.1, num_steps=4),
    "gaussian_noise": lambda model: models.with_gaussian_noise(model, 0.25),
    "random_resize_pad": models.with_random_resize_pad,
}
RANDOM = {"gaussian_noise", "random_resize_pad"}
EVALUATE = jax.jit(lambda model, images, key=None, taps=None: model(images, key=key, taps=taps))


GRADIENT = jax.jit(jax.grad(lambda images, model: model(images, key=KEY)[0][:, 0].sum()))


@pytest.fixture(scope="module")
def model():
    return Model(conv_model().params, {}, Conv(image_size=18))


@pytest.fixture(scope="module")
def network():
    """A network of the package, with normalisation to fold."""
    knobs = {"num_classes": 4, "width": 1 / 16, "image_size": 18, "hidden": 8, "pool_size": 1, "output_stride": 8}
    return models.alexnet(**knobs, batch_norm=True, key=KEY)


@pytest.fixture(scope="module")
def images():
    return smooth(18, 18)


def smooth(height, width, count=3):
    """Images with large shapes and some noise, as photographs have, on the 8-bit lattice."""
    rng = np.random.default_rng(0)
    values = rng.random((count, height, width, 3)) * 0.1 + scipy.ndimage.gaussian_filter(
        rng.random((count, height, width, 3)), (0, 3, 3, 0)
    )
    low, high = values.min((1, 2, 3), keepdims=True), values.max((1, 2, 3), keepdims=True)
    return jnp.asarray(np.round((values - low) / (high - low) * 255) / 255, jnp.float32)


@pytest.mark.parametrize("name", DEFENCES)
def test_a_defended_network_is_a_model_like_any_other(name, model, images):
    """Layers, taps, weights, one program for equal values, and the same answer alone, in a batch and in another order."""
    defended = DEFENCES[name](model)
    assert hash(defended.network) == hash(DEFENCES[name](model).network)
    assert defended.network == DEFENCES[name](model).network
    assert jax.tree.leaves(defended) == jax.tree.leaves(model)
    assert [layer[:2] for layer in defended.layers] == [layer[:2] for layer in model.layers]
    plain, _ = EVALUATE(model, images)
    logits, activations = EVALUATE(defended, images)
    assert bool(jnp.isfinite(logits).all())
    assert np.array_equal(logits, plain) == (name in RANDOM)
    assert set(activations) == {layer.name for layer in defended.layers}
    tap = {"conv2": jax.tree_util.Partial(jnp.zeros_like)}
    assert not EVALUATE(defended, images, None, tap)[0].any()
    key = jax.random.key(7)
    together = EVALUATE(defended, images, key)[0]
    assert np.array_equal(together, logits) == (name not in RANDOM)
    for rows in ([1], [2, 0, 1]):
        alone = EVALUATE(defended, images[jnp.asarray(rows)], key)[0]
        np.testing.assert_allclose(alone, together[jnp.asarray(rows)], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", DEFENCES)
def test_gradients_are_finite_and_not_zero(name, model, images):
    defended = DEFENCES[name](model)
    for picture in (images, jnp.full_like(images, 0.5), jnp.zeros_like(images)):
        assert bool(jnp.isfinite(GRADIENT(picture, defended)).all())
    assert float(jnp.abs(GRADIENT(images, defended)).max()) > 0


@pytest.mark.parametrize("name", DEFENCES)
def test_what_is_known_of_the_network_is_known_behind_a_defence(name, network, images, tmp_path):
    defended = DEFENCES[name](network)
    assert models.fingerprint(defended) == models.fingerprint(DEFENCES[name](network)) != models.fingerprint(network)
    assert models.last_conv(defended) == models.last_conv(network)
    shapes = models.abstract(lambda: DEFENCES[name](network))
    assert shapes.network == defended.network
    folded = models.fold_batch_norm(defended)
    assert folded.network == DEFENCES[name](models.fold_batch_norm(network)).network
    np.testing.assert_allclose(EVALUATE(folded, images)[0], EVALUATE(defended, images)[0], rtol=1e-4, atol=1e-5)
    models.save(defended, tmp_path / "weights.safetensors")
    again = models.load(tmp_path / "weights.safetensors", defended)
    np.testing.assert_array_equal(EVALUATE(again, images)[0], EVALUATE(defended, images)[0])


def test_knobs_and_order_of_defences_are_part_of_the_fingerprint(model, network):
    for plain in (model, network):
        variants = [
            plain,
            models.with_bit_depth(plain, 3),
            models.with_bit_depth(plain, 4),
            models.with_gaussian_noise(plain, 0.1),
            models.with_gaussian_noise(plain, 0.2),
            models.with_bit_depth(models.with_gaussian_noise(plain, 0.1), 3),
            models.with_gaussian_noise(models.with_bit_depth(plain, 3), 0.1),
        ]
        assert len({models.fingerprint(variant) for variant in variants}) == len(variants)


def test_resizing_goes_before_or_after_a_defence(model, network):
    images = smooth(24, 24)
    resize = jax.jit(lambda images: jax.image.resize(images, (3, 18, 18, 3), "bilinear", antialias=False))
    squeeze = jax.jit(jax.vmap(lambda image: BitDepth(2)(None, image)))
    before = models.at_size(models.with_bit_depth(model, 2), 24)
    after = models.with_bit_depth(models.at_size(model, 24), 2)
    np.testing.assert_allclose(EVALUATE(before, images)[0], EVALUATE(model, squeeze(resize(images)))[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(EVALUATE(after, images)[0], EVALUATE(model, resize(squeeze(images)))[0], rtol=1e-4, atol=1e-5)
    for both in (before, after):
        assert both.layer("conv2").stride == pytest.approx(24 / 18)
    assert models.at_size(before, 18).network == models.with_bit_depth(model, 2).network
    wrapped = models.with_bit_depth(models.at_size(models.with_jpeg(network), 24), 2)
    assert (
        models.fold_batch_norm(wrapped).network
        == models.with_bit_depth(models.at_size(models.with_jpeg(models.fold_batch_norm(network)), 24), 2).network
    )


def test_in_training_every_image_has_draws_of_its_own():
    class_logits = models.with_gaussian_noise(conv_model(), 0.5)
    images = jnp.full((4, 6, 6, 3), 0.5)
    evaluated = class_logits(images, key=KEY)[0]
    trained, _, _ = class_logits.train(images, key=KEY)
    np.testing.assert_allclose(evaluated, jnp.tile(evaluated[:1], (4, 1)), rtol=1e-5)
    assert float(jnp.abs(trained - trained[:1]).max(axis=1)[1:].min()) > 1e-3


# ---------------------------------------------------------------------------------------------------- references


def decoded(image, quality, subsampling):
    """What libjpeg makes of an image on the 8-bit lattice, in grey levels, and the tables that it used."""
    file = io.BytesIO()
    pixels = np.round(np.asarray(image) * 255).astype(np.uint8)
    Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0]).save(
        file, "JPEG", quality=quality, subsampling=2 if subsampling else 0
    )
    read: Any = Image.open(file)
    values = np.asarray(read).astype(np.float64)
    return values.reshape(pixels.shape), [np.reshape(table, (8, 8)) for table in read.quantization.values()]


@pytest.mark.parametrize("subsampling", [True, False])
@pytest.mark.parametrize("quality", [10, 50, 75, 95, 100])
def test_jpeg_is_that_of_libjpeg(quality, subsampling):
    for images in (smooth(32, 32), smooth(29, 43)):
        ours = jax.jit(jax.vmap(lambda image: Jpeg(quality, subsampling)(None, image)))(images)
        assert ours.dtype == jnp.float32
        references, tables = zip(*[decoded(image, quality, subsampling) for image in images], strict=True)
        for table, expected in zip(tables[0], quantisation_tables(quality), strict=True):
            np.testing.assert_array_equal(table, expected)
        difference = np.abs(np.asarray(ours) * 255 - np.stack(references))
        loss = np.abs(np.asarray(images) * 255 - np.stack(references)).mean()
        # A coefficient that the integer transform of libjpeg rounds the other way changes a whole block by a level or two.
        assert difference.mean() < 1.2
        assert np.mean(difference > 2.5) < 0.15
        assert quality == 100 or difference.mean() < 0.25 * loss


def test_jpeg_of_grey_images():
    images = smooth(24, 20)[..., :1]
    ours = jax.jit(jax.vmap(lambda image: Jpeg(60, True)(None, image)))(images)
    for image, found in zip(images, ours, strict=True):
        assert np.abs(np.asarray(found) * 255 - decoded(image, 60, True)[0]).mean() < 1


def test_jpeg_passes_the_gradient_of_a_projection():
    """Straight through every rounding, what is left is a linear map: at quality 100 without subsampling nearly the identity."""
    image = smooth(16, 16)[0] * 0.5 + 0.25
    direction = jnp.asarray(np.random.default_rng(1).normal(size=image.shape), jnp.float32)
    for quality in (100, 20):
        _, tangent = jax.jvp(lambda image: Jpeg(quality, False)(None, image), (image,), (direction,))  # noqa: B023
        np.testing.assert_allclose(tangent, direction, rtol=0, atol=1e-3)
    _, tangent = jax.jvp(lambda image: Jpeg(90, True)(None, image), (image,), (direction,))
    assert float(jnp.abs(tangent - direction).mean()) > 0.1


def test_bit_depth():
    image = jnp.arange(256, dtype=jnp.float32)[None, :, None] / 255
    for bits in range(1, 9):
        found = np.asarray(BitDepth(bits)(None, image))
        assert len(np.unique(found)) == 2**bits
        np.testing.assert_allclose(found, np.rint(np.asarray(image) * (2**bits - 1)) / (2**bits - 1), atol=1e-7)
    np.testing.assert_allclose(BitDepth(8)(None, image), image, atol=1e-7)
    assert float(jax.grad(lambda value: BitDepth(1)(None, value[None, None, None])[0, 0, 0])(jnp.float32(0.3))) == 1.0


@pytest.mark.parametrize("window", [2, 3, 4, 5])
def test_median_filter_is_that_of_scipy(window):
    for image in smooth(9, 12):
        expected = scipy.ndimage.median_filter(np.asarray(image), size=(window, window, 1))
        np.testing.assert_array_equal(MedianFilter(window)(None, image), expected)


def chambolle(image, weight, num_steps):
    """The dual projection in NumPy, index by index as in the paper: `p`, its divergence, the gradient of the residual."""
    height, width = image.shape
    p = np.zeros((2, height, width))
    for step in range(num_steps + 1):
        divergence = np.zeros_like(image)
        for i in range(height):
            for j in range(width):
                divergence[i, j] += (p[0, i, j] if i < height - 1 else 0) - (p[0, i - 1, j] if i > 0 else 0)
                divergence[i, j] += (p[1, i, j] if j < width - 1 else 0) - (p[1, i, j - 1] if j > 0 else 0)
        if step == num_steps:
            return image - weight * divergence
        residual = divergence - image / weight
        g = np.zeros_like(p)
        g[0, :-1] = residual[1:] - residual[:-1]
        g[1, :, :-1] = residual[:, 1:] - residual[:, :-1]
        p = (p + 0.25 * g) / (1 + 0.25 * np.sqrt(g[0] ** 2 + g[1] ** 2))
    raise AssertionError


def test_total_variation_is_chambolles():
    with jax.enable_x64(True):
        image = jnp.asarray(np.asarray(smooth(7, 9)[0], np.float64) * 0.6 + 0.2)
        for weight, num_steps in ((0.1, 6), (0.5, 15)):
            found = TotalVariation(weight, num_steps)(None, image)
            expected = np.stack([chambolle(np.asarray(image)[..., c], weight, num_steps) for c in range(3)], axis=-1)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_total_variation_of_a_step():
    """Two flat halves, each four pixels wide, come closer by weight / 4 each: the minimiser in closed form."""
    with jax.enable_x64(True):
        image = jnp.where(jnp.arange(8) < 4, 0.2, 0.7)[None, :, None] * jnp.ones((5, 1, 1))
        found = TotalVariation(0.2, 2000)(None, image)
        expected = jnp.where(jnp.arange(8) < 4, 0.25, 0.65)[None, :, None] * jnp.ones((5, 1, 1))
        np.testing.assert_allclose(found, expected, atol=1e-4)
        flat = jnp.full((5, 8, 3), 0.3)
        np.testing.assert_allclose(TotalVariation(0.2, 5)(None, flat), flat, atol=1e-14)
        np.testing.assert_allclose(TotalVariation(1e-6, 5)(None, image), image, atol=1e-5)


def test_random_resize_pad():
    image = smooth(12, 12)[0] * 0.5 + 0.5
    transform = RandomResizePad(8, 16)
    found = np.asarray(jax.jit(jax.vmap(lambda key: transform(key, image)))(jax.random.split(KEY, 100)))
    assert found.shape == (100, 16, 16, 3)
    resized = {size: jax.image.resize(image, (size, size, 3), "linear", antialias=False) for size in range(8, 16)}
    sizes, places = [], []
    for picture in found:
        rows, columns = ((picture[..., 0] > 0).any(axis) for axis in (1, 0))
        size, (top, left) = rows.sum(), (rows.argmax(), columns.argmax())
        assert columns.sum() == size
        inside = picture[top : top + size, left : left + size]
        np.testing.assert_allclose(inside, resized[int(size)], rtol=0, atol=2e-6)
        assert picture.sum() == pytest.approx(inside.sum(), rel=1e-5)
        sizes.append(int(size))
        places += [(int(size), int(top)), (int(size), int(left))]
    assert set(sizes) == set(range(8, 16))
    assert {place for size, place in places if size == 13} == {0, 1, 2, 3}
    still = np.asarray(transform(None, image))
    np.testing.assert_array_equal(still[2:14, 2:14], image)
    assert still.sum() == pytest.approx(float(image.sum()), rel=1e-6)


def test_padding_moves_the_layers(model):
    padded = models.with_random_resize_pad(model, image_size=14)
    assert padded.image_size == 14
    assert RandomResizePad(14, 18) in vars(padded.network).values()
    images = smooth(14, 14)
    inside = jnp.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    np.testing.assert_allclose(EVALUATE(padded, images)[0], EVALUATE(model, inside)[0], rtol=1e-5, atol=1e-6)
    assert padded.layer("conv1").offset == model.layer("conv1").offset - 2


@dataclasses.dataclass(frozen=True)
class Cropped:
    def __call__(self, key, image):
        return image[1:]


ERRORS: dict[str, Any] = {
    "bits": (lambda model: models.with_bit_depth(model, 0), "expected bits in 1 to 8, got 0"),
    "quality": (lambda model: models.with_jpeg(model, quality=0), "expected quality in 1 to 100, got 0"),
    "window": (lambda model: models.with_median_filter(model, 1), "expected window in 2 to 18, got 1"),
    "weight": (lambda model: models.with_total_variation(model, 0.0), "expected weight > 0, got 0.0"),
    "steps": (lambda model: models.with_total_variation(model, 0.1, num_steps=0), "expected num_steps >= 1, got 0"),
    "sigma": (lambda model: models.with_gaussian_noise(model, float("inf")), "expected sigma > 0, got inf"),
    "low": (lambda model: models.with_random_resize_pad(model, low=18), "expected low in 1 to 17, got 18"),
    "large": (
        lambda model: models.with_random_resize_pad(model, image_size=20, low=9),
        "expected image_size in 1 to 18, got 20",
    ),
    "function": (lambda model: models.defended(model, lambda key, image: image), "an instance of a frozen dataclass"),
    "class": (lambda model: models.defended(model, *list[Any]([Cropped])), "an instance of a frozen dataclass"),
    "shape": (lambda model: models.defended(model, Cropped()), r"a transform to images of \(18, 18, 3\), got \(17, 18, 3\)"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name, model):
    build, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        build(model)


# ------------------------------------------------------------------------------------------------------ real images


@pytest.fixture(scope="module")
def real() -> tuple[Model, np.ndarray, np.ndarray]:
    """The published ResNet-20, and sixty images of the test set without loss."""
    if not SHARED.is_dir():
        pytest.skip("needs the real images and weights")
    model = models.cifar_resnet20(weights=SHARED / "data" / "weights" / "cifar10" / "resnet20.npz")
    images, labels = (np.load(SHARED / "data" / "cifar10" / "lossless_200" / f"{name}_sdp.npy")[:60] for name in "Xy")
    return models.fold_batch_norm(model), images, labels


def test_jpeg_of_real_images_is_that_of_libjpeg(real):
    _, images, _ = real
    ours = np.asarray(jax.jit(jax.vmap(lambda image: Jpeg(75, True)(None, image)))(images)) * 255
    difference = np.abs(ours - np.stack([decoded(image, 75, True)[0] for image in images]))
    assert difference.mean() < 0.6
    assert np.mean(difference > 2.5) < 0.05


def test_attacks_that_look_at_the_defence_succeed(real):
    """Behind JPEG, adversarial images of the network alone lose most of their effect; those of the whole do not."""
    model, images, labels = real
    defended = models.with_jpeg(model, quality=50)
    attack = attacks.bim(8 / 255, num_steps=5)
    blind = attacks.run(attack, model, images, labels, key=KEY)
    aware = attacks.run(attack, defended, images, labels, key=KEY)

    def errors(model, pictures):
        return float((np.asarray(EVALUATE(model, jnp.asarray(pictures))[0]).argmax(1) != labels).mean())

    assert errors(model, blind.adversarial) == 1.0
    assert errors(defended, blind.adversarial) - errors(defended, images) < 0.2
    assert errors(defended, aware.adversarial) - errors(defended, images) > 0.5
    assert float(jnp.abs(aware.adversarial - images).max()) <= 8 / 255 + 1e-6
