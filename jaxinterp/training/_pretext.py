"""Pretext tasks: what a network is trained for without labels, and the head that answers, beside the network's weights.

The head's weights are the entry `"pretext"` of the model's parameters, which the network itself does not read: so they are
trained, checkpointed and averaged over devices with the rest, and `without_head` gives the network back.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Model
from jaxinterp.training._objectives import Objective

HEAD = "pretext"


class Pretext(NamedTuple):
    """A task whose answers come from the images themselves.

    Attributes:
        name: of the task.
        num_classes: how many answers there are; a network that knows nothing has a loss of log(num_classes).
        start: `(key, model) -> model` with a fresh head.
        objective: what a training step minimises; needs a model from `start`. Its metrics are `loss` and `accuracy`.
    """

    name: str
    num_classes: int
    start: Callable[[Array, Model], Model]
    objective: Objective


def without_head(model: Model) -> Model:
    """The network alone, as before `Pretext.start`.

    Args:
        model: a model with the head of a pretext task, or without one.

    Returns:
        A model whose parameters are the network's.
    """
    return dataclasses.replace(model, params={name: value for name, value in model.params.items() if name != HEAD})


def start_head(key: Array, model: Model, *, num_features: int, hidden: int | None, num_classes: int) -> Model:
    """The model with a fresh head: linear, or two linear layers with a ReLU between.

    Args:
        key: draws the weights: normal with variance 1 / inputs, those of the last layer a hundredth of that in deviation,
            so that an untrained head says nothing.
        model: the network.
        num_features: length of what the head sees.
        hidden: units between; None for a linear head.
        num_classes: answers.

    Raises:
        ValueError: parameters that are no mapping of names.
    """
    if not isinstance(model.params, dict):
        raise ValueError(f"expected a model whose params are a dict, got {type(model.params).__name__}; take models.alexnet.")
    first, last = jax.random.split(key)
    width = num_features if hidden is None else hidden
    head = {"last": _linear(last, width, num_classes, 0.01)}
    if hidden is not None:
        head["hidden"] = _linear(first, num_features, hidden, 1.0)
    return dataclasses.replace(model, params={**model.params, HEAD: head})


def answer(model: Model, features: Array) -> Array:
    """The head's logits of features, over their last axis."""
    head = model.params.get(HEAD)
    if head is None:
        raise ValueError("expected a model with the head of a pretext task, got none; write pretext.start(key, model) first.")
    if "hidden" in head:
        features = jax.nn.relu(_applied(head["hidden"], features))
    return _applied(head["last"], features)


def row_keys(key: Array, ids: Array) -> Array:
    """A key for every row, which depends on the key and on the id of its image alone."""
    return jax.vmap(lambda name: jax.random.fold_in(key, name))(ids)


def num_units(model: Model, layer: str) -> int:
    """Length of `flat(activation of layer)`."""
    height, width, units = model.layer(layer).shape
    return height * width * units


def _linear(key: Array, num_in: int, num_out: int, scale: float) -> dict[str, Any]:
    return {"kernel": scale / num_in**0.5 * jax.random.normal(key, (num_in, num_out)), "bias": jnp.zeros(num_out)}


def _applied(layer: dict[str, Any], features: Array) -> Array:
    bias = layer["bias"].reshape((1,) * (features.ndim - 1) + (-1,))
    return features @ layer["kernel"] + bias
