"""The materials of the concept world: each is a look, a map of brightness around 1."""

from collections.abc import Callable

import numpy as np

from jaxinterp.data._world_textures import Field, noise

_SIDE = 64.0
"""The looks are written in units of 1/64 of the image side."""


def _fur(x: Field, y: Field) -> Field:
    return 1 + 0.24 * noise(0.5 * x + 0.2 * y, 0.11 * y)


def _feather(x: Field, y: Field) -> Field:
    return 0.92 + 0.2 * np.abs(np.sin(0.75 * y + 1.2 * np.abs(np.sin(0.6 * x))))


def _scale(x: Field, y: Field) -> Field:
    return 0.85 + 0.25 * np.abs(np.sin(0.9 * x + 0.9 * y) * np.sin(0.9 * x - 0.9 * y))


def _skin(x: Field, y: Field) -> Field:
    return 1 + 0.08 * noise(0.15 * x, 0.5 * y)


def _metal(x: Field, y: Field) -> Field:
    return 0.85 + 0.55 * np.maximum(np.sin(0.16 * x + 0.3 * y), 0) ** 4


def _wood(x: Field, y: Field) -> Field:
    return 0.95 + 0.2 * np.sin(1.3 * x + 5 * noise(0.08 * x, 0.04 * y))


def _plastic(x: Field, y: Field) -> Field:
    return 1 + 0.3 * np.maximum(np.sin(0.1 * x - 0.14 * y), 0) ** 8


def _glass(x: Field, y: Field) -> Field:
    return 0.92 + 0.4 * (np.sin(0.45 * (x + y)) > 0.6)


def _stone(x: Field, y: Field) -> Field:
    return 0.95 + 0.2 * noise(0.12 * x, 0.12 * y) + 0.12 * noise(0.6 * x, 0.6 * y)


def _brick(x: Field, y: Field) -> Field:
    row = np.floor(y / 5)
    return np.where((y % 5 < 1.2) | ((x + 4.5 * (row % 2)) % 9 < 1.2), np.float32(1.25), np.float32(0.92))


def _fabric(x: Field, y: Field) -> Field:
    return 1 + 0.14 * np.sin(2.1 * x) * np.sin(2.1 * y)


def _paper(x: Field, y: Field) -> Field:
    return 1.03 + 0.04 * noise(0.4 * x, 0.4 * y)


def _foliage(x: Field, y: Field) -> Field:
    return 0.95 + 0.45 * noise(0.33 * x, 0.33 * y)


def _petal(x: Field, y: Field) -> Field:
    return 1.02 + 0.1 * np.sin(1.1 * x + 0.8 * y)


def _rubber(x: Field, y: Field) -> Field:
    return 0.95 + 0.1 * noise(0.9 * x, 0.9 * y)


def _ceramic(x: Field, y: Field) -> Field:
    return 0.93 + 0.3 * np.maximum(np.sin(0.14 * x + 0.02 * y), 0) ** 6


def _water(x: Field, y: Field) -> Field:
    return 0.97 + 0.22 * noise(0.09 * x, 0.45 * y)


def _sand(x: Field, y: Field) -> Field:
    return 1 + 0.1 * noise(1.0 * x, 1.0 * y) + 0.06 * np.sin(0.5 * y + 0.1 * x)


def _snow(x: Field, y: Field) -> Field:
    return 1 + 0.07 * noise(0.1 * x, 0.2 * y)


def _soil(x: Field, y: Field) -> Field:
    return 0.95 + 0.25 * noise(0.5 * x, 0.7 * y)


def _grass(x: Field, y: Field) -> Field:
    return 0.98 + 0.3 * noise(0.7 * x, 0.16 * y)


def _asphalt(x: Field, y: Field) -> Field:
    return 1 + 0.15 * noise(1.3 * x, 1.3 * y)


_LOOKS: dict[str, Callable[[Field, Field], Field]] = {
    "asphalt": _asphalt,
    "brick": _brick,
    "ceramic": _ceramic,
    "fabric": _fabric,
    "feather": _feather,
    "foliage": _foliage,
    "fur": _fur,
    "glass": _glass,
    "grass": _grass,
    "metal": _metal,
    "paper": _paper,
    "petal": _petal,
    "plastic": _plastic,
    "rubber": _rubber,
    "sand": _sand,
    "scale": _scale,
    "skin": _skin,
    "snow": _snow,
    "soil": _soil,
    "stone": _stone,
    "water": _water,
    "wood": _wood,
}

MATERIALS = tuple(_LOOKS)
"""The names of the materials."""


def material_field(material: str, x: Field, y: Field) -> Field:
    """The brightness factor of a material at the points (x, y) given in units of the image side."""
    return _LOOKS[material](x * _SIDE, y * _SIDE)
