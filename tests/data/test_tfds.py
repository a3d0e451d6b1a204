"""Data sets of TFDS as sources: written here with its own tools, read by place."""

import hashlib
import importlib
import io
import pathlib
import pickle
from typing import Any

import numpy as np
import PIL.Image
import pytest

from jaxinterp import data
from jaxinterp.data._images import centre_square
from tests.conftest import SHARED
from tests.data.test_adversarial import FORM
from tests.data.test_adversarial import write as write_adversarial

SIZES = ((48, 40), (40, 60), (33, 33), (90, 34), (40, 40), (36, 52), (64, 64))


def jpeg(number, size):
    pixels = np.random.default_rng(number).integers(0, 256, (size[1] // 4, size[0] // 4, 3), np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).resize(size).save(file, "JPEG", quality=90)
    return file.getvalue()


def write(folder, images, labels, *, names, shards=2, version="1.0.0", label="label"):
    """A data set "tiny" with a split "train", by tfds.folder_dataset.write_metadata."""
    import tensorflow_datasets as tfds

    array_record = importlib.import_module("array_record.python.array_record_module")
    kinds = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(encoding_format="jpeg"),
            label: tfds.features.ClassLabel(names=names),
            "file_name": tfds.features.Text(),
        }
    )
    folder = pathlib.Path(folder) / "tiny" / version
    folder.mkdir(parents=True)
    lengths, size = [], 0
    for shard in range(shards):
        members = range(shard * len(images) // shards, (shard + 1) * len(images) // shards)
        file = folder / f"tiny-train.array_record-{shard:05d}-of-{shards:05d}"
        writer = array_record.ArrayRecordWriter(str(file), "group_size:1")
        for number in members:
            example = {"image": io.BytesIO(images[number]), label: labels[number], "file_name": f"{number}.JPEG"}
            content = kinds.serialize_example(kinds.encode_example(example))
            size += len(content)
            writer.write(content)
        writer.close()
        lengths.append(len(members))
    tfds.folder_dataset.write_metadata(
        data_dir=str(folder),
        features=kinds,
        split_infos=[tfds.core.SplitInfo(name="train", shard_lengths=lengths, num_bytes=size)],
        filename_template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        check_data=False,
    )
    return folder


IMAGES = [jpeg(number, size) for number, size in enumerate(SIZES)]
LABELS = [0, 2, 1, 1, 0, 2, 2]
WNIDS = ("n01440764", "n01443537", "n01484850")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("tfds"), IMAGES, LABELS, names=WNIDS)


def wanted(number, image_size, crop):
    return centre_square(PIL.Image.open(io.BytesIO(IMAGES[number])), image_size=image_size, crop=crop)


@pytest.mark.parametrize(("image_size", "crop"), [(32, 224 / 256), (30, 1.0)])
def test_examples_are_those_that_were_written(folder, image_size, crop):
    source = data.tfds_source(folder, "train", image_size=image_size, crop=crop)
    assert (len(source), source.image_size, source.classes, source.class_names) == (7, image_size, WNIDS, WNIDS)
    assert isinstance(source, data.Source) and source.concepts is None
    for index in (6, 0, 3, 1, 2, 4, 5):
        example = source[index]
        np.testing.assert_array_equal(example.image, wanted(index, image_size, crop))
        assert (example.label, example.target, example.id, example.source_id) == (LABELS[index], -1, index, index)
    with pytest.raises(IndexError):
        source[7]


def test_parts_of_a_split_and_its_batches(folder):
    source = data.tfds_source(str(folder), "train[2:6]", image_size=32)
    batch = next(data.batches(source, batch_size=4))
    assert batch.label.tolist() == LABELS[2:6] and batch.id.tolist() == [0, 1, 2, 3]
    whole = data.tfds_source(folder, "train", image_size=32, crop=None)
    assert whole[3].image.shape == (34, 90, 3)
    cut = next(data.training_batches(whole, batch_size=7, seed=0, augment=data.random_resized_crop(image_size=24)))
    assert cut.image.shape == (7, 24, 24, 3) and sorted(cut.label.tolist()) == sorted(LABELS)


def test_a_source_that_has_read_goes_to_other_processes(folder):
    source = data.tfds_source(folder, "train", image_size=32)
    first = source[0]
    copied = pickle.loads(pickle.dumps(source))
    assert copied.fingerprint == source.fingerprint and copied == source
    np.testing.assert_array_equal(copied[0].image, first.image)
    arguments: dict[str, Any] = {"batch_size": 3, "seed": 0, "num_epochs": 1}
    here = list(data.training_batches(source, **arguments))
    there = list(data.training_batches(source, num_workers=1, **arguments))
    assert all(np.array_equal(a.image, b.image) and np.array_equal(a.id, b.id) for a, b in zip(here, there, strict=True))


