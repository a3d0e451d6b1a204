"""Small data sets for the tests of statistics, and plain NumPy loops that compute what the statistics claim."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxinterp import Activations, Batch, Layer, Statistic
from jaxinterp.activations import Tally

CATEGORIES = ("none", "color", "color", "texture", "scene", "part", "part", "object", "object", "object")
LAYER = Layer("conv", (4, 4, 5), stride=4.0, offset=1.5, receptive_field=7)
IMAGE_SIZE = 16


class Scene:
    """Images as the statistics see them: maps, concept maps, ids; `batches` splits them and pads the last one."""

    def __init__(self, seed, num_images=23, *, layer=LAYER, size=IMAGE_SIZE, categories=CATEGORIES, label_layers=3, exact=True):
        random = np.random.default_rng(seed)
        self.layer, self.size, self.categories = layer, size, categories
        h, w, u = layer.shape
        maps = np.maximum(random.normal(size=(num_images, h, w, u)), -0.5)
        # Eighths: sums, means and interpolations are exact in float32, and ties abound.
        self.maps = (np.round(maps * 8) / 8 if exact else maps).astype(np.float32)
        self.concepts = random.integers(0, len(categories), (num_images, size, size, label_layers)).astype(np.int32)
        allowed = random.random((num_images, len(categories))) < random.random((num_images, 1))
        self.concepts *= np.take_along_axis(allowed, self.concepts.reshape(num_images, -1), axis=1).reshape(self.concepts.shape)
        self.id = random.permutation(num_images).astype(np.int32) + 7
        self.depth = random.choice([0, 0.5, 1, 1.5, 2, 3, 4, 6, 9], (num_images, size, size)).astype(np.float32)

    def __len__(self):
        return len(self.maps)

    def batch(self, rows, width) -> tuple[Batch, Activations]:
        rows = np.asarray(rows)
        filler = width - len(rows)
        mask = np.arange(width) < len(rows)

        def rows_of(array, value):
            return jnp.asarray(np.concatenate([array[rows], np.full((filler, *array.shape[1:]), value, array.dtype)]))

        ids = rows_of(self.id, self.id[0])
        image = jnp.zeros((width, self.size, self.size, 3))
        concepts = rows_of(self.concepts, 1)
        batch = Batch(
            image, ids * 0, ids * 0 - 1, ids, ids, jnp.asarray(mask), {"concepts": concepts, "depth": rows_of(self.depth, 2.0)}
        )
        return batch, {self.layer.name: rows_of(self.maps, 99.0)}

    def batches(self, rows, width):
        for start in range(0, len(rows), width):
            yield self.batch(rows[start : start + width], width)


def fold(statistic: Statistic, batches, update=None):
    """The state after some batches."""
    update = update or jax.jit(statistic.update, donate_argnums=0)
    state = statistic.init()
    for batch, activations in batches:
        state = update(state, batch, activations)
    return state


def equal(left, right) -> bool:
    """Whether two results agree, bit by bit; NaN equals NaN."""
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return all(
        np.array_equal(a, b, equal_nan=np.issubdtype(np.asarray(a).dtype, np.floating)) if not isinstance(a, str) else a == b
        for a, b in pairs
    )


def quantile_loop(maps, quantile=0.005):
    """The value at descending rank floor(quantile * N), by sorting."""
    flat = np.sort(maps.reshape(-1, maps.shape[-1]), axis=0)[::-1]
    return flat[int(np.floor(quantile * len(flat) + 1e-9))]


def upsampled_loop(values, layer, size, *, anchor="receptive_field"):
    """One unit's map on one image at the image's own size, by np.interp in float64."""
    pixel = np.arange(size)
    centres = [layer.offset + layer.stride * np.arange(length) for length in values.shape]
    if anchor == "plain":
        centres = [(np.arange(length) + 0.5) * size / length - 0.5 for length in values.shape]
    tall = np.stack([np.interp(pixel, centres[0], column) for column in values.T.astype(np.float64)], axis=1)
    return np.stack([np.interp(pixel, centres[1], row) for row in tall])


def mask_loop(values, threshold, layer, size, *, image_size, anchor="receptive_field"):
    """One unit's mask on one image: np.interp along rows, then along columns, in float64."""
    pixel = np.arange(size) + 0.5
    centres = [layer.offset + layer.stride * np.arange(length) for length in values.shape]
    places = pixel * image_size / size - 0.5
    if anchor == "plain":
        centres = [(np.arange(length) + 0.5) * size / length - 0.5 for length in values.shape]
        places = pixel - 0.5
    values = values.astype(np.float64)
    tall = np.stack([np.interp(places, centres[0], column) for column in values.T], axis=1)
    return np.stack([np.interp(places, centres[1], row) for row in tall]) > threshold


def tally_loop(scene, thresholds, *, image_size, anchor="receptive_field", touched=False) -> Tally:
    """Network dissection as it is defined, one image, unit and concept at a time."""
    layer, categories, maps, concepts = scene.layer, scene.categories, scene.maps, scene.concepts
    names = tuple(dict.fromkeys(categories[1:]))
    size, num_units, num_concepts = concepts.shape[1], maps.shape[-1], len(categories)
    intersection = np.zeros((num_units, num_concepts), np.int64)
    unit_area = np.zeros((num_units, len(names)), np.int64)
    mask_area = np.zeros(num_units, np.int64)
    label_area, concept_images = np.zeros(num_concepts, np.int64), np.zeros(num_concepts, np.int64)
    for values, labels in zip(maps, concepts, strict=True):
        present = [c for c in range(1, num_concepts) if (labels == c).any()]
        regions = {c: (labels == c).any(axis=2) for c in present}
        for c in present:
            label_area[c] += regions[c].sum()
            concept_images[c] += 1
        for k in range(num_units):
            mask = mask_loop(values[:, :, k], float(thresholds[k]), layer, size, image_size=image_size, anchor=anchor)
            mask_area[k] += mask.sum()
            for number, name in enumerate(names):
                if any(categories[c] == name and (not touched or (mask & regions[c]).any()) for c in present):
                    unit_area[k, number] += mask.sum()
            for c in present:
                intersection[k, c] += (mask & regions[c]).sum()
    return Tally(intersection, unit_area, mask_area, label_area, concept_images, len(maps), size, tuple(categories), names)


def iou_loop(tally: Tally):
    """Equation 1 of network dissection for every unit and concept."""
    num_units, num_concepts = tally.intersection.shape
    table = np.zeros((num_units, num_concepts))
    for k in range(num_units):
        for c in range(1, num_concepts):
            area = tally.unit_area[k, tally.category_names.index(tally.categories[c])]
            union = int(area) + int(tally.label_area[c]) - int(tally.intersection[k, c])
            table[k, c] = int(tally.intersection[k, c]) / union if union else 0.0
    return table
