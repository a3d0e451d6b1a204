"""From a Linen module to a `Model`: normalisation, shapes, weights."""

import dataclasses
import functools
import os
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Activations, Layer, Model, Taps
from jaxinterp.models._flow import Sites
from jaxinterp.models._init import draw
from jaxinterp.models._weights import load_into

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class ConvNet:
    """A convolutional network over images in [0, 1]; a hashable value, equal when it is built alike.

    Attributes:
        body: Linen module, `(normalised images, sites, train) -> logits`; its `init_of(name)` says how weights are drawn.
        image_size: side of the images, in pixels.
        num_classes: length of the logits.
        last_conv: the name of the last convolutional layer.
        mean: per channel; subtracted from the image first.
        std: per channel; what is left is divided by it.
    """

    body: nn.Module
    image_size: int
    num_classes: int
    last_conv: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every named site, from the input to the logits."""
        return _abstract(self)[2]

    @property
    def shapes(self) -> tuple[Any, Any]:
        """The parameters and the batch statistics, as `jax.ShapeDtypeStruct`."""
        return _abstract(self)[:2]

    def apply(
        self, params: Any, stats: Any, images: Array, *, key: Array | None, taps: Taps, train: bool
    ) -> tuple[Array, Activations, Any]:
        """Evaluates the body on normalised images.

        Returns:
            Logits `[n k]`, the activation of every named site, the new batch statistics (in evaluation the old ones).
        """
        sites = Sites(taps)
        logits, state = self.body.apply(
            {"params": params, "batch_stats": stats},
            self._normalised(images),
            sites,
            train,
            rngs=None if key is None else {"dropout": key},
            mutable=["batch_stats"] if train else [],
        )
        return logits, sites.activations, state.get("batch_stats", {}) if train else stats

    def init(self, key: Array) -> tuple[Any, Any]:
        """Draws parameters and batch statistics as torchvision does."""
        return draw(key, *self.shapes, self.body.init_of)

    def _normalised(self, images: Array) -> Array:
        mean, std = (jnp.asarray(v, images.dtype)[None, None, None] for v in (self.mean, self.std))
        return (images - mean) / std

    def __repr__(self) -> str:
        hidden = ("parent", "name")
        knobs = [f"{f.name}={getattr(self.body, f.name)!r}" for f in dataclasses.fields(self.body) if f.name not in hidden]
        rest = [f"{f.name}={getattr(self, f.name)!r}" for f in dataclasses.fields(self) if f.name != "body"]
        return f"{type(self.body).__name__}({', '.join(knobs + rest)})"


@functools.lru_cache(maxsize=256)
def _abstract(network: ConvNet) -> tuple[Any, Any, tuple[Layer, ...]]:
    """Shapes of the parameters and of the statistics, and the layers; computes nothing."""
    sites = Sites({})
    images = jax.ShapeDtypeStruct((1, network.image_size, network.image_size, 3), jnp.float32)
    variables = jax.eval_shape(lambda key, images: network.body.init(key, images, sites, False), jax.random.key(0), images)
    return variables["params"], variables.get("batch_stats", {}), tuple(sites.layers)


def build(network: ConvNet, *, minimum: int, weights: str | os.PathLike[str] | None, key: Array | None) -> Model:
    """The model of a network: weights read from a file or drawn from a key.

    Raises:
        ValueError: a size that the network cannot take, or not exactly one of `weights` and `key`.
    """
    if network.image_size < minimum:
        raise ValueError(
            f"expected image_size >= {minimum} for this {type(network.body).__name__}, got {network.image_size}; "
            f"write image_size={minimum} or models.at_size(model, {network.image_size})."
        )
    if network.num_classes < 1:
        raise ValueError(f"expected num_classes >= 1, got {network.num_classes}.")
    if min(network.std) <= 0:
        raise ValueError(f"expected a std above 0, got {network.std}.")
    if (weights is None) == (key is None):
        got = "neither" if weights is None else "both"
        raise ValueError(f"expected either weights or key, got {got}; write key=jax.random.key(0) for random weights.")
    if key is not None:
        params, stats = network.init(key)
    else:
        params, stats = load_into(cast("str | os.PathLike[str]", weights), *network.shapes)
    return Model(params, stats, network)


def check_knobs(
    *,
    width: float,
    output_stride: int | None,
    strides: tuple[int, ...],
    hidden: int | None = None,
    pool_size: int = 1,
    dropout: float = 0.0,
) -> None:
    """Raises `ValueError` where a knob is out of range; `strides` are the output strides that the network has."""
    if not 0 < width <= 8:
        raise ValueError(f"expected 0 < width <= 8, got {width}; width=1 is the full network.")
    if output_stride is not None and output_stride not in strides:
        allowed = ", ".join(map(str, strides))
        raise ValueError(f"expected output_stride None or one of {allowed}, got {output_stride}.")
    if hidden is not None and hidden < 1:
        raise ValueError(f"expected hidden >= 1, got {hidden}.")
    if pool_size < 1:
        raise ValueError(f"expected pool_size >= 1, got {pool_size}.")
    if not 0 <= dropout < 1:
        raise ValueError(f"expected 0 <= dropout < 1, got {dropout}.")


def scaled(units: int, width: float) -> int:
    """A number of channels times a width, at least 1."""
    return max(1, round(units * width))


def strides_within(output_stride: int, strides: tuple[int, ...]) -> tuple[int, ...]:
    """The strides as long as their product stays within `output_stride`, then ones."""
    kept, total = [], 1
    for stride in strides:
        kept.append(stride if total * stride <= output_stride else 1)
        total *= kept[-1]
    return tuple(kept)
