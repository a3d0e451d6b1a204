"""What a network predicts without some units: sets of detectors, and sets of other units beside them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jaxtyping import Bool, Float, Int32

from jaxinterp import _mesh
from jaxinterp._base import Model
from jaxinterp.tracing._selection import random_units_of_equal_activation


def ablated_predictions(
    model: Model,
    images: Float[Array, "n h w c"] | Float[np.ndarray, "n h w c"],
    sets: Bool[np.ndarray, "s u"],
    *,
    layer: str,
    batch_size: int = 64,
    mesh: Mesh | None = None,
) -> Int32[np.ndarray, "s n"]:
    """The predicted class of every image with one set of units after another set to 0.

    What lies before the layer is computed once for all sets.

    Args:
        model: the network.
        images: in [0, 1].
        sets: True at the units that are silenced, one row a set; a row of False is the whole network.
        layer: the layer they belong to.
        batch_size: images at once.
        mesh: devices over which these are split; None for where the model is.

    Returns:
        Classes, for `metrics.ablation_effect`.

    Raises:
        ValueError: unknown layer, or another number of units.
    """
    num_units = model.layer(layer).shape[2]
    if sets.shape[1] != num_units:
        raise ValueError(f"expected sets of {num_units} units, as layer {layer!r} has, got {sets.shape[1]}.")
    keep, at_once, parts = jnp.asarray(~sets), min(batch_size, len(images)), []
    if mesh is not None:
        mesh = _mesh.data_parallel(mesh)
        model, keep = jax.device_put((model, keep), _mesh.replicated(mesh))
        at_once = _mesh.rounded(at_once, mesh)
    for start in range(0, len(images), at_once):
        row = np.minimum(np.arange(start, start + at_once), len(images) - 1)
        parts.append(_predictions(model, _mesh.split_rows(mesh, images[row]), keep, layer))
    return np.concatenate([np.asarray(part) for part in parts], axis=1)[:, : len(images)]


def matched_sets(
    rng: np.random.Generator, units: Bool[np.ndarray, " u"], activation: Float[np.ndarray, " u"], *, count: int
) -> Bool[np.ndarray, "d u"]:
    """Random sets of as many other units, each about as active as the unit that it stands in for.

    Args:
        rng: source of the draws.
        units: the set to find controls for.
        activation: mean activation of every unit.
        count: how many sets.

    Returns:
        One set a row, of `random_units_of_equal_activation`.

    Raises:
        ValueError: when more than half of the units are in the set.
    """
    rows = (np.repeat(units[None], count, axis=0), np.repeat(activation[None], count, axis=0))
    return random_units_of_equal_activation(rng, *rows)


@functools.partial(jax.jit, static_argnums=3)
def _predictions(model: Model, images: Array, keep: Array, layer: str) -> Array:
    given = model(images)[1][layer]

    def predicted(keep: Array) -> Array:
        # The tap looks at nothing that comes before the layer, so none of it is computed again.
        kept = jnp.where(keep.reshape((1,) * (given.ndim - 1) + (-1,)), given, 0.0)
        return model(images, taps={layer: lambda _: kept})[0].argmax(axis=-1).astype(jnp.int32)

    return jax.lax.map(predicted, keep)
