"""A Linen module as a `Model`."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
from flax.core import unfreeze
from jax import Array

from jaxinterp._base import Layer, Model
from jaxinterp.models._own._named import Passage
from jaxinterp.models._own._own import PerChannel, own_model
from jaxinterp.models._own._value import Value, value_of

PASSING = ("intermediates", "perturbations")
"""Collections that hold nothing that is kept."""


@dataclasses.dataclass(frozen=True)
class Linen:
    """A Linen module.

    Attributes:
        module: what is applied.
        value: what makes two modules, with their arguments, one.
        call: keyword arguments of its `__call__` in evaluation.
        train_call: the same in training.
        rngs: names of the random streams that it draws from.
    """

    module: nn.Module = dataclasses.field(compare=False)
    value: Value
    call: Mapping[str, Any] = dataclasses.field(compare=False)
    train_call: Mapping[str, Any] = dataclasses.field(compare=False)
    rngs: tuple[str, ...]

    @property
    def joint(self) -> str:
        """What joins the names of a module and of a site in it."""
        return "/"

    def run(
        self, passage: Passage, params: Any, stats: Any, images: Array, *, key: Array | None, train: bool
    ) -> tuple[Any, Any]:
        """Applies the module, with every call of a submodule as a site."""

        def intercept(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
            if context.module.scope is None:
                return call(*args, **kwargs)
            path = context.module.path
            with passage.inside(path):
                answer = call(*args, **kwargs)
            return passage.output(path, answer) if context.method_name == "__call__" else answer

        streams = (
            {name: jax.random.fold_in(key, i) if i else key for i, name in enumerate(self.rngs)} if key is not None else {}
        )
        with nn.intercept_methods(intercept):
            logits, changed = self.module.apply(
                {"params": params, **stats},
                images,
                rngs=streams,
                mutable=list(stats) if train else [],
                **(self.train_call if train else self.call),
            )
        return logits, {**stats, **unfreeze(changed)}

    def __repr__(self) -> str:
        return type(self.module).__name__


def from_linen(
    module: nn.Module,
    variables: Mapping[str, Any],
    *,
    image_size: int,
    num_classes: int | None = None,
    num_channels: int = 3,
    layers: Sequence[str | Layer] | None = None,
    last_conv: str | None = None,
    call: Mapping[str, Any] | None = None,
    train_call: Mapping[str, Any] | None = None,
    rngs: tuple[str, ...] = ("dropout",),
    mean: PerChannel = 0.0,
    std: PerChannel = 1.0,
) -> Model:
    """A Flax Linen module of images as a model.

    Every submodule whose `__call__` returns a map `[n h w u]` or a vector `[n u]` is a layer under its path, such as
    `block1/Conv_0`; its second call is `block1/Conv_0:2`. A function between submodules, such as `nn.relu`, is none: name
    its result with `models.named`. `model.params` is the module's own tree of parameters and `model.stats` holds its other
    collections, so `module.apply({"params": model.params, **model.stats}, ...)` is the way back.

    Where the positions of a layer lie is found as in `from_function`.

    Args:
        module: the module; `module(images, **call)` returns logits.
        variables: what `module.init` returned, trained or not.
        image_size: side of the images, in pixels.
        num_classes: length of the logits, checked; None takes what the module returns.
        num_channels: of the images.
        layers: names of layers, or `Layer` records where the user knows better; None takes every site that can be one,
            and "logits".
        last_conv: the layer that `models.last_conv` answers with.
        call: keyword arguments of the module in evaluation, such as {"train": False}.
        train_call: the same in training, such as {"train": True}; None takes `call`.
        rngs: the random streams that the module draws from when it is given a key.
        mean: of all channels or per channel; subtracted from images in [0, 1] first.
        std: of all channels or per channel; divided by.

    Returns:
        The model. Two builds of one module are one program.

    Raises:
        ValueError: a module that does not run on such images or returns no logits; unknown layers.

    Example:
        >>> import flax.linen as nn, jax, jax.numpy as jnp, jaxinterp as ji
        >>> module = nn.Sequential([nn.Conv(8, (3, 3)), nn.relu, lambda a: a.mean((1, 2)), nn.Dense(10)])
        >>> variables = module.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
        >>> model = ji.models.from_linen(module, variables, image_size=32, last_conv="layers_0")
        >>> model.layer("layers_0")
        Layer(name='layers_0', shape=(32, 32, 8), stride=1.0, offset=0.0, receptive_field=3)
    """
    collections = unfreeze(nn.meta.unbox(variables))
    if "params" not in collections:
        raise ValueError(f"expected variables with 'params', got {list(collections)}; write {{'params': variables}}.")
    stats = {name: tree for name, tree in collections.items() if name not in ("params", *PASSING)}
    call = dict(call or {})
    train_call = call if train_call is None else dict(train_call)
    return own_model(
        Linen(module, value_of((module, call, train_call)), call, train_call, tuple(rngs)),
        collections["params"],
        stats,
        image_size=image_size,
        num_channels=num_channels,
        num_classes=num_classes,
        layers=layers,
        last_conv=last_conv,
        mean=mean,
        std=std,
    )
