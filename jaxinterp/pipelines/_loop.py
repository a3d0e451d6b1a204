"""The training loop: one for every objective, checkpointed, and resumed where a killed or stopped run left it."""

import contextlib
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from jaxinterp import _mesh, data, training
from jaxinterp._base import Batch, Model
from jaxinterp.pipelines._checkpoints import Checkpoints
from jaxinterp.pipelines._context import progress
from jaxinterp.pipelines._stopping import Stopped, stop_requests
from jaxinterp.pipelines._training_log import means, open_logs
from jaxinterp.pipelines._workdir import WorkDir

HISTORY_POINTS = 60


class Speed(NamedTuple):
    """How long steps took, the first of a run, which compiles, apart.

    Attributes:
        seconds: of all of them.
        waiting: of these, seconds in which the loop waited for images.
        num_steps: how many.
    """

    seconds: float
    waiting: float
    num_steps: int

    def readings(self, batch_size: int) -> dict[str, float]:
        """Images a second, and the share of the time that was spent waiting for them; nothing before the second step."""
        if not self.num_steps:
            return {}
        return {"images_per_second": batch_size * self.num_steps / self.seconds, "waiting": self.waiting / self.seconds}


class Trained(NamedTuple):
    """What a training ends with.

    Attributes:
        model: as the last step left it.
        averaged: the same with the averaged weights, where they are kept.
        history: the means of the metrics between points.
        evaluations: what was found by evaluating.
        speed: of the steps of this run.
    """

    model: Model
    averaged: Model
    history: list[dict[str, Any]]
    evaluations: list[dict[str, Any]]
    speed: Speed


@dataclasses.dataclass(frozen=True)
class Watch:
    """What is looked at while a training goes on; none of it changes the weights.

    Attributes:
        num_points: over how many points of the history the metrics are averaged.
        evaluate: `(model) -> values`, asked of the averaged weights; None never.
        evaluate_every: steps between evaluations; the last step is evaluated in any case.
        events: write TensorBoard's event files too, into `events/` of the work directory.
        keep: called with the number of steps taken and the model after each of them, before the checkpoint is written, so
            that what it keeps of a step is never behind the checkpoint.
        log_ids: write the ids of every batch beside the metrics.
        profile: (first, last) step of a trace for TensorBoard's profiler, in `profile/`; None writes none.
    """

    num_points: int = HISTORY_POINTS
    evaluate: Callable[[Model], Mapping[str, float]] | None = None
    evaluate_every: int | None = None
    events: bool = False
    keep: Callable[[int, Model], None] | None = None
    log_ids: bool = False
    profile: tuple[int, int] | None = None


