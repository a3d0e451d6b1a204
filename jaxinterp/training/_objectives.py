"""Objectives: what a training step minimises, as functions of a model and a batch. A new way of training is a new objective."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Bool, Float

from jaxinterp._base import Attack, Batch, Model

ADVERSARIAL = "adversarial images"
"""What a step that computes activations again knows adversarial images by: these it keeps."""

Outcome = tuple[Array, tuple[Any, dict[str, Array]]]
"""`(loss, (stats, metrics))`: the mean over the rows whose mask is True, the new batch statistics, and scalars to log."""


def _nothing(batch: Batch) -> Any:
    return ()


def _kept(memory: Any, gradient: Any, batch: Batch) -> Any:
    return memory


class Objective(NamedTuple):
    """What a training step minimises.

    Most objectives are a loss alone, as `from_loss` makes them. One that carries something from step to step has a memory: a
    tree of arrays whose leading axis is that of the batch. The step differentiates the loss with respect to it in the same
    backward pass as with respect to the parameters.

    Attributes:
        loss: `(key, model, batch, step, memory) -> (loss, (stats, metrics))`; `step` is how many steps were taken before.
        remember: `(batch) -> memory` before the first step; of its argument only shapes and types may be read.
        renew: `(memory, gradient, batch) -> memory` after a step.
        num_replays: how often in a row each batch is wanted.
    """

    loss: Callable[[Array, Model, Batch, Array, Any], Outcome]
    remember: Callable[[Batch], Any] = _nothing
    renew: Callable[[Any, Any, Batch], Any] = _kept
    num_replays: int = 1

    def __call__(self, key: Array, model: Model, batch: Batch, *, step: Any = 0, memory: Any = None) -> Outcome:
        """The loss, at the first step and with a fresh memory where nothing else is said."""
        return self.loss(key, model, batch, jnp.asarray(step), self.remember(batch) if memory is None else memory)


def from_loss(loss: Callable[[Array, Model, Batch, Array], Outcome]) -> Objective:
    """An objective without memory.

    Args:
        loss: `(key, model, batch, step) -> (loss, (stats, metrics))`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxinterp import training
        >>> def confident(key, model, batch, step):
        ...     logits, _, stats = model.train(batch.image, key=key)
        ...     loss = -training.masked_mean(jnp.max(logits, axis=-1), batch.mask)
        ...     return loss, (stats, {"loss": loss})
        >>> objective = training.from_loss(confident)
    """
    return Objective(lambda key, model, batch, step, memory: loss(key, model, batch, step))


def masked_mean(values: Float[Array, " n"], mask: Bool[Array, " n"]) -> Float[Array, ""]:
    """The mean over the rows whose mask is True; 0 when there are none.

    Args:
        values: one number a row.
        mask: which rows count.
    """
    return jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(jnp.sum(mask), 1)


def _cross_entropy(logits: Array, labels: Array, smoothing: float) -> Array:
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype), smoothing)
    return optax.softmax_cross_entropy(logits, targets)


def standard(*, label_smoothing: float = 0.0) -> Objective:
    """Cross-entropy on the clean images, `CE(f(x), y)`.

    Args:
        label_smoothing: share of the target that is spread over all classes.

    Returns:
        An objective whose metrics are `loss` and `accuracy`.

    Example:
        >>> objective = standard(label_smoothing=0.1)
    """

    def loss_of(key: Array, model: Model, batch: Batch, step: Array) -> Outcome:
        logits, _, stats = model.train(batch.image, key=key)
        loss = masked_mean(_cross_entropy(logits, batch.label, label_smoothing), batch.mask)
        return loss, (stats, {"loss": loss, "accuracy": _accuracy(logits, batch)})

    return from_loss(loss_of)


def consistent(
    attack: Attack,
    *,
    layer: str,
    feature_weight: float = 1.0,
    clean_weight: float = 1.0,
    adversarial_weight: float = 1.0,
    freeze_statistics: bool = False,
) -> Objective:
    """Adversarial training with a consistent loss.

    `clean_weight * CE(f(x), y) + adversarial_weight * CE(f(x*), y) + feature_weight * d(phi(x), phi(x*))`, where x* is the
    attack's answer on x (the paper: one step of FGSM), phi the activation of `layer` (the end of the convolutional stack)
    and d the squared L2 distance, as a mean over elements (our reading). The three terms are summed with unit weights in
    the paper as we read it; `feature_weight` is its beta.

    The attack sees the network as it is evaluated, with running statistics. The two halves then pass through the network
    together, so its batch statistics are those of clean and adversarial images mixed.

    Args:
        attack: makes x*; its gradient does not flow into the parameters.
        layer: the layer whose activation is phi.
        feature_weight: weight of the feature distance.
        clean_weight: weight of the clean cross-entropy.
        adversarial_weight: weight of the adversarial cross-entropy.
        freeze_statistics: evaluate the network as it is tested, with the batch statistics it began with and without
            dropout; short fine-tuning then costs less clean accuracy.

    Returns:
        An objective whose metrics are `loss`, `accuracy`, `adversarial_accuracy`, `feature_distance` and `feature_square`,
        the mean square of phi(x): features that only shrink lower the distance, and not its ratio to the square.

    References:
        Y. Dong, H. Su, J. Zhu, F. Bao, "Towards Interpretable Deep Neural Networks by Leveraging Adversarial Examples",
        2017, Fig. 1b and the section on adversarial training with a consistent loss.
    """

    def loss_of(key: Array, model: Model, batch: Batch, step: Array) -> Outcome:
        attack_key, train_key = jax.random.split(key)
        adversarial = jax.lax.stop_gradient(_attacked(attack_key, attack, jax.lax.stop_gradient(model), batch))
        images = jnp.concatenate([batch.image, adversarial])
        if freeze_statistics:
            (logits, activations), stats = model(images, key=train_key), model.stats
        else:
            logits, activations, stats = model.train(images, key=train_key)
        clean_logits, adversarial_logits = jnp.split(logits, 2)
        phi, phi_adversarial = jnp.split(activations[layer].reshape(logits.shape[0], -1), 2)
        distance = masked_mean(jnp.mean(jnp.square(phi - phi_adversarial), axis=-1), batch.mask)
        square = masked_mean(jnp.mean(jnp.square(phi), axis=-1), batch.mask)
        clean_loss = masked_mean(_cross_entropy(clean_logits, batch.label, 0.0), batch.mask)
        adversarial_loss = masked_mean(_cross_entropy(adversarial_logits, batch.label, 0.0), batch.mask)
        loss = clean_weight * clean_loss + adversarial_weight * adversarial_loss + feature_weight * distance
        metrics = {
            "loss": loss,
            "accuracy": _accuracy(clean_logits, batch),
            "adversarial_accuracy": _accuracy(adversarial_logits, batch),
            "feature_distance": distance,
            "feature_square": square,
        }
        return loss, (stats, metrics)

    return from_loss(loss_of)


def _attacked(key: Array, attack: Attack, model: Model, batch: Batch) -> Array:
    init_key, step_key = jax.random.split(key)
    state = attack.init(init_key, model, batch)
    for index in range(attack.num_steps):
        state, _ = attack.step(jax.random.fold_in(step_key, index), state, model, batch)
    return checkpoint_name(state.adversarial, ADVERSARIAL)


def _accuracy(logits: Array, batch: Batch) -> Array:
    return masked_mean((jnp.argmax(logits, axis=-1) == batch.label).astype(jnp.float32), batch.mask)
