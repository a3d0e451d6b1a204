"""What the drawings of the concept world are made of: paints, and shapes as polygons in a plane of complex numbers."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxinterp.data._world_draws import Draws, Number

Colour = tuple[Number, Number, Number]
"""Red, green, blue in 0..255."""

PALETTE: dict[str, tuple[Colour, ...]] = {
    "black": ((18, 18, 20), (42, 40, 44)),
    "blue": ((35, 70, 190), (25, 40, 105), (120, 175, 230), (70, 130, 180)),
    "brown": ((115, 70, 35), (155, 110, 70), (75, 50, 35)),
    "grey": ((128, 128, 128), (85, 85, 88), (172, 172, 172)),
    "green": ((55, 140, 60), (25, 75, 35), (140, 200, 110), (110, 125, 50)),
    "orange": ((235, 130, 35), (200, 95, 25)),
    "pink": ((240, 150, 190), (225, 85, 150)),
    "purple": ((125, 55, 165), (75, 35, 100), (175, 130, 210)),
    "red": ((205, 35, 40), (130, 20, 30)),
    "white": ((245, 245, 245), (218, 218, 215)),
    "yellow": ((238, 215, 60), (235, 225, 150), (200, 175, 40)),
}
"""Prototypes of the eleven colour names. A pixel's colour label is the name of the prototype nearest to its RGB value."""

COLORS = tuple(PALETTE)

_ANGLES = 2 * np.pi * np.arange(24) / 24
_CIRCLE = np.exp(1j * _ANGLES)
_COSINES, _SINES = np.cos(_ANGLES), np.sin(_ANGLES)


Point = tuple[Number, Number]
"""x to the right, y down."""


class Texture(NamedTuple):
    """One use of a texture: its name, its direction in radians, and its period and origin in units of the image side."""

    name: str
    angle: float
    period: float
    x: float
    y: float


class Paint(NamedTuple):
    """A surface: its colour, the second colour of its texture, its material ("" for none) and its texture."""

    colour: Colour
    accent: Colour
    material: str
    texture: Texture | None

    def shaded(self, factor: Number) -> "Paint":
        """The same surface, darker (factor < 1) or lighter."""
        return self._replace(colour=scaled(self.colour, factor), accent=scaled(self.accent, factor))


class Shape(NamedTuple):
    """A filled polygon: its corners as complex numbers x + iy (y points down), its paint and the part it belongs to."""

    points: np.ndarray
    paint: Paint
    part: str


def scaled(colour: Colour, factor: Number) -> Colour:
    """A colour times a factor, within 0..255."""
    return min(255.0, colour[0] * factor), min(255.0, colour[1] * factor), min(255.0, colour[2] * factor)


def distance(first: Colour, second: Colour) -> float:
    """Euclidean distance of two colours."""
    return math.dist(first, second)


def jittered(draws: Draws, colour: Colour, width: Number) -> Colour:
    """A colour moved by at most `width` in every channel, most of it in common."""
    common = draws.uniform(-width, width)
    red, green, blue = (min(255.0, max(0.0, c + 0.6 * common + draws.uniform(-0.4, 0.4) * width)) for c in colour)
    return red, green, blue


def free_colour(draws: Draws, avoid: Sequence[Colour] = ()) -> Colour:
    """A colour of any name; of three candidates the one farthest from all colours of `avoid`."""
    candidates = [jittered(draws, draws.choice(PALETTE[draws.choice(COLORS)]), 22) for _ in range(3)]
    if not avoid:
        return candidates[0]
    return max(candidates, key=lambda colour: min(distance(colour, other) for other in avoid))


def smoothed(points: np.ndarray, rounds: int = 2) -> np.ndarray:
    """A closed curve inside a polygon, by cutting its corners (Chaikin's rule)."""
    for _ in range(rounds):
        following = np.concatenate([points[1:], points[:1]])
        cut = np.empty(2 * len(points), complex)
        cut[0::2] = 0.75 * points + 0.25 * following
        cut[1::2] = 0.25 * points + 0.75 * following
        points = cut
    return points


