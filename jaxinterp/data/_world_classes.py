"""The classes of the concept world, the parts they are made of, and its scenes."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxinterp.data import _world_animals as animals
from jaxinterp.data import _world_things as things
from jaxinterp.data import _world_vehicles as vehicles
from jaxinterp.data._world_draws import Draws, Number
from jaxinterp.data._world_indoors import INDOORS
from jaxinterp.data._world_outdoors import OUTDOORS
from jaxinterp.data._world_sketch import Shape, Sketch


class Kind(NamedTuple):
    """One class: its WordNet 3.0 id, its name, what draws it, and how far it may be turned, in degrees."""

    wnid: str
    name: str
    draw: Callable[[Sketch], None]
    turn: float


KINDS: tuple[Kind, ...] = (
    Kind("n02084071", "dog", animals.dog, 10),
    Kind("n02121620", "cat", animals.cat, 10),
    Kind("n02374451", "horse", animals.horse, 10),
    Kind("n02503517", "elephant", animals.elephant, 10),
    Kind("n01846331", "duck", animals.duck, 12),
    Kind("n01621127", "owl", animals.owl, 10),
    Kind("n02512053", "fish", animals.fish, 20),
    Kind("n02274259", "butterfly", animals.butterfly, 30),
    Kind("n02958343", "car", vehicles.car, 10),
    Kind("n04490091", "truck", vehicles.truck, 10),
    Kind("n02924116", "bus", vehicles.bus, 10),
    Kind("n02834778", "bicycle", vehicles.bicycle, 10),
    Kind("n02691156", "airplane", vehicles.airplane, 22),
    Kind("n04128499", "sailboat", vehicles.sailboat, 12),
    Kind("n03684823", "locomotive", vehicles.locomotive, 8),
    Kind("n13104059", "tree", things.tree, 8),
    Kind("n11669921", "flower", things.flower, 14),
    Kind("n12997919", "mushroom", things.mushroom, 12),
    Kind("n11842204", "cactus", things.cactus, 8),
    Kind("n03001627", "chair", things.chair, 8),
    Kind("n04379243", "table", things.table, 8),
    Kind("n03636649", "lamp", things.lamp, 8),
    Kind("n03147509", "cup", things.cup, 10),
    Kind("n03544360", "house", things.house, 8),
)
"""The classes; the index is the label."""

PARTS: tuple[str, ...] = (
    *("antenna", "arm", "back", "base", "beak", "body", "boiler", "branch", "bumper", "cab", "cap", "cargo", "chimney"),
    *("crown", "door", "ear", "eye", "fin", "foot", "frame", "fuselage", "gill", "handle", "head"),
    *(
        "headlight",
        "hull",
        "leaf",
        "leg",
        "mane",
        "mast",
        "muzzle",
        "neck",
        "petal",
        "pot",
        "proboscis",
        "rim",
    ),
    *(
        "roof",
        "sail",
        "saucer",
        "seat",
        "shade",
        "spine",
        "stem",
        "tabletop",
        "tail",
        "torso",
        "trunk",
        "tusk",
        "wall",
        "wheel",
    ),
    *("window", "wing"),
)
"""The names of the parts; many belong to several classes."""

SCENES: dict[str, Callable[[Sketch], None]] = dict(sorted({**OUTDOORS, **INDOORS}.items()))
"""Scene name -> the function that draws it on the unit square."""


def placed(shapes: list[Shape], draws: Draws, turn: Number) -> list[Shape]:
    """The shapes of an object, mirrored, stretched, turned, scaled and moved to a place inside the unit square.

    The longer side of the object is 0.6 to 0.88 of the picture's side.

    Args:
        shapes: the object as it was drawn, in any scale.
        draws: the stream of random draws.
        turn: the largest angle by which it is turned, in degrees.
    """
    mirror, stretch = (-1 if draws.coin(0.5) else 1), draws.uniform(0.87, 1.15)
    angle = math.radians(draws.uniform(-turn, turn))
    spin = complex(math.cos(angle), math.sin(angle))
    turned = [spin * (mirror * stretch * np.real(shape.points) + 1j * np.imag(shape.points)) for shape in shapes]
    everything = np.concatenate(turned)
    across, down = np.real(everything), np.imag(everything)
    left, right, top, bottom = float(across.min()), float(across.max()), float(down.min()), float(down.max())
    scale = draws.uniform(0.6, 0.88) / max(right - left, bottom - top)
    room_x, room_y = 0.98 - scale * (right - left), 0.98 - scale * (bottom - top)
    origin = complex(0.01 + draws.uniform(0, 1) * room_x - scale * left, 0.01 + draws.uniform(0, 1) * room_y - scale * top)
    return [shape._replace(points=scale * points + origin) for shape, points in zip(shapes, turned, strict=True)]


def clutter(sketch: Sketch) -> None:
    """Draws two to five small things without parts: discs, boxes, triangles, stars, rings, bars."""
    draws = sketch.draws
    for _ in range(2 + draws.integer(4)):
        paint = sketch.paint(("ceramic", "fabric", "metal", "paper", "plastic", "stone", "wood"), textured=0.6)
        x, y, size, angle = draws.uniform(0, 1), draws.uniform(0, 1), draws.uniform(0.04, 0.11), draws.uniform(0, 2 * math.pi)
        kind = draws.integer(5)
        if kind == 0:
            sketch.ellipse("", paint, x, y, size, size * draws.uniform(0.6, 1), angle)
        elif kind == 1:
            sketch.ring("", paint, x, y, size, 0.5 * size)
        else:
            count = (3, 4, 10)[kind - 2]
            reach = [size * (0.45 if count == 10 and corner % 2 else 1.1) for corner in range(count)]
            turns = [angle + 2 * math.pi * corner / count for corner in range(count)]
            corners = [(x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(reach, turns, strict=True)]
            sketch.polygon("", paint, *corners)
