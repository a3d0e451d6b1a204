"""The four records that everything else is made of: `Batch`, `Model`, `Attack`, `Statistic`.

Every function of the library takes and returns these, so this is the one file to read first. The records hold
data and pure functions; none of them holds hidden state, and all of them pass through `jax.jit`, `jax.vmap` and
`jax.tree.map`.
"""

import dataclasses
import difflib
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
from jax import Array

Taps = Mapping[str, Callable[[Array], Array]]
"""What replaces activations on the way through a network: layer name -> function of that layer's activation."""

Activations = dict[str, Array]
"""Layer name -> post-activation map `[n h w u]`."""


class Batch(NamedTuple):
    """A batch of examples; every array has the same leading axis `n`.

    Attributes:
        image: `[n h w c]` float32 in [0, 1].
        label: `[n]` int32, the true class.
        target: `[n]` int32, the class an attack aims at; -1 where there is none.
        id: `[n]` int32, names the example in every output; of an adversarial image `source_id * num_targets + rank`.
        source_id: `[n]` int32, the id of the clean image that this one was made from (its own id when it is clean).
        mask: `[n]` bool, False on rows that only fill up the batch.
        extra: further arrays by name: `concepts` `[n h w l]` int32 concept numbers (0 = none), `depth` `[n h w]`.
    """

    image: Array
    label: Array
    target: Array
    id: Array
    source_id: Array
    mask: Array
    extra: dict[str, Array]


class Layer(NamedTuple):
    """A named post-activation site of a network.

    Attributes:
        name: the key of this layer in `activations` and in `taps`.
        shape: (height, width, units) of its map at the network's image size.
        stride: input pixels between neighbouring positions of the map.
        offset: input coordinate, in pixels, of the centre of the receptive field of position 0 (pixel centres are integers).
        receptive_field: side of the receptive field in input pixels.
    """

    name: str
    shape: tuple[int, int, int]
    stride: float
    offset: float
    receptive_field: int


@runtime_checkable
class Network(Protocol):
    """What a `Model` runs: a hashable value, so that two builds of one architecture share one trace."""

    @property
    def image_size(self) -> int: ...

    @property
    def num_classes(self) -> int: ...

    @property
    def layers(self) -> tuple[Layer, ...]: ...

    def apply(
        self, params: Any, stats: Any, images: Array, *, key: Array | None, taps: Taps, train: bool
    ) -> tuple[Array, Activations, Any]:
        """Returns (logits `[n k]`, activations, new stats); draws nothing at random when `key` is None."""
        ...


@functools.partial(jax.tree_util.register_dataclass, data_fields=["params", "stats"], meta_fields=["network"])
@dataclasses.dataclass(frozen=True)
class Model:
    """A callable pytree: `model(images) -> (logits, activations)`.

    The weights are leaves, so they are arguments of every compiled function and never constants inside it.

    Attributes:
        params: trained parameters.
        stats: batch statistics; an empty dict where the network keeps none.
        network: the architecture, a hashable value.

    Example:
        >>> import jax, jaxinterp as ji
        >>> model = ji.models.resnet18(num_classes=10, width=1 / 8, image_size=64, output_stride=8, key=jax.random.key(0))
        >>> logits, activations = model(jax.numpy.zeros((2, 64, 64, 3)))
        >>> logits.shape
        (2, 10)
    """

    params: Any
    stats: Any
    network: Network

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every named site, from the input to the logits."""
        return self.network.layers

    @property
    def image_size(self) -> int:
        """Side of the images that the model takes, in pixels."""
        return self.network.image_size

    @property
    def num_classes(self) -> int:
        """Length of the logits."""
        return self.network.num_classes

    def layer(self, name: str) -> Layer:
        """The layer of that name.

        Raises:
            ValueError: when the model has none; the message lists those it has.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = [layer.name for layer in self.layers]
        raise ValueError(f"unknown layer {name!r}; this model has: {', '.join(names)}{did_you_mean(name, names)}")

    def __call__(self, images: Array, *, key: Array | None = None, taps: Taps | None = None) -> tuple[Array, Activations]:
        """Evaluates the network.

        Args:
            images: `[n h w c]` in [0, 1], `h` and `w` equal to `image_size`.
            key: for networks that draw at random when they are evaluated; most draw nothing.
            taps: replaces the activation of each named layer by a function of it.

        Returns:
            Logits `[n k]` and the activations of every named layer; under `jit`, those not used cost nothing.

        Raises:
            ValueError: images of another shape or type, or a tap on a layer that the model does not have.
        """
        logits, activations, _ = self._apply(images, key=key, taps=taps, train=False)
        return logits, activations

    def train(self, images: Array, *, key: Array, taps: Taps | None = None) -> tuple[Array, Activations, Any]:
        """Evaluates the network in training mode: dropout is drawn from `key`, batch statistics are the batch's own.

        Returns:
            Logits, activations and the new `stats`.
        """
        return self._apply(images, key=key, taps=taps, train=True)

    def _apply(self, images: Array, *, key: Array | None, taps: Taps | None, train: bool) -> tuple[Array, Activations, Any]:
        check_images(images, size=self.image_size)
        for name in taps or ():
            self.layer(name)
        return self.network.apply(self.params, self.stats, images, key=key, taps=taps or {}, train=train)


