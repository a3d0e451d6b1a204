"""One mesh, one axis: "data"."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "data"


def data_mesh(num_devices: int | None = None) -> Mesh:
    """The mesh over the first `num_devices` devices (all of them by default), with the single axis "data".

    Raises:
        ValueError: when there are fewer devices.
    """
    devices = jax.devices()
    count = len(devices) if num_devices is None else num_devices
    if not 1 <= count <= len(devices):
        raise ValueError(f"expected 1 to {len(devices)} devices, got {count}.")
    return Mesh(np.asarray(devices[:count]), (AXIS,))


def sharded(mesh: Mesh) -> NamedSharding:
    """Rows split over the mesh."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def prefers_unrolled(mesh: Mesh) -> bool:
    """Whether a Python loop over a jitted step beats `lax.scan`: on CPU, convolutions inside a loop run at half speed."""
    return mesh.devices.flat[0].platform == "cpu"
