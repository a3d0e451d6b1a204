"""Running an attack: on plain arrays, or on a batch."""

import collections
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Bool, Float, Integer

from jaxinterp import _mesh
from jaxinterp._base import Attack, Batch, check_images
from jaxinterp.attacks._compact import costs_so_far, put_back, rows_to_keep, take
from jaxinterp.attacks._criterion import joint_success, rms_distortion
from jaxinterp.attacks._loss import members

INIT = 2**32 - 1
"""Folded into the key for `init`; step `i` folds in `i`."""

LAG = 1
"""Steps after which the Python loop looks which rows were done: the device is at work on the newer ones meanwhile."""


class Result(NamedTuple):
    """What an attack made of plain arrays.

    Attributes:
        adversarial: `[n h w c]` in [0, 1].
        success: `[n]` bool, by the attack's criterion: every model predicts the target, or, without a target, no model predicts
            the label. Whatever loss an attack had, a given target counts; for `fab(towards="target")` alone it does not.
        distortion: `[n]`, RMS difference from the clean image in [0, 1] units.
        queries: `[n]`, the images on which the model was asked for each of them; None where the attack does not count.
    """

    adversarial: Array
    success: Array
    distortion: Array
    queries: Array | None = None


def run(
    attack: Attack,
    model: Any,
    images: Float[Array, "n h w c"] | Float[np.ndarray, "n h w c"],
    labels: Integer[Array, "n"] | Integer[np.ndarray, "n"],
    *,
    key: Array,
    targets: Integer[Array, "n"] | Integer[np.ndarray, "n"] | None = None,
    mesh: Mesh | None = None,
    unroll: bool | None = None,
) -> Result:
    """Runs an attack on plain arrays.

    Args:
        attack: built once, used often: its compiled programs belong to the object.
        model: a model, fused models among them, or a tuple of models for an attack with an ensemble loss.
        images: clean, in [0, 1].
        labels: true classes.
        key: the same key gives the same answer.
        targets: classes to aim at, -1 for none; only attacks with a targeted loss aim at them.
        mesh: devices over which the images are split, however many there are of either; the model is copied to each. None: the
            devices of the images, where they are split already, else JAX's default device.
        unroll: see `run_batch`.

    Returns:
        Adversarial images, success (without a draw of the networks), distortion, and queries where they are counted.

    Raises:
        ValueError: images, labels or targets of another shape, type or range than stated.

    Example:
        >>> import jax, numpy as np, jaxinterp as ji
        >>> from jaxinterp import attacks, models
        >>> model = models.resnet18(num_classes=10, width=1 / 8, image_size=64, output_stride=8, key=jax.random.key(0))
        >>> images, labels = np.full((2, 64, 64, 3), 0.5, np.float32), np.array([3, 7])
        >>> result = attacks.run(attacks.fgsm(8 / 255), model, images, labels, key=jax.random.key(1))
        >>> bool(abs(result.adversarial - images).max() <= 8 / 255 + 1e-6)
        True
        >>> mesh = jax.make_mesh((jax.device_count(),), ("data",))  # all devices that there are
        >>> split = attacks.run(attacks.fgsm(8 / 255), model, images, labels, key=jax.random.key(1), mesh=mesh)
        >>> bool(abs(split.adversarial - result.adversarial).max() < 1e-6)
        True
    """
    batch = plain_batch(model, images, labels, targets)
    key, model, batch = laid_out(key, model, batch, mesh)
    state = run_batch(attack, model, batch, key=key, unroll=unroll)
    return result_of(attack, model, state, batch, count=len(images))


def plain_batch(model: Any, images: Any, labels: Any, targets: Any) -> Batch:
    """The batch that plain arrays make, as `run` takes them.

    Raises:
        ValueError: images, labels or targets of another shape, type or range than `run` states.
    """
    num_classes = {member.num_classes for member in members(model)}
    if len(num_classes) != 1:
        raise ValueError(f"expected models of one class list, got {sorted(num_classes)} classes; leave out those that differ.")
    check_images(jnp.asarray(images))
    _check_values(np.asarray(images))
    count = images.shape[0]
    _check_classes("labels", labels, count, 0, num_classes.pop())
    if targets is None:
        targets = np.full(count, -1, np.int32)
    _check_classes("targets", targets, count, -1, members(model)[0].num_classes)
    ids = jnp.arange(count, dtype=jnp.int32)
    return Batch(
        image=jnp.asarray(images),
        label=jnp.asarray(labels, jnp.int32),
        target=jnp.asarray(targets, jnp.int32),
        id=ids,
        source_id=ids,
        mask=jnp.ones(count, bool),
        extra={},
    )