def test_the_fingerprint_follows_the_data_set_and_the_preprocessing(folder, tmp_path):
    def fingerprint(path, split="train", **knobs):
        return data.tfds_source(path, split, **{"image_size": 32, **knobs}).fingerprint

    same = write(tmp_path / "same", IMAGES, LABELS, names=WNIDS)
    assert fingerprint(same) == fingerprint(folder)
    others = {
        fingerprint(folder),
        fingerprint(folder, image_size=31),
        fingerprint(folder, crop=1.0),
        fingerprint(folder, "train[:4]"),
        fingerprint(folder, classes=("a", "b", "c")),
        fingerprint(write(tmp_path / "a", IMAGES, LABELS, names=WNIDS, shards=1)),
        fingerprint(write(tmp_path / "b", IMAGES, LABELS, names=WNIDS, version="1.0.1")),
        fingerprint(write(tmp_path / "c", [*IMAGES[:6], IMAGES[5]], LABELS, names=WNIDS)),
    }
    assert len(others) == 8


def test_names_of_cifar10_are_synsets_and_other_names_stay(tmp_path):
    known = tuple(data.CIFAR10_CLASSES)
    source = data.tfds_source(write(tmp_path / "a", IMAGES, LABELS, names=known), "train", image_size=32)
    assert source.classes == tuple(data.CIFAR10_CLASSES.values()) and source.class_names == known
    other = write(tmp_path / "b", IMAGES, LABELS, names=("up", "down", "left"), label="way")
    source = data.tfds_source(other, "train", image_size=32, label="way")
    assert source.classes == source.class_names == ("up", "down", "left")
    named = data.tfds_source(other, "train", image_size=32, label="way", classes=WNIDS, class_names=("tench", "gold", "shark"))
    assert named.classes == WNIDS and named.class_names == ("tench", "gold", "shark")


def test_what_the_library_writes_is_read(tmp_path):
    write_adversarial(tmp_path)
    data.finish(tmp_path, FORM, {"normal": 2})
    ours, theirs = data.adversarial_set(tmp_path, split="normal"), data.tfds_source(tmp_path, "normal", image_size=16, crop=1.0)
    assert len(ours) == len(theirs) == 7 and theirs.classes == FORM.classes
    for index in range(7):
        np.testing.assert_array_equal(ours[index].image, theirs[index].image)
        assert ours[index].label == theirs[index].label


def test_a_prepared_data_set_is_found_by_name(folder):
    root = folder.parents[1]
    source = data.tfds_source("tiny", "train", image_size=32, data_dir=root)
    assert source.directory == folder and source == data.tfds_source(folder, "train", image_size=32)
    assert data.tfds_source("tiny:1.0.0", "train", image_size=32, data_dir=root)[2].label == 1


@pytest.mark.parametrize(
    ("name", "split", "knobs", "message"),
    [
        ("tiny", "test", {}, r"unknown split 'test'; tiny has: train, and parts such as train\[:10%\]"),
        ("tiny", "train[", {}, "unknown split"),
        (
            "tiny",
            "train",
            {"image": "picture"},
            r"expected a feature 'picture' of the kind Image, this data set has: .*image \(Image\)",
        ),
        ("tiny", "train", {"label": "file_name"}, "expected a feature 'file_name' of the kind ClassLabel"),
        ("tiny", "train", {"classes": ("a", "b")}, "expected one class and one name for each of 3 labels, got 2 and 3"),
        ("tiny", "train", {"image_size": 0}, "expected image_size of at least 1"),
        ("tiny", "train", {"crop": 1.5}, "crop above 0 and at most 1, got 32 and 1.5"),
        ("no_such_data_set", "train", {}, "expected a data set that TFDS knows or a folder of one, got 'no_such_data_set'"),
        ("cifar10", "train", {}, r"expected a prepared data set, found none in .*cifar10.*file_format=\"array_record\""),
        (".", "train", {}, "found no dataset_info.json in"),
    ],
)
def test_refused(folder, name, split, knobs, message):
    root = folder.parents[1]
    with pytest.raises(ValueError, match=message) as caught:
        data.tfds_source(root if name == "." else name, split, **{"image_size": 32, "data_dir": root, **knobs})
    assert "\n" not in str(caught.value)


def test_damaged_shards_are_named(tmp_path):
    folder = write(tmp_path, [*IMAGES[:6], IMAGES[6][:200]], LABELS, names=WNIDS, shards=1)
    source = data.tfds_source(folder, "train", image_size=32)
    with pytest.raises(ValueError, match=r"expected a whole image, got a damaged one .*record 6 of train in"):
        source[6]


def test_files_that_cannot_be_read_by_place_are_refused(tmp_path):
    folder = write(tmp_path, IMAGES, LABELS, names=WNIDS)
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    for file in folder.glob("*.array_record*"):
        file.rename(folder / file.name.replace("array_record", "tfrecord"))
    with pytest.raises(
        ValueError, match=r"expected a data set in ArrayRecord files, .* is in others; prepare it again"
    ) as caught:
        data.tfds_source(folder, "train", image_size=32)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not SHARED.is_dir(), reason="real data")
def test_real_photographs_as_in_their_folder(tmp_path):
    folder = data.image_folder(SHARED / "data" / "imagenet_sample" / "short256", image_size=224, num_images=10)
    written = write(tmp_path, [file.read_bytes() for file in folder.files], list(folder.labels), names=folder.classes)
    source = data.tfds_source(written, "train", image_size=224)
    assert source.classes == folder.classes and len(source.classes) == 1000

    def seen(images):
        return [hashlib.sha256(images[index].image.tobytes()).hexdigest() for index in range(10)]

    assert seen(source) == seen(folder)
