"""Animals of the concept world, drawn in a plane of about [-1, 1] x [-1, 1] (y points down), looking to the right."""

from jaxinterp.data._world_draws import Number
from jaxinterp.data._world_sketch import Paint, Sketch

BODY_TEXTURE = 0.6
"""Share of the bodies that have a texture."""


def _eye(s: Sketch, x: Number, y: Number, radius: Number) -> None:
    s.ellipse("eye", s.paint("", colour=(250, 250, 245), jitter=4), x, y, radius, radius)
    s.ellipse("eye", s.paint("", colour=(15, 15, 18), jitter=4), x + 0.2 * radius, y, 0.55 * radius, 0.6 * radius)


def _leg(s: Sketch, paint: Paint, x: Number, top: Number, bottom: Number, width: Number, swing: Number = 0.12) -> None:
    foot = x + s.draws.uniform(-swing, swing)
    knee = 0.5 * (x + foot) + s.draws.uniform(-0.04, 0.04)
    s.stroke("leg", paint, width, (x, top), (knee, 0.5 * (top + bottom)), (foot, bottom), end=0.75 * width)
    s.ellipse("foot", paint.shaded(0.6), foot + 0.03, bottom, 0.62 * width, 0.38 * width)


def _four_legs(s: Sketch, paint: Paint, hind: Number, front: Number, top: Number, bottom: Number, width: Number) -> None:
    for x in (hind + 0.14, front - 0.14):
        _leg(s, paint.shaded(0.72), x, top, bottom - 0.04, width)
    for x in (hind, front):
        _leg(s, paint, x, top, bottom, width)


def dog(s: Sketch) -> None:
    coat = s.paint("fur", textured=BODY_TEXTURE)
    ears = s.paint("fur")
    length, lift = s.draws.vary(0.6), s.draws.uniform(-0.75, -0.3)
    s.stroke(
        "tail", coat.shaded(0.9), 0.15, (-length, -0.02), (-length - 0.25, -0.2), (-length - 0.3, lift), end=0.05, curved=True
    )
    _four_legs(s, coat, -length + 0.12, 0.38, 0.1, s.draws.vary(0.8, 0.08), 0.17)
    s.blob("torso", coat, (-length - 0.12, -0.2), (0, -0.26), (0.58, -0.32), (0.62, 0.25), (0.1, 0.36), (-length, 0.34))
    s.polygon("neck", coat, (0.2, -0.15), (0.45, -0.7), (0.75, -0.5), (0.58, 0.1))
    x, y = s.draws.vary(0.65, 0.05), s.draws.vary(-0.55, 0.08)
    s.ellipse("head", coat, x, y, 0.27, 0.24)
    reach = s.draws.vary(0.34, 0.15)
    s.blob(
        "muzzle",
        coat.shaded(1.12),
        (x + 0.08, y - 0.1),
        (x + reach + 0.08, y - 0.04),
        (x + reach + 0.08, y + 0.22),
        (x + 0.05, y + 0.26),
    )
    s.ellipse("muzzle", s.paint("", colour="black", jitter=6), x + reach, y + 0.02, 0.075, 0.065)
    s.blob(
        "ear", ears, (x - 0.08, y - 0.26), (x - 0.32, y - 0.2), (x - 0.38, y + 0.32), (x - 0.12, y + 0.3), (x - 0.02, y - 0.1)
    )
    _eye(s, x + 0.08, y - 0.06, 0.07)


