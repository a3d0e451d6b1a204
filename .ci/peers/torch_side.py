"""PyTorch's side of the comparison: modules with the recipe's weights, and what every named site of them holds."""

import numpy as np
import torch
from networks import Peer
from sites import Site
from torch import Tensor, nn

from tests.models import recipe

COUNTER = "num_batches_tracked"


def build(peer: Peer, *, reduced: bool) -> nn.Module:
    """The module with the recipe's weights, in float64, without dropout; `reduced` has narrower hidden layers."""
    module = peer.build()
    if reduced and "hidden" in peer.reduced:
        _narrow(module.classifier, peer.reduced["hidden"])
    for layer in module.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    module.load_state_dict(draw(module, gain=peer.gain), strict=True)
    return module.double()


def draw(module: nn.Module, *, gain: float) -> dict[str, Tensor]:
    """The recipe's state dict for a module, float32."""
    return {
        name: torch.zeros_like(value)
        if name.endswith(COUNTER)
        else torch.from_numpy(recipe.weight(name, tuple(value.shape), gain=gain))
        for name, value in module.state_dict().items()
    }


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every weight; counters are left out."""
    return {name: value.shape for name, value in state(module).items()}


def state(module: nn.Module) -> dict[str, np.ndarray]:
    """Name -> weight; counters are left out."""
    return {name: value.numpy() for name, value in module.state_dict().items() if not name.endswith(COUNTER)}


def activations(module: nn.Module, sites: list[Site], images: np.ndarray) -> dict[str, np.ndarray]:
    """The map `[n h w u]` of every site, in the order of the network.

    Args:
        module: in training mode or not; in training mode it takes the statistics of these images.
        sites: what to look at.
        images: `[n h w c]` in [0, 1]; normalised here, in float64, then as precise as the module's weights.
    """
    dtype = next(module.parameters()).dtype
    found: dict[str, Tensor] = {}
    handles = [_watch(module, site, found) for site in sites if site.path]
    with torch.no_grad():
        channels_first = recipe.normalised(images).transpose(0, 3, 1, 2)
        out = module(torch.from_numpy(np.ascontiguousarray(channels_first)).to(dtype))
        found["logits"] = out if isinstance(out, Tensor) else out.logits
        for site in sites:
            if site.fed is not None and site.name not in found:
                module.get_submodule(site.path)(found[site.fed])
    for handle in handles:
        handle.remove()
    return {site.name: _channels_last(found[site.name]) for site in sites}


def _watch(module: nn.Module, site: Site, found: dict[str, Tensor]) -> torch.utils.hooks.RemovableHandle:
    """Keeps a copy of what passes: later layers may write in place."""

    def keep(value: Tensor) -> None:
        value = value.flatten(1) if site.name == "features" else value
        found[site.name] = torch.relu(value) if site.relu else value.clone()

    part = module.get_submodule(site.path)
    if site.side == "input":
        return part.register_forward_pre_hook(lambda _, args: keep(args[0]))
    return part.register_forward_hook(lambda _, args, out: keep(out))


def _channels_last(value: Tensor) -> np.ndarray:
    array = value.detach().numpy()
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def _narrow(classifier: nn.Sequential, hidden: int) -> None:
    """Replaces the linear layers by ones of that width."""
    places = [i for i, layer in enumerate(classifier) if isinstance(layer, nn.Linear)]
    widths = [classifier[places[0]].in_features, *[hidden] * (len(places) - 1), classifier[places[-1]].out_features]
    for place, inputs, units in zip(places, widths[:-1], widths[1:], strict=True):
        classifier[place] = nn.Linear(inputs, units)
