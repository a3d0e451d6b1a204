"""Depth beside images: the concept world, augmentation, batches, pairs on disk."""

import hashlib
import pathlib

import h5py
import numpy as np
import PIL.Image
import pytest
from scipy.io import savemat

from jaxinterp import data
from jaxinterp.data._world_classes import SCENES
from jaxinterp.data._world_depth import _BACKDROPS
from tests.conftest import SHARED

REAL = SHARED / "data" / "depth"


def depth_of(example: data.Example) -> np.ndarray:
    assert example.depth is not None
    return example.depth


@pytest.fixture(scope="module")
def world():
    return data.concept_world(seed=0, num_images=60, depth=True)


def test_depth_changes_no_picture_and_no_other_fingerprint(world):
    plain = data.concept_world(seed=0, num_images=60)
    assert plain[3].depth is None and plain.fingerprint != world.fingerprint
    np.testing.assert_array_equal(plain[3].image, world[3].image)
    np.testing.assert_array_equal(plain[3].concepts, world[3].concepts)
    pixels = b"".join(plain[index].image.tobytes() + np.asarray(plain[index].concepts).tobytes() for index in (0, 7, 23))
    assert hashlib.sha256(pixels).hexdigest() == "f14919b7eac2ac85dc7dd7fd92009a2790dc8491df235839c91e1dee72567d0d"
    assert plain.fingerprint == "81048ba5b407c88a4a3401d13450448886233ca8bbef464b5188cb5fec732b92"


def test_every_scene_has_a_depth_within_the_world(world):
    assert set(_BACKDROPS) == set(SCENES)
    low, high = data.WORLD_DEPTH
    for index in range(0, 60, 2):
        depth = depth_of(world[index])
        assert depth.shape == (64, 64) and depth.dtype == np.float32
        assert low <= depth.min() and depth.max() <= high
        assert len(np.unique(depth)) > 1


def test_the_object_is_nearer_than_what_it_hides(world):
    """With the object and without it: depth differs on the object alone, and there it is not farther."""
    empty = data.concept_world(seed=0, num_images=60, depth=True, background_only=True)
    for index in range(0, 60, 3):
        ours, behind = world[index], empty[index]
        thing = ours.concepts[..., 5] > 0
        np.testing.assert_array_equal(depth_of(ours)[~thing], depth_of(behind)[~thing])
        scenery = depth_of(behind)[thing]
        assert np.mean(depth_of(ours)[thing] <= scenery + 1e-4) > 0.9
        assert len(np.unique(depth_of(ours)[thing])) == 1


def test_the_same_depth_at_another_size(world):
    large = depth_of(data.concept_world(seed=0, num_images=60, image_size=192, depth=True)[4])[1::3, 1::3]
    assert np.mean(np.isclose(large, depth_of(world[4]), rtol=1e-5)) > 0.98


def test_depth_moves_with_its_picture(world):
    rng, example = np.random.default_rng(0), world[1]
    flipped = data.random_flip(probability=1.0)(rng, example)
    np.testing.assert_array_equal(depth_of(flipped), depth_of(example)[:, ::-1])
    marked = example._replace(depth=example.image[..., 0].astype(np.float32))
    shifted = data.random_crop(padding=6)(rng, marked)
    np.testing.assert_array_equal(depth_of(shifted), shifted.image[..., 0])
    np.testing.assert_array_equal(depth_of(data.color_jitter()(rng, example)), depth_of(example))
    with pytest.raises(ValueError, match="without depth for random_resized_crop"):
        data.random_resized_crop()(rng, example)


def test_batches_carry_depth(world):
    batch = next(iter(data.batches(data.subset(world, [4, 5, 6]), batch_size=4, read_concepts=False, num_threads=0)))
    np.testing.assert_array_equal(batch.extra["depth"][1], depth_of(world[5]))
    assert not batch.extra["depth"][3].any() and "concepts" not in batch.extra
    held = data.cached(data.subset(world, range(8)), keep_concepts=False)
    one, two = (
        next(data.training_batches(source, batch_size=4, seed=1, flip=True)) for source in (held, data.subset(world, range(8)))
    )
    np.testing.assert_array_equal(one.extra["depth"], two.extra["depth"])
    np.testing.assert_array_equal(one.image, two.image)


def pair(folder: pathlib.Path, name: str, numbers: np.ndarray) -> tuple[pathlib.Path, pathlib.Path]:
    height, width = numbers.shape
    picture, depth = folder / f"{name}.jpg", folder / f"{name}.png"
    PIL.Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(picture)
    PIL.Image.fromarray(numbers.astype(np.uint16)).save(depth)
    return picture, depth


def test_a_list_as_nyu_and_kitti_have_it(tmp_path):
    numbers = np.arange(48).reshape(6, 8) * 256
    pair(tmp_path, "a", numbers)
    (tmp_path / "list.txt").write_text("a.jpg a.png 518.8\n/a.jpg None 518.8\n\n")
    nyu, kitti = (read(tmp_path / "list.txt", image_size=6) for read in (data.nyu_depth, data.kitti_depth))
    assert len(nyu) == len(kitti) == 1 and nyu.fingerprint != kitti.fingerprint
    np.testing.assert_allclose(depth_of(kitti[0]), numbers[:, 1:7] / 256)
    np.testing.assert_allclose(depth_of(nyu[0]), numbers[:, 1:7] / 1000, rtol=1e-6)
    small = data.kitti_depth(tmp_path / "list.txt", image_size=3)[0]
    assert small.image.shape == (3, 3, 3) and set(depth_of(small).ravel()) <= set(depth_of(kitti[0]).ravel())
    (tmp_path / "list.txt").write_text("a.jpg\n")
    with pytest.raises(ValueError, match="expected a line `picture depth focal`, got 1 words"):
        data.nyu_depth(tmp_path / "list.txt", image_size=6)


