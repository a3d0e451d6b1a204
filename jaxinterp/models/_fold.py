"""The form for evaluation: batch normalisation folded into the convolutions before it, another type to compute in."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxinterp._base import Model
from jaxinterp.models._network import ConvNet
from jaxinterp.models._wrapped import around, inner


def fold_batch_norm(model: Model) -> Model:
    """The same function with fewer operations and fewer bytes: normalisation folded into the convolutions before it.

    In evaluation, a convolution with kernel w and bias b and a normalisation with scale s, bias t, mean m and variance v are
    one convolution with kernel `g w` and bias `t + g (b - m)`, where `g = s / sqrt(v + epsilon)`. Layers and taps stay.
    A normalisation that does not follow a convolution (DenseNet has them) stays as it is. The result is for evaluation,
    attacks and dissection; it can be trained too, but no longer normalises.

    VGG and AlexNet become their plain networks; `export` writes any other folded network back in torchvision's layout.

    Args:
        model: a network of this package that normalises its batches.

    Raises:
        ValueError: a network without batch normalisation, or folded already.
    """
    network = inner_network(model)
    body: Any = network.body
    folded = {"batch_norm": False} if hasattr(body, "batch_norm") else {"folded": True}
    if not set(folded) <= set(body.__dataclass_fields__) or all(getattr(body, name) == to for name, to in folded.items()):
        raise ValueError(f"expected a network with batch normalisation to fold, got {network!r}.")
    plain = dataclasses.replace(network, body=body.clone(**folded))
    params, stats, convolutions = dict(model.params), dict(model.stats), {}
    for before, after in zip(network.folds, plain.folds, strict=True):
        conv, norm, running = params.pop(before.conv), params.pop(before.norm), stats.pop(before.norm)
        gain = norm["scale"] * jax.lax.rsqrt(running["var"] + before.epsilon)
        shift = norm["bias"] + gain * (conv.get("bias", 0) - running["mean"])
        convolutions[after.conv] = {"kernel": conv["kernel"] * gain[None, None, None], "bias": shift}
    return Model(params | convolutions, stats, around(model.network, plain))


def unfold_batch_norm(model: Model) -> Model:
    """The network that `fold_batch_norm` was given, of the same function: each normalisation only adds the bias.

    Args:
        model: any network of this package; one that is not folded is returned as it is.
    """
    network = inner_network(model)
    body: Any = network.body
    if not getattr(body, "folded", False):
        return model
    params, stats = dict(model.params), dict(model.stats)
    for fold in network.folds:
        bias = params[fold.conv]["bias"]
        params[fold.conv] = {"kernel": params[fold.conv]["kernel"]} | ({"bias": jnp.zeros_like(bias)} if fold.bias else {})
        params[fold.norm] = {"scale": jnp.ones_like(bias), "bias": bias}
        stats[fold.norm] = {"mean": jnp.zeros_like(bias), "var": jnp.full_like(bias, 1 - fold.epsilon)}
    return Model(params, stats, around(model.network, dataclasses.replace(network, body=body.clone(folded=False))))


def with_dtype(model: Model, dtype: str | None) -> Model:
    """The same weights, computed in another type.

    Weights, batch statistics and logits stay float32, and so do the activations that are returned and that taps see.

    Args:
        model: any network of this package.
        dtype: "bfloat16", "float16", or None for the type of the images.

    Raises:
        ValueError: another type.
    """
    if dtype not in ("bfloat16", "float16", None):
        raise ValueError(f"expected dtype 'bfloat16', 'float16' or None, got {dtype!r}.")
    network = dataclasses.replace(inner_network(model), dtype=dtype)
    return Model(model.params, model.stats, around(model.network, network))


def inner_network(model: Model) -> ConvNet:
    """The network of this package that runs on images of its own size.

    Raises:
        ValueError: a model of another kind.
    """
    network = inner(model.network)
    if not isinstance(network, ConvNet):
        raise ValueError(f"expected a network that jaxinterp.models builds, got {network!r}.")
    return network
