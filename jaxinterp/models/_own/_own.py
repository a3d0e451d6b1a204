"""Any network as a `Model`: what is the same for Linen modules, NNX modules and plain functions."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Activations, Layer, Model, Taps, did_you_mean
from jaxinterp.models._own._geometry import layer_of, reaches, trails
from jaxinterp.models._own._named import Passage, passing

PerChannel = float | tuple[float, ...]
"""One number for all channels of the image, or one for each."""


@runtime_checkable
class Code(Protocol):
    """What runs inside: a hashable value."""

    @property
    def joint(self) -> str:
        """What joins the names of a module and of a site in it."""
        ...

    def run(
        self, passage: Passage, params: Any, stats: Any, images: Array, *, key: Array | None, train: bool
    ) -> tuple[Any, Any]:
        """Returns (logits, new stats)."""
        ...


@dataclasses.dataclass(frozen=True)
class Own:
    """A network of any code over images in [0, 1]; a hashable value, equal when it is built alike.

    Attributes:
        code: what runs on the normalised images.
        image_size: side of the images, in pixels.
        num_channels: of the images.
        num_classes: length of the logits.
        layers: every named site, from the input to the logits.
        last_conv: the name of the last convolutional layer; None where nobody said.
        mean: per channel; subtracted from the image first.
        std: per channel; what is left is divided by it.
    """

    code: Code
    image_size: int
    num_channels: int
    num_classes: int
    layers: tuple[Layer, ...]
    last_conv: str | None
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(
        self, params: Any, stats: Any, images: Array, *, key: Array | None, taps: Taps, train: bool
    ) -> tuple[Array, Activations, Any]:
        """Normalises the images and runs the code.

        Returns:
            Logits `[n k]`, the activation of every layer, the new statistics (in evaluation the old ones).

        Raises:
            ValueError: another number of channels, or a layer that is not passed.
        """
        if images.shape[-1] != self.num_channels:
            raise ValueError(f"expected images [n h w {self.num_channels}], got shape {images.shape}.")
        logits, passage, stats = self.run(params, stats, images, key=key, taps=taps, train=train)
        found = passage.activations
        missing = [layer.name for layer in self.layers if layer.name not in found]
        if missing:
            mode = "training" if train else "evaluation"
            raise ValueError(f"expected the layer {missing[0]!r} in {mode}, but the network did not pass it; leave it out.")
        return logits, {layer.name: found[layer.name] for layer in self.layers}, stats

    def run(
        self, params: Any, stats: Any, images: Array, *, key: Array | None, taps: Taps, train: bool
    ) -> tuple[Array, Passage, Any]:
        """The same with every site that is passed, those that are not layers included."""
        if any(self.mean) or any(std != 1 for std in self.std):
            mean, std = (jnp.asarray(v, images.dtype)[None, None, None] for v in (self.mean, self.std))
            images = (images - mean) / std
        with passing(taps, self.code.joint) as passage:
            logits, new = self.code.run(passage, params, stats, images, key=key, train=train)
            _check_logits(logits, len(images))
            if "logits" not in passage.activations:
                logits = passage.site("logits", logits)
        return logits, passage, new if train else stats

    def __repr__(self) -> str:
        layers = ", ".join(layer.name for layer in self.layers)
        return f"{self.code!r} of {self.num_classes} classes, images of {self.image_size} px, layers {layers}"


def own_model(
    code: Code,
    params: Any,
    stats: Any,
    *,
    image_size: int,
    num_channels: int,
    num_classes: int | None,
    layers: Sequence[str | Layer] | None,
    last_conv: str | None,
    mean: PerChannel,
    std: PerChannel,
) -> Model:
    """The model of some code; the arguments are those of `from_function`.

    Raises:
        ValueError: code that does not run on such images or returns no logits, layers that it does not have.
    """
    if image_size < 1 or num_channels < 1:
        raise ValueError(f"expected image_size and num_channels >= 1, got {image_size} and {num_channels}.")
    mean, std = _per_channel("mean", mean, num_channels), _per_channel("std", std, num_channels)
    if min(std) <= 0:
        raise ValueError(f"expected a std above 0, got {std}.")
    bare = Own(code, image_size, num_channels, 1, (), None, mean, std)
    shape, sites = _inspected(bare, params, stats)
    if num_classes not in (None, shape):
        raise ValueError(f"expected {num_classes} logits, got {shape}; write num_classes={shape}.")
    chosen = _chosen(sites, layers)
    names = [layer.name for layer in chosen]
    if last_conv is not None and last_conv not in names:
        raise ValueError(
            f"unknown layer last_conv={last_conv!r}; the layers are: {', '.join(names)}{did_you_mean(last_conv, names)}"
        )
    return Model(params, stats, dataclasses.replace(bare, num_classes=shape, layers=chosen, last_conv=last_conv))


class Site(NamedTuple):
    """What is known of a site.

    Attributes:
        shape: (height, width, units), the whole shape of what is no map, or nothing where it cannot be seen.
        layer: its record, or why it has none.
        used: whether the logits depend on it; not asked of what can only be read.
    """

    shape: tuple[int, ...]
    layer: Layer | str
    used: bool


def _inspected(network: Own, params: Any, stats: Any) -> tuple[int, dict[str, Site]]:
    """The number of logits, and every site that is passed; computes nothing."""
    size = network.image_size
    images = jax.ShapeDtypeStruct((2, size, size, network.num_channels), jnp.float32)
    params, stats = jax.eval_shape(lambda params, stats: (params, stats), params, stats)
    passages: list[Passage] = []
    marked: set[str] = set()

    def mark(name: str, activation: Array) -> Array:
        # What goes on from a site is then another variable than what came in.
        marked.add(name)
        return jax.lax.optimization_barrier(activation)

    def evaluation(taps: Taps) -> Callable[..., Any]:
        def evaluate(params: Any, stats: Any, images: Any) -> Any:
            logits, passage, _ = network.run(params, stats, images, key=None, taps=taps, train=False)
            passages.append(passage)
            return logits, list(passage.activations.values())

        return evaluate

    try:
        shapes = jax.eval_shape(evaluation({}), params, stats, images)
        names = [name for name in passages[0].activations if name not in passages[0].given]
        program = jax.make_jaxpr(evaluation({name: functools.partial(mark, name) for name in names}))(params, stats, images)
    except Exception as error:
        reason = " ".join(str(error).split())
        kind = "" if isinstance(error, ValueError) and reason.startswith("expected ") else f"{type(error).__name__}: "
        raise ValueError(
            f"expected a network of images {list(images.shape)} [n h w c] that returns logits [n k]; {kind}{reason[:300]}"
        ) from error
    found, used = {}, reaches(program, 0)
    followed = trails(program, len(program.jaxpr.invars) - 1)[1:]
    for name, var, trail in zip(passages[1].activations, program.jaxpr.outvars[1:], followed, strict=True):
        shape, layer = var.aval.shape, layer_of(name, var.aval.shape, trail, size)
        place = (1, 1, shape[-1]) if len(shape) == 2 else shape[1:]
        found[name] = Site(place, layer, name in passages[1].given or (name in marked and var in used))
    for name in passages[1].hidden:
        found.setdefault(name, Site((), "", False))
    return shapes[0].shape[-1], found


def _chosen(sites: dict[str, Site], layers: Sequence[str | Layer] | None) -> tuple[Layer, ...]:
    """The layers that are wanted, in the order of passing; by default every site that can be one."""
    if layers is None:
        return tuple(site.layer for site in sites.values() if isinstance(site.layer, Layer) and site.used)
    wanted = {(entry.name if isinstance(entry, Layer) else entry): entry for entry in layers}
    if len(wanted) != len(layers):
        raise ValueError(f"expected layers of different names, got {list(layers)}.")
    names = list(sites)
    for name in wanted:
        if name not in sites:
            raise ValueError(f"unknown layer {name!r}; this network has: {', '.join(names)}{did_you_mean(name, names)}")
    return tuple(_layer(name, sites[name], wanted[name]) for name in names if name in wanted)


def _layer(name: str, site: Site, entry: str | Layer) -> Layer:
    if not site.shape:
        raise ValueError(
            f"cannot make {name!r} a layer: it is passed inside jit, scan or checkpoint, where it can be neither read nor "
            "replaced; name it outside with models.named."
        )
    if not site.used:
        raise ValueError(
            f"cannot make {name!r} a layer: what replaces it does not reach the logits; go on with what is returned."
        )
    if isinstance(entry, Layer):
        if entry.shape != site.shape:
            raise ValueError(f"expected the layer {name!r} of shape {site.shape}, got {entry.shape}.")
        return entry
    if isinstance(site.layer, str):
        raise ValueError(
            f"cannot make {name!r} a layer: {site.layer}; if it is a map [n h w u], "
            f"write jaxinterp.Layer({name!r}, {site.shape}, stride, offset, receptive_field) in layers."
        )
    return site.layer


def _check_logits(logits: Any, count: int) -> None:
    if not isinstance(logits, Array):
        raise ValueError(f"expected logits [n k], got {type(logits).__name__}; write a function that returns the logits only.")
    if logits.ndim != 2 or len(logits) != count or not jnp.issubdtype(logits.dtype, jnp.floating):
        raise ValueError(f"expected float logits [n k] of {count} images, got {logits.dtype} of shape {logits.shape}.")


def _per_channel(name: str, value: PerChannel, num_channels: int) -> tuple[float, ...]:
    values = (value,) * num_channels if isinstance(value, float | int) else tuple(value)
    if len(values) != num_channels:
        raise ValueError(f"expected {name} of {num_channels} channels, got {len(values)} numbers.")
    return tuple(float(number) for number in values)