class Attack(NamedTuple):
    """An iterative attack.

    Attributes:
        init: `(key, model, batch) -> state`.
        step: `(key, state, model, batch) -> (state, info)`; `state.adversarial` `[n h w c]` is the answer so far,
            `info` is what one wants to look at. A state may have `done` `[n]` bool, rows that no further step changes: a run
            then ends once all are done; and `queries` `[n]` int32, the images on which the model was asked for a row.
        num_steps: how often `step` is called; with `done`, at most.
        kind: what it promises: "fixed_radius", "penalty", "minimum_norm", "query" or "universal".
        criterion: `(key, model, adversarial, batch) -> [n]` bool, which images count as success; None: those that every model
            takes for the target or, in rows without one, no model for the label.
    """

    init: Callable[[Array, Any, Batch], Any]
    step: Callable[[Array, Any, Any, Batch], tuple[Any, Any]]
    num_steps: int
    kind: str
    criterion: Callable[[Array | None, Any, Array, Batch], Array] | None = None


class Statistic(NamedTuple):
    """An accumulation over a data set.

    `merge` is associative and `init()` is its identity, which is what makes a statistic shardable and resumable.

    Attributes:
        init: `() -> state`.
        update: `(state, batch, activations) -> state`; rows whose `mask` is False change nothing.
        merge: `(state, state) -> state`.
        compute: `(state) -> result`, on the host.
    """

    init: Callable[[], Any]
    update: Callable[[Any, Batch, Activations], Any]
    merge: Callable[[Any, Any], Any]
    compute: Callable[[Any], Any]


def did_you_mean(name: str, names: list[str]) -> str:
    """The tail of an error message: the nearest of `names`, or nothing."""
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def check_images(images: Array, *, size: int | None = None) -> None:
    """Raises `ValueError` where shape or type cannot be those of images `[n h w c]` in [0, 1]; looks at no value."""
    shape = tuple(images.shape)
    if len(shape) != 4:
        raise ValueError(f"expected images [n h w c], got shape {shape}; add the batch axis with images[None].")
    if shape[-1] != 3 and shape[1] == 3:
        raise ValueError(f"expected images [n h w c], got shape {shape}; write images.transpose(0, 2, 3, 1).")
    if not jax.numpy.issubdtype(images.dtype, jax.numpy.floating):
        raise ValueError(f"expected float images in [0, 1], got {images.dtype}; write images.astype('float32') / 255.")
    if size is not None and shape[1:3] != (size, size):
        raise ValueError(
            f"expected images of {size} x {size}, got {shape[1]} x {shape[2]}; "
            f"write models.at_size(model, {shape[1]}) or resize the images."
        )
