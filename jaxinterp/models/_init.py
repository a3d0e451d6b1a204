"""Random weights, drawn as torchvision draws them, on the host: no program to compile for a fresh network."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer


class Init(NamedTuple):
    """How the weights of a convolution or of a linear layer are drawn.

    Attributes:
        distribution: "normal" or "uniform".
        scale: `(fan_in, fan_out) -> ` standard deviation, or half the width of the interval.
        bias: whether the bias is drawn uniform in +-1/sqrt(fan_in); zeros otherwise.
    """

    distribution: str
    scale: Callable[[int, int], float]
    bias: bool


PYTORCH = Init("uniform", lambda fan_in, fan_out: 1 / math.sqrt(fan_in), True)
"""What PyTorch's layers draw by themselves."""

KAIMING_NORMAL = Init("normal", lambda fan_in, fan_out: math.sqrt(2 / fan_out), False)
"""Variance 2 / fan_out."""

KAIMING_NORMAL_IN = Init("normal", lambda fan_in, fan_out: math.sqrt(2 / fan_in), False)
"""Variance 2 / fan_in."""

UNBIASED = PYTORCH._replace(bias=False)
"""What PyTorch's layers draw by themselves, the bias 0."""

KAIMING_UNIFORM = Init("uniform", lambda fan_in, fan_out: math.sqrt(6 / fan_in), False)
"""Variance 2 / fan_in."""


def normal(stddev: float) -> Init:
    """That standard deviation, whatever the fans."""
    return Init("normal", lambda fan_in, fan_out: stddev, False)


def draw(key: Array, params: Any, stats: Any, init_of: Callable[[str], Init]) -> tuple[Any, Any]:
    """Draws weights of the given shapes.

    Args:
        key: what they depend on; may be traced.
        params: `{module: {"kernel" | "bias" | "scale": shape}}`.
        stats: `{module: {"mean" | "var": shape}}`; means are 0, variances 1.
        init_of: module name -> how its weights are drawn.
    """
    data = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key

    def on_host(data: Any) -> tuple[Any, Any]:
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(np.asarray(data).ravel().tolist())))
        fresh = {module: _layer(rng, leaves, init_of(module)) for module, leaves in params.items()}
        still = {
            module: {leaf: np.full(like.shape, leaf == "var", np.float32) for leaf, like in leaves.items()}
            for module, leaves in stats.items()
        }
        return fresh, still

    if isinstance(data, Tracer):
        return jax.pure_callback(on_host, (params, stats), data, vmap_method="sequential")
    return jax.tree.map(jnp.asarray, on_host(data))


def _layer(rng: np.random.Generator, leaves: dict[str, Any], init: Init) -> dict[str, np.ndarray]:
    if "scale" in leaves:
        return {leaf: np.full(like.shape, leaf == "scale", np.float32) for leaf, like in leaves.items()}
    *window, inputs, units = leaves["kernel"].shape
    fan_in, fan_out = math.prod(window) * inputs, math.prod(window) * units
    scale = init.scale(fan_in, fan_out)
    shape = leaves["kernel"].shape
    kernel = rng.standard_normal(shape, np.float32) if init.distribution == "normal" else _uniform(rng, shape)
    drawn = {"kernel": kernel * np.float32(scale)}
    if "bias" in leaves:
        bound = 1 / math.sqrt(fan_in) if init.bias else 0.0
        drawn["bias"] = _uniform(rng, leaves["bias"].shape) * np.float32(bound)
    return drawn


def _uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return 2 * rng.random(shape, np.float32) - np.float32(1)
