"""Work directories: whole files or none, one identity each."""

import numpy as np
import pytest

from jaxinterp.pipelines import WorkDir
from jaxinterp.pipelines._workdir import PARTIAL


def test_a_stage_is_finished_once_saved(tmp_path):
    workdir = WorkDir(tmp_path / "run")
    assert not workdir.finished("generate.normal")
    with pytest.raises(ValueError, match=r"stage 'generate\.normal' is not finished"):
        workdir.load("generate.normal")
    workdir.save("generate.normal", {"n": 3}, {"a/b": np.arange(3)})
    values, arrays = workdir.load("generate.normal")
    assert workdir.finished("generate.normal") and values == {"n": 3}
    np.testing.assert_array_equal(arrays["a/b"], np.arange(3))


def test_another_identity_is_refused_and_fresh_discards(tmp_path):
    workdir = WorkDir(tmp_path)
    workdir.claim({"knobs": {"epsilon": 0.1}}, {})
    workdir.save("inspect", {}, {})
    workdir.claim({"knobs": {"epsilon": 0.1}}, {"commit": "other"})
    assert workdir.finished("inspect")
    with pytest.raises(ValueError, match=r"another recipe: knobs\.epsilon was 0\.1, now 0\.2; write --fresh"):
        workdir.claim({"knobs": {"epsilon": 0.2}}, {})
    assert workdir.finished("inspect")
    workdir.claim({"knobs": {"epsilon": 0.2}}, {}, fresh=True)
    assert not workdir.finished("inspect")


def test_foreign_folders_are_not_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match="holds other things"):
        WorkDir(tmp_path)
    with pytest.raises(ValueError, match="got the file"):
        WorkDir(tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_a_killed_write_leaves_the_old_file(tmp_path):
    workdir = WorkDir(tmp_path)
    workdir.write_text("stages/a.json", "old")
    with pytest.raises(KeyboardInterrupt), workdir.replacing(tmp_path / "stages" / "a.json") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert (tmp_path / "stages" / "a.json").read_text() == "old"
    left = tmp_path / "stages" / f".b.json{PARTIAL}"
    left.write_text("of a killed process")
    workdir.claim({}, {})
    WorkDir(tmp_path)
    assert not left.exists()


def test_too_little_room_is_said_before_anything_is_written(tmp_path):
    workdir = WorkDir(tmp_path / "run")
    workdir.expect_room(1, "a checkpoint")
    with pytest.raises(OSError, match=r"expected [\d,]+.0 MiB free in .*run for a checkpoint, got [\d,]+\.\d MiB; make room"):
        workdir.expect_room(2**60, "a checkpoint")