def laid_out(key: Array, model: Any, batch: Batch, mesh: Mesh | None) -> tuple[Array, Any, Batch]:
    """Key, model and batch on the devices of a mesh, see `run`; rows that do not count are added until all have as many."""
    sharding = batch.image.sharding
    if mesh is None:
        if not isinstance(sharding, NamedSharding) or sharding.mesh.size == 1 or isinstance(sharding.mesh, AbstractMesh):
            return key, model, batch
        mesh = sharding.mesh
    mesh = _mesh.data_parallel(mesh)
    key, model = jax.device_put((key, model), _mesh.replicated(mesh))
    rows = jax.tree.map(functools.partial(_mesh.split_rows, mesh), batch)
    counts = _mesh.split_rows(mesh, np.arange(len(rows.id)) < len(batch.id))
    return key, model, rows._replace(id=jnp.where(counts, rows.id, -1), mask=counts)


def result_of(attack: Attack, model: Any, state: Any, batch: Batch, *, count: int) -> Result:
    """What `run` tells of the first `count` rows of the last state."""
    success, distortion = _measure(attack.criterion or joint_success, model, state.adversarial, batch)
    found = Result(state.adversarial, success, distortion, queries=getattr(state, "queries", None))
    return found if count == len(batch.id) else jax.tree.map(lambda leaf: leaf[:count], found)


def run_batch(attack: Attack, model: Any, batch: Batch, *, key: Array, unroll: bool | None = None) -> Any:
    """Runs an attack on a batch, without waiting for the device; works on sharded batches and inside `jit` and `vmap`.

    Args:
        attack: built once, used often: its compiled programs belong to the object.
        model: a model or a tuple of models.
        batch: images may be sharded along `n`; the state then is too. One of NumPy arrays is put on the default device.
        key: the same key gives the same answer. Step `i` gets it folded with `i`.
        unroll: True loops in Python over one compiled step, False is one compiled loop. By default
            decided by the platform that holds the images: on CPU convolutions inside a compiled loop run at half speed.

    Returns:
        The last state; `.adversarial` is the answer. An attack whose state has `done` `[n]` ends early, once every row that
        `batch.mask` counts is done; the Python loop notices that a step late, which changes no row that is done. It also
        goes on with a smaller batch where rows of an attack of kind "query" are done and what that saves is worth another
        program.
    """
    batch = _on_device(batch)
    unroll, sharding = _how(batch, unroll)
    if not unroll:
        return _scan(attack, key, model, batch, sharding=sharding)
    state = whole = _init(attack, key, model, batch, sharding=sharding)
    all_rows, count = np.arange(batch.id.shape[0]), batch.id.shape[0]
    kept, part, noticed = all_rows, batch, collections.deque[Array]()
    for index in range(attack.num_steps):
        state, _ = _step(attack, key, state, model, part, index=index, sharding=sharding)
        if not hasattr(state, "done") or isinstance(state.done, Tracer) or not state.done.is_fully_addressable:
            continue
        noticed.append(state.done)
        if len(noticed) <= LAG:
            continue
        done, mask = np.asarray(noticed.popleft()), np.asarray(part.mask)
        if np.all(done | ~mask):
            break
        if attack.kind != "query":
            continue
        costs = costs_so_far(attack, jax.tree.structure(model), batch.image.shape, sharding)
        pixels, steps_left = math.prod(batch.image.shape[1:3]), attack.num_steps - index
        fewer = rows_to_keep(done, mask, sharding, whole=count, pixels=pixels, steps_left=steps_left, costs=costs)
        if fewer is not None:
            whole = put_back(whole, state, kept, count=count, sharding=sharding)
            kept = kept[fewer]
            state, part = take((whole, batch), kept, count=count, sharding=sharding)
            noticed.clear()
    return state if kept is all_rows else put_back(whole, state, kept, count=count, sharding=sharding)


def run_with_info(attack: Attack, model: Any, batch: Batch, *, key: Array, unroll: bool | None = None) -> tuple[Any, Any]:
    """Runs an attack on a batch and keeps what every step saw: its loss, say, or the norm of the perturbation.

    All `num_steps` steps are run, whether or not rows are done.

    Args:
        attack: as for `run_batch`, and so are the others.
        model: a model or a tuple of models.
        batch: images and what is aimed at.
        key: the same key gives the same answer as `run_batch`.
        unroll: see `run_batch`.

    Returns:
        The last state, and the infos of the steps, each leaf with a leading axis of `num_steps`.
    """
    batch = _on_device(batch)
    unroll, sharding = _how(batch, unroll)
    if not unroll:
        return _scan_with_info(attack, key, model, batch, sharding=sharding)
    state, infos = _init(attack, key, model, batch, sharding=sharding), []
    for index in range(attack.num_steps):
        state, info = _step(attack, key, state, model, batch, index=index, sharding=sharding)
        infos.append(info)
    return state, jax.tree.map(lambda *leaves: jnp.stack(leaves), *infos)


