"""What other networks add to every batch of a training: adversarial images of theirs, or a teacher's answers."""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax import Array

from jaxinterp._base import Attack, Batch, Model
from jaxinterp.training import _distillation, _static
from jaxinterp.training._objectives import answer_of, check_temperature


class Filling(NamedTuple):
    """Arrays that are put into `batch.extra` before every step, by networks that are not trained.

    They are made of the images as the step sees them, after augmentation. The networks are arguments of the compiled function,
    a copy on every device.

    Attributes:
        networks: the other networks.
        fill: `(key, networks, batch) -> {name: array}`, of arrays whose leading axis is that of the batch; rows must not depend
            on each other. The key is that of the step.
    """

    networks: tuple[Model, ...]
    fill: Callable[[Array, tuple[Model, ...], Batch], dict[str, Array]]


def adversaries_of(networks: tuple[Model, ...], attack: Attack) -> Filling:
    """Adversarial images of static networks, for `static_adversaries` and `ensemble_adversarial`.

    One of the networks is drawn for each batch, and attacked on the images of that batch.

    Args:
        networks: trained elsewhere, of images of the same size.
        attack: on one of them.

    Returns:
        A filling of `batch.extra["adversarial"]`.

    Raises:
        ValueError: no network.

    Example:
        >>> import jax
        >>> from jaxinterp import attacks, models, training
        >>> static = models.cifar_resnet20(key=jax.random.key(1))
        >>> filling = training.adversaries_of((static,), attacks.fgsm(8 / 255))

    References:
        F. Tramer, A. Kurakin, N. Papernot, I. Goodfellow, D. Boneh, P. McDaniel, "Ensemble Adversarial Training: Attacks and
        Defenses", ICLR 2018, the section on ensemble adversarial training.
    """
    if not networks:
        raise ValueError("expected at least one static network, got none.")

    def fill(key: Array, networks: tuple[Model, ...], batch: Batch) -> dict[str, Array]:
        choice_key, attack_key = jax.random.split(key)
        index = jax.random.randint(choice_key, (), 0, len(networks))
        branches = [lambda model=model: answer_of(attack_key, attack, model, batch) for model in networks]
        return {_static.EXTRA: jax.lax.switch(index, branches)}

    return Filling(networks, fill)


def answers_of(teacher: Model, *, temperature: float) -> Filling:
    """A teacher's probabilities at a temperature, for `distillation` at the same one.

    Args:
        teacher: trained by `standard(temperature=...)`.
        temperature: T.

    Returns:
        A filling of `batch.extra["probabilities"]`.

    Raises:
        ValueError: a temperature that is not positive.

    Example:
        >>> import jax
        >>> from jaxinterp import models, training
        >>> teacher = models.cifar_resnet20(key=jax.random.key(1))
        >>> filling = training.answers_of(teacher, temperature=20.0)

    References:
        N. Papernot, P. McDaniel, X. Wu, S. Jha, A. Swami, "Distillation as a Defense to Adversarial Perturbations against Deep
        Neural Networks", IEEE Symposium on Security and Privacy 2016, section on defensive distillation.
    """
    check_temperature(temperature)

    def fill(key: Array, networks: tuple[Model, ...], batch: Batch) -> dict[str, Array]:
        return {_distillation.EXTRA: _distillation.soft_labels(networks[0], batch.image, temperature=temperature)}

    return Filling((teacher,), fill)
