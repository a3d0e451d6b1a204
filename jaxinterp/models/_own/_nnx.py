"""An NNX module as a `Model`."""

import dataclasses
import functools
import types
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from jaxinterp._base import Layer, Model
from jaxinterp.models._own._geometry import reaches
from jaxinterp.models._own._named import Passage, current
from jaxinterp.models._own._own import PerChannel, own_model
from jaxinterp.models._own._value import Value, value_of
from jaxinterp.models._wrapped import inner

Path = tuple[str | int, ...]


@dataclasses.dataclass(frozen=True)
class Nnx:
    """An NNX module without its state.

    Attributes:
        graphs: its structure in evaluation and in training.
        value: what makes two modules, with their arguments, one.
        call: keyword arguments of its `__call__` in evaluation.
        train_call: the same in training.
        streams: path and shape of every random stream.
        names: path of every parameter and of every other variable, by its name.
    """

    graphs: tuple[Any, Any] = dataclasses.field(compare=False)
    value: Value
    call: Mapping[str, Any] = dataclasses.field(compare=False)
    train_call: Mapping[str, Any] = dataclasses.field(compare=False)
    streams: tuple[tuple[Path, tuple[int, ...]], ...]
    names: tuple[tuple[str, Path], ...]

    @property
    def joint(self) -> str:
        """What joins the names of a module and of a site in it."""
        return "."

    def run(
        self, passage: Passage, params: Any, stats: Any, images: Array, *, key: Array | None, train: bool
    ) -> tuple[Any, Any]:
        """Makes a module of its own for this call, with every call of a submodule as a site."""
        module = self.merged(params, stats, key=jax.random.key(0) if key is None else key, train=train)
        for path, part in list(nnx.iter_modules(module)):
            if callable(part):
                passage.paths[id(part)] = tuple(map(str, path))
                part.__class__ = _heard(type(part))
        logits = module(images, **(self.train_call if train else self.call))
        after = _flat(module)
        return logits, {name: _array(after[path]) for name, path in self.names if name in stats}

    def merged(self, params: Any, stats: Any, *, key: Array, train: bool) -> Any:
        """A new module with these variables, whose random streams begin with the key."""
        paths = dict(self.names)
        state = {paths[name]: leaf for name, leaf in {**params, **stats}.items()}
        for number, (path, shape) in enumerate(self.streams):
            stream = jax.random.fold_in(key, number)
            state[*path, "key"] = jax.random.split(stream, shape) if shape else stream
            state[*path, "count"] = jnp.zeros(shape, jnp.uint32)
        return nnx.merge(self.graphs[train], _nested(state))

    def __repr__(self) -> str:
        return self.graphs[0].nodes[0].type.__name__


def _array(leaf: Any) -> Any:
    """What a variable holds; an array that is an attribute by itself holds itself."""
    return leaf.get_value() if isinstance(leaf, nnx.Variable) else leaf


def _flat(module: Any) -> dict[Any, Any]:
    """Path -> variable."""
    return dict(nnx.to_flat_state(nnx.state(module)))


def _nested(flat: Mapping[Path, Any]) -> dict[str | int, Any]:
    nested: dict[str | int, Any] = {}
    for path, leaf in flat.items():
        place = nested
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = leaf
    return nested


