"""A model's weights: from a file, to a file, and the digest that names them."""

import hashlib
import os
from typing import cast

from jaxinterp._base import Model, Network
from jaxinterp.models._network import ConvNet
from jaxinterp.models._resized import Resized
from jaxinterp.models._weights import load_into, save_state, torchvision_state


def load(path: str | os.PathLike[str], network: Network | Model) -> Model:
    """A model with the weights of a file in torchvision's layout.

    Every name and shape is checked, nothing is filled in; `num_batches_tracked` is ignored.

    Args:
        path: a `.safetensors` file; float16 is widened to float32.
        network: the network, or a model that has it.

    Returns:
        The model.

    Raises:
        ValueError: no such file, no safetensors, or names, shapes or values that do not fit; both sides are printed.
    """
    network = network.network if isinstance(network, Model) else network
    return Model(*load_into(path, *_ours(network).shapes), network)


def save(model: Model, path: str | os.PathLike[str], *, dtype: str = "float32") -> None:
    """Writes the weights as a state dict of torchvision, which `load` reads back.

    Args:
        model: any model of this package.
        path: the `.safetensors` file to write.
        dtype: "float32", exact, or "float16", half the size.

    Raises:
        ValueError: another type, or weights that it cannot hold.
    """
    _ours(model.network)
    save_state(path, model.params, model.stats, dtype=dtype)


def fingerprint(model: Model) -> str:
    """Hex digest of the network's knobs and of every weight: equal exactly when the models compute the same."""
    digest = hashlib.sha256(repr(_ours(model.network)).encode())
    for name, value in sorted(torchvision_state(model.params, model.stats).items()):
        digest.update(f"\n{name} {value.dtype} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def last_conv(model: Model) -> str:
    """The name of the last convolutional layer, the one that is dissected: conv5, conv5_3, layer4.1, layer4.2, fire9.

    Args:
        model: any model of this package.
    """
    return _ours(model.network).last_conv


def _ours(network: Network) -> ConvNet | Resized:
    if not isinstance(network, ConvNet | Resized):
        raise ValueError(f"expected a network of jaxinterp.models, got {type(network).__name__}.")
    return cast("ConvNet | Resized", network)
