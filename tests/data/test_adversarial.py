import hashlib
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxinterp import data
from jaxinterp.data import AdversarialFormat, AdversarialRecord

FORM = AdversarialFormat(
    image_size=16,
    classes=("n00000001", "n00000002", "n00000003"),
    class_names=("crane", "crane", "leaf"),  # two classes may share a name
    models=("alexnet", "vgg16", "resnet18"),
    num_targets=2,
)

COMMON = """
import numpy as np
from jaxinterp import data
form = data.AdversarialFormat(16, ("n00000001", "n00000002", "n00000003"), ("crane", "crane", "leaf"), ("a", "b", "c"), 2)
def record(number):
    pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    clean, said = np.array([0, 1, 2]), np.array([2, number % 3, 2])
    return data.AdversarialRecord(pixels, number // 2, number % 2, number % 2, 2, clean, said, 0.01 * number, 0.05)
"""


def make_record(number: int, **changes) -> AdversarialRecord:
    pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    said = np.array([2, number % 3, 2])
    record = AdversarialRecord(
        image=pixels,
        source_id=number // 2,
        rank=number % 2,
        label=number % 2,
        target=2,
        clean_predictions=np.array([0, 1, 2]),
        predictions=said,
        rms=0.01 * number,
        linf=0.05,
    )
    return record._replace(**changes)


def write(folder, numbers=((0, 1, 2, 3), (4, 5, 6)), split="normal"):
    for shard, members in enumerate(numbers):
        records = (make_record(number) for number in members)
        data.write_shard(folder, records, FORM, split=split, shard=shard, num_shards=len(numbers))


