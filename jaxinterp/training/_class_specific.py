"""Class-specific gates: a network trained to answer with few units of its own for each class."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxinterp import models
from jaxinterp._base import Batch, Model
from jaxinterp.training._objectives import Objective, Outcome, accuracy, cross_entropy, expect_one_class, from_loss
from jaxinterp.training._passes import check_statistics
from jaxinterp.training._weight import check_weight

GateSchedule = Callable[[Array], Array]
"""`(step) -> bool`, whether the step after so many takes the gated path; both are traced scalars."""


def gate_schedule(steps_per_epoch: int, *, warm_up: int = 10, period: int = 3) -> GateSchedule:
    """Which steps are gated: after a warm-up one epoch in every `period`, the first of them.

    Args:
        steps_per_epoch: steps that are gated or plain together; 1 alternates step by step, for short fine-tuning.
        warm_up: epochs before the first gated one.
        period: of so many epochs one is gated; 1 gates all of them.

    Returns:
        `(step) -> bool`.

    Raises:
        ValueError: a number below 1, or a negative warm-up.

    Example:
        >>> import jax.numpy as jnp
        >>> gated = gate_schedule(2, warm_up=1, period=2)
        >>> [bool(gated(jnp.asarray(step))) for step in range(8)]
        [False, False, True, True, False, False, True, True]
    """
    if steps_per_epoch < 1 or period < 1 or warm_up < 0:
        raise ValueError(
            f"expected steps_per_epoch and period of at least 1 and warm_up of at least 0, got {steps_per_epoch}, {period} and "
            f"{warm_up}; write gate_schedule(len(source) // batch_size)."
        )

    def gated(step: Array) -> Array:
        epoch = step // steps_per_epoch - warm_up
        return (epoch >= 0) & (epoch % period == 0)

    return gated


def class_specific(
    *,
    gated: GateSchedule,
    regulariser_weight: float = 1e-3,
    density: float = 0.2,
    label_smoothing: float = 0.0,
    statistics: str = "mixed",
) -> Objective:
    """Training with a class-specific gate: plain steps minimise `CE(f(x), y)`, gated ones
    `CE(f_G(x), y) + regulariser_weight * max(0, ||G||_1 - density * K * C)`.

    f_G multiplies the activation of K units by `G[:, y]`, the column of the image's label, so a unit that is closed to a class
    cannot help it. After each gated step every unit's row of G is divided by its maximum and cut off at [0, 1]: each unit
    stays open to some class (our reading: a row without a positive entry becomes zero and is not divided). Images are tested
    on the plain path, which is what a call of the model is.

    The gate must be a parameter of the model, `models.gated(model)`, and plain steps must not move it: `gate_optimizer` sees to
    that whatever momentum or decay its optimiser has. One pass through the network serves both kinds of step, so a gated step
    costs what a plain one does.

    To fit a gate to a finished network, as a control, freeze it: `statistics="frozen"`, a schedule that gates every step, and
    `gate_optimizer(optax.set_to_zero(), ...)`.

    Args:
        gated: which steps are gated, as of `gate_schedule`.
        regulariser_weight: of the excess of the gate's L1 norm; the default is the paper's.
        density: share of K C up to which the norm is free; the default is the paper's for ten classes.
        label_smoothing: share of the target that is spread over all classes.
        statistics: "mixed": batch statistics are those of the images, on either path. "frozen": the network is evaluated as it
            is tested, with the statistics it began with.

    Returns:
        An objective whose metrics are `loss`, `cross_entropy` and `accuracy` of the path that was taken (the gated one is told
        the label), `gated` and `gate_density`, `||G||_1 / (K C)` before the step.

    Raises:
        ValueError: a negative weight, a density or label_smoothing outside [0, 1], or other statistics; when it is traced, a
            model without a gate.

    Example:
        >>> import optax
        >>> from jaxinterp import training
        >>> gated = training.gate_schedule(391)
        >>> objective = training.class_specific(gated=gated)
        >>> optimizer = training.gate_optimizer(optax.sgd(0.1, momentum=0.9), optax.sgd(0.1), gated=gated)

    References:
        Haoyu Liang, Zhihao Ouyang, Yuyuan Zeng, Hang Su, Zihao He, Shu-Tao Xia, Jun Zhu, Bo Zhang, "Training Interpretable
        Convolutional Neural Networks by Differentiating Class-specific Filters", 2020.
    """
    check_weight(regulariser_weight, name="regulariser_weight")
    check_weight(density, name="density", largest=1.0)
    check_weight(label_smoothing, name="label_smoothing", largest=1.0)
    check_statistics(statistics)
    if statistics == "split":
        raise ValueError("expected statistics 'mixed' or 'frozen', got 'split'; there are no adversarial images to split off.")

    def loss_of(key: Array, model: Model, batch: Batch, step: Array) -> Outcome:
        expect_one_class(batch, of="class_specific")
        gate, open_now = models.gate_of(model), gated(step)
        taps = models.gated_path(model, batch.label, where=open_now)
        if statistics == "frozen":
            (logits, _), stats = model(batch.image, key=key, taps=taps), model.stats
        else:
            logits, _, stats = model.train(batch.image, key=key, taps=taps)
        entropy = cross_entropy(logits, batch, smoothing=label_smoothing)
        norm = jnp.sum(jnp.abs(gate))
        # A part of a batch without rows that count has loss 0, as of every objective.
        counts = open_now & jnp.any(batch.mask)
        loss = entropy + jnp.where(counts, regulariser_weight * jax.nn.relu(norm - density * gate.size), 0.0)
        metrics = {
            "loss": loss,
            "cross_entropy": entropy,
            "accuracy": accuracy(logits, batch),
            "gated": open_now.astype(jnp.float32),
            "gate_density": norm / gate.size,
        }
        return loss, (stats, metrics)

    def project(params: dict, step: Array) -> dict:
        gate = params["gate"]
        return {**params, "gate": jnp.where(gated(step), _projected(gate), gate)}

    return from_loss(loss_of)._replace(project=project)


def gate_optimizer(
    network: optax.GradientTransformation, gate: optax.GradientTransformation, *, gated: GateSchedule
) -> optax.GradientTransformation:
    """One optimiser for the weights, one for the gate that rests on plain steps.

    On plain steps the gate gets no update and its optimiser's state stays as it is: momentum, decay and learning-rate
    schedules of the gate go by gated steps alone.

    Args:
        network: of the weights, on every step; `optax.set_to_zero()` freezes them.
        gate: of the gate.
        gated: the schedule that the objective has.

    Returns:
        An optimiser for the parameters of a `models.gated` model.

    Example:
        >>> import jax, optax
        >>> from jaxinterp import models, training
        >>> model = models.gated(models.cifar_resnet20(key=jax.random.key(0)))
        >>> optimizer = gate_optimizer(optax.sgd(0.1, momentum=0.9), optax.sgd(10.0), gated=gate_schedule(391))
        >>> state = training.init_state(optimizer, model)
    """
    resting = optax.conditionally_mask(gate, lambda step, **_: gated(jnp.asarray(step)))
    return optax.partition({"network": network, "gate": resting}, {"network": "network", "gate": "gate"})


def _projected(gate: Array) -> Array:
    """Each row over its maximum, cut off at [0, 1]; a row without a positive entry becomes zero."""
    largest = jnp.max(gate, axis=1, keepdims=True)
    return jnp.clip(gate / jnp.where(largest > 0, largest, 1.0), 0.0, 1.0)
