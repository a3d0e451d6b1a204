"""From shapes to pixels: one raster of region numbers gives the picture and, point by point, all of its labels."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Int32, UInt8
from PIL import Image, ImageDraw

from jaxinterp.data._concepts import CATEGORIES, ConceptTable, concept_table
from jaxinterp.data._world_classes import KINDS, PARTS, SCENES
from jaxinterp.data._world_draws import Draws, Number
from jaxinterp.data._world_materials import MATERIALS, material_field
from jaxinterp.data._world_sketch import COLORS, PALETTE, Paint, Shape, Texture
from jaxinterp.data._world_textures import TEXTURES, Field, noise, texture_field

T = TypeVar("T")

SUPERSAMPLING = 3
"""The raster has this many points per pixel along each side; it is odd, so that the middle one is the pixel's centre."""


@cache
def world_concepts() -> ConceptTable:
    """The concepts of the concept world, category by category in the order of `CATEGORIES`."""
    kinds = tuple(kind.name for kind in KINDS)
    names = (COLORS, TEXTURES, MATERIALS, tuple(SCENES), PARTS, kinds)
    return concept_table(dict(zip(CATEGORIES, names, strict=True)))


@cache
def _numbers() -> dict[tuple[str, str], int]:
    """(category, name) -> concept number, and 0 for the name ""."""
    table = world_concepts()
    pairs = zip(table.categories, table.names, strict=True)
    return {pair: number for number, pair in enumerate(pairs)} | {(category, ""): 0 for category in CATEGORIES}


@cache
def _color_table() -> Int32[np.ndarray, " 32768"]:
    """The color concept of an RGB value, by its 5 high bits: the name of the nearest prototype of `PALETTE`."""
    prototypes = np.array([value for values in PALETTE.values() for value in values], np.float32)
    names = np.array([_numbers()["color", name] for name, values in PALETTE.items() for _ in values], np.int32)
    axis = np.arange(32, dtype=np.float32) * 8 + 3.5
    cells = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    return names[((cells[..., None, :] - prototypes) ** 2).sum(-1).argmin(-1)].ravel()


def color_concepts(image: UInt8[np.ndarray, "h w 3"]) -> Int32[np.ndarray, "h w"]:
    """The color concept of every pixel.

    The rule is our own: RGB values are cut to 5 bits a channel, and the cell's centre takes the name of the nearest of
    the prototypes of the eleven colour names, in Euclidean distance.
    """
    high = (image >> 3).astype(np.int32)
    return _color_table().take((high[..., 0] * 32 + high[..., 1]) * 32 + high[..., 2])


class Style(NamedTuple):
    """How a picture is developed: light, tint, grain and the strength of the outlines."""

    gain: tuple[float, float, float]
    slope: tuple[float, float]
    grain: float
    offset: tuple[float, float]
    ink: float


def draw_style(draws: Draws) -> Style:
    """A style of its own for every picture."""
    light = draws.uniform(0.88, 1.06)
    red, green, blue = (light * draws.uniform(0.95, 1.05) for _ in range(3))
    return Style(
        (red, green, blue),
        (draws.uniform(-0.2, 0.2), draws.uniform(-0.2, 0.2)),
        draws.uniform(0.0, 9.0),
        (draws.uniform(0, 32), draws.uniform(0, 32)),
        draws.uniform(0.25, 0.75),
    )


class _Regions:
    """The regions of a picture: every pair of paint and part is one, and gets a number below 256."""

    def __init__(self) -> None:
        self._known: dict[tuple[Paint, str, str], int] = {}

    def number(self, paint: Paint, part: str, name: str) -> int:
        """The number of a region; `name` is the class that it belongs to, "" in the background."""
        return self._known.setdefault((paint, part, name), len(self._known))

    def colours(self) -> np.ndarray:
        """Colours and accents, float32 `[2 r 3]`."""
        return np.array([[key[0].colour for key in self._known], [key[0].accent for key in self._known]], np.float32)

    def concepts(self, scene: str) -> np.ndarray:
        """Concept numbers of all layers but color, int32 `[r 6]`."""
        numbers = _numbers()
        where = numbers["scene", scene]
        rows = [
            (
                0,
                numbers["texture", paint.texture.name] if paint.texture else 0,
                numbers["material", paint.material],
                where,
                numbers["part", part],
                numbers["object", name],
            )
            for paint, part, name in self._known
        ]
        return np.array(rows, np.int32)

    def mixed(self, regions: np.ndarray, x: Field, y: Field) -> Field | None:
        """The weight of the accent colour at every pixel, None where no region has a texture."""
        users: dict[Texture, list[int]] = {}
        for number, (paint, _, _) in enumerate(self._known):
            if paint.texture:
                users.setdefault(paint.texture, []).append(number)
        return self._painted(users, lambda key: texture_field(key, x, y), regions, 0.0) if users else None

    def looks(self, regions: np.ndarray, x: Field, y: Field) -> Field:
        """The brightness that materials give to every pixel."""
        users: dict[str, list[int]] = {}
        for number, (paint, _, _) in enumerate(self._known):
            if paint.material:
                users.setdefault(paint.material, []).append(number)
        return self._painted(users, lambda key: material_field(key, x, y), regions, 1.0)

    def _painted(self, users: dict[T, list[int]], field: Callable[[T], Field], regions: np.ndarray, empty: Number) -> Field:
        chosen = np.zeros(len(self._known), np.uint8)
        for user, numbers in enumerate(users.values(), start=1):
            chosen[numbers] = user
        where = chosen[regions]
        present = np.bincount(where.ravel(), minlength=len(users) + 1)
        values = np.full(regions.shape, empty, np.float32)
        for user, key in enumerate(users, start=1):
            if present[user]:
                np.copyto(values, field(key), where=where == user, casting="same_kind")
        return values


