"""The textures of the concept world: functions of the plane with values in [0, 1] that mix the two colours of a paint."""

from collections.abc import Callable
from functools import cache

import numpy as np

from jaxinterp.data._world_draws import Number
from jaxinterp.data._world_sketch import Texture

Field = np.ndarray
"""A float32 map `[h w]`."""

_LATTICE, _FINE = 32, 16


@cache
def noise_table() -> Field:
    """Smooth periodic noise in [-1, 1], 512 x 512: a lattice of 32 x 32 random values, 16 points between neighbours."""
    lattice = np.random.default_rng(20170818).random((_LATTICE, _LATTICE)) * 2 - 1
    step = (np.arange(_FINE) + 0.5) / _FINE
    step = step * step * (3 - 2 * step)
    across = lattice[:, :, None] * (1 - step) + np.roll(lattice, -1, 1)[:, :, None] * step
    across = across.reshape(_LATTICE, _LATTICE * _FINE)
    down = across[:, None, :] * (1 - step[:, None]) + np.roll(across, -1, 0)[:, None, :] * step[:, None]
    return down.reshape(_LATTICE * _FINE, _LATTICE * _FINE).astype(np.float32)


def noise(u: Field, v: Field) -> Field:
    """Smooth noise in [-1, 1] with features of about one unit of u and v."""
    last = _LATTICE * _FINE - 1
    return noise_table()[(v * _FINE).astype(np.int32) & last, (u * _FINE).astype(np.int32) & last]


def _wave(x: Field) -> Field:
    """A triangle wave of period 1 in [-1, 1], 1 at whole numbers."""
    return np.abs((x % 1) * 4 - 2) - 1


def _edge(x: Field, sharpness: Number = 3.0) -> Field:
    """0 below zero, 1 above, with a soft step."""
    return np.clip(x * sharpness + 0.5, 0, 1)


def _cell(u: Field, v: Field) -> tuple[Field, Field]:
    """Coordinates inside the unit cell, -0.5 to 0.5."""
    return u % 1 - 0.5, v % 1 - 0.5


def _staggered(u: Field, v: Field) -> tuple[Field, Field]:
    """Coordinates inside the unit cell where every second row is moved by half a cell."""
    return _cell(u + 0.5 * (np.floor(v) % 2), v)


def _banded(u: Field, v: Field) -> Field:
    return np.abs(_wave(0.4 * u))


def _striped(u: Field, v: Field) -> Field:
    return _edge(_wave(0.75 * u))


def _lined(u: Field, v: Field) -> Field:
    return _edge(_wave(0.9 * u) - 0.45, 2.5)


def _grid(u: Field, v: Field) -> Field:
    return _edge(np.maximum(_wave(0.8 * u), _wave(0.8 * v)) - 0.5)


def _chequered(u: Field, v: Field) -> Field:
    return _edge(_wave(0.55 * u) * _wave(0.55 * v), 8)


def _polka_dotted(u: Field, v: Field) -> Field:
    x, y = _staggered(0.62 * u, 0.62 * v)
    return _edge(0.11 - x * x - y * y, 14)


def _dotted(u: Field, v: Field) -> Field:
    x, y = _cell(1.15 * u, 1.15 * v)
    return _edge(0.09 - x * x - y * y, 10)


def _zigzagged(u: Field, v: Field) -> Field:
    return _edge(_wave(0.65 * v + 0.3 * _wave(0.45 * u)))


def _wavy(u: Field, v: Field) -> Field:
    return _edge(_wave(0.6 * v + 0.28 * np.sin(2.2 * u)))


def _honeycombed(u: Field, v: Field) -> Field:
    x, y = _staggered(0.7 * u, 0.8 * v)
    return _edge(np.maximum(np.abs(x), 0.5 * np.abs(x) + 0.87 * np.abs(y)) - 0.37, 9)


def _crosshatched(u: Field, v: Field) -> Field:
    return _edge(_wave(0.9 * u) - 0.5) * 0.55 + _edge(_wave(0.6 * u + 0.6 * v) - 0.5) * 0.45


def _woven(u: Field, v: Field) -> Field:
    over = (np.floor(0.6 * u) + np.floor(0.6 * v)) % 2 > 0
    return np.where(over, np.abs(_wave(1.8 * u)), np.abs(_wave(1.8 * v)))


def _scaly(u: Field, v: Field) -> Field:
    x, y = _staggered(0.75 * u, 0.95 * v)
    return np.clip(2.2 * np.sqrt(x * x + (y + 0.5) ** 2) - 0.75, 0, 1)


def _spiralled(u: Field, v: Field) -> Field:
    x, y = (u % 6) - 3, (v % 6) - 3
    return _edge(_wave(0.55 * np.sqrt(x * x + y * y) - np.arctan2(y, x) / (2 * np.pi)))


def _grooved(u: Field, v: Field) -> Field:
    x, y = (u % 5) - 2.5, (v % 5) - 2.5
    return _edge(_wave(0.6 * np.sqrt(x * x + y * y)))


