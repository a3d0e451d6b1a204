"""Vehicles of the concept world, drawn in a plane of about [-1, 1] x [-1, 1] (y points down), going to the right."""

import math

from jaxinterp.data._world_draws import Number
from jaxinterp.data._world_sketch import Paint, Sketch

_TEXTURED = 0.6


def _tyre(s: Sketch) -> Paint:
    return s.paint("rubber", colour=(35, 35, 38), jitter=14)


def _hub(s: Sketch) -> Paint:
    return s.paint("metal", colour=s.draws.choice(("grey", "white", "yellow", "red")))


def _pane(s: Sketch) -> Paint:
    return s.paint("glass", colour=s.draws.choice(((170, 210, 230), (60, 75, 95), (215, 230, 235))))


def _wheel(s: Sketch, x: Number, y: Number, radius: Number, tyre: Paint, hub: Paint) -> None:
    s.ellipse("wheel", tyre, x, y, radius, radius)
    s.ellipse("wheel", hub, x, y, 0.55 * radius, 0.55 * radius)
    turn = s.draws.uniform(0, math.pi)
    for step in range(2):
        angle = turn + math.pi / 2 * step
        end = (0.5 * radius * math.cos(angle), 0.5 * radius * math.sin(angle))
        s.stroke("wheel", hub.shaded(0.6), 0.12 * radius, (x - end[0], y - end[1]), (x + end[0], y + end[1]))


def _headlight(s: Sketch, x: Number, y: Number, radius: Number) -> None:
    s.ellipse("headlight", s.paint("glass", colour=(255, 240, 150), jitter=8), x, y, 0.8 * radius, radius)


def car(s: Sketch) -> None:
    body = s.paint(("metal", "plastic"), textured=_TEXTURED)
    pane, tyre, hub = _pane(s), _tyre(s), _hub(s)
    top, bonnet = s.draws.uniform(-0.52, -0.38), s.draws.uniform(-0.12, -0.02)
    rear, front = s.draws.uniform(-0.72, -0.55), s.draws.uniform(0.2, 0.35)
    s.polygon("roof", body.shaded(0.9), (rear - 0.12, bonnet), (rear + 0.1, top), (front - 0.12, top), (front + 0.28, bonnet))
    s.polygon("window", pane, (rear + 0.02, bonnet), (rear + 0.15, top + 0.08), (-0.18, top + 0.08), (-0.18, bonnet))
    s.polygon("window", pane, (-0.1, bonnet), (-0.1, top + 0.08), (front - 0.15, top + 0.08), (front + 0.14, bonnet))
    s.blob(
        "body",
        body,
        (-1.08, bonnet - 0.06),
        (0.5, bonnet - 0.06),
        (1.08, bonnet + 0.06),
        (1.1, 0.42),
        (-1.1, 0.42),
        (-1.1, 0.1),
    )
    s.box("door", body.shaded(0.82), -0.28, bonnet + 0.03, 0.22, 0.32)
    s.box("handle", hub, -0.22, bonnet + 0.1, -0.08, bonnet + 0.14)
    s.box("bumper", hub.shaded(0.8), 0.86, 0.26, 1.06, 0.36)
    s.box("bumper", hub.shaded(0.8), -1.06, 0.26, -0.9, 0.36)
    _headlight(s, 0.92, bonnet + 0.17, 0.11)
    radius = s.draws.vary(0.23, 0.1)
    for x in (-0.6, 0.58):
        _wheel(s, x, 0.38, radius, tyre, hub)


def truck(s: Sketch) -> None:
    cargo, cab = s.paint(("metal", "wood", "fabric", "plastic"), textured=_TEXTURED), s.paint(("metal", "plastic"))
    pane, tyre, hub = _pane(s), _tyre(s), _hub(s)
    top, split = s.draws.uniform(-0.75, -0.55), s.draws.uniform(0.28, 0.42)
    s.box("bumper", hub.shaded(0.5), -1.02, 0.3, 1.02, 0.44)
    s.box("cargo", cargo, -1.05, top, split, 0.32)
    slope = s.draws.uniform(0.02, 0.2)
    s.polygon("cab", cab, (split + 0.05, -0.4), (1.0 - slope, -0.4), (1.02, 0.0), (1.05, 0.36), (split + 0.05, 0.36))
    s.polygon("window", pane, (split + 0.18, -0.3), (0.94 - slope, -0.3), (0.94, 0.0), (split + 0.18, 0.0))
    s.box("handle", hub, split + 0.16, 0.08, split + 0.3, 0.13)
    _headlight(s, 0.95, 0.2, 0.1)
    radius = s.draws.vary(0.22, 0.1)
    for x in (-0.75, -0.25, 0.72):
        _wheel(s, x, 0.42, radius, tyre, hub)