def run_python(code, *arguments, **options):
    command = [sys.executable, "-c", COMMON + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


def test_what_is_written_is_read(tmp_path):
    write(tmp_path)
    data.finish(tmp_path, FORM, {"normal": 2})
    source = data.adversarial_set(tmp_path, split="normal")
    assert len(source) == 7 and source.form == FORM and source.concepts is None
    assert (source.classes, source.class_names, source.image_size) == (FORM.classes, FORM.class_names, 16)
    for number in range(7):
        record, example, read = make_record(number), source[number], source.record(number)
        np.testing.assert_array_equal(example.image, record.image)
        assert example[1:] == (number % 2, 2, number, number // 2, None, None)
        for name, want in record._asdict().items():
            np.testing.assert_allclose(np.asarray(getattr(read, name)), want, rtol=1e-6, atol=0)


def test_the_table_holds_every_figure_but_no_image(tmp_path):
    write(tmp_path)
    data.finish(tmp_path, FORM, {"normal": 2})
    table = data.adversarial_set(tmp_path, split="normal").table
    said = np.array([[2, number % 3, 2] for number in range(7)])
    np.testing.assert_array_equal(table["predictions"], said)
    np.testing.assert_array_equal(table["success"], said == 2)
    np.testing.assert_array_equal(table["joint_success"], (said == 2).all(axis=1))
    np.testing.assert_array_equal(table["id"], np.arange(7))
    np.testing.assert_array_equal(table["rms"], np.array([0.01 * number for number in range(7)], np.float32))
    assert "image" not in table and table["success"].dtype == bool and table["rms"].dtype == np.float32


def test_success_without_a_target_is_another_class(tmp_path):
    records = [make_record(0, label=2, target=-1, predictions=np.array([2, 0, 1]))]
    data.write_shard(tmp_path, records, FORM, split="normal", shard=0, num_shards=1)
    data.finish(tmp_path, FORM, {"normal": 1})
    table = data.adversarial_set(tmp_path, split="normal").table
    assert table["success"].tolist() == [[False, True, True]] and table["joint_success"].tolist() == [False]


def test_anybody_reads_it_with_tfds_and_without_tensorflow(tmp_path):
    write(tmp_path)
    data.finish(tmp_path, FORM, {"normal": 2})
    code = """
import sys, tensorflow_datasets as tfds
builder = tfds.builder_from_directory(sys.argv[1])
source = builder.as_data_source("normal")
assert len(source) == 7 == builder.info.splits["normal"].num_examples
for number in range(7):
    want, got = record(number), source[number]
    np.testing.assert_array_equal(got["image"], want.image)
    assert got["id"] == number and got["label"] == want.label and got["target"] == 2
assert builder.info.features["label"].names == ["n00000001", "n00000002", "n00000003"]
assert builder.info.metadata["models"] == ["alexnet", "vgg16", "resnet18"]
assert "tensorflow" not in sys.modules
"""
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr


def test_two_processes_write_the_same_bytes(tmp_path):
    code = """
import sys
for shard in range(2):
    records = [record(number) for number in range(4 * shard, 4 * shard + 4)]
    data.write_shard(sys.argv[1], records, form, split="normal", shard=shard, num_shards=2)
data.finish(sys.argv[1], form, {"normal": 2})
"""
    digests = []
    for hash_seed in ("1", "2"):
        folder = tmp_path / hash_seed
        done = run_python(code, folder, env={**os.environ, "PYTHONHASHSEED": hash_seed})
        assert done.returncode == 0, done.stderr
        digests.append({file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())})
    assert digests[0] == digests[1]
    assert sorted(digests[0]) == [
        "adversarial-normal.array_record-00000-of-00002",
        "adversarial-normal.array_record-00001-of-00002",
        "dataset_info.json",
        "features.json",
        "label.labels.txt",
        "metadata.json",
    ]


def test_a_killed_writer_leaves_whole_shards_only(tmp_path):
    code = """
import sys
for shard in range(9999):
    records = (record(number) for number in range(4 * shard, 4 * shard + 4))
    data.write_shard(sys.argv[1], records, form, split="normal", shard=shard, num_shards=9999)
    print(shard, flush=True)
"""
    want = tmp_path / "undisturbed"
    generator = random.Random(0)
    folder = tmp_path / "killed"
    finished: tuple[int, ...] = ()
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", COMMON + code, str(folder)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()  # the first shard is there
        time.sleep(generator.uniform(0.02, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        finished = data.finished_shards(folder, split="normal", num_shards=9999)
        assert finished == tuple(range(len(finished))) and 0 < len(finished) < 9999
        assert len(data.remove_unfinished(folder)) <= 1
        assert len(list(folder.iterdir())) == len(finished)
    for shard in (0, len(finished) // 2, len(finished) - 1):
        records = [make_record(number) for number in range(4 * shard, 4 * shard + 4)]
        path = data.write_shard(want, records, FORM, split="normal", shard=shard, num_shards=9999)
        assert path.read_bytes() == (folder / path.name).read_bytes()


def test_a_writer_killed_inside_a_shard_leaves_only_its_temporary_file(tmp_path):
    code = """
import os, signal, sys
def records():
    yield record(0)
    yield record(1)
    os.kill(os.getpid(), signal.SIGKILL)
data.write_shard(sys.argv[1], records(), form, split="normal", shard=0, num_shards=1)
"""
    assert run_python(code, tmp_path).returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    assert data.finished_shards(tmp_path, split="normal", num_shards=1) == ()
    write(tmp_path, numbers=((0, 1),))
    assert [file.name for file in tmp_path.iterdir()] == ["adversarial-normal.array_record-00000-of-00001"]


def test_an_error_while_writing_leaves_nothing(tmp_path):
    write(tmp_path, numbers=((0, 1),))
    before = (tmp_path / "adversarial-normal.array_record-00000-of-00001").read_bytes()

    def records():
        yield make_record(4)
        raise KeyError("attack")

    with pytest.raises(KeyError, match="attack"):
        data.write_shard(tmp_path, records(), FORM, split="normal", shard=0, num_shards=1)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [before]


def test_a_full_disk_is_one_clear_line(tmp_path):
    code = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
try:
    data.write_shard(sys.argv[1], (record(number) for number in range(200)), form, split="normal", shard=0, num_shards=1)
except OSError as error:
    print(error)
"""
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert "expected a writable folder with room, could not write" in done.stdout and "File too large" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file" / "below", "/proc/nowhere"):
        with pytest.raises(OSError, match="expected a writable folder with room, could not write") as caught:
            data.write_shard(folder, [make_record(0)], FORM, split="normal", shard=0, num_shards=1)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_one_clear_line(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match=r"could not write .*Permission denied"):
        data.write_shard(tmp_path, [make_record(0)], FORM, split="normal", shard=0, num_shards=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": np.zeros((16, 16, 3), np.float32)}, "expected uint8 images, .* got float32; write np.round"),
        ({"image": np.zeros((8, 8, 3), np.uint8)}, r"expected images of shape \(16, 16, 3\), got \(8, 8, 3\)"),
        ({"predictions": np.array([1, 2])}, "expected predictions of 3 models"),
        ({"rank": 2}, "expected rank from 0 to 1, got 2"),
        ({"label": 3}, "expected label from 0 to 2, got 3"),
        ({"target": -2}, "expected target from -1 to 2, got -2"),
        ({"rms": float("nan")}, "expected finite distortions"),
    ],
)
def test_records_that_do_not_fit_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        data.write_shard(tmp_path, [make_record(0, **changes)], FORM, split="normal", shard=0, num_shards=1)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_bad_shards(tmp_path):
    cases = [({"shard": 2, "num_shards": 2}, "expected a shard from 0 to 1, got 2"), ({"split": "a-b"}, "expected a split")]
    for changes, message in cases:
        with pytest.raises(ValueError, match=message):
            data.shard_path(tmp_path, **{"split": "normal", "shard": 0, "num_shards": 1, **changes})
    with pytest.raises(ValueError, match="expected at least one record, got none for shard 0 of 1"):
        data.write_shard(tmp_path, [], FORM, split="normal", shard=0, num_shards=1)
    write(tmp_path)
    with pytest.raises(ValueError, match=r"expected 3 shards, got adversarial-normal.array_record-00000-of-00002"):
        data.finished_shards(tmp_path, split="normal", num_shards=3)


def test_what_is_not_finished_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected a finished adversarial data set, found no dataset_info.json"):
        data.adversarial_set(tmp_path, split="normal")
    data.write_shard(tmp_path, [make_record(0)], FORM, split="normal", shard=1, num_shards=2)
    with pytest.raises(ValueError, match="expected 2 shards of 'normal', 0 is missing"):
        data.finish(tmp_path, FORM, {"normal": 2})
    assert not (tmp_path / "dataset_info.json").exists()


def test_damaged_sets_are_refused(tmp_path):
    write(tmp_path)
    data.finish(tmp_path, FORM, {"normal": 2})
    with pytest.raises(ValueError, match=r"unknown split 'trained'; .* has: normal"):
        data.adversarial_set(tmp_path, split="trained")
    file = data.shard_path(tmp_path, split="normal", shard=1, num_shards=2)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="expected an ArrayRecord file, got a damaged one") as caught:
        data.adversarial_set(tmp_path, split="normal")
    assert "\n" not in str(caught.value)
    file.unlink()
    with pytest.raises(ValueError, match=r"expected 3 records in .*00001-of-00002, got 0"):
        data.adversarial_set(tmp_path, split="normal")


def test_finish_adds_a_split_and_repeats_itself(tmp_path):
    write(tmp_path)
    data.finish(tmp_path, FORM, {"normal": 2})
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    first = data.adversarial_set(tmp_path, split="normal").fingerprint
    data.finish(tmp_path, FORM, {"normal": 2})
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    write(tmp_path, numbers=((5,),), split="trained")
    data.finish(tmp_path, FORM, {"normal": 2, "trained": 1})
    trained = data.adversarial_set(tmp_path, split="trained")
    assert [trained[0].id, len(trained)] == [5, 1]
    assert data.adversarial_set(tmp_path, split="normal").fingerprint == first != trained.fingerprint
    infos = json.loads((tmp_path / "dataset_info.json").read_text())
    assert [split["shardLengths"] for split in infos["splits"]] == [["4", "3"], ["1"]]


def test_a_set_pickles_and_is_read_by_threads(tmp_path):
    write(tmp_path, numbers=(tuple(range(30)), tuple(range(30, 60))))
    data.finish(tmp_path, FORM, {"normal": 2})
    source = data.adversarial_set(tmp_path, split="normal")
    assert len(source) == 60
    again = pickle.loads(pickle.dumps(source))
    assert again.fingerprint == source.fingerprint
    found = [name for batch in data.batches(again, batch_size=4, num_threads=4) for name in batch.id.tolist()]
    assert found == list(range(60))
