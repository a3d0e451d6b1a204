"""A set in Broden's format as dense as Broden: 224-pixel images, labels of 112 x 112, 1 197 concepts in six categories."""

import dataclasses
import pathlib

import numpy as np

from jaxinterp import data
from jaxinterp.data import Example

COUNTS = {"color": 11, "texture": 47, "material": 32, "scene": 468, "part": 234, "object": 405}
LAYERS = (("color", 1.0, 8), ("object", 0.9, 9), ("part", 0.4, 10), ("part", 0.2, 5), ("material", 0.4, 4))
"""Categories with label maps: the share of the images that have one, and the most concepts that it shows."""
WHOLE = (("scene", 0.6), ("texture", 0.1))
"""Categories with a bare number for the image, and the share of the images that have one."""
PAIRS = [("none", "none"), *((f"{name} {number}", name) for name, count in COUNTS.items() for number in range(count))]
TABLE = data.ConceptTable(tuple(name for name, _ in PAIRS), tuple(category for _, category in PAIRS))


@dataclasses.dataclass(frozen=True)
class BrodenLike:
    """Smooth random images with random label maps; an example depends on its index alone."""

    num_images: int
    image_size: int = 224
    concepts: data.ConceptTable = dataclasses.field(default=TABLE, repr=False)
    classes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    fingerprint: str = "Broden-like"

    def __len__(self) -> int:
        return self.num_images

    def __getitem__(self, index: int, /) -> Example:
        random = np.random.default_rng(index)
        image = random.integers(0, 256, (14, 14, 3), np.uint8).repeat(16, 0).repeat(16, 1)
        maps = np.zeros((112, 112, len(LAYERS) + len(WHOLE)), np.int32)
        for place, (category, share, most) in enumerate(LAYERS):
            if random.random() < share:
                shown = random.choice(self.concepts.numbers(category), random.integers(2, most + 1))
                seeds = random.random((3 * len(shown), 2)) * 112
                rows, columns = np.mgrid[:112, :112]
                nearest = ((rows[..., None] - seeds[:, 0]) ** 2 + (columns[..., None] - seeds[:, 1]) ** 2).argmin(axis=2)
                maps[..., place] = np.concatenate([shown, shown, 0 * shown])[nearest]
        for place, (category, share) in enumerate(WHOLE, len(LAYERS)):
            if random.random() < share:
                maps[..., place] = random.choice(self.concepts.numbers(category))
        return Example(image, -1, -1, index, index, maps.repeat(2, 0).repeat(2, 1))


def write(folder: pathlib.Path, num_images: int) -> pathlib.Path:
    """Writes the set."""
    return data.write_broden(BrodenLike(num_images), folder, label_stride=2)
