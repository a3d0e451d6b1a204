"""One training from the command line: its files, its page, its errors, and several hosts."""

import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxinterp import _mesh, attacks, data, models, pipelines
from jaxinterp.cli import STOPPED, main
from jaxinterp.pipelines._context import evenly
from jaxinterp.pipelines._fit import evaluated
from jaxinterp.pipelines._training_log import read_log
from tests.attacks.toys import SIZE, conv_model
from tests.pipelines.fitted import fitted

RECIPE = str(pathlib.Path(__file__).parent / "fitted.py")
ROOT = pathlib.Path(__file__).resolve().parents[2]


def train(folder, *arguments):
    return main(["train", RECIPE, "--workdir", str(folder), *arguments])


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit") / "run"
    assert train(folder, "--log-ids", "--devices", "4") == 0
    return folder


def test_files_and_page(done):
    weights = load_file(done / "weights" / "network.safetensors")
    assert sum(array.size for array in weights.values()) == sum(leaf.size for leaf in jax.tree.leaves(fitted().build().params))
    values = json.loads((done / "stages" / "fit.json").read_text())
    assert values["num_images"] == {"clean": 11, "clean_attacked": 7, "fgsm": 7, "pgd": 7, "transferred": 7}
    assert [line["step"] for line in values["history"]] == [2, 4, 6]
    assert [line["step"] for line in values["evaluations"]] == [3, 6]
    assert values["evaluations"][-1]["pgd"] == values["accuracy"]["pgd"]["estimate"]
    page = (done / "index.html").read_text()
    for words in ("under PGD", "attacked on another network", "95 % interval", "averaged weights", "feature distance"):
        assert words in page
    assert list((done / "events" / "network" / "metrics").glob("events*"))
    assert len(read_log(done / "logs" / "network.ids.jsonl")) == 6


def test_the_averaged_weights_are_saved(done):
    """They are what was evaluated; training on from them is another thing."""
    weights = load_file(done / "weights" / "network.safetensors")
    start = fitted().build().params
    moved = {
        name: np.abs(weights[found] - np.asarray(start[name])).max() for name in start for found in weights if name in found
    }
    assert moved and all(0 < value < 0.05 for value in moved.values())


def test_the_same_line_again_does_nothing_and_another_is_refused(done, capsys):
    before = (done / "weights" / "network.safetensors").stat().st_mtime_ns
    assert train(done, "--devices", "4") == 0
    assert (done / "weights" / "network.safetensors").stat().st_mtime_ns == before
    assert train(done, "--num-steps", "7") == 2
    assert "is the work directory of another recipe: knobs.num_steps was 6, now 7" in capsys.readouterr().err


def _held_out(fit):
    assert fit.held_out is not None
    return fit.held_out()


def test_a_black_box_must_see_the_same_images_and_classes():
    other = models.at_size(conv_model(1), 2 * SIZE)
    settings = pipelines.Robustness(epsilon=4 / 255, num_images=7, transferred_from=lambda: other)
    fit = dataclasses.replace(fitted(), robustness=settings)
    with pytest.raises(ValueError, match=f"expected transferred_from= a network of image_size {SIZE}, .* got {2 * SIZE}"):
        evaluated(fit, fit.build(), _held_out(fit), _mesh.data_mesh(1))


def test_accuracy_under_a_black_box_is_that_on_its_adversarial_images():
    """The attack sees the other network; the one that is measured sees the attack's answers."""
    fit, mesh = fitted(), _mesh.data_mesh(1)
    model, other, held_out = fit.build(), conv_model(1), _held_out(fit)
    found = evaluated(fit, model, held_out, mesh)["transferred"]
    some = data.subset(held_out, evenly(7, 11).tolist())
    batch = next(data.batches(some, batch_size=7))
    answer = attacks.run_batch(attacks.mi_fgsm(4 / 255), other, batch, key=jax.random.key(0)).adversarial
    np.testing.assert_array_equal(found, np.asarray(model(answer)[0]).argmax(axis=1) == batch.label)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-size", "7"], "expected a batch_size that 4 devices share, got 7"),
        (["--num-steps", "0"], "expected num_steps of at least 1, got 0"),
        (["--host", "1"], "expected --coordinator, --num-hosts and --host together"),
    ],
)
def test_bad_input_is_one_line(tmp_path, arguments, message, capsys):
    assert train(tmp_path / "run", "--devices", "4", *arguments) == 2
    assert message in (said := capsys.readouterr().err) and said.count("\n") == 1


def test_another_verb_is_refused(tmp_path, capsys):
    assert main(["study", RECIPE, "--workdir", str(tmp_path / "run")]) == 2
    assert (
        "expected a recipe that fits the verb 'study', got one of one training; write jaxinterp train"
        in capsys.readouterr().err
    )


def test_show(capsys):
    assert main(["show", RECIPE]) == 0
    assert "6 steps of 8 images" in (said := capsys.readouterr().out) and "conv2" in said


def started(folder, *arguments, devices=2):
    """The command in a process of its own."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "jaxinterp", "train", RECIPE, "--workdir", str(folder), "--devices", str(devices)]
    return subprocess.Popen(
        [*line, *arguments], env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_sigterm_ends_it_with_143_and_the_same_line_resumes(tmp_path):
    steps = ("--num-steps", "2000", "--log-ids")
    process = started(tmp_path / "run", *steps)
    while not read_log(tmp_path / "run" / "logs" / "network.ids.jsonl"):
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == STOPPED, said
    assert "of 2000 and saved; run the same line again, which resumes." in said


@pytest.mark.slow
@pytest.mark.parametrize("knobs", [(), ("--shard-optimizer",)])
def test_two_processes_are_one(tmp_path, knobs):
    """Two hosts of two devices each, on loopback, against one of four: losses and weights of twenty steps."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    steps = ("--num-steps", "20", "--log-ids")
    joined = ("--coordinator", f"localhost:{port}", "--num-hosts", "2", "--host")
    hosts = [started(tmp_path / "two", *steps, *knobs, *joined, str(host)) for host in range(2)]
    said = [process.communicate(timeout=300)[1] for process in hosts]
    assert [process.returncode for process in hosts] == [0, 0], said
    alone = started(tmp_path / "one", *steps, devices=4)
    assert alone.communicate(timeout=300) and alone.returncode == 0
    one, two = (load_file(tmp_path / name / "weights" / "network.safetensors") for name in ("one", "two"))
    for name, array in one.items():
        np.testing.assert_allclose(two[name], array, rtol=1e-4, atol=1e-5)
    one, two = (read_log(tmp_path / name / "logs" / "network.metrics.jsonl") for name in ("one", "two"))
    assert len(one) == len(two) == 4
    for first, second in zip(one, two, strict=True):
        np.testing.assert_allclose(list(second.values()), list(first.values()), rtol=1e-4)
    one, two = (read_log(tmp_path / name / "logs" / "network.ids.jsonl") for name in ("one", "two"))
    assert [line["ids"][:4] for line in one] == [line["ids"] for line in two]
