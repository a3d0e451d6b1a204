"""TRADES: accuracy on clean images against the stability of what the network says."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float

from jaxinterp import attacks
from jaxinterp._base import Batch, Model
from jaxinterp.attacks._ball import Ball, Scalar, check_radius
from jaxinterp.training._objectives import Objective, Outcome, accuracy, attacked, cross_entropy, from_loss, masked_mean
from jaxinterp.training._passes import check_statistics, pass_both
from jaxinterp.training._weight import Weight, check_weight, weight_at


def trades(
    epsilon: Scalar,
    *,
    step_size: Scalar | None = None,
    num_steps: int = 10,
    divergence_weight: Weight = 6.0,
    start_scale: float = 0.001,
    statistics: str = "mixed",
) -> Objective:
    """TRADES: accuracy on clean images against stability, `CE(f(x), y) + w KL(f(x) || f(x*))`.

    x* maximises the divergence in the Linf ball: `num_steps` sign steps from `x + start_scale N(0, I)`, where the
    divergence has a slope, which it has not at x. The network is evaluated in them, with running statistics. The gradient of
    the loss flows through both distributions.

    In the authors' code clean and adversarial images pass one after the other, as by `statistics="split"`; unlike there, the
    adversarial images' statistics then do not move the running ones.

    Args:
        epsilon: Linf radius in [0, 1] units, such as `8 / 255`.
        step_size: of one step, in [0, 1] units; a quarter of epsilon by default (2/255 at 8/255, about the 0.007 of
            the authors' code).
        num_steps: number of gradients.
        divergence_weight: w, one over lambda in the paper, 6 in its experiments on CIFAR-10; or a function of the step.
        start_scale: standard deviation of the start, in [0, 1] units.
        statistics: what normalises the images, "mixed", "split" or "frozen", as in `consistent`.

    Returns:
        An objective whose metrics are `loss`, `accuracy`, `adversarial_accuracy` and `divergence`.

    Raises:
        ValueError: epsilon or step_size outside (0, 1], num_steps below 1, a start_scale that is not positive, a
            negative weight, or another word for statistics.

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
    check_weight(divergence_weight, name="divergence_weight")
    check_statistics(statistics)
    within = attacks.linf(epsilon).project

    def start(key: Array, clean: Array) -> Array:
        return within(clean + start_scale * jax.random.normal(key, clean.shape, clean.dtype), clean)

    def agreement(key: Array | None, model: Any, images: Array, batch: Batch) -> Array:
        return -divergence_of(batch.extra["log_probabilities"], jax.nn.log_softmax(model(images, key=key)[0]))

    rule = optax.sign_sgd(size)
    attack = attacks.gradient_attack(agreement, update_rule=rule, ball=Ball(within, start), num_steps=num_steps)

    def loss_of(key: Array, model: Model, batch: Batch, step: Array) -> Outcome:
        attack_key, train_key = jax.random.split(key)
        log_probabilities = jax.nn.log_softmax(jax.lax.stop_gradient(model)(batch.image)[0])
        known = batch._replace(extra={**batch.extra, "log_probabilities": log_probabilities})
        moved = attacked(attack_key, attack, model, known)
        clean, adversarial, stats = pass_both(train_key, model, batch.image, moved, statistics=statistics)
        rows = divergence_of(jax.nn.log_softmax(clean.logits), jax.nn.log_softmax(adversarial.logits))
        divergence = masked_mean(rows, batch.mask)
        loss = cross_entropy(clean.logits, batch) + weight_at(divergence_weight, step) * divergence
        metrics = {
            "loss": loss,
            "accuracy": accuracy(clean.logits, batch),
            "adversarial_accuracy": accuracy(adversarial.logits, batch),
            "divergence": divergence,
        }
        return loss, (stats, metrics)

    return from_loss(loss_of)


def divergence_of(first: Float[Array, "n k"], second: Float[Array, "n k"]) -> Float[Array, " n"]:
    """`KL(first || second)` of each row of logarithms of probabilities."""
    return jnp.sum(jnp.exp(first) * (first - second), axis=-1)
