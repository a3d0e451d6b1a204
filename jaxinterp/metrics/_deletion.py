"""Deletion and insertion: does a score hang on the pixels that a map calls important?"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jax import Array
from jaxtyping import Float, Float32, Float64, Int

from jaxinterp._base import Model, check_images


class DeletionInsertion(NamedTuple):
    """What a score does as pixels go and as pixels come, the most important first.

    Attributes:
        fraction: share of the pixels that are deleted or inserted at each step, from 0 to 1.
        deletion: the score as pixels are replaced by the fill; a good map makes it fall at once.
        insertion: the score as pixels replace those of the blurred image; a good map makes it rise at once.
        deletion_auc: area under each deletion curve, low is good.
        insertion_auc: area under each insertion curve, high is good.
    """

    fraction: Float64[np.ndarray, " s"]
    deletion: Float32[np.ndarray, "m s"]
    insertion: Float32[np.ndarray, "m s"]
    deletion_auc: Float64[np.ndarray, " m"]
    insertion_auc: Float64[np.ndarray, " m"]


def deletion_insertion(
    model: Model,
    images: Float[Array, "m h w c"] | Float[np.ndarray, "m h w c"],
    importance: Float[np.ndarray, "i j k"],
    numbers: Int[np.ndarray, " l"],
    *,
    layer: str | None = None,
    positions: Int[np.ndarray, " p"] | None = None,
    relative: bool = False,
    num_steps: int = 32,
    fill: float = 0.5,
    blur: float = 5.0,
    batch_size: int = 64,
) -> DeletionInsertion:
    """Deletes and inserts the pixels of each image in the order of its map, and follows a score.

    Every row is an image with its own map and its own score; an image may stand in several rows. Pixels of equal importance
    go in reading order. Step `s` changes the first `round(s h w / num_steps)` pixels.

    Args:
        model: the network.
        images: in [0, 1].
        importance: the map of each row, one number a pixel, higher is more important.
        numbers: the class of each row, or the unit where `layer` is given.
        layer: scores the maximum of a unit's map in this layer; None scores the probability of a class, as the paper does.
        positions: with `layer`, scores each row's unit at this position of its map instead, row-major: what a map claims that
            was measured there, such as that of `activations.discrepancy_maps`.
        relative: divides each row's scores by that of its whole image, for rows whose scores have different units.
        num_steps: steps from no pixel to all.
        fill: value in [0, 1] of a deleted pixel, grey by default (our reading).
        blur: standard deviation in pixels of the Gaussian that blurs the image before insertion; 5 is the authors' at 224 px.
        batch_size: images that the network sees at once.

    Returns:
        Curves and the areas under them by the trapezoidal rule; NaN in rows with `relative` whose whole image scores 0.

    Raises:
        ValueError: other shapes, or no step.

    References:
        Vitali Petsiuk, Abir Das, Kate Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", 2018,
        section 4.2, causal metric.
    """
    pictures = np.asarray(images, np.float32)
    check_images(jnp.asarray(pictures[:1]), size=model.image_size)
    if importance.shape != pictures.shape[:3] or numbers.shape != (len(pictures),):
        raise ValueError(
            f"expected a map {pictures.shape[1:3]} and a number for each of {len(pictures)} images, got maps "
            f"{importance.shape} and {numbers.shape} numbers; repeat an image for every map of it."
        )
    if num_steps < 1 or batch_size < 1:
        raise ValueError(f"expected num_steps >= 1 and batch_size >= 1, got {num_steps} and {batch_size}.")
    if layer is not None:
        model.layer(layer)
    if positions is not None and (layer is None or positions.shape != numbers.shape):
        raise ValueError(
            f"expected a layer and a position for each of {len(pictures)} rows, got layer={layer!r} and {positions.shape}."
        )
    place = np.full(len(pictures), -1) if positions is None else positions
    rows, pixels = len(pictures), importance[0].size if len(pictures) else 1
    order = np.argsort(-importance.reshape(rows, -1), axis=1, kind="stable")
    rank = np.empty(order.shape, np.int32)
    np.put_along_axis(rank, order, np.arange(pixels, dtype=np.int32)[None, :], axis=1)
    rank = rank.reshape(importance.shape)
    changed = np.round(np.arange(num_steps + 1) * pixels / num_steps).astype(np.int32)
    blurred = scipy.ndimage.gaussian_filter(pictures, (0, blur, blur, 0), truncate=1.0)
    curves = []
    for before, after in ((pictures, np.full_like(pictures[:1], fill)), (blurred, pictures)):
        found = []
        for start in range(0, rows * (num_steps + 1), batch_size):
            cell = np.minimum(np.arange(start, start + batch_size), rows * (num_steps + 1) - 1)
            row, step = np.divmod(cell, num_steps + 1)
            new = after[row if len(after) > 1 else np.zeros_like(row)]
            asked = np.stack([numbers[row], place[row]]).astype(np.int32)
            found.append(_scores(model, before[row], new, rank[row], changed[step], asked, layer))
        flat = np.concatenate([np.asarray(part) for part in found])[: rows * (num_steps + 1)]
        curves.append(flat.reshape(rows, num_steps + 1).astype(np.float32))
    deletion, insertion = curves
    if relative:
        whole = deletion[:, :1]
        scale = np.where(whole > 0, whole, np.nan)
        deletion, insertion = deletion / scale, insertion / scale
    areas = (np.trapezoid(curve.astype(np.float64), dx=1 / num_steps, axis=1) for curve in (deletion, insertion))
    return DeletionInsertion(changed / pixels, deletion, insertion, *areas)


@functools.partial(jax.jit, static_argnums=6)
def _scores(model: Model, before: Array, after: Array, rank: Array, changed: Array, asked: Array, layer: str | None) -> Array:
    """The scores of images whose `changed` most important pixels are those of `after`; asked are numbers and positions."""
    images = jnp.where((rank < changed[:, None, None])[..., None], after, before)
    logits, activations = model(images)
    number, position = asked
    if layer is None:
        return jnp.take_along_axis(jax.nn.softmax(logits), number[:, None], axis=1)[:, 0]
    maps = activations[layer]
    flat = jnp.take_along_axis(maps.reshape(maps.shape[0], -1, maps.shape[-1]), number[:, None, None], axis=2)[:, :, 0]
    there = jnp.take_along_axis(flat, jnp.maximum(position, 0)[:, None], axis=1)[:, 0]
    return jnp.where(position < 0, flat.max(axis=1), there)
