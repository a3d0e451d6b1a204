"""Objectives of adversarial training: on attacked images, alone or beside clean ones, by any attack or by a fast one."""

import jax
from jax import Array

from jaxinterp import attacks
from jaxinterp._base import Attack, Batch, Model
from jaxinterp.attacks._ball import Scalar
from jaxinterp.training._objectives import Objective, Outcome, accuracy, attacked, cross_entropy, from_loss
from jaxinterp.training._passes import check_statistics, pass_both, pass_one
from jaxinterp.training._weight import Weight, check_weight, is_zero, weight_at


def adversarial(
    attack: Attack, *, clean_weight: Weight = 0.0, label_smoothing: float = 0.0, statistics: str = "mixed"
) -> Objective:
    """Adversarial training: `clean_weight CE(f(x), y) + (1 - clean_weight) CE(f(x*), y)`.

    `attacks.pgd(8 / 255, num_steps=7)` makes it that of Madry et al., on the attacked images alone;
    `attacks.fgsm(epsilon)` and a clean_weight of 0.5 that of Goodfellow et al. The mix of Kurakin et al., k adversarial
    images of m and a weight of 0.3, has a clean_weight of 1 / 1.3 where k is half of m. Unlike the paper, which attacks the k
    images and leaves the others clean, every image is seen in both forms.

    The attack sees the network as it is evaluated, our reading.

    Args:
        attack: makes x*; its gradient does not flow into the parameters.
        clean_weight: share of the clean images in the loss, a number in [0, 1] or a function of the step. At the number 0 the
            clean images do not pass through the network, and batch statistics are those of x* alone.
        label_smoothing: share of the target that is spread over all classes.
        statistics: what normalises the images, "mixed", "split" or "frozen", as in `consistent`.

    Returns:
        An objective whose metrics are `loss`, `adversarial_accuracy` and, where clean images pass, `accuracy`.

    Raises:
        ValueError: a clean_weight or label_smoothing outside [0, 1], another word for statistics, or "split" without clean
            images.

    Example:
        >>> from jaxinterp import attacks, training
        >>> objective = training.adversarial(attacks.pgd(8 / 255, num_steps=7))

    References:
        I. J. Goodfellow, J. Shlens, C. Szegedy, "Explaining and Harnessing Adversarial Examples", ICLR 2015, section 6.
        A. Kurakin, I. J. Goodfellow, S. Bengio, "Adversarial Machine Learning at Scale", ICLR 2017, the section on
        adversarial training.
        A. Madry, A. Makelov, L. Schmidt, D. Tsipras, A. Vladu, "Towards Deep Learning Models Resistant to Adversarial
        Attacks", ICLR 2018, equation 2.1.
    """
    check_weight(clean_weight, name="clean_weight", largest=1.0)
    check_weight(label_smoothing, name="label_smoothing", largest=1.0)
    check_statistics(statistics, alone=is_zero(clean_weight))

    def alone(key: Array, model: Model, batch: Batch, step: Array) -> Outcome:
        attack_key, train_key = jax.random.split(key)
        images = attacked(attack_key, attack, model, batch)
        logits, stats = pass_one(train_key, model, images, statistics=statistics)
        loss = cross_entropy(logits, batch, smoothing=label_smoothing)
        return loss, (stats, {"loss": loss, "adversarial_accuracy": accuracy(logits, batch)})

    def beside_clean(key: Array, model: Model, batch: Batch, step: Array) -> Outcome:
        attack_key, train_key = jax.random.split(key)
        images = attacked(attack_key, attack, model, batch)
        clean, moved, stats = pass_both(train_key, model, batch.image, images, statistics=statistics)
        share = weight_at(clean_weight, step)
        loss = share * cross_entropy(clean.logits, batch, smoothing=label_smoothing)
        loss += (1 - share) * cross_entropy(moved.logits, batch, smoothing=label_smoothing)
        metrics = {
            "loss": loss,
            "accuracy": accuracy(clean.logits, batch),
            "adversarial_accuracy": accuracy(moved.logits, batch),
        }
        return loss, (stats, metrics)

    return from_loss(alone if is_zero(clean_weight) else beside_clean)


def fast(
    epsilon: Scalar,
    *,
    step_size: Scalar | None = None,
    clean_weight: Weight = 0.0,
    label_smoothing: float = 0.0,
    statistics: str = "mixed",
) -> Objective:
    """Fast adversarial training: `adversarial` with one step of FGSM from a uniform draw of the Linf ball.

    `x* = project(x + u + step_size sign(grad CE(f(x + u), y)))`, u uniform in the ball: two gradients a step instead of one.
    It may fail all at once, in a few hundred steps, where accuracy under PGD falls to zero while that under FGSM rises:
    watch a robust accuracy by PGD, and stop where it falls.

    Unlike the paper's algorithm, x + u is cut off at [0, 1] as the authors' code does; and unlike that code, the gradient is
    that of the network as it is evaluated.

    Args:
        epsilon: Linf radius in [0, 1] units, such as `8 / 255`.
        step_size: of the one step; 1.25 epsilon by default, the paper's on CIFAR-10.
        clean_weight: see `adversarial`, and so are the others.
        label_smoothing: share of the target that is spread over all classes.
        statistics: what normalises the images.

    Returns:
        An objective with the metrics of `adversarial`.

    Raises:
        ValueError: epsilon or step_size outside (0, 1], or what `adversarial` raises.

    Example:
        >>> from jaxinterp import training
        >>> objective = training.fast(8 / 255)

    References:
        E. Wong, L. Rice, J. Z. Kolter, "Fast is better than free: Revisiting adversarial training", ICLR 2020, algorithm 3.
    """
    attack = attacks.pgd(epsilon, step_size=1.25 * epsilon if step_size is None else step_size, num_steps=1)
    return adversarial(attack, clean_weight=clean_weight, label_smoothing=label_smoothing, statistics=statistics)