def cat(s: Sketch) -> None:
    coat = s.paint("fur", textured=BODY_TEXTURE)
    side, wide = s.draws.uniform(0.75, 0.95), s.draws.vary(0.48)
    s.stroke(
        "tail", coat.shaded(0.8), 0.15, (0.3, 0.75), (side, 0.8), (side + 0.12, 0.2), (side - 0.25, 0.05), end=0.1, curved=True
    )
    s.blob(
        "torso",
        coat,
        (-0.2, -0.3),
        (0.2, -0.3),
        (wide + 0.05, 0.3),
        (wide + 0.12, 0.95),
        (-wide - 0.12, 0.95),
        (-wide - 0.05, 0.3),
    )
    for x in (-0.15, 0.15):
        s.stroke("leg", coat.shaded(1.1), 0.19, (x, 0.2), (x, 0.84), end=0.16)
        s.ellipse("foot", coat.shaded(0.7), x, 0.86, 0.13, 0.08)
    y, broad = s.draws.vary(-0.45, 0.08), s.draws.vary(0.42, 0.08)
    for sign in (-1, 1):
        s.polygon("ear", coat, (sign * 0.06, y - 0.25), (sign * (broad + 0.02), y - 0.58), (sign * broad, y + 0.02))
        s.polygon(
            "ear",
            s.paint("skin", colour="pink"),
            (sign * 0.18, y - 0.26),
            (sign * (broad - 0.05), y - 0.44),
            (sign * (broad - 0.06), y - 0.1),
        )
    s.ellipse("head", coat, 0, y, broad, 0.36)
    iris = s.paint("", colour=s.draws.choice(("green", "yellow", "blue")))
    for x in (-0.17, 0.17):
        s.ellipse("eye", iris, x, y - 0.04, 0.1, 0.09)
        s.ellipse("eye", s.paint("", colour=(12, 12, 15), jitter=4), x, y - 0.04, 0.035, 0.085)
    s.ellipse("muzzle", coat.shaded(1.25), 0, y + 0.17, 0.16, 0.11)
    s.polygon("muzzle", s.paint("skin", colour="pink"), (-0.06, y + 0.09), (0.06, y + 0.09), (0, y + 0.17))
    whisker = s.paint("", colour=(245, 245, 240), jitter=6)
    for sign in (-1, 1):
        for rise in (-0.06, 0.06):
            s.stroke("muzzle", whisker, 0.025, (sign * 0.14, y + 0.17), (sign * 0.6, y + 0.17 + rise))


def horse(s: Sketch) -> None:
    coat = s.paint("fur", textured=BODY_TEXTURE)
    hair = s.paint("fur")
    s.stroke("tail", hair, 0.12, (-0.58, -0.18), (-0.85, -0.05), (-0.8, s.draws.uniform(0.3, 0.55)), end=0.18, curved=True)
    _four_legs(s, coat, -0.46, 0.36, 0.0, s.draws.vary(0.95, 0.05), 0.14)
    s.blob("torso", coat, (-0.72, -0.3), (-0.1, -0.24), (0.5, -0.32), (0.55, 0.2), (0, 0.22), (-0.65, 0.26))
    x, y = s.draws.uniform(0.62, 0.76), s.draws.uniform(-0.98, -0.82)
    s.blob("neck", coat, (0.08, -0.28), (x - 0.32, y + 0.05), (x, y - 0.02), (x + 0.02, y + 0.3), (0.62, 0.0), (0.3, 0.2))
    s.blob(
        "head", coat, (x - 0.26, y - 0.1), (x + 0.02, y - 0.14), (x + 0.2, y + 0.18), (x + 0.12, y + 0.32), (x - 0.14, y + 0.24)
    )
    s.blob("muzzle", coat.shaded(0.7), (x + 0.08, y + 0.12), (x + 0.26, y + 0.2), (x + 0.3, y + 0.46), (x + 0.08, y + 0.46))
    s.polygon("ear", coat.shaded(0.85), (x - 0.2, y - 0.02), (x - 0.13, y - 0.28), (x - 0.04, y - 0.04))
    s.blob(
        "mane", hair, (x - 0.12, y - 0.16), (x - 0.3, y - 0.12), (0.0, -0.35), (-0.02, -0.1), (0.2, -0.2), (x - 0.18, y + 0.22)
    )
    _eye(s, x + 0.0, y + 0.06, 0.06)


