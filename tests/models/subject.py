"""The networks of `jaxinterp.models` under the recipe's weights: what is compared with a fixture or with PyTorch itself."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxinterp import Model, models
from jaxinterp.models._files._layout import AXES_IN, torchvision_shapes, torchvision_state, walk
from tests import quick
from tests.models import recipe

_QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    **quick.SWITCHES,
}
"""Compiles three times as fast; convolutions are library calls and run as fast as ever."""


class Answers(NamedTuple):
    """What a network answers, on the host.

    Attributes:
        activations: layer -> `[n h w u]` or `[n u]`, in evaluation.
        training: the same in training mode, every image counted in the batch statistics, nothing dropped.
        statistics: PyTorch's name -> running mean or variance after that batch.
    """

    activations: dict[str, np.ndarray]
    training: dict[str, np.ndarray]
    statistics: dict[str, np.ndarray]


def outline(builder: str, knobs: dict[str, Any]) -> Model:
    """A network with the recipe's normalisation and with shapes in place of weights."""
    knobs = {"mean": recipe.MEAN, "std": recipe.STD, **knobs}
    return models.abstract(lambda: getattr(models, builder)(key=jax.random.key(0), **knobs))


def shapes(model: Model) -> dict[str, tuple[int, ...]]:
    """PyTorch's name -> shape of every weight."""
    return torchvision_shapes(model.params, model.stats)


def filled(model: Model, *, gain: float) -> Model:
    """The outline with the recipe's weights, float32."""
    trees: dict[str, dict[str, dict[str, jax.Array]]] = {"params": {}, "batch_stats": {}}
    names = torchvision_shapes(model.params, model.stats)
    for name, collection, module, leaf, like in walk(model.params, model.stats):
        value = recipe.weight(name, names[name], gain=gain).transpose(AXES_IN[len(like.shape)])
        trees[collection].setdefault(module, {})[leaf] = jnp.asarray(value)
    return Model(trees["params"], trees["batch_stats"], model.network)


def answers(model: Model, images: np.ndarray, training_images: np.ndarray | None, *, dtype: str, jit: bool = True) -> Answers:
    """What the network computes in that type.

    Args:
        model: with float32 weights, which every type holds exactly.
        images: `[n h w c]`, in evaluation.
        training_images: the same in training mode; None leaves it out.
        dtype: "float32" or "float64".
        jit: as one program; otherwise operation by operation, which is faster where many blocks are equal, since each
            operation is compiled once.
    """

    def run(model: Any, images: Any, training_images: Any) -> Any:
        model = jax.tree.map(lambda leaf: leaf.astype(dtype), model)
        activations = model(images)[1]
        if training_images is None:
            return activations, {}, model.stats
        network = model.network
        _, trained, stats = network.apply(model.params, model.stats, training_images, key=None, taps={}, train=True)
        return activations, trained, stats

    with jax.enable_x64(dtype == "float64"):
        batches = [None if batch is None else jnp.asarray(batch, dtype) for batch in (images, training_images)]
        compute = _compile(jax.jit(run).lower(model, *batches)) if jit else run
        activations, trained, stats = jax.device_get(compute(model, *batches))
    return Answers(activations, trained, torchvision_state({}, stats))


def _compile(lowered: Any) -> Any:
    """A program that runs once need not be fast; XLA may rename its switches, so they are not relied on."""
    try:
        return lowered.compile(compiler_options=_QUICK)
    except jax.errors.JaxRuntimeError as error:
        if "No such compile option" not in str(error):
            raise
        return lowered.compile()
