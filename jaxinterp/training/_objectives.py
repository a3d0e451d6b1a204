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
MIXED = "mixed labels"
"""Where a batch of mixed images has `[n k]` probabilities of classes in place of one class an image."""

Outcome = tuple[Array, tuple[Any, dict[str, Array]]]
"""`(loss, (stats, metrics))`: the mean over the rows whose mask is True, the new batch statistics, and scalars to log."""


def _nothing(batch: Batch) -> Any:
    return ()


def _kept(memory: Any, gradient: Any, batch: Batch) -> Any:
    return memory


def _anywhere(params: Any, step: Array) -> Any:
    return params


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
        project: `(params, step) -> params` after the update of a step, into the set where parameters may lie; averages of the
            weights are over what it returns.
    """

    loss: Callable[[Array, Model, Batch, Array, Any], Outcome]
    remember: Callable[[Batch], Any] = _nothing
    renew: Callable[[Any, Any, Batch], Any] = _kept
    num_replays: int = 1
    project: Callable[[Any, Array], Any] = _anywhere

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


def cross_entropy(logits: Float[Array, "n k"], batch: Batch, *, smoothing: float = 0.0) -> Float[Array, ""]:
    """The mean over the rows that count of the cross-entropy with the label, a share of it spread over all classes.

    Mixed images have labels of two classes.
    """
    classes = batch.extra.get(MIXED)
    if classes is None:
        classes = jax.nn.one_hot(batch.label, logits.shape[-1])
    targets = optax.smooth_labels(classes.astype(logits.dtype), smoothing)
    return masked_mean(optax.softmax_cross_entropy(logits, targets), batch.mask)


def standard(*, label_smoothing: float = 0.0, temperature: float = 1.0) -> Objective:
    """Cross-entropy on the clean images, `CE(f(x) / temperature, y)`.

    Args:
        label_smoothing: share of the target that is spread over all classes.
        temperature: what logits are divided by; above 1 for the teacher of `distillation`.

    Returns:
        An objective whose metrics are `loss` and `accuracy`.

    Raises:
        ValueError: a temperature that is not positive.

    Example:
        >>> objective = standard(label_smoothing=0.1)
    """
    check_temperature(temperature)

    def loss_of(key: Array, model: Model, batch: Batch, step: Array) -> Outcome:
        logits, _, stats = model.train(batch.image, key=key)
        loss = cross_entropy(logits / temperature, batch, smoothing=label_smoothing)
        return loss, (stats, {"loss": loss, "accuracy": accuracy(logits, batch)})

    return from_loss(loss_of)


def attacked(key: Array, attack: Attack, model: Model, batch: Batch) -> Float[Array, "n h w c"]:
    """An attack's answer on a batch, inside a step; no gradient flows into it or into the model it saw."""
    return checkpoint_name(jax.lax.stop_gradient(answer_of(key, attack, jax.lax.stop_gradient(model), batch)), ADVERSARIAL)


def answer_of(key: Array, attack: Attack, model: Model, batch: Batch) -> Float[Array, "n h w c"]:
    """An attack's answer on a batch, its steps written out."""
    init_key, step_key = jax.random.split(key)
    state = attack.init(init_key, model, batch)
    for index in range(attack.num_steps):
        state, _ = attack.step(jax.random.fold_in(step_key, index), state, model, batch)
    return state.adversarial


def accuracy(logits: Float[Array, "n k"], batch: Batch) -> Float[Array, ""]:
    """The share of the rows that count in which the largest logit is the label's."""
    return masked_mean((jnp.argmax(logits, axis=-1) == batch.label).astype(jnp.float32), batch.mask)


def expect_one_class(batch: Batch, *, of: str) -> None:
    """Raises `ValueError` for mixed images, in an objective that treats the class of an image apart from all others."""
    if MIXED in batch.extra:
        raise ValueError(f"expected one class an image for {of}, got mixed images; write training.mixed(training.trades(...)).")


def check_temperature(temperature: float) -> None:
    """Raises `ValueError` for a temperature that is not positive."""
    if not temperature > 0:
        raise ValueError(f"expected temperature > 0, got {temperature}; write 1.0, or 20.0 to distil.")