def elephant(s: Sketch) -> None:
    hide = s.paint("skin", textured=BODY_TEXTURE)
    s.stroke("tail", hide.shaded(0.75), 0.06, (-0.78, -0.2), (-0.95, 0.1), (-0.9, 0.4), end=0.05, curved=True)
    _four_legs(s, hide, -0.5, 0.22, 0.15, s.draws.vary(0.82, 0.05), 0.27)
    s.blob("torso", hide, (-0.95, -0.3), (-0.5, -0.62), (0.2, -0.62), (0.55, -0.3), (0.5, 0.35), (-0.2, 0.45), (-0.85, 0.4))
    x, y = s.draws.vary(0.55, 0.06), s.draws.vary(-0.34, 0.1)
    curl = s.draws.uniform(-0.25, 0.3)
    s.stroke(
        "proboscis",
        hide.shaded(0.9),
        0.26,
        (x + 0.18, y + 0.05),
        (x + 0.42, y + 0.4),
        (x + 0.36, 0.62),
        (x + 0.36 + curl, 0.7),
        end=0.1,
        curved=True,
    )
    s.ellipse("head", hide, x, y, 0.34, 0.36)
    s.stroke(
        "tusk",
        s.paint("ceramic", colour=(250, 245, 225), jitter=6),
        0.16,
        (x + 0.2, y + 0.22),
        (x + 0.34, y + 0.48),
        (x + 0.62, y + 0.4),
        end=0.05,
        curved=True,
    )
    flap = s.draws.vary(0.32, 0.12)
    s.blob(
        "ear",
        hide.shaded(0.8),
        (x - 0.08, y - 0.3),
        (x - flap - 0.2, y - 0.42),
        (x - flap - 0.25, y + 0.1),
        (x - 0.25, y + 0.48),
        (x - 0.02, y + 0.2),
    )
    _eye(s, x + 0.16, y - 0.05, 0.055)


def _beak(s: Sketch, paint: Paint, x: Number, y: Number, length: Number, depth: Number) -> None:
    s.blob(
        "beak",
        paint,
        (x - 0.08, y - depth),
        (x + 0.3 * length, y - depth),
        (x + length + 0.1, y - 0.2 * depth),
        (x + length + 0.1, y + depth),
        (x - 0.08, y + depth),
    )


def duck(s: Sketch) -> None:
    down = s.paint("feather", textured=BODY_TEXTURE)
    beak = s.paint("skin", colour=s.draws.choice(("orange", "yellow", "black", "red")))
    for x in (-0.1, 0.12):
        s.stroke("leg", beak, 0.07, (x, 0.35), (x, 0.78))
        s.polygon("foot", beak, (x - 0.08, 0.82), (x + 0.02, 0.72), (x + 0.2, 0.82))
    s.blob("tail", down.shaded(0.8), (-0.6, -0.02), (-1.15, -0.4), (-0.95, 0.1), (-0.6, 0.3))
    s.blob(
        "torso",
        down,
        (-0.95, -0.1),
        (-0.3, -0.2),
        (0.3, -0.15),
        (0.62, -0.1),
        (0.58, 0.38),
        (0.1, 0.58),
        (-0.5, 0.52),
        (-0.85, 0.25),
    )
    x, y = s.draws.uniform(0.42, 0.58), s.draws.uniform(-0.78, -0.6)
    s.stroke(
        "neck",
        s.paint("feather") if s.draws.coin(0.4) else down,
        0.34,
        (0.38, 0.05),
        (x - 0.04, y + 0.4),
        (x - 0.02, y),
        end=0.24,
    )
    _beak(s, beak, x + 0.2, y + 0.06, 0.36, 0.1)
    s.ellipse("head", s.paint("feather") if s.draws.coin(0.4) else down, x, y, 0.26, 0.23)
    tilt = s.draws.uniform(-0.12, 0.08)
    s.blob("wing", down.shaded(0.75), (0.25, -0.05), (-0.3, -0.1), (-0.9, tilt), (-0.4, 0.36), (0.15, 0.34))
    _eye(s, x + 0.07, y - 0.06, 0.06)