def _cracked(u: Field, v: Field) -> Field:
    return _edge(0.12 - np.abs(noise(0.75 * u, 0.75 * v)), 6)


def _marbled(u: Field, v: Field) -> Field:
    return np.abs(_wave(0.35 * u + 0.55 * noise(0.5 * u, 0.5 * v)))


def _blotchy(u: Field, v: Field) -> Field:
    return _edge(noise(0.65 * u, 0.65 * v) - 0.08, 4)


def _freckled(u: Field, v: Field) -> Field:
    return _edge(noise(2.2 * u, 2.2 * v) - 0.34, 4)


def _bubbly(u: Field, v: Field) -> Field:
    x, y = _staggered(0.55 * u, 0.55 * v)
    return _edge(0.08 - np.abs(np.sqrt(x * x + y * y) - 0.33), 14)


def _studded(u: Field, v: Field) -> Field:
    x, y = _cell(0.7 * u, 0.7 * v)
    return np.clip(1.15 - 9 * (x * x + y * y) + x + y, 0, 1) * (x * x + y * y < 0.16)


def _argyle(u: Field, v: Field) -> Field:
    x, y = _cell(0.5 * u, 0.33 * v)
    return _edge(0.36 - np.abs(x) - np.abs(y), 10)


def _stratified(u: Field, v: Field) -> Field:
    return _edge(_wave(0.45 * v + 0.25 * noise(0.1 * u, 0.6 * v)) + 0.3 * noise(0.15 * u, 0.4 * v), 2.5)


def _bricked(u: Field, v: Field) -> Field:
    x, y = _staggered(0.45 * u, 0.9 * v)
    return _edge(np.maximum(np.abs(x) - 0.41, np.abs(y) - 0.33), 10)


def _triangular(u: Field, v: Field) -> Field:
    x, y = _staggered(0.6 * u, 0.65 * v)
    return _edge(y + 0.42 - 2 * np.abs(x), 5)


def _crossed(u: Field, v: Field) -> Field:
    x, y = np.abs(u * 0.65 % 1 - 0.5), np.abs(v * 0.65 % 1 - 0.5)
    return _edge(0.12 - np.minimum(x, y), 9) * _edge(0.38 - np.maximum(x, y), 9)


def _waffled(u: Field, v: Field) -> Field:
    x, y = _cell(0.6 * u, 0.6 * v)
    return np.clip(2.6 * np.maximum(np.abs(x), np.abs(y)) - 0.25, 0, 1)


def _rayed(u: Field, v: Field) -> Field:
    x, y = (u % 7) - 3.5, (v % 7) - 3.5
    return _edge(_wave(np.arctan2(y, x) * (7 / (2 * np.pi))))


def _fibrous(u: Field, v: Field) -> Field:
    return np.clip(0.5 + 1.1 * noise(0.22 * u, 1.9 * v), 0, 1)


def _swirly(u: Field, v: Field) -> Field:
    return _edge(_wave(0.3 * u + 0.9 * noise(0.3 * u, 0.3 * v)))


_PATTERNS: dict[str, Callable[[Field, Field], Field]] = {
    "argyle": _argyle,
    "banded": _banded,
    "blotchy": _blotchy,
    "bricked": _bricked,
    "bubbly": _bubbly,
    "chequered": _chequered,
    "cracked": _cracked,
    "crossed": _crossed,
    "crosshatched": _crosshatched,
    "dotted": _dotted,
    "fibrous": _fibrous,
    "freckled": _freckled,
    "grid": _grid,
    "grooved": _grooved,
    "honeycombed": _honeycombed,
    "lined": _lined,
    "marbled": _marbled,
    "polka-dotted": _polka_dotted,
    "rayed": _rayed,
    "scaly": _scaly,
    "spiralled": _spiralled,
    "stratified": _stratified,
    "striped": _striped,
    "studded": _studded,
    "swirly": _swirly,
    "triangular": _triangular,
    "waffled": _waffled,
    "wavy": _wavy,
    "woven": _woven,
    "zigzagged": _zigzagged,
}

TEXTURES = tuple(_PATTERNS)
"""The names of the textures; most are those of the Describable Textures data set."""


def texture_field(texture: Texture, x: Field, y: Field) -> Field:
    """The mixing weight of the accent colour, in [0, 1], at the points (x, y) given in units of the image side.

    The texture named "" is no pattern but a change of colour from top to bottom.
    """
    if not texture.name:
        return np.broadcast_to(y, (y.shape[0], x.shape[1]))
    cosine, sine = np.float32(np.cos(texture.angle) / texture.period), np.float32(np.sin(texture.angle) / texture.period)
    u = cosine * x + sine * y + np.float32(texture.x * 16 + 64)
    v = cosine * y - sine * x + np.float32(texture.y * 16 + 64)
    return _PATTERNS[texture.name](u, v)
