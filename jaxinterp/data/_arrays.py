"""Images and labels that are arrays already, as a source."""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Integer, UInt8

from jaxinterp.data._cache import CachedSource
from jaxinterp.data._fingerprint import digest


def from_arrays(
    images: UInt8[np.ndarray, "n h w 3"],
    labels: Integer[np.ndarray, " n"],
    *,
    classes: Sequence[str],
    class_names: Sequence[str] | None = None,
) -> CachedSource:
    """A source of images that are in memory; an image's id is its position.

    Args:
        images: 8-bit RGB; of floats in [0, 1] write `np.round(255 * images).astype(np.uint8)`.
        labels: the true classes.
        classes: WordNet ids, or other names that are nobody else's; a label is an index into them.
        class_names: what people call the classes; `classes` by default.

    Returns:
        The source.

    Raises:
        ValueError: images of another type or shape, not one label for each, a label that is no class, or not one name for each
            class.
    """
    if images.dtype != np.uint8:
        raise ValueError(f"expected uint8 images, got {images.dtype}; write np.round(255 * images).astype(np.uint8).")
    if images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[3] != 3 or not len(images):
        raise ValueError(f"expected square images [n h h 3], got shape {images.shape}; transpose, crop or resize them first.")
    if labels.shape != (len(images),):
        raise ValueError(f"expected labels [n] for {len(images)} images, got shape {labels.shape}; write one class per image.")
    if labels.min() < 0 or labels.max() >= len(classes):
        raise ValueError(f"expected labels in 0 to {len(classes) - 1}, got {labels.min()} to {labels.max()}.")
    names = tuple(classes if class_names is None else class_names)
    if len(names) != len(classes):
        raise ValueError(f"expected one name per class, got {len(names)} for {len(classes)}; leave class_names out.")
    ids = np.arange(len(images), dtype=np.int32)
    rows = np.stack([labels.astype(np.int32), np.full_like(ids, -1), ids, ids], axis=1)
    kept = images.copy()
    for array in (kept, rows):
        array.setflags(write=False)
    return CachedSource(
        images=kept,
        rows=rows,
        maps=None,
        classes=tuple(classes),
        class_names=names,
        concepts=None,
        fingerprint=digest("arrays", *(hashlib.sha256(array.tobytes()).hexdigest() for array in (kept, rows)), list(classes)),
    )
