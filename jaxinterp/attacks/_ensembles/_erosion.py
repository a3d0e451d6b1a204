"""Erosion: what makes another network of a network without training."""

from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Batch, Taps
from jaxinterp.attacks._ball import Scalar

MakeTaps = Callable[[Array | None, Any, Batch | None], Taps]
"""`make_taps(key, model, batch) -> taps`, as `with_taps` takes it; erosion looks at no batch."""


class Erosion(TypedDict, total=False):
    """How much of a network is eroded, as keyword arguments of `ghost` and `ghost_network`.

    Attributes:
        dropout: rate of the dropout erosion.
        skip: strength of the skip-connection erosion.
    """

    dropout: float
    skip: float


EROSIONS: dict[str, Erosion] = {
    "inception_v3": {"dropout": 0.006},
    "inception_v4": {"dropout": 0.012},
    "resnetv2_50": {"skip": 0.22},
    "resnetv2_101": {"skip": 0.16},
    "resnetv2_152": {"skip": 0.12},
    "inception_resnet_v2": {"skip": 0.08},
    "resnet50": {"skip": 0.22},
    "resnet101": {"skip": 0.16},
    "resnet152": {"skip": 0.12},
}
"""The paper's erosion of each of its networks, by the name of its builder in `jaxinterp.models`.

The paper keeps .994 (Inception-v3) and .988 (Inception-v4) of the activations. Its ResNets are those of the second version,
which have no ReLU after the addition; the same strength for the first version is our reading.
"""


def dropout_erosion(*, rate: Scalar, layers: Sequence[str] | None = None) -> MakeTaps:
    """Dropout where there was none: each activation is zero with probability `rate`, else divided by `1 - rate`.

    What is dropped is drawn from the key, once for the whole batch: one key, one network. Without a key nothing is dropped.

    Args:
        rate: in [0, 1); 0 is the network itself.
        layers: names of the layers to erode. By default every layer with positions that is not a shortcut: the output of every
            block, and of every convolution outside of blocks, but neither pooled features nor fully connected layers.

    Returns:
        `make_taps`, for `with_taps`.

    Raises:
        ValueError: a rate outside [0, 1); at tracing, a layer that the model does not have.

    Example:
        >>> from jaxinterp import attacks
        >>> loss = attacks.with_taps(attacks.cross_entropy, attacks.dropout_erosion(rate=0.006))

    References:
        Y. Li, S. Bai, Y. Zhou, C. Xie, Z. Zhang, A. Yuille, "Learning Transferable Adversarial Examples via Ghost Networks",
        AAAI 2020, section "Dropout Erosion".
    """
    check_share(rate, name="rate", largest=1.0, typical=0.006)

    def drop(key: Array, activation: Array) -> Array:
        if layers is None and activation.ndim != 4:
            return activation
        keep = 1 - jnp.asarray(rate, activation.dtype)
        kept = jax.random.bernoulli(key, keep, (1, *activation.shape[1:]))
        return jnp.where(kept, activation / keep, jnp.zeros_like(activation))

    def make_taps(key: Array | None, model: Any, batch: Batch | None) -> Taps:
        names = [layer.name for layer in model.layers if not layer.name.endswith(".shortcut")]
        return _taps(key, model, rate, names if layers is None else layers, drop)

    return make_taps


def skip_erosion(*, strength: Scalar, layers: Sequence[str] | None = None) -> MakeTaps:
    """Skip connections of another weight: `out = w shortcut + residual`, each `w ~ U[1 - strength, 1 + strength]`.

    There is one `w` per channel of every shortcut, drawn from the key, once for the whole batch: one key, one network.
    Without a key nothing is changed.

    Args:
        strength: in [0, 1], the paper's Lambda; 0 is the network itself.
        layers: names of the shortcuts to erode; by default every layer called `<block>.shortcut`.

    Returns:
        `make_taps`, for `with_taps`.

    Raises:
        ValueError: a strength outside [0, 1]; at tracing, a network without shortcuts, or a layer that the model does not
            have.

    Example:
        >>> from jaxinterp import attacks
        >>> loss = attacks.with_taps(attacks.cross_entropy, attacks.skip_erosion(strength=0.22))

    References:
        Y. Li, S. Bai, Y. Zhou, C. Xie, Z. Zhang, A. Yuille, "Learning Transferable Adversarial Examples via Ghost Networks",
        AAAI 2020, section "Skip Connection Erosion".
    """
    check_share(strength, name="strength", largest=1.0, typical=0.22, closed=True)

    def scale(key: Array, activation: Array) -> Array:
        half = jnp.asarray(strength, activation.dtype)
        shape = (1,) * (activation.ndim - 1) + activation.shape[-1:]
        return activation * (1 + half * jax.random.uniform(key, shape, activation.dtype, -1.0, 1.0))

    def make_taps(key: Array | None, model: Any, batch: Batch | None) -> Taps:
        names = [layer.name for layer in model.layers if layer.name.endswith(".shortcut")]
        if not names and layers is None and not is_zero(strength):
            raise ValueError(
                "expected a network with skip connections, got one without a layer called <block>.shortcut; "
                "write dropout_erosion(rate=0.006), or name its layers."
            )
        return _taps(key, model, strength, names if layers is None else layers, scale)

    return make_taps


def _taps(key: Array | None, model: Any, amount: Scalar, names: Sequence[str], erode: Callable[[Array, Array], Array]) -> Taps:
    """A tap on every named layer, with a key of its own that depends only on where the layer stands."""
    if key is None or is_zero(amount):
        return {}
    places = {layer.name: place for place, layer in enumerate(model.layers)}
    taps = {}
    for name in names:
        layer_key = jax.random.fold_in(key, places[model.layer(name).name])
        taps[name] = lambda activation, layer_key=layer_key: erode(layer_key, activation)
    return taps


def is_zero(amount: Scalar) -> bool:
    """Whether a number erodes nothing; an array, which may be traced, is taken as it is."""
    return not isinstance(amount, Array) and float(amount) == 0


def check_share(amount: Scalar, *, name: str, largest: float, typical: float, closed: bool = False) -> None:
    """Raises `ValueError` for a number outside [0, `largest`), or [0, `largest`] where `closed`; arrays pass."""
    if isinstance(amount, Array) or 0 <= float(amount) < largest or (closed and float(amount) == largest):
        return
    bounds = f"[0, {largest:g}{']' if closed else ')'}"
    raise ValueError(f"expected {name} in {bounds}, got {amount}; write {name}={typical}.")
