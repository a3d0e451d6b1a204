"""The training step: pure, per replica, and mapped over the mesh axis "data"."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxinterp import _mesh
from jaxinterp._base import Batch, Model
from jaxinterp._mesh import AXIS
from jaxinterp.training._objectives import ADVERSARIAL, Objective


class TrainState(NamedTuple):
    """Everything a training run carries from one step to the next.

    Attributes:
        model: parameters, batch statistics and architecture.
        optimizer_state: of the optax optimiser.
        step: int32 scalar, how many steps were taken.
        memory: of the objective; its leading axis is that of the batch.
        average: moving averages of (parameters, batch statistics); () where none are kept.
    """

    model: Model
    optimizer_state: Any
    step: Array
    memory: Any = ()
    average: Any = ()

    @property
    def averaged(self) -> Model:
        """The model with the averaged weights; the model itself where none are kept."""
        if not self.average:
            return self.model
        params, stats = self.average
        return dataclasses.replace(self.model, params=params, stats=stats)


Step = Callable[[Array, TrainState, Batch], tuple[TrainState, dict[str, Array]]]
"""`(key, state, batch) -> (state, metrics)`."""


@dataclasses.dataclass(frozen=True)
class StepOptions:
    """How a step is computed; none of it changes what is minimised.

    Attributes:
        num_microbatches: the rows of a replica are taken in so many parts, one after the other, and their gradients summed: the
            memory is that of one part. Batch statistics are those of each part, and running ones move once a part.
        unroll: write the parts out instead of looping over them: faster on CPU, slower to compile.
        ema_decay: after a step, averages become `decay * average + (1 - decay) * weights`; None keeps no average. The state
            must have one, see `init_state`.
        kept_layers: the layers whose activations the backward pass finds in memory; it computes the others again. None keeps
            all that it needs. Networks of one's own name no layers to the compiler, so there all is computed again.

    Raises:
        ValueError: num_microbatches below 1, or a decay outside (0, 1).
    """

    num_microbatches: int = 1
    unroll: bool = True
    ema_decay: float | None = None
    kept_layers: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.num_microbatches < 1:
            raise ValueError(f"expected num_microbatches >= 1, got {self.num_microbatches}; write 1 for whole batches.")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"expected ema_decay in (0, 1), got {self.ema_decay}; write 0.999, or None for no average.")


def init_state(optimizer: optax.GradientTransformation, model: Model, *, memory: Any = (), average: bool = False) -> TrainState:
    """The state before the first step.

    Args:
        optimizer: what will update the parameters.
        model: where training starts.
        memory: of the objective, `objective.remember(batch)` of the whole batch.
        average: keep moving averages of the weights, which begin with the weights.

    Returns:
        A state whose step is 0.
    """
    averages = jax.tree.map(jnp.array, (model.params, model.stats)) if average else ()
    return TrainState(model, optimizer.init(model.params), jnp.zeros((), jnp.int32), memory, averages)


def train_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    axis_name: str | None = None,
    options: StepOptions = StepOptions(),
) -> Step:
    """One step on one replica.

    The loss is the mean over the rows of all replicas whose mask is True. Its gradient is summed and the new batch statistics
    are averaged over `axis_name`, so the step does the same whether it is mapped by `jax.shard_map` or by
    `jax.pmap(step, axis_name=...)`, and with `axis_name=None` on one device. The key is folded with the step and with the
    replica's index, and for every part but the first with its number: replicas draw different dropout masks.

    Args:
        objective: what to minimise.
        optimizer: turns gradients into updates.
        axis_name: mapped axis over which replicas are averaged.
        options: how it is computed.

    Returns:
        `(key, state, batch) -> (state, metrics)`.

    Raises:
        ValueError: when it is traced, where the rows of a replica do not divide into `num_microbatches` parts.
    """
    loss = objective.loss if options.kept_layers is None else _rematerialised(objective.loss, options.kept_layers)

    def step(key: Array, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        model, key = state.model, jax.random.fold_in(key, state.step)
        if axis_name is not None:
            # Under shard_map replicated parameters would have their gradient summed over the axis already.
            model = _varying(model, axis_name)
            key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))

        def gradients(stats: Any, key: Array, batch: Batch, memory: Any) -> tuple[Any, Any, tuple[Array, Any, Any]]:
            """Statistics, the gradient by the memory, and what is summed over parts and replicas, weighted by the rows."""
            count = jnp.sum(batch.mask)

            def loss_of(params: Any, memory: Any) -> tuple[Array, Any]:
                value, aux = loss(key, dataclasses.replace(model, params=params, stats=stats), batch, state.step, memory)
                return count.astype(value.dtype) * value, aux

            (_, (new, metrics)), (gradient, moved) = jax.value_and_grad(loss_of, argnums=(0, 1), has_aux=True)(
                model.params, memory
            )
            return new, moved, (count, gradient, jax.tree.map(lambda value: count.astype(value.dtype) * value, metrics))

        if options.num_microbatches == 1:
            stats, moved, sums = gradients(model.stats, key, batch, state.memory)
        else:
            stats, moved, sums = _in_parts(gradients, model.stats, key, batch, state.memory, options)
        if axis_name is not None:
            stats, sums = _over_replicas(stats, sums, axis_name)
        total, gradient, metrics = sums
        gradient, moved, metrics = _divided((gradient, moved, metrics), jnp.maximum(total, 1))
        memory = objective.renew(state.memory, moved, batch)
        updates, optimizer_state = optimizer.update(gradient, state.optimizer_state, state.model.params)
        params = objective.project(optax.apply_updates(state.model.params, updates), state.step)
        average = state.average
        if options.ema_decay is not None:
            average = _averaged(options.ema_decay, average, (params, stats))
        model = dataclasses.replace(state.model, params=params, stats=stats)
        return TrainState(model, optimizer_state, state.step + 1, memory, average), metrics

    return step


def sharded_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    *,
    options: StepOptions = StepOptions(),
) -> Step:
    """The step over a mesh: parameters on every device, the batch split over all of them, compiled once, the state donated.

    Args:
        objective: what to minimise.
        optimizer: turns gradients into updates.
        mesh: such as `jax.make_mesh((jax.device_count(),), ("data",))`. A network whose batch statistics are to be those of all
            devices has `axis_name="data"`.
        options: how it is computed.

    Returns:
        `(key, state, batch) -> (state, metrics)`; the old state cannot be used afterwards.

    Raises:
        ValueError: on the first call, when the batch does not divide over the devices, or a device's rows into parts.
    """
    whole, split = PartitionSpec(), PartitionSpec(AXIS)
    states = TrainState(*(split if name == "memory" else whole for name in TrainState._fields))  # pyright: ignore[reportArgumentType]
    arguments = (whole, states, split)
    along = _mesh.data_parallel(mesh)
    mapped = jax.shard_map(
        train_step(objective, optimizer, axis_name=AXIS, options=options),
        mesh=along,
        in_specs=arguments,
        out_specs=(states, whole),
    )
    compiled = jax.jit(mapped, donate_argnums=1)
    if along is mesh:
        return compiled
    # What is split over the given mesh has that in its type, and is relabelled; nothing is copied.
    places = jax.tree.map(functools.partial(NamedSharding, along), arguments)
    return lambda key, state, batch: compiled(*jax.device_put((key, state, batch), places))


def _in_parts(
    gradients: Callable[..., Any], stats: Any, key: Array, batch: Batch, memory: Any, options: StepOptions
) -> tuple[Any, Any, Any]:
    """`gradients` over the rows in parts: the last statistics, the gradient by the memory of all rows, and sums."""
    count, rows = options.num_microbatches, batch.mask.shape[0]
    if rows % count:
        raise ValueError(f"expected num_microbatches to divide the {rows} rows of a device, got {count}; change either.")
    parts = jax.tree.map(lambda leaf: leaf.reshape(count, rows // count, *leaf.shape[1:]), (batch, memory))
    first = jax.tree.map(lambda leaf: leaf[0], parts)
    stats, begun, sums = gradients(stats, key, *first)

    def body(carry: tuple[Any, Any], part: Any) -> tuple[tuple[Any, Any], Any]:
        stats, sums = carry
        number, rows = part
        stats, moved, more = gradients(stats, jax.random.fold_in(key, number), *rows)
        return (stats, jax.tree.map(jnp.add, sums, more)), moved

    rest = jax.tree.map(lambda leaf: leaf[1:], parts)
    unroll = count - 1 if options.unroll else 1
    (stats, sums), moved = jax.lax.scan(body, (stats, sums), (jnp.arange(1, count), rest), unroll=unroll)
    joined = jax.tree.map(lambda one, rest: jnp.concatenate([one, rest.reshape(-1, *rest.shape[2:])]), begun, moved)
    return stats, joined, sums


def _over_replicas(stats: Any, sums: tuple[Array, Any, Any], axis_name: str) -> tuple[Any, tuple[Array, Any, Any]]:
    """Statistics averaged and the rest summed over replicas: leaf by leaf the gradient, all else in one vector.

    Replicas wait for each other at each sum. By itself the count of rows would be summed at once, and on CPU, where those that
    wait keep a thread, half of the step would be computed by one replica after the other.
    """
    count, gradient, metrics = sums
    numbers, apart = ravel_pytree((count.astype(jnp.float32), metrics, stats))  # exact, whatever the type of the others
    count, metrics, stats = apart(jax.lax.psum(numbers, axis_name))
    stats = jax.tree.map(lambda leaf: leaf / jax.lax.axis_size(axis_name), stats)
    return stats, (count, jax.lax.psum(gradient, axis_name), metrics)


def _divided(tree: Any, total: Array) -> Any:
    return jax.tree.map(lambda leaf: leaf / total.astype(leaf.dtype), tree)


def _rematerialised(loss: Callable[..., Any], kept: tuple[str, ...]) -> Callable[..., Any]:
    """The loss with a backward pass that keeps the adversarial images and the activations of some layers only."""
    return jax.checkpoint(loss, policy=jax.checkpoint_policies.save_only_these_names(*kept, ADVERSARIAL))  # pyright: ignore


def _averaged(decay: float, average: Any, new: Any) -> Any:
    def one(old: Array, value: Array) -> Array:
        floats = jnp.issubdtype(value.dtype, jnp.inexact)
        return (decay * old + (1 - decay) * value).astype(value.dtype) if floats else value

    return jax.tree.map(one, average, new)


def _varying(tree: Any, axis_name: str) -> Any:
    return jax.tree.map(lambda leaf: jax.lax.pcast(leaf, axis_name, to="varying"), tree)