def _on_device(batch: Batch) -> Batch:
    """A batch as `data.batches` reads it is NumPy's: copied once, and not in every step."""
    return batch if isinstance(batch.image, jax.Array) else jax.device_put(batch)


def _how(batch: Batch, unroll: bool | None) -> tuple[bool, NamedSharding | None]:
    """Whether to loop in Python, and how the rows are split over devices."""
    image = batch.image
    if isinstance(image, Tracer):
        return bool(unroll), None
    on_cpu = next(iter(image.devices())).platform == "cpu"
    sharding = image.sharding if isinstance(image.sharding, NamedSharding) else None
    return on_cpu if unroll is None else unroll, sharding


@functools.partial(jax.jit, static_argnames=("attack", "sharding"))
def _init(attack: Attack, key: Array, model: Any, batch: Batch, *, sharding: NamedSharding | None) -> Any:
    return _keep_sharded(attack.init(jax.random.fold_in(key, np.uint32(INIT)), model, batch), sharding, batch)


# The state is not donated: with the calls interleaved on a CPU that was no faster, it saves the memory of one state only, and
# it warns where the attack closes over a value that `vmap` maps, since the new state is then larger than the old one.
@functools.partial(jax.jit, static_argnames=("attack", "sharding"))
def _step(
    attack: Attack, key: Array, state: Any, model: Any, batch: Batch, *, index: Any, sharding: NamedSharding | None
) -> tuple[Any, Any]:
    state, info = attack.step(jax.random.fold_in(key, index), state, model, batch)
    return _keep_sharded(state, sharding, batch), info


@functools.partial(jax.jit, static_argnames=("attack", "sharding"))
def _scan(attack: Attack, key: Array, model: Any, batch: Batch, *, sharding: NamedSharding | None) -> Any:
    def step(state: Any, index: Array) -> tuple[Any, None]:
        return _step(attack, key, state, model, batch, index=index, sharding=sharding)[0], None

    state = _init(attack, key, model, batch, sharding=sharding)
    if not hasattr(state, "done"):
        return jax.lax.scan(step, state, jnp.arange(attack.num_steps))[0]
    _, state = jax.lax.while_loop(
        lambda carry: (carry[0] < attack.num_steps) & ~jnp.all(carry[1].done | ~batch.mask),
        lambda carry: (carry[0] + 1, step(carry[1], carry[0])[0]),
        (jnp.zeros((), jnp.int32), state),
    )
    return state


@functools.partial(jax.jit, static_argnames=("attack", "sharding"))
def _scan_with_info(attack: Attack, key: Array, model: Any, batch: Batch, *, sharding: NamedSharding | None) -> tuple[Any, Any]:
    def step(state: Any, index: Array) -> tuple[Any, Any]:
        return _step(attack, key, state, model, batch, index=index, sharding=sharding)

    state = _init(attack, key, model, batch, sharding=sharding)
    return jax.lax.scan(step, state, jnp.arange(attack.num_steps))


def _keep_sharded(state: Any, sharding: NamedSharding | None, batch: Batch) -> Any:
    """Keeps the state split as the images are: the compiler would give every device a whole copy of what starts as zeros."""
    if sharding is None:
        return state
    rows = NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[:1]))

    def constrain(leaf: Array) -> Array:
        split = leaf.ndim > 0 and leaf.shape[0] == batch.id.shape[0]
        return jax.lax.with_sharding_constraint(leaf, rows) if split else leaf

    return jax.tree.map(constrain, state)


@functools.partial(jax.jit, static_argnames="criterion")
def _measure(criterion: Any, model: Any, adversarial: Array, batch: Batch) -> tuple[Bool[Array, "n"], Float[Array, "n"]]:
    return criterion(None, model, adversarial, batch), rms_distortion(adversarial, batch.image)


def _check_values(images: np.ndarray) -> None:
    if images.size == 0:
        raise ValueError(f"expected at least one image, got shape {images.shape}; leave out empty batches.")
    low, high = float(images.min()), float(images.max())
    if high > 1:
        raise ValueError(f"expected images in [0, 1], got a maximum of {high}; divide by 255 first.")
    if low < 0:
        raise ValueError(f"expected images in [0, 1], got a minimum of {low}; models normalise inside, undo it first.")
    if not np.isfinite(low + high):
        raise ValueError("expected images in [0, 1], got NaN; leave these images out.")


def _check_classes(name: str, classes: Any, count: int, lowest: int, num_classes: int) -> None:
    values = np.asarray(classes)
    if values.shape != (count,):
        raise ValueError(f"expected {name} [n] for {count} images, got shape {values.shape}; write one class per image.")
    if not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"expected integer {name}, got {values.dtype}; write {name}.astype('int32').")
    if values.min() < lowest or values.max() >= num_classes:
        raise ValueError(
            f"expected {name} in {lowest} to {num_classes - 1}, got {values.min()} to {values.max()}; "
            "these are numbers of the model's classes."
        )
