"""The depth of the concept world: a camera over a floor, read off the shapes that were drawn.

A camera looks along the floor. Its horizon lies at row `h` of the picture (rows from 0, the top, to 1); the floor at row `y` is
`1 / (y - h)` metres away. Outdoors the horizon is the line at which the ground of the scene begins, and the sky above it is as
far as the world reaches. In a room `h` is 0.3 and the floor ends at the foot of a wall that faces the camera, which is as far
away as its foot. The corridor is a box that narrows towards its end. Some scenes have no floor: there the whole backdrop is one
wall at a distance of its own. Clutter lies at the depth of the backdrop under its lowest point. The object stands there too,
where that is floor; where there is none under it, its distance is that at which something of 1.5 m looks as large.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageDraw

from jaxinterp.data._world_sketch import Shape

DEPTH_VERSION = 1
"""Version of the depth; it changes whenever a depth could change, and with it the fingerprint of worlds that have depth."""

WORLD_DEPTH = (1.0, 32.0)
"""Smallest and largest depth of the concept world, in metres."""

_ROOM_HORIZON, _OBJECT, _POINTS = 0.3, 1.5, 3


class Backdrop(NamedTuple):
    """How deep a scene is.

    Attributes:
        floor: which of its shapes is the floor, whose highest point is where it begins; None without one.
        wall: distance of what is above the floor in metres; None for the wall of a room, as far as its foot.
    """

    floor: int | None
    wall: float | None = None


_SKY = WORLD_DEPTH[1]
_BACKDROPS = {
    "beach": Backdrop(1, _SKY),
    "canyon": Backdrop(15, _SKY),
    "crop field": Backdrop(1, _SKY),
    "desert": Backdrop(1, _SKY),
    "harbour": Backdrop(1, _SKY),
    "meadow": Backdrop(4, _SKY),
    "mountains": Backdrop(5, _SKY),
    "playing field": Backdrop(31, _SKY),
    "snowfield": Backdrop(1, _SKY),
    "sunset sea": Backdrop(2, _SKY),
    "swamp": Backdrop(1, _SKY),
    "street": Backdrop(-7),
    "bathroom": Backdrop(-1),
    "bedroom": Backdrop(5),
    "cellar": Backdrop(1),
    "garage": Backdrop(-2),
    "greenhouse": Backdrop(-13),
    "gymnasium": Backdrop(1),
    "kitchen": Backdrop(-6),
    "living room": Backdrop(1),
    "theatre": Backdrop(13),
    "attic": Backdrop(4),
    "jungle": Backdrop(None, 5.0),
    "library": Backdrop(None, 2.5),
    "night city": Backdrop(None, 20.0),
    "night sky": Backdrop(None, _SKY),
    "underwater": Backdrop(None, 8.0),
    "cave": Backdrop(None, 6.0),
    "stairwell": Backdrop(None, 3.5),
    "corridor": Backdrop(4),
}


def render_depth(
    scene: str, backdrop: list[Shape], clutter: list[Shape], thing: list[Shape], *, size: int
) -> Float32[np.ndarray, "h w"]:
    """The depth of every pixel's centre, in metres.

    Args:
        scene: name of the scene.
        backdrop: its shapes, as they were drawn.
        clutter: shapes that lie in the scene.
        thing: shapes of the object; may be empty.
        size: side of the picture in pixels.
    """
    field = _Field(scene, backdrop)
    axis = (np.arange(size) + 0.5) / size
    depth = field.at(axis[None, :], axis[:, None])
    levels, numbers, shapes = [0.0], [], [*clutter, *thing]
    for shape in clutter:
        levels.append(field.under(shape.points))
        numbers.append(len(levels) - 1)
    if thing:
        levels.append(_of_object(field, np.concatenate([shape.points for shape in thing])))
        numbers += [len(levels) - 1] * len(thing)
    side = _POINTS * size
    raster = Image.new("L", (side, side))
    draw = ImageDraw.Draw(raster)
    for shape, number in zip(shapes, numbers, strict=True):
        draw.polygon((shape.points * side - (0.5 + 0.5j)).view(np.float64).tolist(), fill=number)
    cells = np.asarray(raster)[_POINTS // 2 :: _POINTS, _POINTS // 2 :: _POINTS]
    return np.where(cells == 0, depth, np.asarray(levels)[cells]).astype(np.float32)


class _Field:
    """The depth of a backdrop at any place of the picture."""

    def __init__(self, scene: str, shapes: list[Shape]) -> None:
        plan = _BACKDROPS[scene]
        self.line, self.far, self.horizon = math.inf, plan.wall or _SKY, _ROOM_HORIZON
        self.end: tuple[float, float, float, float] | None = None
        if plan.floor is None:
            return
        points = shapes[plan.floor].points
        if scene == "corridor":
            self.end = (
                float(np.real(points).min()),
                float(np.imag(points).min()),
                float(np.real(points).max()),
                float(np.imag(points).max()),
            )
            self.line = self.end[3]
        else:
            self.line = float(np.imag(points).min())
        if plan.wall is None:
            self.far = 1 / (self.line - self.horizon)
        else:
            self.horizon = self.line

    def at(self, across: np.ndarray, down: np.ndarray) -> np.ndarray:
        """Depth at places (right, down) in [0, 1]."""
        across, down = np.broadcast_arrays(across, down)
        if self.end is not None:
            left, top, right, bottom = self.end
            sides = ((left - across) / left, (across - right) / (1 - right), (top - down) / top, (down - bottom) / (1 - bottom))
            near = np.clip(np.maximum.reduce(sides), 0, 1)
            inverse = 1 / self.far + near * (1 / (1 / (1 - self.horizon)) - 1 / self.far)
        else:
            inverse = np.where(down > self.line, down - self.horizon, 1 / self.far)
        return 1 / np.clip(inverse, 1 / _SKY, 1 / WORLD_DEPTH[0])

    def under(self, points: np.ndarray) -> float:
        """Depth under the lowest point of a shape."""
        lowest = points[int(np.imag(points).argmax())]
        return float(self.at(np.asarray([np.real(lowest)]), np.asarray([min(np.imag(lowest), 1.0)]))[0])


def _of_object(field: _Field, points: np.ndarray) -> float:
    base = float(np.imag(points).max())
    if base > field.line:
        return field.under(points)
    side = max(np.ptp(np.real(points)), np.ptp(np.imag(points)))
    return float(min(max(_OBJECT / side, WORLD_DEPTH[0]), field.far))
