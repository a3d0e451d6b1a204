"""Defensive distillation: a network learns the probabilities that another one gives at a high temperature."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxinterp._base import Batch, Model
from jaxinterp.training._objectives import Objective, Outcome, accuracy, check_temperature, from_loss, masked_mean

EXTRA = "probabilities"


def soft_labels(model: Model, images: Float[Array, "n h w c"], *, temperature: float) -> Float[Array, "n k"]:
    """What a teacher says of images at a temperature: `softmax(f(x) / temperature)`, the network being evaluated.

    Compiled once for each architecture and shape.

    Args:
        model: the teacher, trained by `standard(temperature=...)` of the same temperature.
        images: clean, in [0, 1].
        temperature: T; the higher, the nearer the answer is to that all classes are equal.

    Returns:
        Probabilities, for `batch.extra["probabilities"]`.

    Raises:
        ValueError: a temperature that is not positive, or images of another shape or type.
    """
    check_temperature(temperature)
    return _soft_labels(model, images, temperature)


@jax.jit
def _soft_labels(model: Model, images: Array, temperature: float | Array) -> Array:
    return jax.nn.softmax(model(images)[0] / temperature)


def distillation(*, temperature: float) -> Objective:
    """Defensive distillation: `-sum_k q_k log softmax(f(x) / T)_k`, q being the teacher's probabilities at the temperature T.

    First a teacher is trained at T on the labels, by `standard(temperature=T)`; `soft_labels` says its probabilities of the
    training images at T; then a network of the same architecture is trained at T on these, by this objective. It is used at
    temperature 1, as every `Model` is: its logits are then about T times as large, so that its probabilities saturate and the
    gradient of the cross-entropy vanishes in float32. That hides the slope from attacks by the cross-entropy and is no
    robustness: attack such a network by a loss of logits, `attacks.margin` or `attacks.carlini_wagner`.

    `answers_of` fills `batch.extra["probabilities"]` `[n k]` in a training by a recipe; a loop of one's own fills it once for
    all epochs or batch by batch.

    Args:
        temperature: T; 20 and above in the paper's experiments.

    Returns:
        An objective whose metrics are `loss`, at the temperature T, and `accuracy`, by the label.

    Raises:
        ValueError: a temperature that is not positive; when it is traced, where the batch has no such entry, or one of another
            shape.

    Example:
        >>> from jaxinterp import training
        >>> teacher, student = training.standard(temperature=20.0), training.distillation(temperature=20.0)

    References:
        N. Papernot, P. McDaniel, X. Wu, S. Jha, A. Swami, "Distillation as a Defense to Adversarial Perturbations against Deep
        Neural Networks", IEEE Symposium on Security and Privacy 2016, section on defensive distillation.
        N. Carlini, D. Wagner, "Towards Evaluating the Robustness of Neural Networks", IEEE Symposium on Security and Privacy
        2017, for the attacks that it does not stop.
    """
    check_temperature(temperature)

    def loss_of(key: Array, model: Model, batch: Batch, step: Array) -> Outcome:
        logits, _, stats = model.train(batch.image, key=key)
        if EXTRA not in batch.extra:
            raise ValueError(
                f"expected a teacher's answers in batch.extra[{EXTRA!r}], got {sorted(batch.extra)}; "
                "write filling=lambda: training.answers_of(...), or fill it from training.soft_labels."
            )
        wanted = jax.lax.stop_gradient(jnp.asarray(batch.extra[EXTRA]))
        if wanted.shape != logits.shape:
            raise ValueError(
                f"expected batch.extra[{EXTRA!r}] of shape {logits.shape}, got {wanted.shape}; take its own teacher."
            )
        loss = masked_mean(-jnp.sum(wanted * jax.nn.log_softmax(logits / temperature), axis=-1), batch.mask)
        return loss, (stats, {"loss": loss, "accuracy": accuracy(logits, batch)})

    return from_loss(loss_of)
