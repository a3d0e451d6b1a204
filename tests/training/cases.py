"""The objectives, as the contract tests build them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxinterp import Attack, Model, attacks, models, training
from tests.attacks.toys import CLASSES


class Case(NamedTuple):
    """An objective and what it promises.

    Attributes:
        build: from epsilon, which may be traced.
        at_zero: what it is at epsilon 0, where adversarial images are clean ones; None where the test says nothing.
        drawn: it draws at random, so that devices differ.
        attacks: it runs an attack.
        prepare: what it asks of a model besides the network.
    """

    build: Callable[[Any], training.Objective]
    at_zero: training.Objective | None = None
    drawn: bool = False
    attacks: bool = True
    prepare: Callable[[Model], Model] = lambda model: model


def smooth(epsilon: Any) -> Attack:
    """An attack whose answer has a slope in the weights, which a sign has not."""
    return attacks.pgd(epsilon, norm="l2", step_size=epsilon, num_steps=1, random_start=False)


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
}
"""By the name under which it is exported; a new objective needs a row."""

KEY = jax.random.key(7)
