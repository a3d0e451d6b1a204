"""A whole study in seconds: every stage, the page, the stored images; resumed; killed and resumed."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxinterp import data
from jaxinterp.cli import main
from jaxinterp.pipelines._consistency import top_ids
from tests.quick import xla_flags

RECIPE = pathlib.Path(__file__).with_name("smoke.py")
ROOT = pathlib.Path(__file__).parents[2]
STAGES = [
    "train.normal",
    "inspect",
    "generate.normal",
    "dissect.normal",
    "consistency.normal",
    "evaluate.normal",
    "train.robust",
    "evaluate.robust",
    "generate.robust",
    "dissect.robust",
    "consistency.robust",
    "trace",
]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> pathlib.Path:
    """Programs that the undisturbed study compiled, which later processes take up where theirs are the same."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, compiled):
    """An undisturbed study, in a process of its own."""
    path = tmp_path_factory.mktemp("study") / "run"
    finished = _start(path, compiled)
    output, errors = finished.communicate()
    assert finished.returncode == 0, errors
    assert output.strip() == str(path / "index.html")
    return path


def _start(path: pathlib.Path, compiled: pathlib.Path, *, largest_file: int | None = None) -> "subprocess.Popen[str]":
    """A study in a process of its own, whose writes fail beyond `largest_file` bytes as they do on a full disk."""
    environment = os.environ | {
        "XLA_FLAGS": xla_flags(),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    command = [sys.executable, "-m", "jaxinterp", "study", str(RECIPE), "--workdir", str(path)]
    if largest_file is not None:
        limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({largest_file}, {largest_file}))"
        call = f"import sys; {limit}; from jaxinterp.cli import main; sys.exit(main({command[3:]}))"
        command = [sys.executable, "-c", call]
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_every_stage_is_finished(workdir):
    assert [stage for stage in STAGES if not (workdir / "stages" / f"{stage}.json").exists()] == []


def test_stored_images_are_what_the_tables_count(workdir):
    stored = data.adversarial_set(workdir / "adversarial" / "normal", split="adversarial")
    arrays = np.load(workdir / "stages" / "generate.normal.npz")
    assert len(stored) == len(arrays["id"]) == 48
    for index in (0, 17, 47):
        record = stored.record(index)
        np.testing.assert_array_equal(record.predictions, arrays["predictions"][index])
        np.testing.assert_allclose(record.rms, arrays["rms"][index], rtol=1e-5)
        assert record.target == arrays["target"][index] != record.label
    assert (arrays["id"] == arrays["source_id"] * 2 + np.tile([0, 1], 24)).all()


def test_top_sets_of_consistency_are_those_of_the_dissection(workdir):
    """From pooled activations as from the statistic, ties of silent units included."""
    arrays = np.load(workdir / "stages" / "dissect.robust.npz")
    silent = 0
    for kind in ("VGG-11/real", "VGG-11/adversarial", "AlexNet/stale"):
        ids, answers = top_ids(arrays[f"{kind}/strongest"], arrays[f"{kind}/id"])
        np.testing.assert_array_equal(ids.T, arrays[f"{kind}/top_ids"])
        np.testing.assert_array_equal(answers, arrays[f"{kind}/top_values"][:, -1] > 0)
        silent += int((~answers).sum())
    assert silent > 0


def test_the_page_stands_alone_and_has_every_part(workdir):
    page = (workdir / "index.html").read_text()
    for words in ("Table 1", "Table 2", "Fig. 8", "Fig. 9", "permuted", "sigma = 2", "IoU", "@", "under-powered", "PGD-2"):
        assert words in page, words
    assert 'src="http' not in page and "<script" not in page
    assert 'href="units/robust-VGG-11-conv5-2.html"' in page and len(list((workdir / "units").glob("*.html"))) == 4
    assert (
        "Bright, in the first 1 pictures, is what the unit needs"
        in (workdir / "units" / "normal-AlexNet-conv5.html").read_text()
    )
    assert "LC_U" in (workdir / "units" / "normal-AlexNet-conv5.csv").read_text()
    assert (workdir / "tables" / "units_that_align_with_a_concept.tex").is_file()
    assert len(list((workdir / "figures").glob("*.png"))) >= 12
    assert (workdir / "figures" / "attack_steps.png").is_file()