@functools.cache
def _heard(kind: type) -> type:
    """The same class, whose calls are sites of the evaluation that made the instance."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        passage = current()
        path = passage.paths.get(id(self)) if passage is not None else None
        if passage is None or path is None:
            return kind.__call__(self, *args, **kwargs)
        with passage.inside(path):
            answer = kind.__call__(self, *args, **kwargs)
        return passage.output(path, answer)

    body = {"__call__": call, "__module__": kind.__module__, "__qualname__": kind.__qualname__, "__annotations__": {}}
    options = {"pytree": getattr(kind, "_pytree__is_pytree", True)}
    return types.new_class(kind.__name__, (kind,), options, lambda names: names.update(body))


def from_nnx(
    module: nnx.Module,
    *,
    image_size: int,
    num_classes: int | None = None,
    num_channels: int = 3,
    layers: Sequence[str | Layer] | None = None,
    last_conv: str | None = None,
    call: Mapping[str, Any] | None = None,
    train_call: Mapping[str, Any] | None = None,
    mean: PerChannel = 0.0,
    std: PerChannel = 1.0,
) -> Model:
    """A Flax NNX module of images as a model; the module itself is left as it is.

    Every submodule whose `__call__` returns a map `[n h w u]` or a vector `[n u]` is a layer under its path, such as
    `blocks.0.conv`; its second call is `blocks.0.conv:2`. A function between submodules, such as `nnx.relu`, is none: name
    its result with `models.named`. Evaluation takes the module as after `module.eval()`, training as after
    `module.train()`; random streams are drawn anew from the key of each call. `model.params` and `model.stats` are flat
    dicts by name, such as `blocks.0.conv.kernel`; `models.to_nnx` is the way back.

    Where the positions of a layer lie is found as in `from_function`.

    Args:
        module: the module; `module(images, **call)` returns logits.
        image_size: side of the images, in pixels.
        num_classes: length of the logits, checked; None takes what the module returns.
        num_channels: of the images.
        layers: names of layers, or `Layer` records where the user knows better; None takes every site that can be one,
            and "logits".
        last_conv: the layer that `models.last_conv` answers with.
        call: keyword arguments of the module in evaluation.
        train_call: the same in training; None takes `call`.
        mean: of all channels or per channel; subtracted from images in [0, 1] first.
        std: of all channels or per channel; divided by.

    Returns:
        The model. Two builds of one module are one program.

    Raises:
        ValueError: a module that does not run on such images or returns no logits; unknown layers.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> import jaxinterp as ji
        >>> rngs = nnx.Rngs(0)
        >>> pooled = lambda a: a.mean((1, 2))
        >>> module = nnx.Sequential(nnx.Conv(3, 8, (3, 3), rngs=rngs), nnx.relu, pooled, nnx.Linear(8, 10, rngs=rngs))
        >>> model = ji.models.from_nnx(module, image_size=32, last_conv="layers.0")
        >>> model.layer("layers.0")
        Layer(name='layers.0', shape=(32, 32, 8), stride=1.0, offset=0.0, receptive_field=3)
    """
    evaluated, trained = nnx.clone(module), nnx.clone(module)
    evaluated.eval()
    trained.train()
    graphs = nnx.graphdef(evaluated), nnx.graphdef(trained)
    params, stats, streams, names = {}, {}, [], []
    for path, variable in _flat(module).items():
        if isinstance(variable, nnx.RngState):
            if path[-1] == "key":
                streams.append((path[:-1], variable.get_value().shape))
            continue
        name = ".".join(map(str, path))
        names.append((name, path))
        (params if isinstance(variable, nnx.Param) else stats)[name] = _array(variable)
    call = dict(call or {})
    train_call = call if train_call is None else dict(train_call)
    model = own_model(
        Nnx(graphs, value_of((graphs, call, train_call)), call, train_call, tuple(streams), tuple(names)),
        params,
        stats,
        image_size=image_size,
        num_channels=num_channels,
        num_classes=num_classes,
        layers=layers,
        last_conv=last_conv,
        mean=mean,
        std=std,
    )
    if streams:
        _check_still(model)
    return model


def _check_still(model: Model) -> None:
    """Raises `ValueError` where evaluation draws at random."""
    network = model.network
    shape = (2, network.image_size, network.image_size, getattr(network, "num_channels", 3))

    def evaluate(model: Model, images: Array, key: Array) -> Array:
        return network.apply(model.params, model.stats, images, key=key, taps={}, train=False)[0]

    shapes = jax.eval_shape(lambda model: (model, jnp.zeros(shape), jax.random.key(0)), model)
    program = jax.make_jaxpr(evaluate)(*shapes)
    if program.jaxpr.invars[-1] in reaches(program, 0):
        raise ValueError("expected a module that draws nothing at random when it is evaluated; switch it off with call={...}.")


def to_nnx(model: Model) -> nnx.Module:
    """The NNX module of a model that `from_nnx` made, with the model's weights, such as trained ones; in evaluation mode.

    Args:
        model: the model.

    Raises:
        ValueError: another model.
    """
    code = getattr(inner(model.network), "code", None)
    if not isinstance(code, Nnx):
        raise ValueError(f"expected a model made by models.from_nnx, got {model.network!r}.")
    return code.merged(model.params, model.stats, key=jax.random.key(0), train=False)
