"""Adversarial logit pairing."""

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Attack, Batch, Model
from jaxinterp.training._objectives import Objective, Outcome, accuracy, attacked, cross_entropy, from_loss, masked_mean
from jaxinterp.training._passes import check_statistics, pass_both
from jaxinterp.training._weight import Weight, check_weight, weight_at


def alp(
    attack: Attack,
    *,
    pairing_weight: Weight = 0.5,
    clean_weight: Weight = 0.5,
    label_smoothing: float = 0.0,
    statistics: str = "mixed",
) -> Objective:
    """Adversarial logit pairing: the loss of `adversarial` plus `pairing_weight |f(x) - f(x*)|^2`, f being the logits.

    The square is a mean over classes, as in the authors' code. It is the consistent loss with the logits for features. Networks
    trained with it resisted weak attacks and not strong ones (Engstrom et al.): measure with the standard evaluation.

    Args:
        attack: makes x*; its gradient does not flow into the parameters. The paper: PGD towards a random class.
        pairing_weight: of the square, lambda of the paper; a number or a function of the step.
        clean_weight: share of the clean images in the cross-entropy, as in `adversarial`; half in the paper.
        label_smoothing: share of the target that is spread over all classes.
        statistics: what normalises the images, "mixed", "split" or "frozen", as in `consistent`.

    Returns:
        An objective whose metrics are `loss`, `accuracy`, `adversarial_accuracy` and `pairing`, the square.

    Raises:
        ValueError: a negative pairing_weight, a clean_weight or label_smoothing outside [0, 1], or another word for statistics.

    Example:
        >>> from jaxinterp import attacks, training
        >>> objective = training.alp(attacks.pgd(16 / 255, num_steps=10), pairing_weight=0.5)

    References:
        H. Kannan, A. Kurakin, I. Goodfellow, "Adversarial Logit Pairing", 2018, section on adversarial logit pairing.
        L. Engstrom, A. Ilyas, A. Athalye, "Evaluating and Understanding the Robustness of Adversarial Logit Pairing", 2018.
    """
    check_weight(pairing_weight, name="pairing_weight")
    check_weight(clean_weight, name="clean_weight", largest=1.0)
    check_weight(label_smoothing, name="label_smoothing", largest=1.0)
    check_statistics(statistics)

    def loss_of(key: Array, model: Model, batch: Batch, step: Array) -> Outcome:
        attack_key, train_key = jax.random.split(key)
        images = attacked(attack_key, attack, model, batch)
        clean, moved, stats = pass_both(train_key, model, batch.image, images, statistics=statistics)
        share = weight_at(clean_weight, step)
        pairing = masked_mean(jnp.mean(jnp.square(clean.logits - moved.logits), axis=-1), batch.mask)
        loss = share * cross_entropy(clean.logits, batch, smoothing=label_smoothing)
        loss += (1 - share) * cross_entropy(moved.logits, batch, smoothing=label_smoothing)
        loss += weight_at(pairing_weight, step) * pairing
        metrics = {
            "loss": loss,
            "accuracy": accuracy(clean.logits, batch),
            "adversarial_accuracy": accuracy(moved.logits, batch),
            "pairing": pairing,
        }
        return loss, (stats, metrics)

    return from_loss(loss_of)
