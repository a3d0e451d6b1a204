"""Augmentation: what is drawn, what is done with it, and that draws belong to places, not to threads."""

import dataclasses
import functools
import math
import pickle

import numpy as np
import PIL.Image
import pytest

from jaxinterp import data
from jaxinterp.data import Example
from jaxinterp.data._augment import describe
from jaxinterp.data._augment_colors import turned
from jaxinterp.data._augment_crops import RandomResizedCrop
from tests.conftest import SHARED
from tests.data.test_folder import save, write_table
from tests.data.test_loader import Numbers, same


def example(height=40, width=30, *, coarse=1, seed=0):
    """Image of two gradients, so that a pixel tells its place; the concept of a place is its number."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows * 5, columns * 5, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    places = np.arange(1, (height // coarse) * (width // coarse) + 1, dtype=np.int32)
    concepts = places.reshape(height // coarse, width // coarse, 1)
    return Example(image, 1, -1, seed, seed, concepts)


def draws(augment, one, count, *, seed=0):
    generator = np.random.default_rng(seed)
    return [augment(generator, one) for _ in range(count)]


def plain_rectangle(generator, height, width, scale, ratio):
    """The rule step by step, as torchvision documents it."""
    for _ in range(10):
        target = height * width * generator.uniform(*scale)
        aspect = math.exp(generator.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(generator.integers(0, height - h + 1)), int(generator.integers(0, width - w + 1)), h, w
    if width / height < ratio[0]:
        w, h = width, round(width / ratio[0])
    elif width / height > ratio[1]:
        h, w = height, round(height * ratio[1])
    else:
        w, h = width, height
    return (height - h) // 2, (width - w) // 2, h, w


@pytest.mark.parametrize("shape", [(40, 30), (30, 40), (32, 32), (200, 20), (20, 200)])
@pytest.mark.parametrize(
    ("scale", "ratio"), [((0.08, 1.0), (3 / 4, 4 / 3)), ((1.0, 1.0), (1.0, 1.0)), ((0.9, 1.0), (0.5, 0.6))]
)
def test_rectangles_follow_the_rule(shape: tuple[int, int], scale, ratio):
    crop = RandomResizedCrop(8, scale, ratio)
    ours, theirs = np.random.default_rng(3), np.random.default_rng(3)
    for _ in range(50):
        top, left, rows, columns = crop.rectangle(ours, shape[0], shape[1])
        assert (top, left, rows, columns) == plain_rectangle(theirs, shape[0], shape[1], scale, ratio)
        assert top >= 0 and left >= 0 and top + rows <= shape[0] and left + columns <= shape[1]


def test_rectangles_are_spread_over_areas_shapes_and_places():
    crop, generator = RandomResizedCrop(8, (0.08, 1.0), (3 / 4, 4 / 3)), np.random.default_rng(0)
    found = np.array([crop.rectangle(generator, 1000, 1000) for _ in range(4000)])
    area, shape = found[:, 2] * found[:, 3] / 1e6, np.log(found[:, 3] / found[:, 2])
    small = area < 0.5  # these always fit, so nothing is drawn anew among them
    assert abs(np.mean(area[small]) - 0.29) < 0.01 and area.min() > 0.079
    assert abs(np.mean(shape[small])) < 0.02 and np.abs(shape).max() < math.log(4 / 3) + 0.01
    assert abs(np.mean(found[small, 0] / (1000 - found[small, 2])) - 0.5) < 0.03


@pytest.mark.parametrize("coarse", [1, 2])
def test_a_resized_crop_is_pillows_and_its_concepts_are_at_their_places(coarse):
    whole = example(coarse=coarse)
    ours, theirs = np.random.default_rng(1), np.random.default_rng(1)
    for _ in range(20):
        found = data.random_resized_crop(image_size=16)(ours, whole)
        top, left, rows, columns = RandomResizedCrop(16, (0.08, 1.0), (3 / 4, 4 / 3)).rectangle(theirs, 40, 30)
        part = PIL.Image.fromarray(whole.image).crop((left, top, left + columns, top + rows))
        np.testing.assert_array_equal(found.image, np.asarray(part.resize((16, 16), PIL.Image.Resampling.BILINEAR)))
        side = 16 // coarse
        assert found.concepts is not None and whole.concepts is not None and found.concepts.shape == (side, side, 1)
        down = [int((top + (k + 0.5) * rows / side) // coarse) for k in range(side)]
        right = [int((left + (k + 0.5) * columns / side) // coarse) for k in range(side)]
        np.testing.assert_array_equal(found.concepts, whole.concepts[down][:, right])
        assert found[1:5] == whole[1:5]


def test_a_resized_crop_of_everything_changes_nothing():
    square = example(32, 32)
    (found,) = draws(data.random_resized_crop(scale=(1.0, 1.0), ratio=(1.0, 1.0)), square, 1)
    np.testing.assert_array_equal(found.image, square.image)
    np.testing.assert_array_equal(found.concepts, square.concepts)


def test_a_shifted_image_takes_its_concepts_along():
    whole = example(12, 10)
    seen = set()
    for found in draws(data.random_crop(padding=3), whole, 300):
        best = [
            (top, left)
            for top in range(7)
            for left in range(7)
            if np.array_equal(np.pad(whole.image, ((3, 3), (3, 3), (0, 0)))[top : top + 12, left : left + 10], found.image)
        ]
        assert len(best) == 1
        ((top, left),) = best
        assert whole.concepts is not None
        padded = np.pad(whole.concepts, ((3, 3), (3, 3), (0, 0)))
        np.testing.assert_array_equal(found.concepts, padded[top : top + 12, left : left + 10])
        seen.add((top, left))
    assert len(seen) == 49
    far = draws(data.random_crop(padding=30), whole, 200)
    assert any(not found.image.any() and found.concepts is not None and not found.concepts.any() for found in far)
    np.testing.assert_array_equal(draws(data.random_crop(padding=0), whole, 1)[0].image, whole.image)


def test_flips_happen_as_often_as_asked():
    whole = example(8, 8)
    mirrored = [not np.array_equal(found.image, whole.image) for found in draws(data.random_flip(probability=0.25), whole, 800)]
    assert 150 <= sum(mirrored) <= 250  # 200 expected, 4 standard deviations
    assert not any(np.any(found.image != whole.image) for found in draws(data.random_flip(probability=0.0), whole, 20))


def pixels(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (9, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_a_factor_of_a_colour_change_against_its_formula(name):
    image = pixels()
    one = Example(image, 0, -1, 0, 0, None)
    found = draws(data.color_jitter(**{name: 0.4}), one, 1, seed=5)[0].image
    generator = np.random.default_rng(5)
    generator.permutation(4)
    factor = [generator.uniform(*((0.6, 1.4) if name == kind else (1, 1))) for kind in ("brightness", "contrast", "saturation")]
    factor = factor[("brightness", "contrast", "saturation").index(name)]
    grey = np.asarray(PIL.Image.fromarray(image).convert("L")).astype(float)
    ground = {"brightness": 0.0, "contrast": float(int(grey.mean() + 0.5)), "saturation": grey[..., None]}[name]
    wanted = np.clip(ground + factor * (image - ground), 0, 255)
    assert np.abs(found - wanted).max() <= 1


def test_hues_turn_and_greys_stay():
    pure = np.zeros((1, 3, 3), np.uint8)
    pure[0, range(3), range(3)] = 255
    third = np.asarray(turned(PIL.Image.fromarray(pure), 1 / 3))
    assert np.abs(third.astype(int) - pure[:, [1, 2, 0]]).max() <= 6  # the circle has 255 hues
    grey = np.repeat(np.arange(0, 256, 5, dtype=np.uint8), 3).reshape(1, -1, 3)
    np.testing.assert_array_equal(turned(PIL.Image.fromarray(grey), 0.4), grey)
    one = Example(pixels(), 0, -1, 0, 0, None)
    np.testing.assert_array_equal(draws(data.color_jitter(), one, 1)[0].image, one.image)
    many = draws(data.color_jitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1), one, 20)
    assert len({found.image.tobytes() for found in many}) == 20


@dataclasses.dataclass(frozen=True)
class Noise:
    """An augmentation of one's own."""

    level: int

    def __call__(self, generator: np.random.Generator, one: Example) -> Example:
        noise = generator.integers(0, self.level + 1, one.image.shape)
        return one._replace(image=np.clip(one.image + noise, 0, 255).astype(np.uint8))


