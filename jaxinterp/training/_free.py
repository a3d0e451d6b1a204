"""Free adversarial training: the gradient that updates the weights also updates the perturbation."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Batch, Model
from jaxinterp.attacks._ball import Scalar, check_radius
from jaxinterp.training._objectives import Objective, Outcome, accuracy, cross_entropy
from jaxinterp.training._weight import check_weight


def free(epsilon: Scalar, *, num_replays: int = 8, step_size: Scalar | None = None, label_smoothing: float = 0.0) -> Objective:
    """Free adversarial training: `CE(f(x + d), y)`, d from the gradients of the steps before.

    Each batch is trained on `num_replays` times in a row. A step's one backward pass gives the gradient of the weights and
    that of the images, and after it `d <- clip(d + step_size sign(grad_d), -epsilon, epsilon)`. The perturbation d begins at
    zero and is never reset: a batch begins with that of the batch before. A step costs as much as one on clean images: divide
    the number of epochs by `num_replays`.

    Unlike the paper's algorithm, images stay in [0, 1]: d is cut off to what does so before a step, when it may be that of
    another batch, and after it.

    Args:
        epsilon: Linf radius in [0, 1] units, such as `8 / 255`.
        num_replays: how often in a row each batch is trained on, m of the paper: 8 in its experiments on CIFAR-10. What
            trains reads it off the objective and gives each batch so often.
        step_size: of d, in [0, 1] units; epsilon by default, as in the paper.
        label_smoothing: share of the target that is spread over all classes.

    Returns:
        An objective with a memory, d `[n h w c]`, whose metrics are `loss` and `adversarial_accuracy`.

    Raises:
        ValueError: epsilon or step_size outside (0, 1], num_replays below 1, or a label_smoothing outside [0, 1].

    Example:
        >>> from jaxinterp import training
        >>> training.free(8 / 255, num_replays=4).num_replays
        4

    References:
        A. Shafahi, M. Najibi, A. Ghiasi, Z. Xu, J. Dickerson, C. Studer, L. S. Davis, G. Taylor, T. Goldstein, "Adversarial
        Training for Free!", NeurIPS 2019, algorithm 1.
    """
    check_radius(epsilon, name="epsilon")
    size = epsilon if step_size is None else step_size
    check_radius(size, name="step_size")
    check_weight(label_smoothing, name="label_smoothing", largest=1.0)
    if num_replays < 1:
        raise ValueError(f"expected num_replays >= 1, got {num_replays}; write 8.")

    def remember(batch: Batch) -> Array:
        return jnp.zeros(batch.image.shape, batch.image.dtype)

    def loss_of(key: Array, model: Model, batch: Batch, step: Array, memory: Any) -> Outcome:
        moved = batch.image + memory
        # The value is cut off, the gradient is that of the image that the network sees.
        images = moved + jax.lax.stop_gradient(jnp.clip(moved, 0.0, 1.0) - moved)
        logits, _, stats = model.train(images, key=key)
        loss = cross_entropy(logits, batch, smoothing=label_smoothing)
        return loss, (stats, {"loss": loss, "adversarial_accuracy": accuracy(logits, batch)})

    def renew(memory: Any, gradient: Any, batch: Batch) -> Array:
        radius, length = (jnp.asarray(value, memory.dtype) for value in (epsilon, size))
        seen = jnp.clip(batch.image + memory, 0.0, 1.0) - batch.image
        moved = jnp.clip(seen + length * jnp.sign(gradient), -radius, radius)
        return jnp.clip(batch.image + moved, 0.0, 1.0) - batch.image

    return Objective(loss_of, remember=remember, renew=renew, num_replays=num_replays)