def labeled_frames(file: pathlib.Path, pictures: np.ndarray, depths: np.ndarray) -> None:
    """Frames `[n h w 3]` and metres `[n h w]` as MATLAB 7.3 writes them: axes the other way round, after a header."""
    with h5py.File(file, "w", userblock_size=512) as archive:
        archive["images"] = pictures.transpose(0, 3, 2, 1)
        archive["depths"] = depths.transpose(0, 2, 1)
        archive["rawDepths"] = np.where(depths > 2, 0, depths).transpose(0, 2, 1)
    with file.open("r+b") as handle:
        handle.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def test_the_labelled_frames_of_nyu(tmp_path):
    rng = np.random.default_rng(0)
    pictures, depths = rng.integers(0, 256, (4, 6, 8, 3), np.uint8), rng.uniform(0.5, 4, (4, 6, 8)).astype(np.float32)
    file, splits = tmp_path / "nyu_depth_v2_labeled.mat", tmp_path / "splits.mat"
    labeled_frames(file, pictures, depths)
    savemat(splits, {"trainNdxs": np.asarray([[1], [2], [4]], np.uint16), "testNdxs": np.asarray([[3]], np.uint16)})
    every, held = data.nyu_depth_labeled(file, image_size=6), data.nyu_depth_labeled(file, image_size=6, splits=splits)
    train = data.nyu_depth_labeled(file, image_size=6, splits=splits, split="train")
    assert (len(every), len(held), train.rows) == (4, 1, (0, 1, 3)) and len({every.fingerprint, held.fingerprint}) == 2
    np.testing.assert_array_equal(held[0].image, pictures[2, :, 1:7])
    np.testing.assert_array_equal(depth_of(held[0]), depths[2, :, 1:7])
    assert held[0].label == -1 and train[2].id == 2
    seen = depth_of(data.nyu_depth_labeled(file, image_size=6, raw=True)[1])
    np.testing.assert_array_equal(seen, np.where(depths[1] > 2, 0, depths[1])[:, 1:7])
    (batch,) = data.batches(every, batch_size=4)
    np.testing.assert_array_equal(batch.extra["depth"], depths[:, :, 1:7])


def test_another_file_than_nyus_is_refused(tmp_path):
    file = tmp_path / "frames.mat"
    labeled_frames(file, np.zeros((2, 4, 5, 3), np.uint8), np.ones((2, 4, 5), np.float32))
    with pytest.raises(ValueError, match="expected split 'train' or 'test', got 'val'"):
        data.nyu_depth_labeled(file, image_size=4, split="val")
    savemat(tmp_path / "splits.mat", {"testNdxs": np.asarray([[3]])})
    with pytest.raises(ValueError, match="expected numbers of frames from 1 to 2"):
        data.nyu_depth_labeled(file, image_size=4, splits=tmp_path / "splits.mat")
    with pytest.raises(ValueError, match=r"expected trainNdxs in .*splits.mat, found none"):
        data.nyu_depth_labeled(file, image_size=4, splits=tmp_path / "splits.mat", split="train")
    (tmp_path / "text.mat").write_text("no archive")
    with pytest.raises(ValueError, match=r"expected an HDF5 file \(MATLAB 7.3\), could not read"):
        data.nyu_depth_labeled(tmp_path / "text.mat", image_size=4)
    with h5py.File(file, "a") as archive:
        del archive["rawDepths"]
    with pytest.raises(ValueError, match=r"expected images and rawDepths in .*, found no rawDepths"):
        data.nyu_depth_labeled(file, image_size=4, raw=True)


def test_numbers_become_metres(tmp_path):
    picture, depth = pair(tmp_path, "b", np.asarray([[0, 8000], [65535, 1000]]))
    read = data.depth_pairs([(picture, depth)], image_size=2, no_value=(0, 65535))
    np.testing.assert_allclose(depth_of(read[0]), [[0, 8], [0, 1]])
    turned = depth_of(data.depth_pairs([(picture, depth)], image_size=2, rotated=True)[0])
    np.testing.assert_allclose(turned[0], [0, 1.0])
    with pytest.raises(ValueError, match="16-bit grey PNG"):
        _ = data.depth_pairs([(picture, picture)], image_size=2)[0]
    with pytest.raises(ValueError, match="which is not there"):
        data.depth_pairs([(picture, tmp_path / "none.png")], image_size=2)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real pairs")
def test_real_pairs_are_at_real_distances():
    def read(folder, picture, depth, **knobs):
        return depth_of(data.depth_pairs([(REAL / folder / picture, REAL / folder / depth)], image_size=64, **knobs)[0])

    room = read("7scenes_room", "frame-000025.color.jpg", "frame-000025.depth.png", no_value=(0, 65535))
    nyu = read("metric3d_nyu_demo", "rgb/rgb_00050.jpg", "depth/sync_depth_00050.png")
    road = read("metric3d_kitti_demo", "rgb/0000000050.png", "depth/0000000050.png", metres=1 / 256)
    other = "open3d_samples/other_formats"
    sun = read(other, "SUN_color.jpg", "SUN_depth.png", rotated=True)
    tum = read(other, "TUM_color.png", "TUM_depth.png", metres=1 / 5000)
    for depth, low, high in ((room, 0.3, 6), (nyu, 0.5, 10), (sun, 0.4, 10), (tum, 0.3, 10), (road, 2, 90)):
        known = depth[depth > 0]
        assert len(known) and low < known.min() and known.max() < high
    assert 0.05 < (road > 0).mean() < 0.5 and (nyu > 0).mean() > 0.8
