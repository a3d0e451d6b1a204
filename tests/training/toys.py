"""A toy network with batch statistics and dropout, and what tests of objectives ask of one."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinterp import Batch, Layer, Model, Taps
from tests.attacks.toys import CLASSES, SIZE

KEY = jax.random.key(0)


@dataclasses.dataclass(frozen=True)
class Normalised:
    """`logits = dropout(normalised(flatten(images) @ weight)) @ head`; running means move halfway to those of the batch."""

    image_size: int = SIZE
    num_classes: int = CLASSES
    rate: float = 0.0

    @property
    def layers(self) -> tuple[Layer, ...]:
        return (Layer("hidden", (1, 1, 7), 1.0, 0.0, SIZE), Layer("logits", (1, 1, CLASSES), 1.0, 0.0, SIZE))

    def apply(
        self, params: Any, stats: Any, images: Array, *, key: Array | None, taps: Taps, train: bool
    ) -> tuple[Array, dict[str, Array], Any]:
        hidden = images.reshape(len(images), -1) @ params["weight"]
        if train:
            mean, square = hidden.mean(0), jnp.square(hidden).mean(0)
            stats = {"mean": (stats["mean"] + mean) / 2, "square": (stats["square"] + square) / 2}
        else:
            mean, square = stats["mean"], stats["square"]
        hidden = (hidden - mean[None]) / jnp.sqrt(square - jnp.square(mean) + 0.01)[None]
        if train and key is not None and self.rate:
            hidden = hidden * jax.random.bernoulli(key, 1 - self.rate, hidden.shape) / (1 - self.rate)
        logits = hidden @ params["head"]
        return logits, {"hidden": hidden, "logits": logits}, stats


def normalised_model(*, rate: float = 0.0) -> Model:
    """The toy with random weights, in float64."""
    rng = np.random.default_rng(0)
    params = {
        "weight": jnp.asarray(rng.normal(size=(SIZE * SIZE * 3, 7)) / 10),
        "head": jnp.asarray(rng.normal(size=(7, CLASSES))),
    }
    stats = {"mean": jnp.full(7, 0.1), "square": jnp.full(7, 1.0)}
    return Model(params, stats, Normalised(rate=rate))


def gradient(objective: Any, model: Model, batch: Batch, *, step: int = 0, key: Array = KEY) -> Any:
    """`((loss, (stats, metrics)), gradient of the parameters)`."""

    def loss_of(params: Any) -> Any:
        return objective(key, dataclasses.replace(model, params=params), batch, step=step)

    return jax.jit(jax.value_and_grad(loss_of, has_aux=True))(model.params)


def outcome(objective: Any, model: Model, batch: Batch, *, key: Array = KEY) -> Any:
    """`(loss, (stats, metrics))`."""
    return jax.jit(lambda key: objective(key, model, batch))(key)


def moved_by(attack: Any, model: Model, batch: Batch) -> Array:
    """The answer of an attack of one step that draws nothing."""
    return jax.jit(lambda model, batch: attack.step(KEY, attack.init(KEY, model, batch), model, batch)[0].adversarial)(
        model, batch
    )


def same(first: Any, second: Any) -> None:
    """Equal up to float64 rounding, leaf by leaf."""
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-11), first, second)
