"""RandAugment: what each operation does, that concepts and depth move along, and what is drawn."""

import math
import pickle

import numpy as np
import PIL.Image
import pytest

from jaxinterp import data
from jaxinterp.data import Example
from jaxinterp.data._rand_augment import COLOURS, OPERATIONS, PLACES, changed
from tests.conftest import SHARED
from tests.data.test_augment import draws, example

SIDE = 40


def square(*, coarse=1, depth=False):
    """Gradients, every place a concept of its own."""
    one = example(SIDE, SIDE, coarse=coarse)
    return one._replace(depth=np.arange(1, SIDE**2 + 1, dtype=np.float32).reshape(SIDE, SIDE) / 7) if depth else one


def noise(seed=0):
    image = np.random.default_rng(seed).integers(30, 200, (SIDE, SIDE, 3), dtype=np.uint8)
    return Example(image, 0, -1, 0, 0, None)


@pytest.mark.parametrize("name", OPERATIONS)
def test_without_magnitude_nothing_changes_but_what_has_none(name):
    found = changed(noise(), name, 0.0)
    assert np.array_equal(found.image, noise().image) == (name not in ("autocontrast", "equalize"))


@pytest.mark.parametrize("name", COLOURS)
@pytest.mark.parametrize("level", [-1.0, -0.3, 0.3, 1.0])
def test_colours_against_their_formulas(name, level):
    one = noise()
    image, size = one.image.astype(float), abs(level)
    grey = np.asarray(PIL.Image.fromarray(one.image).convert("L")).astype(float)
    factor = 1 + 0.9 * level
    if name in ("sharpness", "equalize"):
        wanted = None
    else:
        wanted = {
            "identity": image,
            "brightness": factor * image,
            "colour": grey[..., None] + factor * (image - grey[..., None]),
            "contrast": (mean := math.floor(grey.mean() + 0.5)) + factor * (image - mean),
            "posterize": image - image % 2 ** round(4 * size),
            "solarize": np.where(image < round(256 * (1 - size)), image, 255 - image),
            "autocontrast": (image - image.min((0, 1))) * 255 / np.ptp(image, (0, 1)),
        }[name]
    found = changed(one, name, level).image
    assert found.dtype == np.uint8
    if wanted is not None:
        assert np.abs(found - np.clip(wanted, 0, 255)).max() <= 1
    elif name == "equalize":
        counts = np.stack([np.bincount(channel.ravel(), minlength=256) for channel in found.transpose(2, 0, 1)])
        places = np.arange(256) / 255
        assert np.abs(np.cumsum(counts, 1) / SIDE**2 - places).max() < 0.06  # before, 0.2
    else:
        rough = [np.abs(np.diff(pixels.astype(float), axis=0)).mean() for pixels in (one.image, found)]
        assert (rough[1] > rough[0]) == (level > 0)


WHERE = {
    "shear x": lambda x, y, level: (x + 0.3 * level * y, y),
    "shear y": lambda x, y, level: (x, y + 0.3 * level * x),
    "translate x": lambda x, y, level: (x + 150 / 331 * level * SIDE, y),
    "translate y": lambda x, y, level: (x, y + 150 / 331 * level * SIDE),
    "rotate": lambda x, y, level: (
        x * math.cos(math.pi / 6 * level) - y * math.sin(math.pi / 6 * level),
        x * math.sin(math.pi / 6 * level) + y * math.cos(math.pi / 6 * level),
    ),
}
"""Where a pixel comes from, x and y from the centre of the image."""


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("level", [-0.9, 0.4])
def test_pixels_concepts_and_depth_come_from_the_same_place(name, level):
    one = square(depth=True)
    found = changed(one, name, level)
    assert one.concepts is not None and found.concepts is not None and found.depth is not None and one.depth is not None
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5 - SIDE / 2
    from_x, from_y = (np.broadcast_to(place, x.shape) + SIDE / 2 for place in WHERE[name](x, y, level))
    sharp = (np.abs(from_x - np.round(from_x)) > 1e-3) & (np.abs(from_y - np.round(from_y)) > 1e-3)  # no tie of neighbours
    inside = (from_x > 0) & (from_x < SIDE) & (from_y > 0) & (from_y < SIDE)
    rows, columns = (np.clip(np.floor(place).astype(int), 0, SIDE - 1) for place in (from_y, from_x))
    for before, after in ((one.concepts[..., 0], found.concepts[..., 0]), (one.depth, found.depth)):
        assert after.dtype == before.dtype
        np.testing.assert_array_equal(after[sharp], np.where(inside, before[rows, columns], 0)[sharp])
    assert (~inside).any() and not found.image[sharp & ~inside].any()
    within = (from_x > 1) & (from_x < SIDE - 1) & (from_y > 1) & (from_y < SIDE - 1)
    expected = np.stack([from_y, from_x], axis=-1) * 5 - 2.5
    assert np.abs(found.image[..., :2] - expected)[within].max() <= 1.5


