"""Small sets in Broden's format for the comparison with NetDissect-Lite; maps are multiples of 1/8, so sums are exact.

plain    several layers a category, bare numbers, empty cells, images without any label
stale    an image with label maps, then images with bare numbers only
twice    pixels that carry one label in two layers
shared   a label of two categories
"""

import dataclasses
import pathlib

import numpy as np
from PIL import Image

from jaxinterp import Layer, data
from jaxinterp.data import Example

IMAGE_SIZE, LABEL_SIZE, STRIDE = 32, 16, 2
LAYER = Layer("conv", (4, 4, 12), stride=8.0, offset=3.5, receptive_field=8)
QUANTILE = 0.03
TABLE = data.ConceptTable(
    ("none", "red", "green", "dotted", "wood", "glass", "street", "beach", "wheel", "door", "leg", "car", "dog", "house"),
    ("none", *["color"] * 2, "texture", *["material"] * 2, *["scene"] * 2, *["part"] * 3, *["object"] * 3),
)
SETS = ("plain", "stale", "twice", "shared")
CAR, WOOD = TABLE.number("object", "car"), TABLE.number("material", "wood")


@dataclasses.dataclass(frozen=True)
class Painted:
    """Grey images with given concept maps `[n h w l]`."""

    labels: np.ndarray
    concepts = TABLE
    classes = class_names = ()
    image_size = IMAGE_SIZE
    fingerprint = "painted"

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int, /) -> Example:
        image = np.full((IMAGE_SIZE, IMAGE_SIZE, 3), 128, np.uint8)
        return Example(image, -1, -1, index, index, self.labels[index].astype(np.int32))


def draw(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Concept maps `[n 16 16 l]` uint8 and eighths of the maps `[n 4 4 u]` int8."""
    random = np.random.default_rng(SETS.index(name))
    count = {"plain": 26, "stale": 6, "twice": 5, "shared": 5}[name]
    maps = np.maximum(np.round(random.normal(size=(count, *LAYER.shape)) * 8 + 2), 0).astype(np.int8)
    maps[..., -1] = 0  # a dead unit
    layers = ["color", "material", "part", "part", "object", "object", "scene", "texture"]
    labels = np.zeros((count, LABEL_SIZE, LABEL_SIZE, len(layers)), np.uint8)
    for place, category in enumerate(layers):
        numbers = TABLE.numbers(category)
        for image in range(count):
            if category in ("scene", "texture"):
                labels[image, :, :, place] = random.choice([0, *numbers])
            elif random.random() < 0.7:
                top, left = random.integers(0, 11, 2)
                drawn = random.choice([0, *numbers], (8, 8)).repeat(2, 0).repeat(2, 1)
                labels[image, top : top + 5, left : left + 9, place] = drawn[top : top + 5, left : left + 9]
    if name == "plain":
        labels[[4, 17]] = 0  # no label at all
        labels[:, 0, 0, 0] = np.where((labels[..., 6:] > 0).any((1, 2, 3)), 1, labels[:, 0, 0, 0])  # never bare numbers alone
    if name == "stale":
        labels[0, 3:9, 3:9, 4] = CAR
        labels[1:, :, :, :6] = 0
    if name == "shared":
        labels[:, 2:6, 4:12, 1], labels[:, 5:8, 2:9, 4] = WOOD, CAR
    if name != "twice":
        for second in (3, 5):
            again = labels[..., second] == labels[..., second - 1]
            labels[..., second][again] = 0
    else:
        labels[..., 5] = labels[..., 4]
    for unit, concept in enumerate((1, 3, 4, 6, 8, 10, 11, 12)):  # units that answer to a concept
        share = (labels == concept).any(axis=-1).reshape(count, 4, 4, 4, 4).mean(axis=(2, 4))
        maps[..., unit] += np.where(share > 0.3, 24, 0).astype(np.int8)
    return labels, maps


def write(name: str, labels: np.ndarray, folder: pathlib.Path) -> pathlib.Path:
    """Writes a set as a folder; in "shared", the material wood then bears the number of the object car."""
    large = labels.repeat(STRIDE, 1).repeat(STRIDE, 2)
    data.write_broden(Painted(large), folder, label_stride=STRIDE)
    if name == "shared":
        for path in (folder / "images").glob("*_material*.png"):
            with Image.open(path) as file:
                number = np.array(file)
            number[..., 0][number[..., 0] == WOOD] = CAR
            Image.fromarray(number).save(path)
        table = folder / "c_material.csv"
        table.write_text(table.read_text().replace(f",{WOOD},wood,", f",{CAR},car,"))
    return folder
