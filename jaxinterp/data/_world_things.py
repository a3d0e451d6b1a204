"""Plants and household things of the concept world, drawn in a plane of about [-1, 1] x [-1, 1] (y points down)."""

import math

from jaxinterp.data._world_draws import Number
from jaxinterp.data._world_sketch import Paint, Sketch

_TEXTURED = 0.6


def _leaf(s: Sketch, paint: Paint, x: Number, y: Number, length: Number, angle: Number) -> None:
    s.ellipse(
        "leaf",
        paint,
        x + 0.5 * length * math.cos(angle),
        y + 0.5 * length * math.sin(angle),
        0.55 * length,
        0.2 * length,
        angle,
    )


def tree(s: Sketch) -> None:
    bark, leaves = s.paint("wood", colour=s.draws.choice(("brown", "grey", "black"))), s.paint("foliage", textured=_TEXTURED)
    thick, wide = s.draws.uniform(0.1, 0.17), s.draws.vary(0.62, 0.15)
    s.polygon("trunk", bark, (-0.5 * thick, -0.2), (0.5 * thick, -0.2), (1.1 * thick, 1.0), (-1.1 * thick, 1.0))
    for sign in (-1, 1):
        s.stroke("branch", bark, 0.1, (0, 0.4), (sign * 0.4, s.draws.uniform(-0.1, 0.1)), end=0.05)
    if s.draws.coin(0.35):
        for step in range(3):
            y, half = 0.35 - 0.42 * step, wide * (1.1 - 0.25 * step)
            s.polygon("crown", leaves.shaded(0.85 + 0.12 * step), (-half, y), (half, y), (0.0, y - 0.62))
    else:
        for x, y, size in (
            (-0.4, -0.1, 0.36),
            (0.4, -0.1, 0.36),
            (-0.28, -0.5, 0.38),
            (0.3, -0.5, 0.36),
            (0.0, -0.72, 0.34),
            (0, -0.28, 0.42),
        ):
            s.ellipse("crown", leaves.shaded(s.draws.uniform(0.82, 1.15)), x * wide / 0.62, y, size * wide / 0.55, size)
        tip = leaves.shaded(0.7)
        for _ in range(5):
            _leaf(s, tip, s.draws.uniform(-0.5, 0.4), s.draws.uniform(-0.8, 0.05), 0.22, s.draws.uniform(0, 3.1))


def flower(s: Sketch) -> None:
    green, petals = (
        s.paint("foliage", colour=s.draws.choice(("green", "green", "brown", "yellow"))),
        s.paint("petal", textured=_TEXTURED),
    )
    lean = s.draws.uniform(-0.15, 0.15)
    s.stroke("stem", green, 0.1, (lean, 1.0), (-lean, 0.4), (0, -0.35), curved=True)
    for sign in (-1, 1):
        _leaf(
            s,
            green.shaded(0.85),
            0,
            s.draws.uniform(0.45, 0.75),
            s.draws.uniform(0.5, 0.65),
            (-0.45 if sign > 0 else math.pi + 0.45),
        )
    count, turn, reach = 5 + s.draws.integer(4), s.draws.uniform(0, 1), s.draws.vary(0.36, 0.1)
    for step in range(count):
        angle = turn + 2 * math.pi * step / count
        x, y = reach * math.cos(angle), -0.45 + reach * math.sin(angle)
        s.ellipse("petal", petals.shaded(1.0 if step % 2 else 0.85), x, y, 0.27, 1.1 / count + 0.02, angle)
    s.ellipse("head", s.paint("petal"), 0, -0.45, 0.2, 0.2)


def mushroom(s: Sketch) -> None:
    stem, cap = (
        s.paint("skin", colour=s.draws.choice(("white", "yellow", "brown", "grey"))),
        s.paint("skin", textured=_TEXTURED),
    )
    thick, wide, high = s.draws.vary(0.22, 0.2), s.draws.vary(0.85, 0.1), s.draws.uniform(-0.9, -0.6)
    s.blob(
        "stem",
        stem,
        (-thick, -0.2),
        (thick, -0.2),
        (thick * 1.1, 0.6),
        (thick * 1.7, 1.05),
        (-thick * 1.7, 1.05),
        (-thick * 1.1, 0.6),
    )
    s.ellipse("gill", stem.shaded(0.75), 0, 0.02, wide, 0.14)
    s.blob(
        "cap",
        cap,
        (-wide - 0.12, 0.14),
        (-wide, -0.5),
        (-0.35, high - 0.15),
        (0.35, high - 0.15),
        (wide, -0.5),
        (wide + 0.12, 0.14),
        (0.3, -0.02),
        (-0.3, -0.02),
    )
    spot = s.paint("skin")
    if s.draws.coin(0.6):
        for x, y, size in ((-0.45, -0.2, 0.11), (0.02, -0.38, 0.14), (0.48, -0.18, 0.1), (-0.2, -0.05, 0.07)):
            s.ellipse("cap", spot, x * wide / 0.8, y, size, 0.8 * size)
    s.ellipse("stem", stem.shaded(1.2), 0, s.draws.uniform(0.25, 0.4), thick * 1.4, 0.07)


