"""The training step: pure, per replica, and mapped over the mesh axis "data"."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from jax import Array
from jax.sharding import Mesh, PartitionSpec

from jaxinterp._base import Batch, Model
from jaxinterp._mesh import AXIS
from jaxinterp.training._objectives import Objective


class TrainState(NamedTuple):
    """Everything a training run carries from one step to the next.

    Attributes:
        model: parameters, batch statistics and architecture.
        optimizer_state: of the optax optimiser.
        step: int32 scalar, how many steps were taken.
    """

    model: Model
    optimizer_state: Any
    step: Array


Step = Callable[[Array, TrainState, Batch], tuple[TrainState, dict[str, Array]]]
"""`(key, state, batch) -> (state, metrics)`."""


def init_state(optimizer: optax.GradientTransformation, model: Model) -> TrainState:
    """The state before the first step.

    Args:
        optimizer: what will update the parameters.
        model: where training starts.

    Returns:
        A state whose step is 0.
    """
    return TrainState(model, optimizer.init(model.params), jax.numpy.zeros((), jax.numpy.int32))


def train_step(objective: Objective, optimizer: optax.GradientTransformation, *, axis_name: str | None = None) -> Step:
    """One step on one replica.

    The gradient, the new batch statistics and the metrics are averaged over `axis_name`, so the step does the same
    whether it is mapped by `jax.shard_map` or by `jax.pmap(step, axis_name=...)`, and with `axis_name=None` on one device.
    The key is folded with the step and with the replica's index: replicas draw different dropout masks.

    Args:
        objective: what to minimise.
        optimizer: turns gradients into updates.
        axis_name: mapped axis over which replicas are averaged.

    Returns:
        `(key, state, batch) -> (state, metrics)`.
    """

    def step(key: Array, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        model, key = state.model, jax.random.fold_in(key, state.step)
        if axis_name is not None:
            # Under shard_map replicated parameters would have their gradient summed over the axis already.
            model = _varying(model, axis_name)
            key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))

        def loss_of(params: Any) -> tuple[Array, tuple[Any, dict[str, Array]]]:
            return objective(key, dataclasses.replace(model, params=params), batch)

        (_, (stats, metrics)), gradient = jax.value_and_grad(loss_of, has_aux=True)(model.params)
        if axis_name is not None:
            gradient, stats, metrics = jax.lax.pmean((gradient, stats, metrics), axis_name)
        updates, optimizer_state = optimizer.update(gradient, state.optimizer_state, state.model.params)
        params = optax.apply_updates(state.model.params, updates)
        model = dataclasses.replace(state.model, params=params, stats=stats)
        return TrainState(model, optimizer_state, state.step + 1), metrics

    return step


def sharded_step(objective: Objective, optimizer: optax.GradientTransformation, mesh: Mesh) -> Step:
    """The step over a mesh: parameters on every device, the batch split over "data", compiled once, the state donated.

    Args:
        objective: what to minimise.
        optimizer: turns gradients into updates.
        mesh: as of `jaxinterp._mesh.data_mesh`.

    Returns:
        `(key, state, batch) -> (state, metrics)`; the old state cannot be used afterwards.

    Raises:
        ValueError: on the first call, when the batch does not divide over the devices.
    """
    mapped = jax.shard_map(
        train_step(objective, optimizer, axis_name=AXIS),
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(), PartitionSpec(AXIS)),
        out_specs=(PartitionSpec(), PartitionSpec()),
    )
    return jax.jit(mapped, donate_argnums=1)


def _varying(tree: Any, axis_name: str) -> Any:
    return jax.tree.map(lambda leaf: jax.lax.pcast(leaf, axis_name, to="varying"), tree)
