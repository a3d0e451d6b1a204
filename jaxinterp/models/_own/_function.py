"""A pure function as a `Model`."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from jax import Array

from jaxinterp._base import Layer, Model
from jaxinterp.models._own._named import Passage
from jaxinterp.models._own._own import PerChannel, own_model
from jaxinterp.models._own._value import Value, value_of

OPTIONS = ("stats", "key", "taps", "train")


@dataclasses.dataclass(frozen=True)
class Function:
    """A pure function of parameters and images.

    Attributes:
        function: what is called.
        value: what makes two functions one.
        options: what it takes beside parameters and images, by name.
    """

    function: Callable[..., Any] = dataclasses.field(compare=False)
    value: Value
    options: tuple[str, ...]

    @property
    def joint(self) -> str:
        """What joins names; a function joins none itself."""
        return "/"

    def run(
        self, passage: Passage, params: Any, stats: Any, images: Array, *, key: Array | None, train: bool
    ) -> tuple[Any, Any]:
        """Calls the function and hands over the activations that it returns."""
        given = {"stats": stats, "key": key, "taps": passage.taps, "train": train}
        answer = self.function(params, images, **{name: given[name] for name in self.options})
        if "stats" in self.options:
            if not isinstance(answer, tuple) or len(answer) != 3:
                raise ValueError("expected (logits, activations, new stats) of a function that takes stats.")
            logits, activations, stats = answer
        else:
            logits, activations = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, {})
        if not isinstance(activations, dict):
            raise ValueError(f"expected activations as a dict of arrays, got {type(activations).__name__}.")
        if "taps" not in self.options:
            passage.given.update(activations)
            untapped = [name for name in activations if name in passage.taps]
            if untapped:
                raise ValueError(
                    f"expected a function that takes taps, since {untapped[0]!r} is an activation that it returns; "
                    "write taps=None in its signature and replace it there, or name it with models.named."
                )
        passage.activations.update(activations)
        return logits, stats

    def __repr__(self) -> str:
        return getattr(self.function, "__qualname__", None) or repr(self.function)


def from_function(
    apply: Callable[..., Any],
    params: Any,
    *,
    image_size: int,
    num_classes: int | None = None,
    num_channels: int = 3,
    layers: Sequence[str | Layer] | None = None,
    last_conv: str | None = None,
    stats: Any | None = None,
    mean: PerChannel = 0.0,
    std: PerChannel = 1.0,
) -> Model:
    """A pure function of parameters and images as a model.

    `apply(params, images) -> logits`; every activation that it names with `models.named` can be a layer. It may instead
    return `(logits, activations)`: these can be read, and replaced where the function takes `taps` and does so itself. By
    name it is given what its signature names of `taps` (layer -> function), `key` (None in evaluation), `train` (bool) and
    `stats`; a function that takes `stats` returns `(logits, activations, new stats)`.

    Where the positions of a layer lie is read off the traced program: exact, and nothing is computed. What mixes all
    positions (attention, a squeeze, a group norm over the image) makes the receptive field twice the image, less one: it
    covers the image from every position. What cannot be followed is named in the error; then give that layer as a `Layer`.

    Args:
        apply: pure, without weights of its own; a jitted function is taken without its `jit`.
        params: any tree of arrays.
        image_size: side of the images, in pixels.
        num_classes: length of the logits, checked; None takes what the function returns.
        num_channels: of the images.
        layers: names of layers, or `Layer` records where the user knows better; None takes every site that can be one,
            and "logits".
        last_conv: the layer that `models.last_conv` answers with.
        stats: what training changes besides the parameters, such as batch statistics, as a tree of arrays.
        mean: of all channels or per channel; subtracted from images in [0, 1] first.
        std: of all channels or per channel; divided by.

    Returns:
        The model. Two builds of one function are one program.

    Raises:
        ValueError: a function that does not run on such images, closes over arrays or returns no logits; unknown layers.

    Example:
        >>> import jax, jax.numpy as jnp, jaxinterp as ji
        >>> def apply(params, images):
        ...     return ji.models.named("pooled", images.mean((1, 2))) @ params
        >>> model = ji.models.from_function(apply, jnp.ones((3, 10)), image_size=32)
        >>> [layer.name for layer in model.layers]
        ['pooled', 'logits']
    """
    # What is named inside could not be seen through the function's own jit.
    apply = inspect.unwrap(apply, stop=lambda function: not hasattr(function, "lower"))
    names = inspect.signature(apply).parameters
    options = tuple(name for name in OPTIONS if name in names)
    if (stats is not None) != ("stats" in options):
        raise ValueError("expected stats both as an argument here and in the signature of the function, got one of the two.")
    return own_model(
        Function(apply, value_of(apply), options),
        params,
        {} if stats is None else stats,
        image_size=image_size,
        num_channels=num_channels,
        num_classes=num_classes,
        layers=layers,
        last_conv=last_conv,
        mean=mean,
        std=std,
    )