def cactus(s: Sketch) -> None:
    green = s.paint("skin", textured=_TEXTURED)
    thick = s.draws.vary(0.46, 0.15)
    if s.draws.coin(0.6):
        pot = s.paint(("ceramic", "plastic", "stone"))
        s.polygon("pot", pot, (-0.42, 0.6), (0.42, 0.6), (0.3, 1.05), (-0.3, 1.05))
        s.box("pot", pot.shaded(0.8), -0.48, 0.55, 0.48, 0.7)
    for sign in (-1, 1):
        elbow, tip = s.draws.uniform(0.0, 0.35), s.draws.uniform(-0.6, -0.25)
        reach = s.draws.vary(0.62, 0.1)
        s.stroke("arm", green.shaded(0.88), 0.24, (0, elbow), (sign * reach, elbow))
        s.stroke("arm", green.shaded(0.88), 0.24, (sign * reach, elbow + 0.12), (sign * reach, tip))
        s.ellipse("arm", green.shaded(0.88), sign * reach, tip, 0.12, 0.12)
    s.box("stem", green, -thick / 2, -0.75, thick / 2, 0.65)
    s.ellipse("stem", green, 0, -0.75, thick / 2, 0.25)
    spine = s.paint("", colour=(250, 250, 235), jitter=8)
    for row in range(6):
        for x in (-0.3, 0.0, 0.3):
            y = -0.75 + 0.24 * row + (0.08 if x else 0)
            s.stroke("spine", spine, 0.03, (x * thick - 0.05, y - 0.05), (x * thick + 0.05, y + 0.05))
    if s.draws.coin(0.5):
        for angle in (-0.9, -1.57, -2.2):
            s.ellipse(
                "petal",
                s.paint("petal", colour=s.draws.choice(("pink", "red", "yellow"))),
                0.13 * math.cos(angle),
                -1.0 + 0.13 * math.sin(angle),
                0.14,
                0.08,
                angle,
            )


def chair(s: Sketch) -> None:
    frame, cushion = s.paint(("wood", "metal", "plastic")), s.paint(("wood", "fabric", "plastic"), textured=_TEXTURED)
    deep, top = s.draws.uniform(0.16, 0.26), s.draws.uniform(-1.05, -0.9)
    width = s.draws.uniform(0.1, 0.14)
    for x, foot in ((-0.42, 0.85), (0.32, 0.82)):
        s.box("leg", frame.shaded(0.7), x, 0.0, x + width, foot)
    s.box("back", frame, -0.48, top, -0.48 + width, 0.05)
    s.box("back", frame, 0.34, top - 0.02, 0.34 + width, 0.05)
    if s.draws.coin(0.5):
        s.box("back", cushion.shaded(0.85), -0.4, top + 0.06, 0.38, -0.22)
    else:
        for step in range(3):
            y = top + 0.06 + 0.26 * step
            s.box("back", cushion.shaded(0.85), -0.4, y, 0.38, y + 0.13)
    slide = s.draws.uniform(0.08, 0.22)
    for x in (-0.6, 0.44):
        s.box("leg", frame, x + slide * 0.5, deep, x + slide * 0.5 + width, 1.02)
    s.polygon("seat", cushion, (-0.5, 0.0), (0.48, 0.0), (0.52 + slide, deep), (-0.66 + slide * 0.3, deep))
    s.polygon(
        "seat",
        cushion.shaded(0.65),
        (0.52 + slide, deep),
        (-0.66 + slide * 0.3, deep),
        (-0.66 + slide * 0.3, deep + 0.1),
        (0.52 + slide, deep + 0.1),
    )


def table(s: Sketch) -> None:
    top, legs = s.paint(("wood", "stone", "glass", "plastic", "metal"), textured=_TEXTURED), s.paint(("wood", "metal"))
    depth, high, slide = s.draws.uniform(0.28, 0.45), s.draws.uniform(-0.5, -0.38), s.draws.uniform(-0.2, 0.2)
    width, bottom = s.draws.uniform(0.1, 0.15), s.draws.uniform(0.55, 0.72)
    back, front = (-0.7 + slide, 0.7 + slide), (-1.0, 1.0)
    for x in (back[0] + 0.08, back[1] - 0.08 - width):
        s.box("leg", legs.shaded(0.65), x, high, x + width, bottom - 0.2)
    for x in (front[0] + 0.06, front[1] - 0.06 - width):
        s.box("leg", legs, x, high + depth, x + width, bottom)
    s.polygon("tabletop", top, (back[0], high), (back[1], high), (front[1], high + depth), (front[0], high + depth))
    s.box("tabletop", top.shaded(0.65), front[0], high + depth, front[1], high + depth + 0.11)
    if s.draws.coin(0.5):
        s.box("body", legs.shaded(1.1), -0.4, high + depth + 0.11, 0.4, high + depth + 0.28)
        s.ellipse("handle", s.paint("metal", colour="yellow"), 0, high + depth + 0.19, 0.1, 0.06)