class Sketch:
    """A list of shapes, in the order in which they are painted, and the draws that vary them.

    Args:
        draws: the stream of random draws of this drawing.
        texture: name of the texture that textured paints get; "" draws one for each of them.
        textures: the names to draw from.
        avoid: colours from which the paints of this drawing keep away.
    """

    def __init__(self, draws: Draws, *, textures: Sequence[str], texture: str = "", avoid: Sequence[Colour] = ()) -> None:
        self.draws = draws
        self.shapes: list[Shape] = []
        self.avoid = list(avoid)
        self._texture = texture
        self._textures = textures

    def paint(
        self, material: str | Sequence[str], *, colour: Colour | str = "", textured: Number = 0.0, jitter: Number = 18.0
    ) -> Paint:
        """A paint.

        Args:
            material: a material or several to draw from; "" is none.
            colour: RGB value, the name of a colour, or "" for any colour; a value is jittered.
            textured: probability that the paint has a texture.
            jitter: how far the colour may move in each channel.
        """
        draws = self.draws
        name = material if isinstance(material, str) else draws.choice(material)
        if colour == "":
            value = free_colour(draws, self.avoid)
        else:
            value = jittered(draws, draws.choice(PALETTE[colour]) if isinstance(colour, str) else colour, jitter)
        texture, accent = None, value
        if draws.coin(textured):
            accent = free_colour(draws, [value, *self.avoid])
            texture = Texture(
                self._texture or draws.choice(self._textures),
                draws.uniform(0, math.pi),
                draws.uniform(0.075, 0.15),
                draws.uniform(0, 1),
                draws.uniform(0, 1),
            )
        return Paint(value, accent, name, texture)

    def fade(self, material: str, top: Colour, bottom: Colour, *, jitter: Number = 18.0) -> Paint:
        """A paint that goes from one colour at the top of the picture to another at its bottom."""
        first, last = jittered(self.draws, top, jitter), jittered(self.draws, bottom, jitter)
        return Paint(first, last, material, Texture("", 0.0, 1.0, 0.0, 0.0))

    def polygon(self, part: str, paint: Paint, *corners: Point) -> None:
        """A polygon with straight sides."""
        self.shapes.append(Shape(np.array([complex(x, y) for x, y in corners]), paint, part))

    def blob(self, part: str, paint: Paint, *corners: Point) -> None:
        """A smooth closed curve inside a polygon."""
        self.shapes.append(Shape(smoothed(np.array([complex(x, y) for x, y in corners])), paint, part))

    def box(self, part: str, paint: Paint, left: Number, top: Number, right: Number, bottom: Number) -> None:
        """A rectangle with its sides along the axes."""
        self.polygon(part, paint, (left, top), (right, top), (right, bottom), (left, bottom))

    def ellipse(
        self, part: str, paint: Paint, x: Number, y: Number, radius_x: Number, radius_y: Number, angle: Number = 0.0
    ) -> None:
        """An ellipse, turned by `angle` radians."""
        points = radius_x * _COSINES + (1j * radius_y) * _SINES
        if angle:
            points = points * complex(math.cos(angle), math.sin(angle))
        self.shapes.append(Shape(points + complex(x, y), paint, part))

    def ring(self, part: str, paint: Paint, x: Number, y: Number, outer: Number, inner: Number) -> None:
        """A circle with a round hole, through which one sees what lies behind."""
        path = np.concatenate([_CIRCLE * outer, [outer + 0j, inner + 0j], _CIRCLE[::-1] * inner, [inner + 0j, outer + 0j]])
        self.shapes.append(Shape(path + complex(x, y), paint, part))

    def stroke(
        self,
        part: str,
        paint: Paint,
        width: Number,
        *points: Point,
        end: Number | None = None,
        curved: bool = False,
    ) -> None:
        """A line of that width, which may be curved and may have another width at its end."""
        path = np.array([complex(x, y) for x, y in points])
        for _ in range(2 if curved else 0):
            cut = np.stack([0.75 * path[:-1] + 0.25 * path[1:], 0.25 * path[:-1] + 0.75 * path[1:]], axis=1).ravel()
            path = np.concatenate([path[:1], cut[1:-1], path[-1:]])
        ahead = path[1:] - path[:-1]
        direction = np.concatenate([ahead[:1], ahead[:-1] + ahead[1:], ahead[-1:]])
        normal = 1j * direction / np.maximum(np.abs(direction), 1e-9)
        half = 0.5 * np.linspace(width, width if end is None else end, len(path))
        outline = np.concatenate([path + half * normal, (path - half * normal)[::-1]])
        self.shapes.append(Shape(outline, paint, part))