def render(
    background: list[Shape], thing: list[Shape], *, scene: str, name: str, style: Style, size: int
) -> tuple[UInt8[np.ndarray, "h w 3"], Int32[np.ndarray, "h w 6"]]:
    """The picture and the concept map of a list of shapes on the unit square.

    The picture is the mean over the points of each pixel; labels are those of the pixel's centre, so both come from the
    same geometry. Materials and textures are evaluated at the centres.

    Args:
        background: shapes of the scene and of the clutter, painted first.
        thing: shapes of the object; empty for a picture of the background alone.
        scene: name of the scene.
        name: name of the object's class.
        style: how the picture is developed.
        size: side of the picture in pixels.
    """
    regions, side = _Regions(), SUPERSAMPLING * size
    order = [regions.number(shape.paint, "", "") for shape in background]
    first = max(order) + 1
    order += [regions.number(shape.paint, shape.part, name) for shape in thing]
    shapes = background + thing
    points = np.concatenate([shape.points for shape in shapes]) * side - (0.5 + 0.5j)
    flat, end = points.view(np.float64).tolist(), 0
    raster = Image.new("L", (side, side))
    draw = ImageDraw.Draw(raster)
    for shape, number in zip(shapes, order, strict=True):
        start, end = end, end + 2 * len(shape.points)
        draw.polygon(flat[start:end], fill=number)
    dense = np.asarray(raster)
    centre = SUPERSAMPLING // 2
    cells = np.ascontiguousarray(dense[centre::SUPERSAMPLING, centre::SUPERSAMPLING])

    colours, accents = regions.colours()
    raster.putpalette(colours.round().astype(np.uint8).tobytes())
    picture = np.asarray(raster.convert("RGB").reduce(SUPERSAMPLING)).astype(np.float32)
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = axis[None, :], axis[:, None]
    weight = regions.mixed(cells, x, y)
    if weight is not None:
        picture += weight[..., None] * (accents - colours).take(cells, axis=0)
    light = regions.looks(cells, x, y)
    light *= 1 + style.slope[0] * (x - 0.5) + style.slope[1] * (y - 0.5)
    if thing:
        light *= _relief(dense, cells, first, style.ink)
    picture *= light[..., None] * np.array(style.gain, np.float32)
    step = np.float32(64 * 1.4)
    picture += style.grain * noise(step * x + np.float32(style.offset[0]), step * y + np.float32(style.offset[1]))[..., None]
    image = np.clip(picture, 0, 255).astype(np.uint8)
    labels = regions.concepts(scene).take(cells, axis=0)
    labels[..., 0] = color_concepts(image)
    return image, labels


def _relief(dense: np.ndarray, cells: np.ndarray, first: int, ink: Number) -> Field:
    """Brightness that lifts the object off the background: light from above, and dark lines where its regions meet."""
    edge = np.zeros(dense.shape, np.uint8)
    across = (dense[:, 1:] != dense[:, :-1]) & (np.maximum(dense[:, 1:], dense[:, :-1]) >= first)
    down = (dense[1:] != dense[:-1]) & (np.maximum(dense[1:], dense[:-1]) >= first)
    edge[:, 1:] = across
    edge[1:] |= down
    edge *= 255
    lines = np.asarray(Image.fromarray(edge).reduce(SUPERSAMPLING)).astype(np.float32)
    lines *= -ink / 150
    np.maximum(lines, -ink, out=lines)
    lines += 1
    rows = np.flatnonzero((cells >= first).any(axis=1))
    if len(rows):
        ramp = np.linspace(1.14, 0.86, rows[-1] - rows[0] + 1, dtype=np.float32)[:, None]
        area = slice(rows[0], rows[-1] + 1)
        lines[area] *= np.where(cells[area] >= first, ramp, np.float32(1))
    return lines