@pytest.mark.parametrize("name", PLACES)
def test_coarse_concepts_move_as_far_as_the_image(name):
    fine = square()
    assert fine.concepts is not None
    blocks = np.arange(1, 26, dtype=np.int32).reshape(5, 5, 1)
    coarse = fine._replace(concepts=blocks)
    whole = fine._replace(concepts=np.repeat(np.repeat(blocks, 8, 0), 8, 1))
    few, many = changed(coarse, name, 0.7).concepts, changed(whole, name, 0.7).concepts
    assert few is not None and many is not None and few.shape == (5, 5, 1)
    around = [many[row::8, column::8, 0] for row in (3, 4) for column in (3, 4)]  # the four pixels about a block's middle
    agreed = np.ptp(around, axis=0) == 0
    assert agreed.sum() >= 15
    np.testing.assert_array_equal(few[..., 0][agreed], around[0][agreed])


def test_images_that_are_not_square_keep_their_shape():
    one = example(30, 50)
    for name in OPERATIONS:
        found = changed(one, name, 0.5)
        assert found.image.shape == (30, 50, 3) and found.concepts is not None and found.concepts.shape == (30, 50, 1)


def test_every_operation_and_direction_is_drawn_as_often():
    one, seen = noise(), {}
    known = {changed(one, name, sign * 0.5).image.tobytes(): (name, sign) for name in OPERATIONS for sign in (1, -1)}
    for found in draws(data.rand_augment(num_ops=1, magnitude=15), one, 1400):
        name, _ = known[found.image.tobytes()]
        seen[name] = seen.get(name, 0) + 1
    assert set(seen) == set(OPERATIONS)
    assert min(seen.values()) > 60 and max(seen.values()) < 140  # 100 expected, 4 standard deviations
    directed = {known[found.image.tobytes()] for found in draws(data.rand_augment(num_ops=1, magnitude=15), one, 300)}
    assert {(name, sign) for name in PLACES for sign in (1, -1)} <= directed


def test_it_is_a_value_and_operations_follow_each_other():
    change = data.rand_augment(num_ops=3, magnitude=12)
    assert pickle.loads(pickle.dumps(change)) == change and "num_ops=3, magnitude=12.0" in repr(change)
    one = noise()
    generator = np.random.default_rng(4)
    kinds, signs = generator.integers(0, len(OPERATIONS), 3), generator.choice((-1, 1), 3)
    wanted = one
    for kind, sign in zip(kinds, signs, strict=True):
        wanted = changed(wanted, OPERATIONS[kind], sign * 12 / 30)
    np.testing.assert_array_equal(change(np.random.default_rng(4), one).image, wanted.image)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"num_ops": 0}, "at least one operation, got num_ops=0; write num_ops=2"),
        ({"magnitude": 31}, "a magnitude from 0 to 30, got 31; write magnitude=9"),
        ({"magnitude": -1}, "a magnitude from 0 to 30, got -1"),
    ],
)
def test_refused(knobs, message):
    with pytest.raises(ValueError, match=message) as caught:
        data.rand_augment(**knobs)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not SHARED.is_dir(), reason="real data")
def test_real_photographs():
    folder = SHARED / "data" / "imagenet_sample" / "short256"
    source = data.image_folder(folder, image_size=64, num_images=8)
    plain, changed_ones = (
        next(data.training_batches(source, batch_size=8, seed=0, augment=change)) for change in (None, data.rand_augment())
    )
    assert plain.id.tolist() == changed_ones.id.tolist()
    moved = np.abs(plain.image - changed_ones.image).mean(axis=(1, 2, 3))
    assert (moved > 0.01).sum() >= 5 and changed_ones.image.min() >= 0 and changed_ones.image.max() <= 1
