"""Training batches over several hosts, replayed, and resumed."""

import dataclasses
import itertools
import json
import multiprocessing
import os
import socket
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest

from jaxinterp import data
from tests.data.test_loader import Numbers, same

SOURCE = Numbers(22)
KNOBS = {"batch_size": 6, "seed": 5, "flip": True, "read_concepts": True}


def stacked(parts):
    """Batches of hosts, one below the other."""
    return jax.tree.map(lambda *rows: np.concatenate(rows), *parts)


@pytest.mark.parametrize("num_hosts", [2, 3, 6])
def test_the_batches_of_all_hosts_are_the_batch_of_one(num_hosts):
    whole = list(data.training_batches(SOURCE, num_epochs=3, **KNOBS))
    hosts = [data.training_batches(SOURCE, num_epochs=3, host=(index, num_hosts), **KNOBS) for index in range(num_hosts)]
    assert {stream.batches_per_epoch for stream in hosts} == {3}
    parts = list(zip(*hosts, strict=True))
    assert len(parts) == len(whole) == 9
    assert all(len(part.id) == 6 // num_hosts for row in parts for part in row)
    assert all(same(stacked(row), batch) for row, batch in zip(parts, whole, strict=True))


def test_a_host_reads_its_own_rows_only():
    class Counting(Numbers):
        def __getitem__(self, index, /):
            read.append(index)
            return super().__getitem__(index)

    read = []
    batch = next(data.training_batches(Counting(22), host=(1, 3), num_threads=0, **KNOBS))
    assert [100 + index for index in read] == batch.id.tolist() and len(read) == 2


def test_the_state_of_one_host_restores_another_number_of_hosts():
    whole = list(itertools.islice(data.training_batches(SOURCE, **KNOBS), 8))
    pair = [data.training_batches(SOURCE, host=(index, 2), **KNOBS) for index in range(2)]
    for stream in pair:
        for _ in range(4):
            next(stream)
    states = [json.dumps(stream.get_state()) for stream in pair]
    assert states[0] == states[1]
    trio = [data.training_batches(SOURCE, host=(index, 3), **KNOBS) for index in range(3)]
    alone = data.training_batches(SOURCE, num_threads=0, **KNOBS)
    for stream in (*trio, alone):
        stream.set_state(json.loads(states[0]))
    for batch in whole[4:]:
        assert same(stacked([next(stream) for stream in trio]), batch) and same(next(alone), batch)


HOST = """
import sys
import jax
import numpy as np
from jaxinterp import _mesh, data
index, port = int(sys.argv[1]), sys.argv[2]
jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=index)
images = np.random.default_rng(0).integers(0, 256, (11, 4, 4, 3), np.uint8)
source = data.from_arrays(images, np.zeros(11, np.int32), classes=("a",))
sharding = _mesh.sharded(_mesh.data_mesh())
stream = data.training_batches(
    source, batch_size=4, seed=3, flip=True, host=(jax.process_index(), jax.process_count()), num_threads=0
)
whole = data.training_batches(source, batch_size=4, seed=3, flip=True, num_threads=0)
for _ in range(3):
    part, wanted = next(stream), next(whole)
    assert len(part.id) == 2
    rows = jax.tree.map(lambda array: jax.make_array_from_process_local_data(sharding, array), part)
    together = jax.jit(lambda batch: batch, out_shardings=_mesh.replicated(sharding.mesh))(rows)
    for found, value in zip(jax.tree.leaves(together), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(np.asarray(found), value)
print("same")
"""


def test_two_processes_share_a_batch():
    """For real: each process reads its rows, and the array that they make is the batch of one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    command = [sys.executable, "-c", HOST]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    hosts = [subprocess.Popen([*command, str(index), port], **pipes) for index in range(2)]
    try:
        said = [host.communicate(timeout=120) for host in hosts]
    finally:
        for host in hosts:
            host.kill()
    assert all(output.endswith("same\n") for output, _ in said), said


def test_repeats_give_each_batch_in_a_row():
    plain = list(data.training_batches(SOURCE, num_epochs=2, **KNOBS))
    stream = data.training_batches(SOURCE, num_epochs=2, repeats=3, **KNOBS)
    assert stream.batches_per_epoch == 9
    found = list(stream)
    assert len(found) == 18 and all(same(found[index], plain[index // 3]) for index in range(18))
    assert next(stream, None) is None


@pytest.mark.parametrize("stop", [0, 1, 2, 3, 7])
def test_resumed_in_the_middle_of_the_repeats(stop):
    knobs = {**KNOBS, "repeats": 3}
    whole = list(itertools.islice(data.training_batches(SOURCE, **knobs), 12))
    first = data.training_batches(SOURCE, **knobs)
    for _ in range(stop):
        next(first)
    state = json.loads(json.dumps(first.get_state()))
    resumed = data.training_batches(SOURCE, host=(0, 2), **knobs)
    next(resumed)
    resumed.set_state(state)
    for batch in whole[stop:]:
        assert same(next(resumed), jax.tree.map(lambda rows: rows[:3], batch))
    assert resumed.get_state()["step"] == 12


def test_a_longer_training_goes_on_from_a_shorter_one():
    short = data.training_batches(SOURCE, num_epochs=1, **KNOBS)
    whole = list(data.training_batches(SOURCE, num_epochs=2, **KNOBS))
    assert len(list(short)) == 3
    longer = data.training_batches(SOURCE, num_epochs=2, **KNOBS)
    longer.set_state(short.get_state())
    assert all(same(a, b) for a, b in zip(longer, whole[3:], strict=True))


def test_closed_batches_go_on_where_they_stood():
    whole = list(itertools.islice(data.training_batches(SOURCE, **KNOBS), 4))
    stream = data.training_batches(SOURCE, **KNOBS)
    assert same(next(stream), whole[0])
    stream.close()
    assert all(same(next(stream), batch) for batch in whole[1:])


@pytest.mark.parametrize("num_threads", [0, 2])
def test_a_damaged_image_is_met_again_not_skipped(num_threads):
    first = next(data.training_batches(SOURCE, **KNOBS))
    broken = Numbers(22, broken=int(first.id[2]) - 100)
    stream = data.training_batches(broken, num_threads=num_threads, **KNOBS)
    for _ in range(2):
        with pytest.raises(ValueError, match="damaged one"):
            next(stream)
    assert stream.get_state()["step"] == 0


def processes_too(generator, example):
    """Says in the label which process it ran in."""
    assert generator.random() < 1
    return example._replace(label=os.getpid())


def test_processes_give_the_same_batches_and_the_same_states():
    whole = list(itertools.islice(data.training_batches(SOURCE, **KNOBS), 8))
    before = multiprocessing.active_children()
    stream = data.training_batches(SOURCE, num_workers=1, host=(1, 2), **KNOBS)
    for batch in whole[:5]:
        found = next(stream)
        assert same(found, jax.tree.map(lambda rows: rows[3:], batch)) and type(found.image) is np.ndarray
    state = json.loads(json.dumps(stream.get_state()))
    alone = data.training_batches(SOURCE, **KNOBS)
    alone.set_state(state)
    assert same(next(alone), whole[5]) and len(multiprocessing.active_children()) == len(before) + 1
    stream.set_state(alone.get_state())
    assert multiprocessing.active_children() == before  # nothing is read before it is asked for
    assert same(next(stream), jax.tree.map(lambda rows: rows[3:], whole[6]))
    stream.close()
    assert multiprocessing.active_children() == before


def test_errors_of_processes_arrive_and_end_them():
    before = multiprocessing.active_children()
    broken = dataclasses.replace(SOURCE, broken=3)
    stream = data.training_batches(broken, num_workers=1, num_epochs=1, augment=processes_too, **{**KNOBS, "batch_size": 11})
    with pytest.raises(ValueError, match=r"damaged one: 3\.png") as caught:
        for batch in stream:
            assert not np.any(batch.label == os.getpid())
    assert "\n" not in str(caught.value) and multiprocessing.active_children() == before


def test_several_processes_interleave_in_order():
    whole = list(data.training_batches(SOURCE, num_epochs=3, **KNOBS))
    stream = data.training_batches(SOURCE, num_epochs=3, num_workers=2, **KNOBS)
    assert all(same(a, b) for a, b in zip(stream, whole, strict=True))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"num_workers": -1}, "num_workers of at least 0, got -1"),
        ({"host": (2, 2)}, r"expected host=\(index, count\) with an index from 0 to count - 1, got \(2, 2\)"),
        ({"host": (-1, 2)}, r"got \(-1, 2\)"),
        ({"host": (0, 0)}, r"got \(0, 0\)"),
        ({"host": (0, 4)}, "expected a batch_size that 4 hosts can share, got 6; write a multiple of 4"),
        ({"repeats": 0}, "expected each batch at least once, got repeats=0"),
        ({"num_threads": -1}, "num_threads of at least 0, got -1"),
    ],
)
def test_refused(knobs, message):
    with pytest.raises(ValueError, match=message) as caught:
        data.training_batches(SOURCE, **KNOBS, **knobs)
    assert "\n" not in str(caught.value)


def test_states_of_other_repeats_are_refused():
    state = data.training_batches(SOURCE, **KNOBS).get_state()
    with pytest.raises(ValueError, match=r"use the source, seed, .*, flip, augment, repeats"):
        data.training_batches(SOURCE, repeats=2, **KNOBS).set_state(state)
