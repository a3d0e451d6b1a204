"""The objective of the paper: adversarial training with a consistent loss."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Attack, Batch, Model
from jaxinterp.training._objectives import Objective, Outcome, accuracy, attacked, cross_entropy, from_loss, masked_mean
from jaxinterp.training._passes import check_statistics, pass_both
from jaxinterp.training._weight import Weight, check_weight, weight_at


def consistent(
    attack: Attack,
    *,
    layer: str | Mapping[str, Weight],
    feature_weight: Weight = 1.0,
    clean_weight: Weight = 1.0,
    adversarial_weight: Weight = 1.0,
    label_smoothing: float = 0.0,
    statistics: str = "mixed",
) -> Objective:
    """Adversarial training with a consistent loss.

    `clean_weight * CE(f(x), y) + adversarial_weight * CE(f(x*), y) + feature_weight * d(phi(x), phi(x*))`, where x* is the
    attack's answer on x (the paper: one step of FGSM), phi the activation of `layer` (the end of the convolutional stack)
    and d the squared L2 distance, as a mean over elements (our reading). The three terms are summed with unit weights in
    the paper as we read it; `feature_weight` is its beta. With several layers, the last term is `feature_weight` times the
    sum of their distances, each times its own weight.

    The attack sees the network as it is evaluated, with running statistics.

    Args:
        attack: makes x*; its gradient does not flow into the parameters.
        layer: the layer whose activation is phi; or several, as a mapping from their names to their weights.
        feature_weight: weight of the feature distance; like the others a number or a function of the step.
        clean_weight: weight of the clean cross-entropy.
        adversarial_weight: weight of the adversarial cross-entropy.
        label_smoothing: share of the target that is spread over all classes, in both cross-entropies.
        statistics: what normalises the images. "mixed": clean and adversarial images pass through the network together, and
            batch statistics are those of both. "split": they pass one after the other, each normalised by its own; running
            statistics are those of the clean images, our reading: unlike in the paper of Xie et al., nothing is kept of
            those of the adversarial images. "frozen": the network is evaluated as it is tested, with the batch statistics
            it began with and without dropout; short fine-tuning then costs less clean accuracy.

    Returns:
        An objective whose metrics are `loss`, `accuracy`, `adversarial_accuracy`, `feature_distance` and `feature_square`,
        the mean square of phi(x): features that only shrink lower the distance, and not its ratio to the square. With
        several layers these two are sums by the layers' weights, and `feature_distance/NAME` and `feature_square/NAME` are
        those of each layer.

    Raises:
        ValueError: no layer, a negative weight, a label_smoothing outside [0, 1], or another word for statistics; when it is
            traced, a layer that the model does not have.

    Example:
        >>> import optax
        >>> from jaxinterp import attacks, training
        >>> warm_up = optax.linear_schedule(0.0, 10.0, transition_steps=1000)
        >>> objective = training.consistent(
        ...     attacks.fgsm(4 / 255), layer={"layer3.1": 0.5, "layer4.1": 1.0}, feature_weight=warm_up, statistics="split"
        ... )

    References:
        Y. Dong, H. Su, J. Zhu, F. Bao, "Towards Interpretable Deep Neural Networks by Leveraging Adversarial Examples",
        2017, Fig. 1b and the section on adversarial training with a consistent loss.
        C. Xie, M. Tan, B. Gong, J. Wang, A. Yuille, Q. V. Le, "Adversarial Examples Improve Image Recognition", CVPR 2020,
        for statistics of clean and of adversarial images apart.
    """
    weights: dict[str, Weight] = {layer: 1.0} if isinstance(layer, str) else dict(layer)
    if not weights:
        raise ValueError("expected at least one layer, got none; write layer='layer4.1', the name of one.")
    given = {"feature_weight": feature_weight, "clean_weight": clean_weight, "adversarial_weight": adversarial_weight}
    for name, weight in (*given.items(), *weights.items()):
        check_weight(weight, name=name)
    check_weight(label_smoothing, name="label_smoothing", largest=1.0)
    check_statistics(statistics)
    names = tuple(weights)

    def loss_of(key: Array, model: Model, batch: Batch, step: Array) -> Outcome:
        for name in names:
            model.layer(name)
        attack_key, train_key = jax.random.split(key)
        moved = attacked(attack_key, attack, model, batch)
        clean, adversarial, stats = pass_both(train_key, model, batch.image, moved, statistics=statistics, layers=names)

        def mean_square(values: Array) -> Array:
            return masked_mean(jnp.mean(jnp.square(values), axis=-1), batch.mask)

        distances = {name: mean_square(clean.activations[name] - adversarial.activations[name]) for name in names}
        squares = {name: mean_square(clean.activations[name]) for name in names}
        distance, square = (sum(weight_at(weights[name], step) * term[name] for name in names) for term in (distances, squares))
        loss = (
            weight_at(clean_weight, step) * cross_entropy(clean.logits, batch, smoothing=label_smoothing)
            + weight_at(adversarial_weight, step) * cross_entropy(adversarial.logits, batch, smoothing=label_smoothing)
            + weight_at(feature_weight, step) * distance
        )
        metrics = {
            "loss": loss,
            "accuracy": accuracy(clean.logits, batch),
            "adversarial_accuracy": accuracy(adversarial.logits, batch),
            "feature_distance": jnp.asarray(distance),
            "feature_square": jnp.asarray(square),
        }
        if len(names) > 1:
            metrics |= {f"feature_distance/{name}": value for name, value in distances.items()}
            metrics |= {f"feature_square/{name}": value for name, value in squares.items()}
        return loss, (stats, metrics)

    return from_loss(loss_of)
