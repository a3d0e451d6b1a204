"""Batch normalisation folded into the convolutions before it."""

import dataclasses

import flax.linen as nn
import jax

from jaxinterp._base import Model
from jaxinterp.models._network import ConvNet
from jaxinterp.models._ops import EPSILON, NORM


def fold_batch_norm(model: Model) -> Model:
    """The plain network of the same function: AlexNet or VGG-16 whose normalisation is folded into its convolutions.

    In evaluation, a convolution with kernel w and bias b and a normalisation with scale s, bias t, mean m and variance v are
    one convolution with kernel `g w` and bias `t + g (b - m)`, where `g = s / sqrt(v + 1e-5)`.

    Args:
        model: an AlexNet or VGG-16 built with `batch_norm=True`.

    Returns:
        A model of torchvision's network without normalisation.

    Raises:
        ValueError: another network.
    """
    network = model.network
    if not isinstance(network, ConvNet) or not getattr(network.body, "batch_norm", False):
        raise ValueError(f"expected a network built with batch_norm=True, got {network!r}.")
    params = {name: leaves for name, leaves in model.params.items() if not name.endswith(NORM)}
    for name in [name for name in model.params if name.endswith(NORM)]:
        norm, stats, conv = model.params[name], model.stats[name], params[name.removesuffix(NORM)]
        gain = norm["scale"] * jax.lax.rsqrt(stats["var"] + EPSILON)
        params[name.removesuffix(NORM)] = {
            "kernel": conv["kernel"] * gain[None, None, None],
            "bias": norm["bias"] + gain * (conv["bias"] - stats["mean"]),
        }
    body: nn.Module = network.body.clone(batch_norm=False)
    return Model(params, {}, dataclasses.replace(network, body=body))
