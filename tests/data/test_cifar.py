"""CIFAR-10 in every layout gives the same pixels."""

import io
import pathlib
import pickle
import tarfile
import zipfile

import numpy as np
import PIL.Image
import pytest

from jaxinterp import data
from tests.conftest import SHARED

NAMES = tuple(data.CIFAR10_CLASSES)
FILES = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}


def images(split):
    generator = np.random.default_rng(len(split))
    count = 4 * len(FILES[split])
    return generator.integers(0, 256, (count, 32, 32, 3), np.uint8), generator.integers(0, 10, count).astype(np.int32)


def published(split, kind):
    """File -> its bytes, four images each, as they are described at cs.toronto.edu/~kriz/cifar.html."""
    pixels, labels = images(split)
    found = {}
    for index, name in enumerate(FILES[split]):
        rows = pixels[4 * index : 4 * index + 4].transpose(0, 3, 1, 2).reshape(4, 3072)
        of_each = labels[4 * index : 4 * index + 4]
        if kind == "binary":
            found[f"cifar-10-batches-bin/{name}.bin"] = b"".join(
                bytes([label]) + row.tobytes() for label, row in zip(of_each, rows, strict=True)
            )
        else:
            stored = {b"batch_label": b"a batch", b"labels": of_each.tolist(), b"data": rows, b"filenames": [b"a.png"] * 4}
            found[f"cifar-10-batches-py/{name}"] = pickle.dumps(stored, protocol=2)
    return found


def write_files(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)


def write_tar(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in {**files, "cifar-10-batches-py/readme.html": b"about"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def check(source, split):
    pixels, labels = images(split)
    assert len(source) == len(pixels) and source.image_size == 32
    assert (source.classes, source.class_names) == (tuple(data.CIFAR10_CLASSES.values()), NAMES)
    for index, example in enumerate(source[index] for index in range(len(source))):
        np.testing.assert_array_equal(example.image, pixels[index])
        assert (example.label, example.target, example.id, example.source_id) == (labels[index], -1, index, index)


@pytest.mark.parametrize("kind", ["python", "binary"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_published_archives_and_what_comes_out_of_them(tmp_path, kind, split):
    files = {**published("train", kind), **published("test", kind)}
    packed, unpacked = tmp_path / f"cifar-10-{kind}.tar.gz", tmp_path / "unpacked"
    write_tar(packed, files)
    unpacked.mkdir()
    write_files(unpacked, files)
    inner = next(unpacked.iterdir())
    prints = set()
    for path in (packed, tmp_path, unpacked, inner, str(inner)):
        source = data.cifar10(path, split)
        check(source, split)
        prints.add(source.fingerprint)
    assert len(prints) == 1


def test_folders_and_zips_of_images_are_ordered_by_class(tmp_path):
    pixels, labels = images("train")
    order = np.argsort(labels, kind="stable")
    folder = tmp_path / "folder"
    for index, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        place = folder / "train" / NAMES[label]
        place.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(image).save(place / f"{index:04d}.png")
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder))
    for path in (folder, tmp_path / "train.zip"):
        source = data.cifar10(path, "train")
        np.testing.assert_array_equal(np.stack([source[index].image for index in range(len(source))]), pixels[order])
        assert [source[index].label for index in range(len(source))] == labels[order].tolist()
        with pytest.raises(ValueError, match="expected CIFAR-10 with a split 'test', found none in"):
            data.cifar10(path, "test")
    assert len(data.cifar10(tmp_path, "train")) == 20  # a folder in which the .zip lies
    PIL.Image.new("RGB", (16, 16)).save(folder / "train" / NAMES[labels[0]] / "small.png")
    with pytest.raises(ValueError, match=r"expected images of 32 x 32 pixels, got shape \(16, 16, 3\): .*small.png"):
        data.cifar10(folder, "train")


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_arrays(tmp_path, kind):
    pixels, labels = images("test")
    np.save(tmp_path / "X_test.npy", pixels if kind is np.uint8 else pixels.astype(np.float32) / np.float32(255))
    np.save(tmp_path / "y_test.npy", labels[:, None])
    check(data.cifar10(tmp_path, "test"), "test")
    np.save(tmp_path / "X_test.npy", pixels / 256)
    with pytest.raises(ValueError, match="expected 8-bit pixels, or floats that are those over 255"):
        data.cifar10(tmp_path, "test")


def test_pickles_of_python_2(tmp_path):
    """The opcodes that the published files are made of: strings of bytes, and an array by its parts."""
    pixels, labels = images("test")
    rows = pixels.transpose(0, 3, 1, 2).reshape(4, 3072)
    kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    state = b"(K\x01K\x04M\x00\x0c\x86" + kind + b"\x89T" + rows.nbytes.to_bytes(4, "little") + rows.tobytes() + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    entries = b"U\x04data" + array + state + b"U\x06labels" + numbers + b"U\x0bbatch_labelU\x07testing"
    (tmp_path / "test_batch").write_bytes(b"\x80\x02}(" + entries + b"u.")
    check(data.cifar10(tmp_path, "test"), "test")


class Evil:
    def __reduce__(self):
        return (pathlib.Path.touch, (pathlib.Path("/nowhere/touched"),))


def test_damaged_and_hostile_files_are_refused(tmp_path):
    def refused(message, split="test"):
        with pytest.raises(ValueError, match=message) as caught:
            data.cifar10(tmp_path, split)
        assert "\n" not in str(caught.value)

    refused("expected CIFAR-10 with a split 'test', found none in .*; download cifar-10-python.tar.gz")
    refused("expected split 'train' or 'test', got 'valid'", "valid")
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": Evil(), b"labels": []}))
    refused("expected a file of CIFAR-10, got a damaged one: test_batch in .*it asks for")
    (tmp_path / "test_batch").write_bytes(published("test", "python")["cifar-10-batches-py/test_batch"][:500])
    refused("got a damaged one: test_batch")
    (tmp_path / "test_batch").unlink()
    (tmp_path / "test_batch.bin").write_bytes(b"0" * 3074)
    refused("got a damaged one: test_batch.bin")
    (tmp_path / "data_batch_2.bin").write_bytes(b"0" * 3073)
    refused("expected all of data_batch_1, .* found no data_batch_1.bin", "train")
    write_tar(tmp_path / "cifar-10-python.tar.gz", published("test", "python"))
    whole = (tmp_path / "cifar-10-python.tar.gz").read_bytes()
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(whole[: len(whole) // 2])
    refused("expected a whole archive, got a damaged one: .*cifar-10-python.tar.gz")


@pytest.mark.skipif(not SHARED.is_dir(), reason="real data")
def test_real_images():
    folder = SHARED / "data" / "cifar10"
    assert tuple((folder / "classes.txt").read_text().split()) == NAMES
    source = data.cifar10(folder / "lossless_200", "test")
    pixels, labels = (np.load(folder / "lossless_200" / f"{name}_sdp.npy") for name in "Xy")
    batch = next(data.batches(source, batch_size=200))
    np.testing.assert_allclose(batch.image, pixels, atol=1e-7)
    np.testing.assert_array_equal(batch.label, labels)
    test = data.cifar10(folder, "test")
    assert len(test) == 1000 and np.bincount(test.rows[:, 0]).tolist() == [100] * 10
    with zipfile.ZipFile(folder / "test_1000_jpeg.zip") as archive:
        stored = archive.read("test/bird/0003.jpg")
    np.testing.assert_array_equal(test[203].image, np.asarray(PIL.Image.open(io.BytesIO(stored))))
