"""From a Linen module to a `Model`: normalisation, shapes, weights."""

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any, NamedTuple, TypedDict

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Activations, Layer, Model, Taps
from jaxinterp.models._abstract import without_weights
from jaxinterp.models._files._download import published_weights, weights_file
from jaxinterp.models._files._weights import load_into
from jaxinterp.models._flow import Fold, Sites
from jaxinterp.models._init import Init, draw

Channels = tuple[float, float, float]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
INCEPTION_MEAN = INCEPTION_STD = (0.5, 0.5, 0.5)


class Body(nn.Module):
    """The layers of a network, from normalised images to logits."""

    def init_of(self, name: str) -> Init:
        """How the weights of that layer are drawn."""
        raise NotImplementedError

    def __call__(self, images: Array, sites: Sites, train: bool) -> Array:
        """Logits `[n k]` of normalised images `[n h w c]`; passes every named site on its way."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class ConvNet:
    """A convolutional network over images in [0, 1]; a hashable value, equal when it is built alike.

    Attributes:
        body: the layers.
        image_size: side of the images, in pixels.
        num_classes: length of the logits.
        last_conv: the name of the last convolutional layer.
        mean: per channel; subtracted from the image first.
        std: per channel; what is left is divided by it.
        dtype: what the body computes in; None for the type of the images. Weights, statistics, activations and logits
            are at least float32 in any case.
    """

    body: Body
    image_size: int
    num_classes: int
    last_conv: str
    mean: Channels
    std: Channels
    dtype: str | None = None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every named site, from the input to the logits."""
        return _abstract(self).layers

    @property
    def shapes(self) -> tuple[Any, Any]:
        """The parameters and the batch statistics, as `jax.ShapeDtypeStruct`."""
        return _abstract(self).shapes

    @property
    def folds(self) -> tuple[Fold, ...]:
        """Every convolution with a batch normalisation right after it, in the order of the network."""
        return _abstract(self).folds

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
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        return logits, sites.activations, state.get("batch_stats", {}) if train else stats

    def init(self, key: Array) -> tuple[Any, Any]:
        """Draws parameters and batch statistics as torchvision does."""
        return draw(key, *self.shapes, self.body.init_of)

    def _normalised(self, images: Array) -> Array:
        mean, std = (jnp.asarray(v, images.dtype)[None, None, None] for v in (self.mean, self.std))
        return ((images - mean) / std).astype(self.dtype or images.dtype)

    def __repr__(self) -> str:
        hidden = ("parent", "name")
        knobs = [f"{f.name}={getattr(self.body, f.name)!r}" for f in dataclasses.fields(self.body) if f.name not in hidden]
        rest = [f"{f.name}={getattr(self, f.name)!r}" for f in dataclasses.fields(self) if f.name != "body"]
        return f"{type(self.body).__name__}({', '.join(knobs + rest)})"


class _Abstract(NamedTuple):
    shapes: tuple[Any, Any]
    layers: tuple[Layer, ...]
    folds: tuple[Fold, ...]


@functools.lru_cache(maxsize=256)
def _abstract(network: ConvNet) -> _Abstract:
    """Shapes of the weights, layers and folds; computes nothing."""
    sites = Sites({})
    images = jax.ShapeDtypeStruct((1, network.image_size, network.image_size, 3), jnp.float32)
    variables = jax.eval_shape(lambda key, images: network.body.init(key, images, sites, False), jax.random.key(0), images)
    return _Abstract((variables["params"], variables.get("batch_stats", {})), tuple(sites.layers), tuple(sites.folds))


class Knobs(TypedDict, total=False):
    """What every builder of a network takes, as keyword arguments.

    Attributes:
        num_classes: length of the logits.
        image_size: side of the images, in pixels.
        weights: "imagenet" for the published weights, which are fetched once; another name of `models.PUBLISHED`; or a file.
        key: draws the weights as torchvision does; give either `weights` or `key`, or both with `head`.
        head: length of the logits of a new last layer, drawn from `key`; `weights` are then of a network of any number
            of classes, whose last layer is left out.
        mean: per channel of images in [0, 1]; subtracted first. None: what published weights were trained with, and of
            others what is usual for the network.
        std: per channel; divided by; None likewise.
    """

    num_classes: int
    image_size: int
    weights: str | os.PathLike[str] | None
    key: Array | None
    head: int | None
    mean: Channels | None
    std: Channels | None


