"""A model's weights: from a file, to a file, and the digest that names them."""

import hashlib
import os
import re

import jax
import jax.numpy as jnp
import numpy as np

from jaxinterp._base import Model, Network
from jaxinterp.models._files._leaves import leaves, load_leaves, save_leaves
from jaxinterp.models._files._weights import load_into, save_state, torchvision_state
from jaxinterp.models._gated import joined_gate, split_gate, within_gate
from jaxinterp.models._network import ConvNet
from jaxinterp.models._wrapped import inner, transforms


def load(path: str | os.PathLike[str], network: Network | Model) -> Model:
    """A model with the weights of a file that `save` wrote, or that is in torchvision's layout.

    Every name and shape is checked, nothing is filled in; `num_batches_tracked` is ignored.

    Args:
        path: a `.safetensors`, `.npz` or PyTorch file, or a checkpoint folder of training; everything becomes float32.
        network: the network, or a model that has it; for a network of one's own the model, which has the shapes.

    Returns:
        The model.

    Raises:
        ValueError: no such file, one that cannot be used, or names, shapes or values that do not fit; both sides are
            printed.
    """
    model, network = (network, network.network) if isinstance(network, Model) else (None, network)
    core = _own_layout(network)
    if core is not None:
        params, stats = core.shapes
        gate = within_gate(network)
        if gate is None:
            return Model(*load_into(path, params, stats), network)
        shape = {"kernel": jax.ShapeDtypeStruct(gate.gate_shape, jnp.float32)}
        params, stats = load_into(path, {**params, "gate": shape}, stats)
        return Model(joined_gate(params), stats, network)
    if model is None:
        raise ValueError(
            f"expected a model of {network!r}, got the network alone, which has no shapes; write load(path, model)."
        )
    return Model(*load_leaves(path, model.params, model.stats), network)


def save(model: Model, path: str | os.PathLike[str], *, dtype: str = "float32") -> None:
    """Writes the weights, which `load` reads back: as a state dict of torchvision, or under the names of one's own tree.

    The gate of `gated` is one more module, `gate.weight`.

    A Linen module's names are such as `Conv_0/kernel` and `batch_stats/BatchNorm_0/mean`, an NNX module's `conv.kernel`.

    Args:
        model: any model.
        path: the `.safetensors` file to write.
        dtype: "float32", exact, or "float16", half the size.

    Raises:
        ValueError: another type, or weights that it cannot hold.
    """
    if _own_layout(model.network) is None:
        save_leaves(path, model.params, model.stats, dtype=dtype)
    else:
        save_state(path, split_gate(model.network, model.params), model.stats, dtype=dtype)


def fingerprint(model: Model) -> str:
    """Hex digest of the network's knobs and of every weight: equal exactly when the models compute the same.

    A network of one's own has no knobs; the program that evaluates one image is taken in their place, layers included.
    It may change with the version of JAX.

    Args:
        model: any model.
    """
    if _own_layout(model.network) is not None:
        text, weights = repr(model.network), torchvision_state(split_gate(model.network, model.params), model.stats)
    else:
        text = "\n".join([_program(model), *map(repr, transforms(model.network))])
        weights = {name: np.ascontiguousarray(np.asarray(leaf)) for name, leaf in leaves(model.params, model.stats).items()}
    digest = hashlib.sha256(text.encode())
    for name, value in sorted(weights.items()):
        digest.update(f"\n{name} {value.dtype} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def last_conv(model: Model) -> str:
    """The name of the last convolutional layer, the one that is dissected: conv5, conv5_3, layer4.1, layer4.2, fire9.

    Args:
        model: any model; one of one's own was told by `last_conv=` when it was made.

    Raises:
        ValueError: where it was not told.
    """
    name = getattr(inner(model.network), "last_conv", None)
    if name is None:
        layers = ", ".join(layer.name for layer in model.layers)
        raise ValueError(f"expected a model whose last convolution is named; write last_conv= one of {layers} when it is made.")
    return name


def _own_layout(network: Network) -> ConvNet | None:
    """The network of this package inside everything that is around it, whose weights have torchvision's layout."""
    gate = within_gate(network)
    core = inner(network if gate is None else gate.network)
    return core if isinstance(core, ConvNet) else None


def _program(model: Model) -> str:
    """The program that evaluates one image, as text that is equal in every process."""
    network = model.network
    shape = (1, network.image_size, network.image_size, getattr(inner(network), "num_channels", 3))

    def evaluate(model: Model, images: jax.Array) -> jax.Array:
        return model(images)[0]

    program = jax.make_jaxpr(evaluate)(model, jax.ShapeDtypeStruct(shape, jnp.float32))
    return re.sub(r"0x[0-9a-f]+", "", f"{model.layers}\n{program}")