def lamp(s: Sketch) -> None:
    shade, foot = s.paint(("fabric", "paper", "glass"), textured=_TEXTURED), s.paint(("metal", "wood", "ceramic"))
    low, narrow, wide = s.draws.uniform(-0.25, -0.05), s.draws.uniform(0.22, 0.36), s.draws.uniform(0.6, 0.75)
    s.stroke("stem", foot, s.draws.uniform(0.08, 0.14), (0, -0.5), (0, 0.95))
    if s.draws.coin(0.5):
        s.ellipse("stem", foot.shaded(0.85), 0, 0.45, 0.2, 0.26)
    s.ellipse("base", foot.shaded(0.8), 0, 0.95, s.draws.uniform(0.36, 0.5), 0.12)
    s.ellipse("shade", s.paint("glass", colour=(255, 245, 180), jitter=6), 0, low + 0.02, 0.16, 0.13)
    s.polygon("shade", shade, (-narrow, -1.0), (narrow, -1.0), (wide, low), (-wide, low))
    s.polygon("shade", shade.shaded(0.7), (-wide + 0.03, low - 0.08), (wide - 0.03, low - 0.08), (wide, low), (-wide, low))


def cup(s: Sketch) -> None:
    ware = s.paint(("ceramic", "plastic", "metal"), textured=_TEXTURED)
    half, narrow, low = s.draws.vary(0.58, 0.1), s.draws.uniform(0.32, 0.5), s.draws.uniform(0.62, 0.8)
    if s.draws.coin(0.6):
        s.ellipse("saucer", s.paint("ceramic"), 0.05, low, 1.0, 0.17)
        s.ellipse("saucer", ware.shaded(0.7), 0.05, low - 0.02, 0.6, 0.09)
    size = s.draws.vary(0.33, 0.12)
    s.ring("handle", ware.shaded(0.85), half + 0.08, 0.05, size, 0.62 * size)
    s.blob(
        "body",
        ware,
        (-half - 0.01, -0.5),
        (half + 0.01, -0.5),
        (half, 0.1),
        (narrow, low + 0.12),
        (-narrow, low + 0.12),
        (-half, 0.1),
    )
    s.ellipse("rim", ware.shaded(1.25), 0, -0.42, half, 0.15)
    s.ellipse("rim", s.paint("water", colour=s.draws.choice(("brown", "black", "orange", "red"))), 0, -0.4, 0.84 * half, 0.1)


def house(s: Sketch) -> None:
    wall, tiles = s.paint(("brick", "wood", "stone"), textured=_TEXTURED), s.paint(("ceramic", "stone", "wood"))
    half, eaves, peak = s.draws.vary(0.72, 0.1), s.draws.uniform(-0.2, -0.05), s.draws.uniform(-1.0, -0.8)
    x = s.draws.choice((-0.42, 0.42))
    s.box("chimney", s.paint(("brick", "stone")), x - 0.1, -0.95, x + 0.1, eaves)
    s.box("wall", wall, -half, eaves - 0.02, half, 0.9)
    if s.draws.coin(0.6):
        s.polygon("roof", tiles, (-half - 0.2, eaves), (0, peak), (half + 0.2, eaves))
        if s.draws.coin(0.5):
            s.ellipse("window", s.paint("glass", colour=(170, 210, 230)), 0, eaves - 0.28, 0.13, 0.13)
    else:
        s.polygon(
            "roof", tiles, (-half - 0.2, eaves), (-half + 0.25, peak + 0.15), (half - 0.25, peak + 0.15), (half + 0.2, eaves)
        )
    side, pane = (
        s.draws.choice((-1, 1)),
        s.paint("glass", colour=s.draws.choice(((170, 210, 230), (70, 85, 105), (250, 230, 150)))),
    )
    leaf = s.paint("wood")
    s.box("door", leaf, side * 0.36 - 0.17, 0.28, side * 0.36 + 0.17, 0.9)
    s.ellipse("handle", s.paint("metal", colour="yellow"), side * 0.36 + 0.1, 0.62, 0.04, 0.04)
    for px, py in ((-side * 0.36, 0.3), (side * 0.36, 0.06)) if s.draws.coin(0.5) else ((-side * 0.36, 0.35),):
        high = 0.09 if py < 0.2 else 0.18
        s.box("window", leaf.shaded(1.3), px - 0.21, py - high - 0.04, px + 0.21, py + high + 0.04)
        s.box("window", pane, px - 0.16, py - high, px + 0.16, py + high)
        s.box("window", leaf.shaded(1.3), px - 0.02, py - high, px + 0.02, py + high)
