"""One mesh, one axis: "data"."""

from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"

T = TypeVar("T")


def data_mesh(num_devices: int | None = None) -> Mesh:
    """The mesh over the first `num_devices` devices of every host (all of them by default), with the single axis "data".

    Raises:
        ValueError: when a host has fewer devices.
    """
    hosts: dict[int, list[Any]] = {}
    for device in jax.devices():
        hosts.setdefault(device.process_index, []).append(device)
    fewest = min(len(devices) for devices in hosts.values())
    if num_devices is not None and not 1 <= num_devices <= fewest:
        raise ValueError(f"expected 1 to {fewest} devices, got {num_devices}.")
    chosen = [device for _, devices in sorted(hosts.items()) for device in devices[:num_devices]]
    return Mesh(np.asarray(chosen), (AXIS,))


def data_parallel(mesh: Mesh | None) -> Mesh:
    """The devices of any mesh, or all that there are, along the axis "data", whose splitting the compiler follows.

    `jax.make_mesh` makes explicit axes, which are in the types of arrays: every operation of every network would have to say
    how its answer is split.
    """
    if mesh is None:
        return data_mesh()
    if mesh.axis_names == (AXIS,) and mesh.axis_types == (AxisType.Auto,):
        return mesh
    return Mesh(mesh.devices.reshape(-1), (AXIS,), axis_types=(AxisType.Auto,))


def sharded(mesh: Mesh) -> NamedSharding:
    """Rows split over the mesh."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def piece(mesh: Mesh, array: Any) -> PartitionSpec:
    """How an array of two axes or more is split over the mesh: along the longest axis that its devices divide.

    A vector is whole everywhere, and so is what no axis divides, and what is not of floating point.
    """
    sides = array.shape if jax.numpy.issubdtype(array.dtype, jax.numpy.floating) and len(array.shape) > 1 else ()
    split = [axis for axis, side in enumerate(sides) if side % mesh.size == 0]
    if not split:
        return PartitionSpec()
    longest = max(split, key=lambda axis: sides[axis])
    return PartitionSpec(*([None] * longest), AXIS)


def rounded(count: int, mesh: Mesh) -> int:
    """The nearest number of rows, from above, that the devices divide."""
    return -(-count // mesh.size) * mesh.size


def split_rows(mesh: Mesh | None, array: Any) -> jax.Array:
    """The rows of an array split over a mesh, the last one repeated until every device has as many; whole for no mesh."""
    if mesh is None:
        return jax.numpy.asarray(array)
    count = len(array)
    filled = np.minimum(np.arange(rounded(count, mesh)), count - 1)
    return jax.device_put(array if len(filled) == count else np.asarray(array)[filled], sharded(mesh))


def from_hosts(mesh: Mesh, rows: T) -> T:
    """Arrays split over the mesh, of which every host has its own rows, in the order of the hosts.

    Args:
        mesh: the devices.
        rows: a tree of arrays on this host; with one host, all rows.
    """
    return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharded(mesh), np.asarray(leaf)), rows)


def prefers_unrolled(mesh: Mesh) -> bool:
    """Whether a Python loop over a jitted step beats `lax.scan`: on CPU, convolutions inside a loop run at half speed."""
    return mesh.devices.flat[0].platform == "cpu"