def bus(s: Sketch) -> None:
    body = s.paint(("metal", "plastic"), textured=_TEXTURED)
    pane, tyre, hub = _pane(s), _tyre(s), _hub(s)
    top = s.draws.uniform(-0.58, -0.45)
    s.blob("roof", body.shaded(0.75), (-1.05, top - 0.1), (1.05, top - 0.1), (1.08, top + 0.12), (-1.08, top + 0.12))
    s.polygon("body", body, (-1.08, top), (1.02, top), (1.08, 0.0), (1.08, 0.42), (-1.08, 0.42))
    count = 4 + s.draws.integer(3)
    wide = 1.55 / count
    for step in range(count):
        left = -0.98 + wide * step
        s.box("window", pane, left, top + 0.1, left + 0.76 * wide, -0.04)
    s.box("door", pane.shaded(0.75), 0.62, top + 0.1, 0.9, 0.36)
    s.box("door", body.shaded(0.6), 0.745, top + 0.1, 0.775, 0.36)
    _headlight(s, 0.98, 0.22, 0.1)
    radius = s.draws.vary(0.2, 0.1)
    for x in (-0.66, 0.4):
        _wheel(s, x, 0.42, radius, tyre, hub)


def bicycle(s: Sketch) -> None:
    frame, tyre, spoke = s.paint("metal"), s.paint("rubber"), s.paint("metal", colour="grey")
    radius, base = s.draws.vary(0.44, 0.08), 0.35
    rear, front = (-0.62, base), (0.62, base)
    for x, y in (rear, front):
        turn = s.draws.uniform(0, math.pi)
        for step in range(3):
            angle = turn + math.pi / 3 * step
            end = (radius * math.cos(angle), radius * math.sin(angle))
            s.stroke("wheel", spoke, 0.025, (x - end[0], y - end[1]), (x + end[0], y + end[1]))
        s.ring("wheel", tyre, x, y, radius, 0.76 * radius)
        s.ellipse("wheel", spoke.shaded(0.8), x, y, 0.08, 0.08)
    crank, seat, head = (-0.08, base + 0.02), (-0.24, s.draws.vary(-0.3, 0.15)), (0.42, s.draws.vary(-0.32, 0.15))
    for start, end in (
        (rear, seat),
        (rear, crank),
        (crank, seat),
        (crank, head),
        (seat, head),
        (front, (head[0] - 0.04, head[1] - 0.2)),
    ):
        s.stroke("frame", frame, 0.09, start, end)
    s.stroke("frame", frame, 0.07, seat, (seat[0] - 0.05, seat[1] - 0.15))
    s.blob(
        "seat",
        s.paint(("rubber", "fabric", "plastic"), textured=_TEXTURED),
        (seat[0] - 0.28, seat[1] - 0.24),
        (seat[0] + 0.2, seat[1] - 0.2),
        (seat[0] + 0.18, seat[1] - 0.1),
        (seat[0] - 0.26, seat[1] - 0.08),
    )
    s.stroke(
        "handle",
        s.paint(("rubber", "metal")),
        0.09,
        (head[0] - 0.14, head[1] - 0.3),
        (head[0] + 0.06, head[1] - 0.26),
        (head[0] + 0.12, head[1] - 0.08),
        curved=True,
    )
    s.ellipse("frame", spoke.shaded(0.6), *crank, 0.1, 0.1)
    s.box("frame", tyre, crank[0] + 0.04, crank[1] + 0.14, crank[0] + 0.22, crank[1] + 0.2)


