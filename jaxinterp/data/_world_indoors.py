"""Indoor scenes of the concept world, drawn on the unit square (y points down)."""

from jaxinterp.data._world_draws import Number
from jaxinterp.data._world_sketch import Paint, Sketch

_WALLPAPER = 0.75


def _floorboards(s: Sketch, y: Number, paint: Paint) -> None:
    s.box("", paint, 0, y, 1, 1)
    centre = s.draws.uniform(0.3, 0.7)
    for step in range(-4, 5):
        s.stroke("", paint.shaded(0.72), 0.012, (centre + 0.13 * step, y), (centre + 0.34 * step, 1.02))


def _tiles(s: Sketch, joint: Paint, top: Number, bottom: Number, side: Number) -> None:
    x, y = s.draws.uniform(0, side), top + side
    while x < 1:
        s.box("", joint, x, top, x + 0.012, bottom)
        x += side
    while y < bottom:
        s.box("", joint, 0, y, 1, y + 0.012)
        y += side


def living_room(s: Sketch) -> None:
    floor = s.draws.uniform(0.62, 0.75)
    s.box("", s.paint("paper", textured=_WALLPAPER), 0, 0, 1, floor)
    _floorboards(s, floor, s.paint("wood", colour=(165, 115, 70)))
    s.box("", s.paint("wood", colour=(235, 230, 220), jitter=8), 0, floor - 0.04, 1, floor)
    x, y = s.draws.uniform(0.05, 0.7), s.draws.uniform(0.06, 0.2)
    s.box("", s.paint("wood", colour="brown"), x, y, x + 0.24, y + 0.19)
    s.box("", s.paint("paper"), x + 0.03, y + 0.03, x + 0.21, y + 0.16)


def bedroom(s: Sketch) -> None:
    floor = s.draws.uniform(0.6, 0.7)
    s.box("", s.paint("paper", colour=(215, 200, 215), jitter=35, textured=0.3), 0, 0, 1, floor)
    side = s.draws.choice((0.0, 0.78))
    curtain = s.paint("fabric", textured=0.3)
    for step in range(4):
        s.box("", curtain.shaded(1.1 if step % 2 else 0.88), side + 0.055 * step, 0, side + 0.055 * (step + 1), floor + 0.05)
    s.box("", s.paint("fabric", colour=(170, 150, 140), jitter=30), 0, floor, 1, 1)
    s.ellipse("", s.paint("fabric", textured=_WALLPAPER), s.draws.uniform(0.3, 0.7), 0.9, 0.42, 0.13)


def kitchen(s: Sketch) -> None:
    counter = s.draws.uniform(0.58, 0.7)
    tile = s.paint("ceramic", colour=(225, 228, 222), jitter=14)
    s.box("", tile, 0, 0, 1, counter)
    _tiles(s, tile.shaded(0.75), 0.24, counter, s.draws.uniform(0.1, 0.14))
    cupboard = s.paint("wood", textured=0.2)
    s.box("", cupboard, 0, 0, 1, 0.22)
    s.box("", s.paint("stone", colour=(90, 90, 95)), 0, counter, 1, counter + 0.06)
    s.box("", cupboard.shaded(0.9), 0, counter + 0.06, 1, 1)
    for x in (0.33, 0.66):
        s.box("", cupboard.shaded(0.6), x, 0, x + 0.012, 0.22)
        s.box("", cupboard.shaded(0.6), x, counter + 0.06, x + 0.012, 1)


def bathroom(s: Sketch) -> None:
    tile = s.paint("ceramic", colour=s.draws.choice(((150, 205, 215), (170, 215, 190), (235, 190, 200))))
    s.box("", tile, 0, 0, 1, 1)
    floor = s.draws.uniform(0.68, 0.8)
    _tiles(s, s.paint("", colour=(245, 245, 245), jitter=6), 0, floor, s.draws.uniform(0.08, 0.11))
    s.box("", s.paint("ceramic", textured=_WALLPAPER), 0, floor, 1, 1)


