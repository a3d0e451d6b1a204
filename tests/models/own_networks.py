"""One small network written three ways, and how each is called without this library."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxinterp import models

SIZE, CLASSES = 16, 5


class Block(nn.Module):
    """Convolution, normalisation, a named relu, dropout."""

    units: int
    stride: int
    rate: float

    @nn.compact
    def __call__(self, value, train):
        value = nn.Conv(self.units, (3, 3), self.stride)(value)
        value = nn.BatchNorm(use_running_average=not train, momentum=0.9)(value)
        value = models.named("relu", nn.relu(value))
        return nn.Dropout(self.rate, deterministic=not train)(value)


class LinenNet(nn.Module):
    """Two blocks and a head."""

    @nn.compact
    def __call__(self, images, train):
        value = Block(6, 1, 0.0, name="block1")(images, train)
        value = Block(8, 2, 0.5, name="block2")(value, train)
        return nn.Dense(CLASSES, name="head")(value.mean((1, 2)))


class NnxBlock(nnx.Module):
    """The same block."""

    def __init__(self, inputs, units, stride, rate, *, rngs):
        self.conv = nnx.Conv(inputs, units, (3, 3), stride, rngs=rngs)
        self.norm = nnx.BatchNorm(units, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)

    def __call__(self, value):
        return self.dropout(models.named("relu", nnx.relu(self.norm(self.conv(value)))))


class NnxNet(nnx.Module):
    """The same network."""

    def __init__(self, *, rngs):
        self.blocks = nnx.List([NnxBlock(3, 6, 1, 0.0, rngs=rngs), NnxBlock(6, 8, 2, 0.5, rngs=rngs)])
        self.head = nnx.Linear(8, CLASSES, rngs=rngs)

    def __call__(self, images):
        for block in self.blocks:
            images = block(images)
        return self.head(images.mean((1, 2)))


def apply_function(params, images, *, stats, key, train):
    """The same network as a pure function."""
    value, new = images, {}
    for number, stride in ((1, 1), (2, 2)):
        value = jax.lax.conv_general_dilated(
            value, params[f"conv{number}"], (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        old = stats[f"mean{number}"]
        mean = value.mean((0, 1, 2)) if train else old
        new[f"mean{number}"] = 0.9 * old + 0.1 * mean if train else old
        value = models.named(f"relu{number}", jax.nn.relu(value - mean[None, None, None]))
        if train and number == 2:
            keep = jax.random.bernoulli(key, 0.5, value.shape)
            value = jnp.where(keep, 2 * value, 0.0)
    return value.mean((1, 2)) @ params["head"], {}, new


def drawn(shapes, seed):
    """Random leaves of these shapes, none negative where they are variances; nothing is compiled."""
    draws = np.random.default_rng(seed)

    def leaf(path, like):
        value = 0.3 * draws.standard_normal(like.shape)
        return jnp.asarray(np.abs(value) + 0.5 if "var" in str(path[-2:]) else value, like.dtype)

    return jax.tree_util.tree_map_with_path(leaf, shapes)


@functools.cache
def variables(seed):
    """Weights of the Linen network."""
    images = jnp.zeros((1, SIZE, SIZE, 3))
    return drawn(jax.eval_shape(lambda: LinenNet().init(jax.random.key(0), images, False)), seed)


@functools.cache
def module(seed):
    """The NNX network with its weights."""
    graph, streams, state = nnx.split(nnx.eval_shape(lambda: NnxNet(rngs=nnx.Rngs(0))), nnx.RngState, ...)
    streams = jax.tree.map(lambda like: jax.random.key(0) if like.dtype != jnp.uint32 else jnp.zeros((), like.dtype), streams)
    return nnx.merge(graph, streams, drawn(state, seed))


@functools.cache
def arrays(seed):
    """Weights of the function."""
    draws = np.random.default_rng(seed)
    shapes = {"conv1": (3, 3, 3, 6), "conv2": (3, 3, 6, 8), "head": (8, CLASSES)}
    return {name: jnp.asarray(0.3 * draws.standard_normal(shape), jnp.float32) for name, shape in shapes.items()}


def linen(seed=0, **knobs: Any):
    """A Linen model."""
    knobs = {"image_size": SIZE, "last_conv": "block2/relu", **knobs}
    return models.from_linen(LinenNet(), variables(seed), call={"train": False}, train_call={"train": True}, **knobs)


def flax_nnx(seed=0, **knobs: Any):
    """An NNX model."""
    return models.from_nnx(module(seed), **{"image_size": SIZE, "last_conv": "blocks.1.relu", **knobs})


def function(seed=0, **knobs: Any):
    """A model of a pure function."""
    stats = {"mean1": jnp.zeros(6), "mean2": jnp.zeros(8)}
    knobs = {"image_size": SIZE, "last_conv": "relu2", **knobs}
    return models.from_function(apply_function, arrays(seed), stats=stats, **knobs)


@jax.jit
def plain_linen(model, images):
    """Logits as Flax computes them."""
    return LinenNet().apply({"params": model.params, **model.stats}, images, False)


@jax.jit
def plain_nnx(model, images):
    """Logits as Flax computes them."""
    return models.to_nnx(model)(images)


@jax.jit
def plain_function(model, images):
    """Logits of the function itself."""
    return apply_function(model.params, images, stats=model.stats, key=None, train=False)[0]


BUILDS = {"linen": linen, "nnx": flax_nnx, "function": function}
PLAIN = {"linen": plain_linen, "nnx": plain_nnx, "function": plain_function}
LAST = {"linen": "block2/relu", "nnx": "blocks.1.relu", "function": "relu2"}
