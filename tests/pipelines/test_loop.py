"""The training loop: a run that is stopped, killed or damaged ends with the bytes of an undisturbed one."""

import os
import pathlib
import signal

import jax
import numpy as np
import optax
import pytest

from jaxinterp import _mesh, attacks, data, training
from jaxinterp.pipelines._loop import Watch, train_resumably
from jaxinterp.pipelines._stopping import Stopped
from jaxinterp.pipelines._training_log import read_log
from jaxinterp.pipelines._workdir import WorkDir
from tests.attacks.toys import CLASSES, SIZE, conv_model

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""Where a read fails, Orbax leaves the others running, whose answers then find no event loop."""

KEY, STEPS, ROWS = jax.random.key(3), 12, 4
OPTIONS = training.StepOptions(ema_decay=0.9)


class Killed(Exception):
    """Stands for a process that ends at once."""


def source():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (14, SIZE, SIZE, 3), dtype=np.uint8)
    return data.from_arrays(images, rng.integers(0, CLASSES, 14), classes=[f"n0000000{index}" for index in range(CLASSES)])


def run(folder, *, at=None, act=lambda: None, devices=2, objective=None, evaluate=None, key=KEY, filling=None, options=OPTIONS):
    """Trains; `act` is called after step `at`."""

    def keep(number, model):
        if number == at:
            act()

    return train_resumably(
        key,
        conv_model(),
        data.training_batches(source(), batch_size=ROWS, seed=5, num_threads=0),
        workdir=WorkDir(folder),
        mesh=_mesh.data_mesh(devices),
        name="toy",
        objective=objective or training.consistent(attacks.fgsm(4 / 255), layer="conv2"),
        optimizer=optax.adam(1e-2),
        num_steps=STEPS,
        batch_size=ROWS,
        num_checkpoints=4,
        options=options,
        filling=filling,
        watch=Watch(num_points=3, evaluate=evaluate, evaluate_every=5, keep=keep, log_ids=True),
    )


def content(trained, folder):
    """Weights, averages and logs, as bytes."""
    leaves = jax.tree.leaves((trained.model, trained.averaged))
    logs = sorted(pathlib.Path(folder, "logs").glob("*.jsonl"))
    return [np.asarray(leaf).tobytes() for leaf in leaves] + [log.read_bytes() for log in logs]


def bias(model):
    return {"head": float(np.asarray(model.params["head"]).sum())}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return content(run(folder, evaluate=bias), folder)


def begun(folder):
    """A run of a test may leave a manifest out; a work directory must have one to be used again."""
    (folder / "manifest.json").write_text('{"identity": {}}')
    return folder


def folder_in(folder, name):
    (folder / name).mkdir()
    return folder / name


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def kill():
    raise Killed


@pytest.mark.parametrize(
    ("at", "act", "raised"), [(5, terminate, Stopped), (3, kill, Killed), (8, kill, Killed), (1, kill, Killed)]
)
def test_a_stopped_or_killed_run_goes_on_with_the_same_bytes(tmp_path, undisturbed, at, act, raised):
    with pytest.raises(raised):
        run(begun(tmp_path), at=at, act=act, evaluate=bias)
    assert content(run(tmp_path, evaluate=bias), tmp_path) == undisturbed


def test_what_other_networks_add_is_the_same_after_a_kill_and_on_other_devices(tmp_path):
    """Keys of the filling go by the number of the step, and static networks make the same images on any number of devices."""
    static = training.adversaries_of((conv_model(1), conv_model(2)), attacks.pgd(4 / 255, num_steps=2, step_size=1 / 255))
    objective = training.ensemble_adversarial(attacks.fgsm(4 / 255), static_share=1.0)
    whole, cut, alone = (begun(folder_in(tmp_path, name)) for name in ("whole", "cut", "alone"))
    expected = run(whole, objective=objective, filling=static)
    with pytest.raises(Killed):
        run(cut, at=8, act=kill, objective=objective, filling=static)
    assert content(run(cut, objective=objective, filling=static), cut) == content(expected, whole)
    other = run(alone, devices=1, objective=objective, filling=static)
    same = jax.tree.map(lambda a, b: np.allclose(a, b, atol=1e-4), expected.model.params, other.model.params)
    assert all(jax.tree.leaves(same))
    with pytest.raises(ValueError, match=r"write filling=lambda: training\.adversaries_of"):
        run(begun(tmp_path), objective=objective)


def test_an_optimiser_in_pieces_is_saved_and_goes_on_on_other_devices(tmp_path):
    """With the same bytes on the same devices, and on others to the tolerance of sums in another order."""
    options = training.StepOptions(ema_decay=0.9, shard_optimizer=True)
    whole, cut, other = (begun(folder_in(tmp_path, name)) for name in ("whole", "cut", "other"))
    expected = run(whole, options=options)
    for folder, devices in ((cut, 2), (other, 4)):
        with pytest.raises(Killed):
            run(folder, at=8, act=kill, options=options)
        found = run(folder, options=options, devices=devices)
        if devices == 2:
            assert content(found, folder) == content(expected, whole)
        near = jax.tree.map(lambda a, b: np.allclose(a, b, atol=1e-4), expected.model.params, found.model.params)
        assert all(jax.tree.leaves(near))
    plain = run(begun(folder_in(tmp_path, "plain")))
    near = jax.tree.map(lambda a, b: np.allclose(a, b, atol=1e-4), expected.model.params, plain.model.params)
    assert all(jax.tree.leaves(near))


def test_a_request_saves_the_step_it_came_in(tmp_path):
    with pytest.raises(Stopped, match="stopped after step 5 of 12 and saved; run the same line again") as caught:
        run(begun(tmp_path), at=5, act=terminate)
    assert caught.value.step == 5
    assert (tmp_path / "checkpoints" / "toy" / "5").is_dir()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_no_image_is_skipped_or_repeated(tmp_path):
    with pytest.raises(Killed):
        run(begun(tmp_path), at=8, act=kill)
    run(tmp_path)
    lines = read_log(tmp_path / "logs" / "toy.ids.jsonl")
    batches = data.training_batches(source(), batch_size=ROWS, seed=5, num_threads=0)
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert [line["ids"] for line in lines] == [next(batches).id.tolist() for _ in range(STEPS)]


@pytest.mark.parametrize("harm", ["cut", "other bytes"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, undisturbed, harm, capsys):
    with pytest.raises(Killed):
        run(begun(tmp_path), at=11, act=kill, evaluate=bias)
    folder = tmp_path / "checkpoints" / "toy"
    assert sorted(int(path.name) for path in folder.iterdir()) == [6, 9]
    for path in [path for path in (folder / "9" / "state").rglob("d/*") if path.is_file()]:
        found = path.read_bytes()
        middle = len(found) // 2
        path.write_bytes(found[:middle] + (b"" if harm == "cut" else bytes([found[middle] ^ 255]) + found[middle + 1 :]))
    trained = run(tmp_path, evaluate=bias)
    assert "checkpoint 9 in" in (said := capsys.readouterr().err) and "cannot be read" in said
    assert content(trained, tmp_path) == undisturbed


def test_with_all_damaged_it_is_refused(tmp_path):
    with pytest.raises(Killed):
        run(begun(tmp_path), at=11, act=kill)
    for path in (tmp_path / "checkpoints" / "toy").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(ValueError, match="that can be read, got none; remove it to train from the start"):
        run(tmp_path)


def test_another_key_is_refused(tmp_path):
    with pytest.raises(Killed):
        run(begun(tmp_path), at=5, act=kill)
    with pytest.raises(ValueError, match="expected the key that toy was begun with, got another"):
        run(tmp_path, key=jax.random.key(4))


def test_it_goes_on_with_another_number_of_devices(tmp_path):
    with jax.enable_x64(True):
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
        whole = run(begun(tmp_path / "one"), devices=1)
        with pytest.raises(Killed):
            run(begun(tmp_path / "two"), at=7, act=kill, devices=4)
        moved = run(tmp_path / "two", devices=1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), whole.model, moved.model)


def test_memory_of_an_objective_is_kept(tmp_path):
    """The memory of this objective counts the steps that every row saw, and moves the loss."""

    def loss(key, model, batch, step, memory):
        logits, _, stats = model.train(batch.image, key=key)
        value = training.masked_mean(logits[:, 0] * (1 + memory), batch.mask)
        return value, (stats, {"loss": value})

    objective = training.Objective(
        loss,
        remember=lambda batch: jax.numpy.zeros(batch.label.shape[0]),
        renew=lambda memory, gradient, batch: memory + 1,
    )
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    expected = content(run(begun(one), objective=objective), one)
    with pytest.raises(Killed):
        run(begun(two), at=8, act=kill, objective=objective)
    assert content(run(two, objective=objective), two) == expected