def garage(s: Sketch) -> None:
    floor = s.draws.uniform(0.7, 0.8)
    shutter = s.paint("metal", colour=(170, 172, 178), jitter=30)
    s.box("", s.paint("stone", colour=(140, 138, 132)), 0, 0, 1, 1)
    y = 0.12
    while y < floor:
        s.box("", shutter, 0.1, y, 0.9, y + 0.055)
        s.box("", shutter.shaded(0.7), 0.1, y + 0.055, 0.9, y + 0.07)
        y += 0.07
    s.box("", s.paint("stone", colour=(110, 110, 112)), 0, floor, 1, 1)
    s.ellipse("", s.paint("", colour=(55, 52, 55), jitter=8), s.draws.uniform(0.1, 0.9), 0.92, 0.14, 0.03)


def library(s: Sketch) -> None:
    shelf = s.paint("wood", colour=(105, 65, 40))
    s.box("", shelf, 0, 0, 1, 1)
    books = [s.paint(("paper", "fabric"), textured=0.15) for _ in range(6)]
    for row in range(4):
        x, base = 0.01, 0.235 + 0.25 * row
        while x < 0.97:
            width, height = s.draws.uniform(0.05, 0.09), s.draws.uniform(0.14, 0.2)
            s.box("", s.draws.choice(books), x, base - height, x + width, base)
            x += width + 0.008


def theatre(s: Sketch) -> None:
    floor = s.draws.uniform(0.72, 0.82)
    curtain = s.paint("fabric", colour=(165, 25, 40))
    for step in range(9):
        s.box("", curtain.shaded((0.7, 1.0, 1.25)[step % 3]), 0.115 * step, 0, 0.115 * (step + 1), floor)
    for step in range(4):
        s.ellipse("", curtain.shaded(0.85), 0.125 + 0.25 * step, 0.02, 0.14, 0.1)
    s.box("", s.paint("wood", colour=(150, 95, 50)), 0, floor, 1, 1)
    s.ellipse("", s.paint("wood", colour=(245, 215, 150)), s.draws.uniform(0.3, 0.7), 0.92, 0.35, 0.06)


def corridor(s: Sketch) -> None:
    x, y = s.draws.uniform(0.35, 0.65), s.draws.uniform(0.35, 0.5)
    wall = s.paint("paper", textured=_WALLPAPER)
    s.box("", wall, 0, 0, 1, 1)
    s.polygon("", wall.shaded(0.75), (0, 0), (x - 0.16, y - 0.16), (x - 0.16, y + 0.2), (0, 1))
    s.polygon(
        "", s.paint("stone", colour=(230, 230, 225), jitter=10), (0, 0), (1, 0), (x + 0.16, y - 0.16), (x - 0.16, y - 0.16)
    )
    s.polygon("", s.paint("fabric"), (0, 1), (1, 1), (x + 0.16, y + 0.2), (x - 0.16, y + 0.2))
    s.box("", s.paint("wood", colour=(240, 225, 170)), x - 0.16, y - 0.16, x + 0.16, y + 0.2)


def cellar(s: Sketch) -> None:
    s.box("", s.paint("brick", colour=(150, 80, 62)), 0, 0, 1, 1)
    floor = s.draws.uniform(0.72, 0.85)
    s.box("", s.paint("stone", colour=(95, 90, 85)), 0, floor, 1, 1)
    beam = s.paint("wood", colour=(70, 48, 32))
    s.box("", beam, 0, 0, 1, 0.1)
    for x in (s.draws.uniform(0.03, 0.2), s.draws.uniform(0.75, 0.92)):
        s.box("", beam, x, 0.08, x + 0.07, floor + 0.02)


def attic(s: Sketch) -> None:
    peak = s.draws.uniform(0.35, 0.65)
    s.box("", s.paint("wood", colour=(120, 85, 55)), 0, 0, 1, 1)
    s.polygon("", s.paint("paper", textured=_WALLPAPER), (peak, 0.05), (1.05, 0.8), (-0.05, 0.8))
    beam = s.paint("wood", colour=(85, 55, 35))
    s.stroke("", beam, 0.05, (peak, 0.03), (-0.05, 0.8))
    s.stroke("", beam, 0.05, (peak, 0.03), (1.05, 0.8))
    _floorboards(s, 0.78, s.paint("wood", colour=(175, 135, 90)))


