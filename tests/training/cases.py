"""The objectives, as the contract tests build them."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxinterp import Attack, Model, activations, attacks, models, training
from tests.attacks.toys import CLASSES


class Case(NamedTuple):
    """An objective and what it promises.

    Attributes:
        build: from epsilon, which may be traced.
        at_zero: what it is at epsilon 0, where adversarial images are clean ones; None where the test says nothing.
        drawn: it draws at random, so that devices differ.
        attacks: it runs an attack.
        pooled: it looks at the rows of a device together, so that four devices differ from one.
        prepare: what it asks of a model besides the network.
    """

    build: Callable[[Any], training.Objective]
    at_zero: training.Objective | None = None
    drawn: bool = False
    attacks: bool = True
    pooled: bool = False
    prepare: Callable[[Model], Model] = lambda model: model


def smooth(epsilon: Any) -> Attack:
    """An attack whose answer has a slope in the weights, which a sign has not."""
    return attacks.pgd(epsilon, norm="l2", step_size=epsilon, num_steps=1, random_start=False)


@dataclasses.dataclass(frozen=True)
class FourLogits:
    """A classifier whose first four logits are the log depth of 2 x 2 pixels."""

    inner: Any

    @property
    def image_size(self) -> int:
        return self.inner.image_size

    @property
    def num_classes(self) -> int:
        return 4

    @property
    def layers(self) -> Any:
        return self.inner.layers

    def apply(self, params: Any, stats: Any, images: Any, **knobs: Any) -> Any:
        logits, maps, stats = self.inner.apply(params, stats, images, **knobs)
        return logits[:, :4], maps, stats


def depth(epsilon: Any) -> training.Objective:
    """On toys, which are classifiers."""
    bins = activations.DepthBins(smallest=1.0, largest=16.0, num_bins=3)
    inner = training.depth(bins, layers=("conv1", "conv2"), selectivity_weight=optax.linear_schedule(0.3, 0.1, 10))
    del epsilon

    def loss(key: Any, model: Any, batch: Any, step: Any, memory: Any) -> Any:
        return inner.loss(key, dataclasses.replace(model, network=FourLogits(model.network)), batch, step, memory)

    return training.Objective(loss)


def mirrored(key: jax.Array, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Each row with its own mirror image, and a label that is less sure."""
    del key
    return 0.7 * images + 0.3 * images[:, :, ::-1], 0.9 * labels + 0.1 / labels.shape[-1]


def mixed(epsilon: Any) -> training.Objective:
    """Of a batch without anything else in it."""
    inner = training.mixed(training.standard(label_smoothing=0.1), mirrored)
    del epsilon

    def loss(key: Any, model: Any, batch: Any, step: Any, memory: Any) -> Any:
        return inner.loss(key, model, batch._replace(extra={}), step, memory)

    return training.Objective(loss)


def gate(units: int, classes: int) -> jax.Array:
    """Entries that differ."""
    return jnp.asarray(np.random.default_rng(1).uniform(0.2, 0.8, (units, classes)))


STANDARD = training.standard()
CASES = {
    "standard": Case(lambda epsilon: training.standard(label_smoothing=0.1, temperature=2.0), attacks=False),
    "consistent": Case(
        lambda epsilon: training.consistent(
            attacks.fgsm(epsilon),
            layer={"conv1": 0.5, "conv2": optax.linear_schedule(2.0, 0.0, 10)},
            clean_weight=0.25,
            adversarial_weight=0.75,
        ),
        at_zero=STANDARD,
    ),
    "adversarial": Case(lambda epsilon: training.adversarial(smooth(epsilon)), at_zero=STANDARD),
    "fast": Case(lambda epsilon: training.fast(epsilon, clean_weight=0.3), at_zero=STANDARD, drawn=True),
    "free": Case(lambda epsilon: training.free(epsilon, num_replays=2), at_zero=STANDARD, attacks=False),
    "trades": Case(lambda epsilon: training.trades(epsilon, num_steps=1, statistics="split"), at_zero=STANDARD, drawn=True),
    "mart": Case(lambda epsilon: training.mart(epsilon, num_steps=1), drawn=True),
    "alp": Case(lambda epsilon: training.alp(smooth(epsilon)), at_zero=STANDARD),
    "ensemble_adversarial": Case(
        lambda epsilon: training.ensemble_adversarial(attacks.fgsm(epsilon), static_share=0.5), at_zero=STANDARD, drawn=True
    ),
    "class_specific": Case(
        lambda epsilon: training.class_specific(gated=training.gate_schedule(1, warm_up=0), label_smoothing=0.1),
        attacks=False,
        prepare=lambda model: models.gated(model, layer="conv2", gate=gate(6, CLASSES)),
    ),
    "distillation": Case(
        lambda epsilon: training.distillation(temperature=3.0), at_zero=training.standard(temperature=3.0), attacks=False
    ),
    "mixed": Case(mixed, attacks=False),
    "depth": Case(depth, attacks=False, pooled=True),
}
"""By the name under which it is exported; a new objective needs a row."""

KEY = jax.random.key(7)