def build(
    name: str,
    body: Callable[[int], Body],
    *,
    heads: tuple[str, ...],
    last_conv: str,
    minimum: int,
    ignore: tuple[str, ...] = (),
    usual: tuple[Channels, Channels] = (IMAGENET_MEAN, IMAGENET_STD),
    num_classes: int = 1000,
    image_size: int = 224,
    weights: str | os.PathLike[str] | None = None,
    key: Array | None = None,
    head: int | None = None,
    mean: Channels | None = None,
    std: Channels | None = None,
) -> Model:
    """The model of a network: weights read from a file or drawn from a key.

    Args:
        name: the architecture's, as published weights know it.
        body: number of classes -> Linen module.
        heads: the layers with weights whose size is the number of classes.
        last_conv: the name of the last convolutional layer.
        minimum: the smallest image, in pixels.
        ignore: modules that a file may have besides.
        usual: mean and std where nothing is said.
        num_classes: as in `Knobs`, and so are the others.
        image_size: side of the images.
        weights: a published name or a file.
        key: of fresh weights.
        head: classes of a new last layer.
        mean: of the images.
        std: of the images.

    Raises:
        ValueError: a size that the network cannot take, or not exactly one of `weights` and `key`.
    """
    entry = None if weights is None else published_weights(weights, name)
    usual = usual if entry is None else (entry.mean, entry.std)
    mean, std = mean or usual[0], std or usual[1]
    layers = body(num_classes if head is None else head)
    if image_size < minimum:
        raise ValueError(
            f"expected image_size >= {minimum} for this {type(layers).__name__}, got {image_size}; "
            f"write image_size={minimum} or models.at_size(model, {image_size})."
        )
    for knob, value in (("num_classes", num_classes), ("head", head)):
        if value is not None and value < 1:
            raise ValueError(f"expected {knob} >= 1, got {value}.")
    if min(std) <= 0:
        raise ValueError(f"expected a std above 0, got {std}.")
    network = ConvNet(layers, image_size, num_classes if head is None else head, last_conv, mean, std)
    params, stats = network.shapes
    if weights is not None and (stand_ins := without_weights((params, stats))) is not None:
        return Model(*stand_ins, network)
    if head is not None and weights is not None and key is not None:
        kept = {module: leaves for module, leaves in params.items() if module not in heads}
        loaded, stats = load_into(weights_file(weights, name), kept, stats, ignore=(*ignore, *heads))
        fresh, _ = draw(key, {module: params[module] for module in heads}, {}, layers.init_of)
        return Model(loaded | fresh, stats, network)
    if head is not None:
        raise ValueError("expected both weights and key with head, which draws a new last layer; write num_classes instead.")
    if weights is not None and key is None:
        background = entry is not None and entry.background
        file = weights_file(weights, name)
        return Model(*load_into(file, params, stats, ignore=ignore, drop_background=background), network)
    if key is not None and weights is None:
        return Model(*network.init(key), network)
    got = "neither" if weights is None else "both"
    raise ValueError(f"expected either weights or key, got {got}; write key=jax.random.key(0) for random weights.")


def check_knobs(
    *,
    width: float = 1.0,
    output_stride: int | None = None,
    strides: tuple[int, ...] = (),
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


def choose(knob: str, value: Any, plans: dict[Any, Any]) -> Any:
    """The plan of that value.

    Raises:
        ValueError: when there is none; the message lists the values.
    """
    if value not in plans:
        raise ValueError(f"expected {knob} to be one of {', '.join(map(str, plans))}, got {value!r}.")
    return plans[value]


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