def greenhouse(s: Sketch) -> None:
    pane = s.paint("glass", colour=(190, 225, 215))
    s.box("", pane, 0, 0, 1, 0.8)
    bar, step = s.paint("metal", colour=(240, 242, 240), jitter=8), s.draws.uniform(0.19, 0.26)
    x = s.draws.uniform(0, 0.15)
    while x < 1:
        s.box("", bar, x, 0, x + 0.025, 0.8)
        x += step
    y = s.draws.uniform(0.25, 0.45)
    s.box("", bar, 0, y, 1, y + 0.025)
    s.box("", s.paint("soil", colour=(95, 65, 45)), 0, 0.75, 1, 1)
    for _ in range(12):
        s.ellipse("", s.paint("foliage", colour=(70, 145, 60)), s.draws.uniform(0, 1), s.draws.uniform(0.74, 0.8), 0.06, 0.03)


def cave(s: Sketch) -> None:
    rock = s.paint("stone", colour=(80, 70, 68))
    s.box("", rock, 0, 0, 1, 1)
    x, y = s.draws.uniform(0.4, 0.6), s.draws.uniform(0.45, 0.55)
    s.blob(
        "",
        s.paint("", colour=(200, 205, 190)),
        (x - 0.5, y),
        (x - 0.3, y - 0.45),
        (x + 0.3, y - 0.4),
        (x + 0.5, y),
        (x + 0.3, y + 0.4),
        (x - 0.3, y + 0.4),
    )
    for _ in range(7):
        spike, width, length = s.draws.uniform(0, 1), s.draws.uniform(0.03, 0.06), s.draws.uniform(0.12, 0.35)
        s.polygon("", rock.shaded(0.8), (spike - width, 0), (spike + width, 0), (spike, length))
    s.blob("", rock.shaded(1.15), (-0.2, 1.2), (0, 0.85), (0.5, 0.9), (1, 0.82), (1.2, 1.2))


def gymnasium(s: Sketch) -> None:
    floor = s.draws.uniform(0.45, 0.6)
    wall = s.paint("wood", textured=_WALLPAPER)
    s.box("", wall, 0, 0, 1, floor)
    ground = s.paint("plastic", colour=s.draws.choice(((60, 125, 175), (190, 95, 65), (70, 150, 110))))
    s.box("", ground, 0, floor, 1, 1)
    line = s.paint("", colour=(245, 240, 230), jitter=8)
    x = s.draws.uniform(0.2, 0.8)
    s.ring("", line, x, 0.95, 0.3, 0.275)
    s.stroke("", line, 0.025, (x, floor), (x + s.draws.uniform(-0.2, 0.2), 1.02))
    s.box("", line, 0, floor, 1, floor + 0.03)


def stairwell(s: Sketch) -> None:
    s.box("", s.paint("stone", textured=_WALLPAPER), 0, 0, 1, 1)
    step, rising = s.paint("stone", colour=(170, 165, 160), jitter=25), s.draws.coin(0.5)
    for number in range(7):
        left = number / 7 if rising else 1 - (number + 1) / 7
        top = 0.94 - 0.1 * number
        s.box("", step.shaded(1.1 if number % 2 else 0.9), left, top, left + 1 / 7 + 0.005, 1)
    rail = s.paint("metal", colour="black")
    ends = ((0.0, 0.7), (1.0, 0.06)) if rising else ((1.0, 0.7), (0.0, 0.06))
    s.stroke("", rail, 0.025, *ends)


INDOORS = {
    "attic": attic,
    "bathroom": bathroom,
    "bedroom": bedroom,
    "cave": cave,
    "cellar": cellar,
    "corridor": corridor,
    "garage": garage,
    "greenhouse": greenhouse,
    "gymnasium": gymnasium,
    "kitchen": kitchen,
    "library": library,
    "living room": living_room,
    "stairwell": stairwell,
    "theatre": theatre,
}
"""Scene name -> the function that draws it."""
