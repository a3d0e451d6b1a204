"""Objectives of adversarial training: on the attacked images alone, and TRADES."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxinterp import attacks
from jaxinterp._base import Attack, Batch, Model
from jaxinterp.attacks._ball import Ball, Scalar, check_radius
from jaxinterp.training._objectives import Objective, Outcome, _accuracy, _attacked, _cross_entropy, from_loss, masked_mean


def adversarial(attack: Attack) -> Objective:
    """Adversarial training: cross-entropy on the attacked images alone, `CE(f(x*), y)`.

    `attacks.pgd(8 / 255, num_steps=7)` makes it that of Madry et al. The attack sees the network as it is evaluated, our
    reading; its images then pass through it in training mode, and batch statistics are theirs.

    Args:
        attack: makes x*; its gradient does not flow into the parameters.

    Returns:
        An objective whose metrics are `loss` and `adversarial_accuracy`.

    Example:
        >>> from jaxinterp import attacks, training
        >>> objective = training.adversarial(attacks.pgd(8 / 255, num_steps=7))

    References:
        A. Madry, A. Makelov, L. Schmidt, D. Tsipras, A. Vladu, "Towards Deep Learning Models Resistant to Adversarial
        Attacks", ICLR 2018, equation 2.1.
    """

    def loss_of(key: Array, model: Model, batch: Batch, step: Array) -> Outcome:
        attack_key, train_key = jax.random.split(key)
        images = jax.lax.stop_gradient(_attacked(attack_key, attack, jax.lax.stop_gradient(model), batch))
        logits, _, stats = model.train(images, key=train_key)
        loss = masked_mean(_cross_entropy(logits, batch.label, 0.0), batch.mask)
        return loss, (stats, {"loss": loss, "adversarial_accuracy": _accuracy(logits, batch)})

    return from_loss(loss_of)


def trades(
    epsilon: Scalar,
    *,
    step_size: Scalar | None = None,
    num_steps: int = 10,
    divergence_weight: float = 6.0,
    start_scale: float = 0.001,
) -> Objective:
    """TRADES: accuracy on clean images against stability, `CE(f(x), y) + w KL(f(x) || f(x*))`.

    x* maximises the divergence in the Linf ball: `num_steps` sign steps from `x + start_scale N(0, I)`, where the
    divergence has a slope, which it has not at x. The network is evaluated in them, with running statistics. Clean and
    adversarial images then pass through it together in training mode, and the gradient flows through both distributions.

    Unlike the authors' code, which passes them one after the other, batch statistics are those of both mixed, as in
    `consistent`.

    Args:
        epsilon: Linf radius in [0, 1] units, such as `8 / 255`.
        step_size: of one step, in [0, 1] units; a quarter of epsilon by default (2/255 at 8/255, about the 0.007 of
            the authors' code).
        num_steps: number of gradients.
        divergence_weight: w, one over lambda in the paper; 6 in its experiments on CIFAR-10.
        start_scale: standard deviation of the start, in [0, 1] units.

    Returns:
        An objective whose metrics are `loss`, `accuracy`, `adversarial_accuracy` and `divergence`.

    Raises:
        ValueError: epsilon or step_size outside (0, 1], num_steps below 1, a start_scale that is not positive, or a
            negative weight.

    Example:
        >>> from jaxinterp import training
        >>> objective = training.trades(8 / 255)

    References:
        H. Zhang, Y. Yu, J. Jiao, E. P. Xing, L. El Ghaoui, M. I. Jordan, "Theoretically Principled Trade-off between
        Robustness and Accuracy", ICML 2019, equation 5 and algorithm 1.
    """
    check_radius(epsilon, name="epsilon")
    size = epsilon / 4 if step_size is None else step_size
    check_radius(size, name="step_size")
    if not start_scale > 0:
        raise ValueError(f"expected start_scale > 0, got {start_scale}; at the clean image the divergence has no slope.")
    if not divergence_weight >= 0:
        raise ValueError(f"expected divergence_weight >= 0, got {divergence_weight}; write 6.0.")
    within = attacks.linf(epsilon).project

    def start(key: Array, clean: Array) -> Array:
        return within(clean + start_scale * jax.random.normal(key, clean.shape, clean.dtype), clean)

    def agreement(key: Array | None, model: Any, images: Array, batch: Batch) -> Array:
        return -_divergence(batch.extra["log_probabilities"], jax.nn.log_softmax(model(images, key=key)[0]))

    rule = optax.sign_sgd(size)
    attack = attacks.gradient_attack(agreement, update_rule=rule, ball=Ball(within, start), num_steps=num_steps)

    def loss_of(key: Array, model: Model, batch: Batch, step: Array) -> Outcome:
        attack_key, train_key = jax.random.split(key)
        still = jax.lax.stop_gradient(model)
        log_probabilities = jax.nn.log_softmax(still(batch.image)[0])
        known = batch._replace(extra={**batch.extra, "log_probabilities": log_probabilities})
        moved = jax.lax.stop_gradient(_attacked(attack_key, attack, still, known))
        logits, _, stats = model.train(jnp.concatenate([batch.image, moved]), key=train_key)
        clean, adversarial = jnp.split(logits, 2)
        divergence = masked_mean(_divergence(jax.nn.log_softmax(clean), jax.nn.log_softmax(adversarial)), batch.mask)
        loss = masked_mean(_cross_entropy(clean, batch.label, 0.0), batch.mask) + divergence_weight * divergence
        metrics = {
            "loss": loss,
            "accuracy": _accuracy(clean, batch),
            "adversarial_accuracy": _accuracy(adversarial, batch),
            "divergence": divergence,
        }
        return loss, (stats, metrics)

    return from_loss(loss_of)


def _divergence(first: Array, second: Array) -> Array:
    """KL(first || second) of each row of logarithms of probabilities."""
    return jnp.sum(jnp.exp(first) * (first - second), axis=-1)
