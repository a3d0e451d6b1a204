"""Small networks that satisfy `jaxinterp.Network`, and batches for them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinterp import Batch, Layer, Model, Taps

TRACES: list[str] = []
"""One entry for each time that a toy network is traced (or run without `jit`)."""

SIZE, CLASSES = 6, 5


@dataclasses.dataclass(frozen=True)
class Linear:
    """`logits = flatten(images) @ weight + bias`."""

    image_size: int = SIZE
    num_classes: int = CLASSES

    @property
    def layers(self) -> tuple[Layer, ...]:
        return (Layer("logits", (1, 1, self.num_classes), 1.0, 0.0, self.image_size),)

    def apply(
        self, params: Any, stats: Any, images: Array, *, key: Array | None, taps: Taps, train: bool
    ) -> tuple[Array, dict[str, Array], Any]:
        TRACES.append("linear")
        logits = images.reshape(len(images), -1) @ params["weight"] + params["bias"][None]
        logits = taps.get("logits", lambda a: a)(logits)
        return logits, {"logits": logits}, stats


@dataclasses.dataclass(frozen=True)
class Conv:
    """Two convolutions, global average pooling, a linear classifier."""

    image_size: int = SIZE
    num_classes: int = CLASSES

    @property
    def layers(self) -> tuple[Layer, ...]:
        return (
            Layer("conv1", (self.image_size, self.image_size, 4), 1.0, 0.0, 3),
            Layer("conv2", (self.image_size, self.image_size, 6), 1.0, 0.0, 5),
        )

    def apply(
        self, params: Any, stats: Any, images: Array, *, key: Array | None, taps: Taps, train: bool
    ) -> tuple[Array, dict[str, Array], Any]:
        TRACES.append("conv")
        x, activations = (images - 0.5) / 0.25, {}
        for name in ("conv1", "conv2"):
            x = jax.lax.conv_general_dilated(x, params[name], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            x = taps.get(name, lambda a: a)(jax.nn.relu(x))
            activations[name] = x
        return x.mean(axis=(1, 2)) @ params["head"], activations, stats


@dataclasses.dataclass(frozen=True)
class Counting(Conv):
    """The convolutional toy, which tells `count` of how many images it is asked, also inside compiled loops."""

    count: Callable[[int], None] = lambda number: None

    def apply(
        self, params: Any, stats: Any, images: Array, *, key: Array | None, taps: Taps, train: bool
    ) -> tuple[Array, dict[str, Array], Any]:
        jax.debug.callback(lambda: self.count(len(images)))
        return super().apply(params, stats, images, key=key, taps=taps, train=train)


def linear_model(seed: int = 0, *, dtype: Any = np.float32, scale: float = 0.3) -> Model:
    """A linear toy with random weights."""
    rng = np.random.default_rng(seed)
    params = {"weight": rng.normal(size=(SIZE * SIZE * 3, CLASSES)) * scale, "bias": rng.normal(size=CLASSES)}
    return Model(jax.tree.map(lambda a: jnp.asarray(a.astype(dtype)), params), {}, Linear())


def centred_linear_model(seed: int = 0, *, dtype: Any = np.float32) -> Model:
    """A linear toy that is nearly undecided about grey images, so that every boundary is near."""
    model = linear_model(seed, dtype=dtype)
    return Model({"weight": model.params["weight"], "bias": -0.5 * model.params["weight"].sum(0)}, {}, model.network)


def counting_model(seed: int = 0, *, dtype: Any = np.float32) -> tuple[Model, list[int]]:
    """A convolutional toy, and the numbers of images that it is asked about, one for each time that it really runs."""
    counted: list[int] = []
    return Model(conv_model(seed, dtype=dtype).params, {}, Counting(count=counted.append)), counted


def conv_model(seed: int = 0, *, dtype: Any = np.float32, scale: float = 1.0) -> Model:
    """A convolutional toy with random weights; `scale` 0 makes every gradient zero."""
    rng = np.random.default_rng(seed)
    shapes = {"conv1": (3, 3, 3, 4), "conv2": (3, 3, 4, 6), "head": (6, CLASSES)}
    params = {name: rng.normal(size=shape) * scale * (2 / np.prod(shape[:-1])) ** 0.5 for name, shape in shapes.items()}
    return Model(jax.tree.map(lambda a: jnp.asarray(a.astype(dtype)), params), {}, Conv())


def make_batch(count: int = 4, *, seed: int = 0, dtype: Any = np.float32, with_targets: bool = True) -> Batch:
    """Images on the 8-bit lattice, random labels, targets other than the labels."""
    rng = np.random.default_rng(seed)
    label = rng.integers(CLASSES, size=count)
    target = (label + rng.integers(1, CLASSES, size=count)) % CLASSES if with_targets else np.full(count, -1)
    ids = jnp.arange(count, dtype=jnp.int32)
    return Batch(
        image=jnp.asarray((rng.integers(256, size=(count, SIZE, SIZE, 3)) / 255).astype(dtype)),
        label=jnp.asarray(label.astype(np.int32)),
        target=jnp.asarray(target.astype(np.int32)),
        id=ids,
        source_id=ids,
        mask=jnp.ones(count, bool),
        extra={},
    )
