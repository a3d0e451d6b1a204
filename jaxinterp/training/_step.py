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


_WHOLE, _SPLIT = PartitionSpec(), PartitionSpec(AXIS)
_STATE = TrainState(_WHOLE, _WHOLE, _WHOLE, _SPLIT, _WHOLE)  # pyright: ignore[reportArgumentType]
_ARGUMENTS = (_WHOLE, _STATE, _SPLIT)
"""How key, state and batch lie on a mesh; `state_shardings` says it of arrays, and of an optimiser's state in pieces."""

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
        shard_optimizer: over a mesh, every device keeps its part of the optimiser's state and makes the update of that part
            (ZeRO, stage 1): gradients of weights are summed part by part, and new weights gathered. What the optimiser
            computes stays the same, whichever it is. See `state_shardings`.

    Raises:
        ValueError: num_microbatches below 1, or a decay outside (0, 1).
    """

    num_microbatches: int = 1
    unroll: bool = True
    ema_decay: float | None = None
    kept_layers: tuple[str, ...] | None = None
    shard_optimizer: bool = False

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
        ValueError: options that want a mesh; when it is traced, where the rows of a replica do not divide into
            `num_microbatches` parts.
    """
    if options.shard_optimizer:
        raise ValueError("expected a mesh beside shard_optimizer=True, got one replica; write training.sharded_step(...).")
    found_by = _replica(objective, axis_name, options)

    def step(key: Array, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        found = found_by(key, state, batch)
        return _updated(objective, optimizer, options, state, found), found.metrics

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

    References:
        S. Rajbhandari, J. Rasley, O. Ruwase, Y. He, "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models",
        SC 2020, section on P_os, for `shard_optimizer`.
    """
    along = _mesh.data_parallel(mesh)
    if options.shard_optimizer:
        compiled = jax.jit(_in_pieces(objective, optimizer, along, options), donate_argnums=1)
    else:
        one = train_step(objective, optimizer, axis_name=AXIS, options=options)
        mapped = jax.shard_map(one, mesh=along, in_specs=_ARGUMENTS, out_specs=(_STATE, _WHOLE))
        compiled = jax.jit(mapped, donate_argnums=1)
    if along is mesh:
        return compiled
    rows, everywhere = _mesh.sharded(along), _mesh.replicated(along)

    def relabelled(key: Array, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        # What is split over the given mesh has that in its type; nothing is copied.
        places = (everywhere, state_shardings(state, along, options=options), rows)
        return compiled(*jax.device_put((key, state, batch), places))

    return relabelled


def state_shardings(state: TrainState, mesh: Mesh, *, options: StepOptions = StepOptions()) -> TrainState:
    """Where the arrays of a state lie on a mesh, for `jax.device_put(state, training.state_shardings(state, mesh))`.

    Args:
        state: arrays, or their shapes.
        mesh: the devices.
        options: with `shard_optimizer`, the optimiser's arrays of two axes or more are split along the longest axis that the
            devices divide.

    Returns:
        Shardings in place of arrays, or of trees of them: all is whole on every device but the rows of the memory and what the
        options split.
    """
    along = _mesh.data_parallel(mesh)
    everywhere, optimizer_state = _mesh.replicated(along), _mesh.replicated(along)
    if options.shard_optimizer:
        optimizer_state = jax.tree.map(lambda leaf: NamedSharding(along, _mesh.piece(along, leaf)), state.optimizer_state)
    return TrainState(everywhere, optimizer_state, everywhere, _mesh.sharded(along), everywhere)  # pyright: ignore[reportArgumentType]


class _Found(NamedTuple):
    """What replicas found together: gradient and metrics of the mean loss, statistics, and the memory of their rows."""

    gradient: Any
    stats: Any
    memory: Any
    metrics: dict[str, Array]


def _replica(
    objective: Objective, axis_name: str | None, options: StepOptions, *, pieces: Any = None
) -> Callable[[Array, TrainState, Batch], _Found]:
    """What a replica does before the update; with `pieces`, as of `_over_replicas`, it ends with its piece of the gradient."""
    loss = objective.loss if options.kept_layers is None else _rematerialised(objective.loss, options.kept_layers)

    def found_by(key: Array, state: TrainState, batch: Batch) -> _Found:
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
            stats, sums = _over_replicas(stats, sums, axis_name, pieces=pieces)
        total, gradient, metrics = sums
        gradient, moved, metrics = _divided((gradient, moved, metrics), jnp.maximum(total, 1))
        return _Found(gradient, stats, objective.renew(state.memory, moved, batch), metrics)

    return found_by


def _updated(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    options: StepOptions,
    state: TrainState,
    found: _Found,
    *,
    gathered: Callable[[Any], Any] = lambda tree: tree,
) -> TrainState:
    """The state after the update; `gathered` makes new parameters whole, where the optimiser makes them in pieces."""
    updates, optimizer_state = optimizer.update(found.gradient, state.optimizer_state, state.model.params)
    params = objective.project(gathered(optax.apply_updates(state.model.params, updates)), state.step)
    average = state.average
    if options.ema_decay is not None:
        average = _averaged(options.ema_decay, average, (params, found.stats))
    model = dataclasses.replace(state.model, params=params, stats=found.stats)
    return TrainState(model, optimizer_state, state.step + 1, found.memory, average)


def _in_pieces(objective: Objective, optimizer: optax.GradientTransformation, mesh: Mesh, options: StepOptions) -> Step:
    """The step whose update is split over devices.

    Replicas end with their pieces of the gradient, which together are one array that is split. The optimiser is applied to such
    arrays, and the compiler splits what it does: a norm over all of the gradient is one over all devices.
    """

    def step(key: Array, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        pieces = jax.tree.map(functools.partial(_mesh.piece, mesh), state.model.params)
        found_by = jax.shard_map(
            _replica(objective, AXIS, options, pieces=pieces),
            mesh=mesh,
            in_specs=_ARGUMENTS,
            out_specs=_Found(pieces, _WHOLE, _SPLIT, _WHOLE),  # pyright: ignore[reportArgumentType]
        )
        found = found_by(key, state._replace(optimizer_state=(), average=()), batch)
        everywhere = _mesh.replicated(mesh)
        new = _updated(
            objective,
            optimizer,
            options,
            state,
            found,
            gathered=lambda tree: jax.lax.with_sharding_constraint(tree, everywhere),
        )
        return jax.lax.with_sharding_constraint(new, state_shardings(new, mesh, options=options)), found.metrics

    return step


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


def _over_replicas(
    stats: Any, sums: tuple[Array, Any, Any], axis_name: str, *, pieces: Any = None
) -> tuple[Any, tuple[Array, Any, Any]]:
    """Statistics averaged and the rest summed over replicas: leaf by leaf the gradient, all else in one vector.

    With `pieces`, a tree of how leaves of the gradient are split, each replica has the sum of its piece alone.

    Replicas wait for each other at each sum. By itself the count of rows would be summed at once, and on CPU, where those that
    wait keep a thread, half of the step would be computed by one replica after the other.
    """
    count, gradient, metrics = sums
    numbers, apart = ravel_pytree((count.astype(jnp.float32), metrics, stats))  # exact, whatever the type of the others
    count, metrics, stats = apart(jax.lax.psum(numbers, axis_name))
    stats = jax.tree.map(lambda leaf: leaf / jax.lax.axis_size(axis_name), stats)
    if pieces is None:
        return stats, (count, jax.lax.psum(gradient, axis_name), metrics)

    def summed(leaf: Array, piece: PartitionSpec) -> Array:
        if axis_name not in piece:
            return jax.lax.psum(leaf, axis_name)
        return jax.lax.psum_scatter(leaf, axis_name, scatter_dimension=piece.index(axis_name), tiled=True)

    return stats, (count, jax.tree.map(summed, gradient, pieces), metrics)


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
