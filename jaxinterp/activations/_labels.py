"""Concept maps of a batch at the resolution of the tally, and the categories of their concepts."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Int

from jaxinterp._base import Batch

NO_CATEGORY = "none"
"""Category of concept 0, which stands for "no concept"."""


def label_maps(batch: Batch, size: int) -> Int[Array, "n p l"]:
    """Concept numbers at `size * size` pixels, row-major; all 0 on padding rows.

    Concept maps of another size are sampled at the pixels nearest to the new pixels' centres.

    Raises:
        ValueError: the batch has no concept maps.
    """
    concepts = batch.extra.get("concepts")
    if concepts is None or concepts.ndim != 4:
        got = "none" if concepts is None else f"shape {concepts.shape}"
        raise ValueError(f'expected batch.extra["concepts"] [n h w l], got {got}; take a source with pixel labels.')
    n, h, w, layers = concepts.shape
    if (h, w) != (size, size):
        pixel = np.arange(size) + 0.5
        rows, columns = (np.floor(pixel * side / size).astype(np.int32) for side in (h, w))
        concepts = concepts[:, rows[:, None], columns[None, :]]
    concepts = concepts.reshape(n, size * size, layers).astype(jnp.int32)
    return jnp.where(batch.mask[:, None, None], concepts, 0)


def category_table(categories: tuple[str, ...]) -> tuple[tuple[str, ...], Bool[np.ndarray, "q c"]]:
    """The distinct categories in order of appearance, and which concept belongs to which.

    Raises:
        ValueError: fewer than one concept beside number 0, or number 0 is not "none".
    """
    if len(categories) < 2 or categories[0] != NO_CATEGORY:
        raise ValueError(
            f'expected the category of every concept, "none" first, got {tuple(categories)[:3]}...; '
            "write categories=source.concepts.categories."
        )
    names = tuple(dict.fromkeys(name for name in categories if name != NO_CATEGORY))
    return names, np.asarray([[category == name for name in names] for category in categories])
