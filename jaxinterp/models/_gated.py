"""A network with a gate beside it, and how both lie in files."""

import dataclasses
from typing import Any

from jax import Array

from jaxinterp._base import Activations, Network, Taps
from jaxinterp.models._wrapped import Beside, Defended, Resized


@dataclasses.dataclass(frozen=True)
class Gated(Beside):
    """A network with a gate beside it, which it does not read; a hashable value, the gate is a parameter.

    Attributes:
        network: what runs.
        layer: the layer whose units the gate is about.
    """

    @property
    def gate_shape(self) -> tuple[int, int]:
        """Units and classes."""
        (units,) = (layer.shape[2] for layer in self.layers if layer.name == self.layer)
        return units, self.num_classes

    def apply(
        self, params: Any, stats: Any, images: Array, *, key: Array | None, taps: Taps, train: bool
    ) -> tuple[Array, Activations, Any]:
        """Evaluates the network; the gate takes part through `gated_path` alone."""
        return self.network.apply(params["network"], stats, images, key=key, taps=taps, train=train)


def within_gate(network: Any) -> Gated | None:
    """The gated network inside everything that resizes or transforms its images, if it is one."""
    while isinstance(network, Resized | Defended):
        network = network.network
    return network if isinstance(network, Gated) else None


def split_gate(network: Network, params: Any) -> Any:
    """Parameters as files have them: those of the network, the gate as one more module; without a gate as they are.

    Args:
        network: any network whose parameters are modules by name.
        params: its parameters, or shapes.
    """
    if within_gate(network) is None:
        return params
    return {**params["network"], "gate": {"kernel": params["gate"]}}


def joined_gate(params: Any) -> Any:
    """The parameters of a gated network, from what `split_gate` gives."""
    modules = {name: value for name, value in params.items() if name != "gate"}
    return {"network": modules, "gate": params["gate"]["kernel"]}