def train_resumably(
    key: jax.Array,
    model: Model,
    batches: data.TrainingBatches,
    *,
    workdir: WorkDir,
    mesh: Mesh,
    name: str,
    objective: training.Objective,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    batch_size: int,
    num_checkpoints: int,
    options: training.StepOptions = training.StepOptions(),  # noqa: B008 - a frozen record
    filling: training.Filling | None = None,
    watch: Watch = Watch(),
) -> Trained:
    """Trains a network over a mesh, with checkpoints in a work directory; goes on where a killed run stopped.

    A run that is killed, or asked to stop, and run again ends with the bytes of an undisturbed one, on the same devices; on
    another number of devices it goes on too, with sums in another order.

    Args:
        key: of the steps.
        model: where training starts.
        batches: the training images; on several hosts, of this one.
        workdir: where checkpoints and logs lie.
        mesh: the devices.
        name: of the log and of the folder of the checkpoints, and title of the progress bar.
        objective: what is minimised.
        optimizer: turns gradients into updates.
        num_steps: how many in all.
        batch_size: rows of a step, over all hosts.
        num_checkpoints: how many are written on the way, evenly spaced.
        options: how a step is computed.
        filling: what other networks add to every batch.
        watch: what is looked at.

    Returns:
        The trained model and the history.

    Raises:
        Stopped: after SIGTERM, when a checkpoint is on disk.
        ValueError: no checkpoint of those there can be read, or it is one of another key.
    """
    step = training.sharded_step(objective, optimizer, mesh, options=options)
    filled = _filled(key, filling, mesh)
    state = _begin(objective, optimizer, model, mesh, batch_size, options)
    every, point = max(1, num_steps // num_checkpoints), max(1, num_steps // watch.num_points)
    serial = mesh.size > 1 and _mesh.prefers_unrolled(mesh)
    clock = _Clock()
    recent: list[dict[str, Any]] = []
    with Checkpoints(workdir.folder(f"checkpoints/{name}")) as checkpoints, stop_requests() as asked_to_stop:
        restored = checkpoints.restore(_arrays(state))
        if restored is not None:
            if restored.rest["key"] != _key_data(key):
                raise ValueError(f"expected the key that {name} was begun with, got another; write --fresh to begin anew.")
            state, recent = _with_arrays(state, restored.arrays), restored.rest["recent"]
            batches.set_state(json.loads(restored.rest["batches"]))
        done = restored.step if restored is not None else 0
        with open_logs(workdir, name, done=done, events=watch.events, ids=watch.log_ids) as logs:
            for number in progress(range(done + 1, num_steps + 1), title=f"train {name.replace('/', ' ')}", unit="step"):
                with _profiled(watch, workdir, number), clock:
                    host = clock.wait_for(batches)
                    state, metrics = step(key, state, filled(number, _mesh.from_hosts(mesh, host)))
                    if serial:
                        # Two steps in flight can wait for each other's threads in a collective.
                        jax.block_until_ready(metrics)
                    recent.append(metrics)
                    if number % point == 0 or number == num_steps:
                        logs.metrics.write(number, means(recent), **clock.speed.readings(batch_size))
                        recent = []
                if logs.ids is not None:
                    logs.ids.write(number, {"ids": np.asarray(host.id).tolist()})
                if watch.evaluate is not None and _is_due(number, watch.evaluate_every, num_steps):
                    logs.evaluations.write(number, watch.evaluate(state.averaged))
                if watch.keep is not None:
                    watch.keep(number, state.model)
                stopping = asked_to_stop(number) and number < num_steps
                if (number % every == 0 or stopping) and number < num_steps:
                    logs.flush()
                    workdir.expect_room(_checkpoint_size(state), f"a checkpoint of {name.rpartition('/')[2]}")
                    recent = [{name: float(value) for name, value in entry.items()} for entry in recent]
                    rest = {"recent": recent, "key": _key_data(key), "batches": json.dumps(batches.get_state())}
                    checkpoints.save(number, _arrays(state), rest)
                if stopping:
                    checkpoints.wait()
                    raise Stopped(name, number, num_steps)
    return Trained(state.model, state.averaged, logs.metrics.lines, logs.evaluations.lines, clock.speed)


class _Clock:
    """Times what happens while it is entered; the first time, which compiles, does not count."""

    def __init__(self) -> None:
        self.speed = Speed(0.0, 0.0, 0)
        self._waited = self._begun = 0.0
        self._is_first = True

    def __enter__(self) -> "_Clock":
        self._begun = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        if not self._is_first:
            seconds, waiting, steps = self.speed
            self.speed = Speed(seconds + time.perf_counter() - self._begun, waiting + self._waited, steps + 1)
        self._is_first = False

    def wait_for(self, batches: data.TrainingBatches) -> Batch:
        """The next batch."""
        begun = time.perf_counter()
        batch = next(batches)
        self._waited = time.perf_counter() - begun
        return batch


def _begin(
    objective: training.Objective,
    optimizer: optax.GradientTransformation,
    model: Model,
    mesh: Mesh,
    batch_size: int,
    options: training.StepOptions,
) -> training.TrainState:
    """The state before the first step, on the devices, in memory of its own: the model given is not donated."""
    memory = objective.remember(abstract_batch(model.image_size, batch_size))
    state = training.init_state(optimizer, model, memory=memory, average=options.ema_decay is not None)
    state = jax.tree.map(jax.numpy.array, state)
    return jax.device_put(state, training.state_shardings(state, mesh, options=options))


def _filled(key: jax.Array, filling: training.Filling | None, mesh: Mesh) -> Callable[[int, Batch], Batch]:
    """Number of a step and its batch -> the batch with what other networks add; keys of its own, by the step's number."""
    if filling is None:
        return lambda number, batch: batch
    # No step has this number.
    own = jax.random.fold_in(key, np.iinfo(np.uint32).max)
    networks = jax.device_put(filling.networks, _mesh.replicated(mesh))

    @functools.partial(jax.jit, out_shardings=_mesh.sharded(mesh))
    def fill(number: jax.Array, networks: tuple[Model, ...], batch: Batch) -> Batch:
        return batch._replace(extra={**batch.extra, **filling.fill(jax.random.fold_in(own, number), networks, batch)})

    return lambda number, batch: fill(np.uint32(number), networks, batch)


def abstract_batch(image_size: int, rows: int) -> Batch:
    """A batch of shapes.

    Args:
        image_size: side of the images in pixels.
        rows: how many.
    """
    numbers = jax.ShapeDtypeStruct((rows,), np.int32)
    fields: dict[str, Any] = dict.fromkeys(("label", "target", "id", "source_id"), numbers)
    image = jax.ShapeDtypeStruct((rows, image_size, image_size, 3), np.float32)
    return Batch(image=image, mask=jax.ShapeDtypeStruct((rows,), bool), extra={}, **fields)  # pyright: ignore[reportArgumentType]


def _is_due(number: int, every: int | None, last: int) -> bool:
    return number == last or (every is not None and number % every == 0)


@contextlib.contextmanager
def _profiled(watch: Watch, workdir: WorkDir, number: int) -> Iterator[None]:
    """Begins a trace at its first step and ends it after its last one."""
    first, last = watch.profile or (0, 0)
    if number == first:
        jax.profiler.start_trace(str(workdir.folder("profile")))
    yield
    if number == last:
        jax.profiler.stop_trace()


def _key_data(key: jax.Array) -> list[int]:
    return np.asarray(jax.random.key_data(key)).tolist()


def _arrays(state: training.TrainState) -> dict[str, Any]:
    """What of a state goes into a checkpoint: all but the architecture, which the recipe builds."""
    rest = {"memory": state.memory, "average": state.average}
    return {
        "params": state.model.params,
        "stats": state.model.stats,
        "optimizer_state": state.optimizer_state,
        "step": state.step,
        **{name: value for name, value in rest.items() if jax.tree.leaves(value)},
    }


def _with_arrays(state: training.TrainState, stored: dict[str, Any]) -> training.TrainState:
    model = dataclasses.replace(state.model, params=stored["params"], stats=stored["stats"])
    memory, average = stored.get("memory", state.memory), stored.get("average", state.average)
    return training.TrainState(model, stored["optimizer_state"], stored["step"], memory, average)


def _checkpoint_size(state: training.TrainState) -> int:
    """Bytes of a checkpoint, from above: the arrays, and a MiB for what Orbax writes about them."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(_arrays(state))) * 11 // 10 + 2**20