def black(generator: np.random.Generator, one: Example) -> Example:
    del generator
    return one._replace(image=np.zeros_like(one.image))


CHANGE = data.compose(data.random_crop(padding=2), data.random_resized_crop(), data.color_jitter(hue=0.1), Noise(9))


def test_draws_belong_to_seed_epoch_and_place():
    def stream(**knobs):
        arguments = {"batch_size": 4, "seed": 2, "num_epochs": 2, "augment": CHANGE, "read_concepts": True, **knobs}
        return list(data.training_batches(Numbers(9), **arguments))

    whole = stream(num_threads=3)
    assert all(same(a, b) for a, b in zip(whole, stream(num_threads=0), strict=True))
    halves = zip(stream(host=(0, 2)), stream(host=(1, 2)), strict=True)
    for batch, parts in zip(whole, halves, strict=True):
        np.testing.assert_array_equal(batch.image, np.concatenate([part.image for part in parts]))
    assert not same(whole[0], stream(seed=3)[0])
    rows = {int(name): image for name, image in zip(whole[0].id, whole[0].image, strict=True)}
    later = {int(name): image for batch in whole[2:] for name, image in zip(batch.id, batch.image, strict=True)}
    assert all(not np.array_equal(rows[name], later[name]) for name in rows.keys() & later.keys())