def airplane(s: Sketch) -> None:
    skin = s.paint("metal", textured=_TEXTURED)
    wings, pane = s.paint("metal"), _pane(s)
    sweep, span, deep = s.draws.uniform(0.3, 0.55), s.draws.uniform(0.5, 0.75), s.draws.vary(0.19, 0.12)
    s.polygon("wing", wings.shaded(0.75), (0.18, -0.08), (-0.1, -0.08), (-sweep, -span * 0.85), (-sweep + 0.16, -span * 0.85))
    s.polygon("tail", wings, (-0.62, -0.08), (-0.98, -0.08), (-1.1, -s.draws.uniform(0.5, 0.65)), (-0.92, -0.55))
    s.blob(
        "fuselage",
        skin,
        (-1.15, -0.1),
        (-0.6, -deep),
        (0.7, -deep),
        (1.1, -0.04),
        (1.05, 0.12),
        (0.6, deep + 0.04),
        (-0.6, deep),
    )
    for step in range(5):
        x = -0.45 + 0.2 * step
        s.ellipse("window", pane, x, -0.05, 0.055, 0.055)
    s.polygon("window", pane, (0.72, -0.12), (0.86, -0.1), (0.95, 0.0), (0.74, 0.0))
    s.polygon("tail", wings.shaded(0.85), (-0.75, 0.02), (-0.95, 0.02), (-1.1, 0.22), (-0.95, 0.22))
    s.polygon("wing", wings, (0.3, 0.06), (-0.12, 0.06), (-sweep - 0.15, span), (-sweep + 0.06, span))
    s.ellipse("wing", skin.shaded(0.6), 0.05 - 0.25 * sweep, 0.36 * span + 0.08, 0.16, 0.08)


def sailboat(s: Sketch) -> None:
    sail = s.paint(("fabric", "plastic"), textured=_TEXTURED)
    jib = sail if s.draws.coin(0.5) else s.paint("fabric")
    hull, mast = s.paint(("wood", "plastic", "metal")), s.paint(("wood", "metal"))
    x, boom = s.draws.uniform(-0.1, 0.12), s.draws.uniform(0.22, 0.32)
    s.box("mast", mast, x - 0.035, -1.05, x + 0.035, 0.5)
    s.polygon("sail", sail, (x - 0.07, -0.95), (x - 0.07, boom), (x - s.draws.uniform(0.6, 0.8), boom))
    s.polygon("sail", jib.shaded(0.9), (x + 0.07, -0.85), (x + 0.07, boom), (x + s.draws.uniform(0.45, 0.7), boom))
    s.polygon("sail", s.paint("fabric"), (x, -1.05), (x + 0.25, -1.0), (x, -0.92))
    s.polygon("hull", hull, (-0.9, 0.42), (0.98, 0.42), (0.65, 0.85), (-0.65, 0.85))
    s.polygon("hull", hull.shaded(0.65), (-0.9, 0.42), (0.98, 0.42), (0.92, 0.5), (-0.85, 0.5))
    if s.draws.coin(0.5):
        for step in range(3):
            s.ellipse("window", _pane(s), -0.35 + 0.35 * step, 0.63, 0.07, 0.07)


def locomotive(s: Sketch) -> None:
    boiler, cab = s.paint("metal", textured=_TEXTURED), s.paint(("metal", "wood"))
    trim, rim, hub = s.paint("metal"), s.paint("metal", colour="black"), _hub(s)
    split, low = s.draws.uniform(-0.42, -0.3), s.draws.vary(-0.3, 0.12)
    x, tall = s.draws.uniform(0.62, 0.72), s.draws.uniform(-0.9, -0.72)
    s.polygon("chimney", trim, (x - 0.09, low), (x - 0.16, tall), (x + 0.16, tall), (x + 0.09, low))
    s.ellipse("boiler", trim.shaded(0.8), 0.12, low, 0.14, 0.15)
    s.blob("boiler", boiler, (split - 0.2, low), (0.9, low), (1.02, low + 0.1), (1.02, 0.26), (0.9, 0.34), (split - 0.2, 0.34))
    for step in (0.05, 0.45):
        s.box("boiler", trim, split + step + 0.1, low + 0.02, split + step + 0.16, 0.32)
    s.box("cab", cab, -0.95, -0.65, split, 0.4)
    s.box("window", _pane(s), -0.82, -0.5, split - 0.13, -0.1)
    s.polygon("roof", trim.shaded(0.7), (-1.06, -0.62), (-1.0, -0.78), (split + 0.05, -0.78), (split + 0.12, -0.62))
    s.box("frame", rim, -1.0, 0.34, 1.0, 0.46)
    s.polygon("bumper", trim.shaded(0.85), (0.9, 0.36), (1.0, 0.36), (1.22, 0.78), (0.9, 0.78))
    _headlight(s, 0.98, low + 0.02, 0.12)
    radius = s.draws.vary(0.22, 0.08)
    for x in (-0.68, -0.18, 0.32):
        _wheel(s, x, 0.55, radius, rim, hub)
    _wheel(s, 0.72, 0.62, 0.15, rim, hub)