def test_manifest_says_where_it_comes_from(workdir):
    manifest = json.loads((workdir / "manifest.json").read_text())
    assert manifest["recipe"]["knobs"]["num_images"] == 96
    assert set(manifest) >= {"identity", "versions", "device", "commit", "recipe"}
    assert "def smoke" in manifest["recipe"]["text"]


def test_rerun_does_nothing_and_a_changed_knob_is_refused(workdir, capsys):
    before = {path: path.stat().st_mtime_ns for path in (workdir / "stages").iterdir()}
    assert main(["report", str(RECIPE), "--workdir", str(workdir)]) == 0
    assert main(["study", str(RECIPE), "--workdir", str(workdir)]) == 0
    capsys.readouterr()
    assert main(["study", str(RECIPE), "--workdir", str(workdir), "--epsilon", "4/255"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "knobs.epsilon was 0.03137" in error and "now 0.01568" in error
    assert {path: path.stat().st_mtime_ns for path in (workdir / "stages").iterdir()} == before


def test_stopped_and_resumed_ends_with_the_same_bytes(workdir, compiled, tmp_path):
    """Killed inside training and inside the writing of a shard, then stopped by a write that fails."""
    path = tmp_path / "run"
    kill(path, compiled, ["checkpoints/normal/VGG-11/2", "adversarial/normal/.*"])
    limited = _start(path, compiled, largest_file=1_000_000)
    output, errors = limited.communicate()
    assert (limited.returncode, output) == (2, "")
    said = [line for line in errors.splitlines() if not line.endswith(" ...") and " took " not in line]
    assert len(said) == 1 and said[0].startswith("jaxinterp: ") and "File too large; make room" in said[0], errors
    finish(workdir, path, compiled)


def kill(path: pathlib.Path, compiled: pathlib.Path, moments: list[str]) -> None:
    """Starts a study again and again, and kills it when each pattern first matches."""
    for pattern in moments:
        process = _start(path, compiled)
        deadline = time.monotonic() + 300
        while not list(path.glob(pattern)) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        assert process.poll() is None, f"the study ended before {pattern} was there"
        process.send_signal(signal.SIGKILL)
        process.communicate()


def finish(undisturbed: pathlib.Path, path: pathlib.Path, compiled: pathlib.Path) -> None:
    """Lets a study finish, and compares everything with the undisturbed one."""
    finished = _start(path, compiled)
    _, errors = finished.communicate()
    assert finished.returncode == 0, errors
    compare(undisturbed, path)


def compare(one: pathlib.Path, two: pathlib.Path) -> None:
    """Equal shards, weights and tables, byte by byte; times and the page's provenance may differ."""
    names = [
        path.relative_to(one)
        for path in sorted(one.rglob("*"))
        if path.is_file() and path.relative_to(one).parts[0] in ("adversarial", "weights", "stages")
    ]
    assert len(names) > 20
    different = [str(name) for name in names if (one / name).read_bytes() != (two / name).read_bytes()]
    assert different == []


@pytest.mark.slow
def test_killed_at_ten_moments(workdir, compiled, tmp_path):
    moments = [
        "checkpoints/normal/AlexNet/2",
        "checkpoints/normal/VGG-11/4",
        "weights/normal/VGG-11.safetensors",
        "adversarial/normal/.*",
        "adversarial/normal/*00001-of*",
        "stages/generate.normal.json",
        "stages/dissect.normal.json",
        "checkpoints/robust/AlexNet/4",
        "adversarial/robust/.*",
        "stages/dissect.robust.json",
    ]
    kill(tmp_path / "run", compiled, moments)
    finish(workdir, tmp_path / "run", compiled)
    shutil.rmtree(tmp_path / "run")