def test_flip_is_the_augmentation_of_that_name():
    arguments = {"batch_size": 4, "seed": 2, "num_epochs": 2, "read_concepts": True}
    flipped = data.training_batches(Numbers(9), flip=True, augment=Noise(3), **arguments)
    composed = data.training_batches(Numbers(9), augment=data.compose(data.random_flip(), Noise(3)), **arguments)
    assert all(same(a, b) for a, b in zip(flipped, composed, strict=True))
    plain = data.training_batches(Numbers(9), augment=data.random_flip(), **arguments)
    plain.set_state(data.training_batches(Numbers(9), flip=True, **arguments).get_state())


def test_augmentations_are_values_that_go_into_the_identity():
    assert pickle.loads(pickle.dumps(CHANGE)) == CHANGE and hash(CHANGE) == hash(pickle.loads(pickle.dumps(CHANGE)))
    assert describe(CHANGE) == describe(pickle.loads(pickle.dumps(CHANGE)))
    assert describe(data.compose(Noise(1), black)) == "[Noise(level=1), tests.data.test_augment.black]"
    texts = [describe(augment) for augment in (CHANGE, black, Noise(1), Noise(2), data.random_crop(), data.compose())]
    assert len(set(texts)) == 6
    state = data.training_batches(Numbers(9), batch_size=4, seed=0, augment=Noise(1)).get_state()
    with pytest.raises(ValueError, match="expected a state of these batches"):
        data.training_batches(Numbers(9), batch_size=4, seed=0, augment=Noise(2)).set_state(state)


@pytest.mark.parametrize("augment", [lambda _, one: one, functools.partial(black), data.compose(lambda _, one: one)])
def test_augmentations_without_a_name_are_refused(augment):
    with pytest.raises(ValueError, match="expected an augment that is the same in every process") as caught:
        data.training_batches(Numbers(9), batch_size=4, seed=0, augment=augment)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("build", "knobs", "message"),
    [
        (data.random_resized_crop, {"image_size": 0}, "image_size of at least 1 pixel, got 0"),
        (data.random_resized_crop, {"scale": (0.0, 1.0)}, r"scale to be two parts of 1, the smaller first, got \(0.0, 1.0\)"),
        (data.random_resized_crop, {"scale": (0.5, 1.5)}, "scale to be two parts of 1"),
        (data.random_resized_crop, {"ratio": (2.0, 1.0)}, "ratio to be two shapes, the smaller first"),
        (data.random_crop, {"padding": -1}, "padding of at least 0 pixels, got -1"),
        (data.random_flip, {"probability": 1.5}, "probability from 0 to 1, got 1.5"),
        (data.color_jitter, {"contrast": -0.1}, "widths of at least 0 and a hue of at most 0.5"),
        (data.color_jitter, {"hue": 0.6}, "hue=0.6; write 0.4, 0.4, 0.4, 0.1"),
    ],
)
def test_refused(build, knobs, message):
    with pytest.raises(ValueError, match=message) as caught:
        build(**knobs)
    assert "\n" not in str(caught.value)


def test_whole_images_of_a_folder_are_cut_at_random(tmp_path):
    for name, size in (("a.png", (48, 40)), ("b.jpg", (60, 33)), ("c.png", (40, 90))):
        save(tmp_path, name, size=size)
    write_table(tmp_path / "labels.csv", "file,label", "a.png,0", "b.jpg,1", "c.png,2")
    source = data.image_folder(tmp_path, image_size=32, crop=None)
    source.check()
    assert [source[index].image.shape for index in range(3)] == [(40, 48, 3), (33, 60, 3), (90, 40, 3)]
    assert source.fingerprint != data.image_folder(tmp_path, image_size=32).fingerprint
    crop = data.random_resized_crop(image_size=32)
    batch = next(data.training_batches(source, batch_size=3, seed=0, augment=crop))
    assert batch.image.shape == (3, 32, 32, 3)
    for wrong in (data.batches(source, batch_size=3), data.training_batches(source, batch_size=3, seed=0, flip=True)):
        with pytest.raises(ValueError, match=r"expected images of one size, .*augment=data.random_resized_crop") as caught:
            next(wrong)
        assert "\n" not in str(caught.value)


def test_whole_images_are_not_held_in_memory(tmp_path):
    save(tmp_path, "a.png", size=(48, 40))
    write_table(tmp_path / "labels.csv", "file,label", "a.png,0")
    with pytest.raises(ValueError, match=r"expected images of 32 x 32, got shape \(40, 48, 3\) at 0; whole images cannot"):
        data.cached(data.image_folder(tmp_path, image_size=32, crop=None))


@pytest.mark.skipif(not SHARED.is_dir(), reason="real data")
def test_real_photographs_of_many_sizes():
    folder = SHARED / "data" / "imagenet_sample" / "short256"
    source = data.image_folder(folder, image_size=224, crop=None, num_images=12)
    assert len({source[index].image.shape for index in range(12)}) > 1
    change = data.compose(
        data.random_resized_crop(image_size=224), data.random_flip(), data.color_jitter(brightness=0.4, saturation=0.4)
    )
    first, second = data.training_batches(source, batch_size=6, seed=0, augment=change, num_epochs=1)
    assert first.image.shape == second.image.shape == (6, 224, 224, 3)
    assert min(first.image.std(axis=(1, 2, 3))) > 0.02