def owl(s: Sketch) -> None:
    down = s.paint("feather", textured=BODY_TEXTURE)
    wide = s.draws.vary(0.5, 0.1)
    perch = s.draws.coin(0.5)
    s.blob("tail", down.shaded(0.6), (-0.2, 0.6), (0.2, 0.6), (0.22, 1.12), (-0.22, 1.12))
    if perch:
        s.stroke("branch", s.paint("wood", colour="brown"), 0.14, (-0.9, 0.92), (0.9, s.draws.uniform(0.85, 0.98)))
    s.blob("torso", down, (-wide, -0.7), (wide, -0.7), (wide + 0.12, 0.3), (0.35, 0.95), (-0.35, 0.95), (-wide - 0.12, 0.3))
    fold = s.draws.uniform(0.0, 0.2)
    for sign in (-1, 1):
        s.blob(
            "wing",
            down.shaded(0.68),
            (sign * (wide - 0.06), -0.3),
            (sign * (wide + 0.2 + fold), -0.1),
            (sign * (wide + 0.1 + fold), 0.6),
            (sign * 0.3, 0.85),
            (sign * 0.3, 0.1),
        )
        s.polygon("ear", down.shaded(0.8), (sign * 0.14, -0.72), (sign * (wide + 0.02), -1.05), (sign * wide, -0.5))
    s.blob(
        "head",
        down.shaded(1.12),
        (-wide - 0.1, -0.85),
        (wide + 0.1, -0.85),
        (wide + 0.1, -0.15),
        (0, 0.1),
        (-wide - 0.1, -0.15),
    )
    iris = s.paint("", colour=s.draws.choice(("yellow", "orange", "white")))
    for x in (-0.23, 0.23):
        s.ellipse("eye", iris, x, -0.45, 0.21, 0.21)
        s.ellipse("eye", s.paint("", colour=(12, 12, 15), jitter=4), x, -0.45, 0.11, 0.11)
    s.polygon(
        "beak",
        s.paint("skin", colour=s.draws.choice(("orange", "yellow", "black", "red"))),
        (-0.1, -0.36),
        (0.1, -0.36),
        (0, -0.08),
    )
    for x in (-0.18, 0.18):
        s.ellipse("foot", iris.shaded(0.8), x, 0.93, 0.12, 0.07)


def fish(s: Sketch) -> None:
    scales = s.paint("scale", textured=BODY_TEXTURE)
    fins = s.paint("skin")
    deep, swing = s.draws.uniform(0.4, 0.6), s.draws.uniform(-0.1, 0.1)
    s.polygon("tail", fins, (-0.5, 0), (-1.05, -0.45 + swing), (-0.88, swing), (-1.05, 0.45 + swing))
    s.blob("fin", fins.shaded(0.85), (-0.45, -0.2), (-0.3, -deep - 0.3), (0.25, -deep - 0.25), (0.35, -0.25))
    s.polygon("fin", fins.shaded(0.85), (-0.15, 0.25), (-0.35, deep + 0.25), (0.15, 0.3))
    s.blob(
        "torso",
        scales,
        (-0.75, -0.06),
        (-0.1, -deep - 0.12),
        (0.65, -deep),
        (0.95, 0.02),
        (0.65, deep),
        (-0.1, deep + 0.12),
        (-0.75, 0.06),
    )
    s.blob("head", scales.shaded(1.15), (0.42, -0.32), (0.6, -0.34), (0.98, 0.0), (0.6, 0.34), (0.42, 0.32), (0.5, 0))
    s.polygon("fin", fins, (0.25, 0.06), (-0.15, 0.34), (0.08, 0.0))
    _eye(s, 0.62, -0.12, 0.09)


def butterfly(s: Sketch) -> None:
    upper = s.paint("scale", textured=BODY_TEXTURE)
    lower = upper if s.draws.coin(0.5) else s.paint("scale")
    body = s.paint("skin", colour=s.draws.choice(("black", "brown", "grey", "blue")))
    spread, rise, low = s.draws.uniform(0.78, 1.0), s.draws.uniform(0.6, 0.85), s.draws.uniform(0.5, 0.75)
    spot = s.paint("")
    for sign in (-1, 1):
        s.blob(
            "wing",
            lower.shaded(0.85),
            (sign * 0.02, 0.0),
            (sign * spread * 0.85, 0.05),
            (sign * spread * 0.75, low),
            (sign * 0.3, low + 0.3),
            (sign * 0.02, 0.35),
        )
        s.blob(
            "wing",
            upper,
            (sign * 0.02, 0.12),
            (sign * 0.1, -0.3),
            (sign * spread * 0.8, -rise - 0.2),
            (sign * (spread + 0.15), -rise + 0.1),
            (sign * spread * 0.85, 0.2),
        )
        s.ellipse("wing", spot, sign * spread * 0.68, -rise * 0.55, 0.13, 0.13)
        s.stroke("antenna", body, 0.09, (sign * 0.03, -0.4), (sign * 0.12, -0.7), (sign * 0.3, -0.9), end=0.07, curved=True)
    s.ellipse("torso", body, 0, 0.05, 0.1, 0.5)
    s.ellipse("head", body.shaded(1.2), 0, -0.45, 0.12, 0.12)
