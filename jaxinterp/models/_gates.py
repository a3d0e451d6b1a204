"""Gates: which units may speak for which class, as parameters beside a network's weights."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxinterp._base import Model, Taps
from jaxinterp.models._checkpoint import last_conv
from jaxinterp.models._gated import Gated, within_gate


def gated(model: Model, *, layer: str | None = None, gate: Float[Array | np.ndarray, "u k"] | None = None) -> Model:
    """The same model with a class-specific gate G beside its weights: layers, taps, logits and statistics stay.

    G has a row a unit and a column a class, in [0, 1]: how far the unit may speak for the class. A call of the model does not
    read it. On the gated path, which `gated_path` makes, the activation of the layer is multiplied by the column of each
    image's label. `training.class_specific` trains both paths.

    `models.save` writes the weights as it would without the gate, and with a network of this package the gate beside them as
    `gate.weight`, `[classes units]`, the layout of a linear layer; `models.load` wants a gated model for such a file.
    `fold_batch_norm`, `with_dtype` and `export` go before: `gated(models.with_dtype(model, "bfloat16"))`, and
    `export(without_gate(model), path)`.

    Args:
        model: any model.
        layer: whose units have gates, `[n h w u]` or `[n u]`; by default the last convolutional layer, as in the paper.
        gate: G; 0.5 everywhere by default, as in the paper.

    Returns:
        A model whose parameters are `{"network": those of the model, "gate": G}`.

    Raises:
        ValueError: an unknown layer, a model that has a gate, or a gate of another size.

    Example:
        >>> import jax, jaxinterp as ji
        >>> model = ji.models.gated(ji.models.cifar_resnet20(key=jax.random.key(0)))
        >>> ji.models.gate_of(model).shape, model.network.layer
        ((64, 10), 'layer3.2')

    References:
        Haoyu Liang, Zhihao Ouyang, Yuyuan Zeng, Hang Su, Zihao He, Shu-Tao Xia, Jun Zhu, Bo Zhang, "Training Interpretable
        Convolutional Neural Networks by Differentiating Class-specific Filters", 2020.
    """
    if has_gate(model):
        raise ValueError("expected a model without a gate, got one that has one; write models.without_gate(model) first.")
    name = model.layer(last_conv(model) if layer is None else layer).name
    network = Gated(model.network, name)
    start = jnp.full(network.gate_shape, 0.5, jnp.float32) if gate is None else jnp.asarray(gate)
    if start.shape != network.gate_shape:
        units, classes = network.gate_shape
        raise ValueError(f"expected a gate [{units} {classes}], the units of {name!r} times classes, got shape {start.shape}.")
    return Model({"network": model.params, "gate": start}, model.stats, network)


def has_gate(model: Model) -> bool:
    """Whether a model has a gate beside its weights.

    Args:
        model: any model, perhaps behind `at_size` or a defence.
    """
    return within_gate(model.network) is not None


def gate_of(model: Model) -> Float[Array, "u k"]:
    """The gate G of a gated model.

    Args:
        model: from `gated`, perhaps behind `at_size` or a defence.

    Raises:
        ValueError: a model without a gate.
    """
    _expect_gate(model)
    return model.params["gate"]


def gated_layer(model: Model) -> str:
    """The layer whose units the gate is about.

    Args:
        model: from `gated`, perhaps behind `at_size` or a defence.

    Raises:
        ValueError: a model without a gate.
    """
    return _expect_gate(model).layer


def without_gate(model: Model) -> Model:
    """The model that `gated` was given, with the weights as they are now.

    Args:
        model: from `gated`, perhaps behind `at_size` or a defence, which stay.

    Raises:
        ValueError: a model without a gate.
    """
    _expect_gate(model)

    def opened(network: Any) -> Any:
        if isinstance(network, Gated):
            return network.network
        return dataclasses.replace(network, network=opened(network.network))

    return Model(model.params["network"], model.stats, opened(model.network))


def gated_path(model: Model, label: Int[Array, " n"], *, where: bool | Bool[Array, ""] = True) -> Taps:
    """The taps of the gated path: activation times `G[:, label]`.

    Args:
        model: from `gated`.
        label: the class of each image.
        where: may be traced; where it is False the taps change nothing, and no gradient reaches the gate.

    Returns:
        Taps, for `model(images, taps=...)` or `model.train`; made where they are used, since they hold the labels.

    Raises:
        ValueError: a model without a gate.

    Example:
        >>> import jax, jax.numpy as jnp, jaxinterp as ji
        >>> model = ji.models.gated(ji.models.cifar_resnet20(key=jax.random.key(0)))
        >>> taps = ji.models.gated_path(model, jnp.asarray([3, 5]))
        >>> model(jnp.zeros((2, 32, 32, 3)), taps=taps)[1]["layer3.2"].shape
        (2, 8, 8, 64)
    """
    gate = gate_of(model)
    # A one-hot product and not a look-up: a row that only fills up has no class, and gets zeros instead of another's column.
    own = jnp.matmul(_one_hot(label, gate), gate.T, precision="highest")
    factor = jnp.where(where, own, jnp.ones_like(own))

    def tap(activation: Array) -> Array:
        shape = (factor.shape[0],) + (1,) * (activation.ndim - 2) + (factor.shape[1],)
        return activation * factor.astype(activation.dtype).reshape(shape)

    return {gated_layer(model): tap}


def _one_hot(label: Array, gate: Array) -> Array:
    return (label[:, None] == jnp.arange(gate.shape[1])[None]).astype(gate.dtype)


def _expect_gate(model: Model) -> Gated:
    found = within_gate(model.network)
    if found is None:
        raise ValueError("expected a model with a gate, got one without; write models.gated(model) first.")
    return found
