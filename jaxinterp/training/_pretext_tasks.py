"""Four pretext tasks: which way an image is turned, how its tiles were shuffled, where a patch lies, and its colours."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Int

from jaxinterp._base import Batch, Model
from jaxinterp.training._objectives import Outcome, from_loss, masked_mean
from jaxinterp.training._pretext import Pretext, answer, num_units, row_keys, start_head

_GRID = 3


def rotation(*, layer: str) -> Pretext:
    """By how many quarter turns an image was rotated, of four; features are the flattened activation of `layer`.

    Unlike the paper, which shows all four turns of each image at once, every row is turned once, by a draw.

    Args:
        layer: the layer that the linear head sees, such as "fc7".

    References:
        Spyros Gidaris, Praveer Singh, Nikos Komodakis, "Unsupervised Representation Learning by Predicting Image
        Rotations", ICLR 2018, section 2.
    """

    def pose(key: Array, batch: Batch) -> tuple[Array, Array]:
        turns = jax.vmap(lambda key: jax.random.randint(key, (), 0, 4))(row_keys(key, batch.id))
        return turned(batch.image, turns)[:, None], turns

    return _of_parts("rotation", 4, layer=layer, num_parts=1, hidden=None, pose=pose)


def jigsaw(*, layer: str, num_permutations: int = 24, hidden: int = 128, jitter: int = 2) -> Pretext:
    """Which of a fixed set of permutations the 3 x 3 tiles of an image were shown in.

    Every tile passes through the network alone; the features of all nine, in the order shown, go through a hidden layer.
    A tile is cut at a random place of its cell, `jitter` pixels smaller than it, and normalised to the mean 1/2 and the
    deviation 1/4 of its own channels, so that neither its edge nor its brightness gives its place away. It is resized to the
    images that the network takes: our reading is a network built for small images, whose weights fit the large one.

    Args:
        layer: the layer whose flattened activation is a tile's features.
        num_permutations: how many, as `hamming_permutations` chooses them; the paper has up to 1000.
        hidden: units of the head's hidden layer.
        jitter: pixels.

    References:
        Mehdi Noroozi, Paolo Favaro, "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles", ECCV 2016,
        sections 3.2 to 3.4 and algorithm 1.
    """
    table = hamming_permutations(num_permutations)

    def pose(key: Array, batch: Batch) -> tuple[Array, Array]:
        def one(key: Array, image: Array) -> tuple[Array, Array]:
            choice_key, cut_key = jax.random.split(key)
            which = jax.random.randint(choice_key, (), 0, len(table))
            return normalised(_cells(cut_key, image, jitter))[jnp.asarray(table)[which]], which

        return jax.vmap(one)(row_keys(key, batch.id), batch.image)

    return _of_parts("jigsaw", num_permutations, layer=layer, num_parts=9, hidden=hidden, pose=pose)


def context_prediction(*, layer: str, hidden: int = 128, jitter: int = 4) -> Pretext:
    """Where a second patch lies seen from the first, of the eight places around it.

    The patches are the middle cell of a 3 x 3 grid over the image and one of the others, each cut at a random place of its
    cell, which leaves a gap between them, and normalised as in `jigsaw`. The features of both go through a hidden layer.

    Unlike the paper, which drops two colour channels of a patch at random against chromatic aberration, channels are kept:
    drawn images have no lens.

    Args:
        layer: the layer whose flattened activation is a patch's features.
        hidden: units of the head's hidden layer.
        jitter: how many pixels a patch is smaller than its cell.

    References:
        Carl Doersch, Abhinav Gupta, Alexei A. Efros, "Unsupervised Visual Representation Learning by Context Prediction",
        ICCV 2015, sections 3 and 3.1.
    """

    def pose(key: Array, batch: Batch) -> tuple[Array, Array]:
        def one(key: Array, image: Array) -> tuple[Array, Array]:
            choice_key, cut_key = jax.random.split(key)
            which = jax.random.randint(choice_key, (), 0, 8)
            cells = normalised(_cells(cut_key, image, jitter))
            return jnp.stack([cells[4], cells[which + (which >= 4)]]), which

        return jax.vmap(one)(row_keys(key, batch.id), batch.image)

    return _of_parts("context_prediction", 8, layer=layer, num_parts=2, hidden=hidden, pose=pose)


def colourisation(*, layer: str, num_bins: int = 8) -> Pretext:
    """The colour of every position of a map, told from the grey image.

    The network sees the luma in all three channels; a linear head on each position of `layer` names the cell of the chroma
    plane that the mean colour under that position falls into, of `num_bins` by `num_bins`.

    Unlike the paper, the plane is (Cb, Cr) of the ITU-R BT.601 transform and not ab of CIE Lab, cells are hard targets and
    rare ones weigh no more, and colours are predicted at the map's own resolution.

    Args:
        layer: a layer with a map, such as "conv5".
        num_bins: cells along each axis of the plane.

    Raises:
        ValueError: fewer than two cells along an axis.

    References:
        Richard Zhang, Phillip Isola, Alexei A. Efros, "Colorful Image Colorization", ECCV 2016, section 2.1.
    """
    if num_bins < 2:
        raise ValueError(f"expected num_bins >= 2, got {num_bins}; write 8.")

    def start(key: Array, model: Model) -> Model:
        units = model.layer(layer).shape[2]
        return start_head(key, model, num_features=units, hidden=None, num_classes=num_bins**2)

    def loss_of(key: Array, model: Model, batch: Batch, step: Array) -> Outcome:
        luma = batch.image @ jnp.asarray(_LUMA, batch.image.dtype)
        _, activations, stats = model.train(jnp.repeat(luma[..., None], 3, axis=-1), key=key)
        maps = activations[layer]
        cells = chroma_cells(batch.image, maps.shape[1:3], num_bins)
        return _scored(answer(model, maps), cells, batch, stats)

    return Pretext("colourisation", num_bins**2, start, from_loss(loss_of))


_LUMA = (0.299, 0.587, 0.114)


def chroma_cells(images: Array, shape: tuple[int, ...], num_bins: int) -> Array:
    """`[n h w]` int32: the cell of the chroma plane of the mean colour under each of `shape` positions.

    Args:
        images: `[n H W 3]` in [0, 1].
        shape: (h, w).
        num_bins: cells along each axis; cell `b * num_bins + r` holds the b-th part of Cb and the r-th of Cr.
    """
    small = jax.image.resize(images, (images.shape[0], *shape, 3), "linear", antialias=True)
    luma = small @ jnp.asarray(_LUMA, images.dtype)
    blue = (small[..., 2] - luma) / (2 * (1 - _LUMA[2])) + 0.5
    red = (small[..., 0] - luma) / (2 * (1 - _LUMA[0])) + 0.5
    low, high = (jnp.clip(jnp.floor(part * num_bins), 0, num_bins - 1).astype(jnp.int32) for part in (blue, red))
    return low * num_bins + high


def turned(images: Array, turns: Array) -> Array:
    """Every image turned counter-clockwise by its number of quarter turns.

    Args:
        images: `[n s s c]`, square.
        turns: `[n]` integers from 0 to 3.
    """
    branches = [functools.partial(jnp.rot90, k=number) for number in range(4)]
    return jax.vmap(lambda image, number: jax.lax.switch(number, branches, image))(images, turns)


@functools.lru_cache(maxsize=16)
def _permutations(count: int) -> tuple[tuple[int, ...], ...]:
    every = np.asarray(list(itertools.permutations(range(_GRID**2))), np.int8)
    chosen = [0]
    nearest = np.full(len(every), np.inf)
    while len(chosen) < count:
        nearest = np.minimum(nearest, (every != every[chosen[-1]]).sum(axis=1))
        chosen.append(int(nearest.argmax()))
    return tuple(map(tuple, every[chosen].tolist()))


def hamming_permutations(count: int) -> Int[np.ndarray, "p 9"]:
    """Permutations of nine tiles that are far from each other in Hamming distance.

    Beginning with the identity, each next one is the permutation whose nearest chosen one is farthest, the first of equals.
    Unlike the paper, which adds the one of the largest mean distance, it is the smallest distance that is kept large.

    Args:
        count: how many.

    Returns:
        One permutation a row.

    Raises:
        ValueError: fewer than 2 or more than 1000.
    """
    if not 2 <= count <= 1000:
        raise ValueError(f"expected 2 to 1000 permutations, got {count}; write 24.")
    return np.asarray(_permutations(count))


def normalised(parts: Array) -> Array:
    """Every part moved and scaled to mean 1/2 and deviation 1/4 of each channel, cut off at 0 and 1.

    Args:
        parts: `[p h w c]`.
    """
    mean = parts.mean(axis=(1, 2), keepdims=True)
    deviation = parts.std(axis=(1, 2), keepdims=True)
    return jnp.clip(0.5 + 0.25 * (parts - mean) / jnp.maximum(deviation, 1e-3), 0, 1)


def _cells(key: Array, image: Array, jitter: int) -> Array:
    """The nine cells of an image `[9 t t c]`, row by row, each cut at a random place, `jitter` pixels smaller."""
    cell = image.shape[0] // _GRID
    size = cell - jitter
    if jitter < 0 or size < 4:
        raise ValueError(f"expected a jitter of 0 to {cell - 4} pixels for images of {image.shape[0]} px, got {jitter}.")
    shift = jax.random.randint(key, (_GRID**2, 2), 0, jitter + 1)
    corner = cell * jnp.stack(jnp.divmod(jnp.arange(_GRID**2), _GRID), axis=1) + shift
    return jax.vmap(lambda at: jax.lax.dynamic_slice(image, (at[0], at[1], 0), (size, size, image.shape[2])))(corner)


def _of_parts(
    name: str,
    num_classes: int,
    *,
    layer: str,
    num_parts: int,
    hidden: int | None,
    pose: Callable[[Array, Batch], tuple[Array, Array]],
) -> Pretext:
    """A task on images in parts, `pose(key, batch) -> (parts [n p h w c], answers [n])`."""

    def start(key: Array, model: Model) -> Model:
        width = num_parts * num_units(model, layer)
        return start_head(key, model, num_features=width, hidden=hidden, num_classes=num_classes)

    def loss_of(key: Array, model: Model, batch: Batch, step: Array) -> Outcome:
        pose_key, train_key = jax.random.split(key)
        parts, answers = pose(pose_key, batch)
        side = (model.image_size, model.image_size)
        flat = parts.reshape(-1, *parts.shape[2:])
        if flat.shape[1:3] != side:
            flat = jax.image.resize(flat, (flat.shape[0], *side, flat.shape[3]), "linear").clip(0, 1)
        _, activations, stats = model.train(flat, key=train_key)
        return _scored(answer(model, activations[layer].reshape(len(answers), -1)), answers, batch, stats)

    return Pretext(name, num_classes, start, from_loss(loss_of))


def _scored(logits: Array, answers: Array, batch: Batch, stats: Any) -> Outcome:
    """Cross-entropy and accuracy, averaged over the positions of a row first."""
    axes = tuple(range(1, answers.ndim))
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, answers).mean(axis=axes)
    right = (logits.argmax(axis=-1) == answers).astype(jnp.float32).mean(axis=axes)
    loss, accuracy = masked_mean(loss, batch.mask), masked_mean(right, batch.mask)
    return loss, (stats, {"loss": loss, "accuracy": accuracy})
