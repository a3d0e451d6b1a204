"""Outdoor scenes of the concept world, drawn on the unit square (y points down)."""

from jaxinterp.data._world_draws import Number
from jaxinterp.data._world_sketch import Colour, Sketch

_DAY: tuple[Colour, Colour] = ((120, 180, 240), (205, 228, 245))


def _sky(s: Sketch, horizon: Number, top: Colour = _DAY[0], bottom: Colour = _DAY[1]) -> None:
    s.box("", s.fade("", top, bottom), 0, 0, 1, horizon + 0.02)


def _cloud(s: Sketch, y: Number) -> None:
    paint, x, size = s.paint("", colour=(245, 246, 250), jitter=8), s.draws.uniform(0, 1), s.draws.uniform(0.07, 0.14)
    for shift, scale in ((-1.1, 0.6), (0.0, 1.0), (1.1, 0.7)):
        s.ellipse("", paint, x + shift * size, y, size * scale * 1.3, size * 0.55 * scale)


def meadow(s: Sketch) -> None:
    horizon = s.draws.uniform(0.4, 0.62)
    _sky(s, horizon)
    _cloud(s, 0.15)
    grass = s.paint("grass", colour=(105, 170, 70), jitter=25)
    s.box("", grass, 0, horizon, 1, 1)
    s.ellipse("", grass.shaded(0.85), s.draws.uniform(0, 1), horizon + 0.02, 0.5, 0.07)


def beach(s: Sketch) -> None:
    horizon = s.draws.uniform(0.3, 0.42)
    _sky(s, horizon)
    s.box("", s.paint("water", colour=(40, 130, 185)), 0, horizon, 1, 0.75)
    tilt = s.draws.uniform(-0.1, 0.1)
    shore = s.draws.uniform(0.58, 0.7)
    s.polygon(
        "",
        s.paint("water", colour=(235, 245, 245), jitter=8),
        (0, shore - tilt - 0.03),
        (1, shore + tilt - 0.03),
        (1, 1),
        (0, 1),
    )
    s.polygon("", s.paint("sand", colour=(232, 205, 150)), (0, shore - tilt), (1, shore + tilt), (1, 1), (0, 1))


def desert(s: Sketch) -> None:
    horizon = s.draws.uniform(0.42, 0.6)
    _sky(s, horizon, (235, 190, 120), (250, 228, 180))
    sand = s.paint("sand", colour=(222, 160, 85))
    s.box("", sand, 0, horizon, 1, 1)
    for depth in (0.0, 0.16, 0.32):
        peak = s.draws.uniform(0.1, 0.9)
        top = horizon + depth - s.draws.uniform(0.06, 0.12)
        s.blob(
            "",
            sand.shaded(1.05 - 0.6 * depth),
            (peak - 0.9, 1),
            (peak - 0.5, horizon + depth + 0.1),
            (peak, top),
            (peak + 0.6, horizon + depth + 0.12),
            (1.7, 1),
        )


def mountains(s: Sketch) -> None:
    horizon = s.draws.uniform(0.6, 0.75)
    _sky(s, horizon)
    rock = s.paint("stone", colour=(115, 118, 135))
    for shade in (1.15, 0.9):
        x, peak, width = s.draws.uniform(0.1, 0.9), s.draws.uniform(0.1, 0.3), s.draws.uniform(0.4, 0.6)
        s.polygon("", rock.shaded(shade), (x - width, horizon + 0.02), (x, peak), (x + width, horizon + 0.02))
        cap = 0.28
        foot = peak + cap * (horizon - peak)
        s.polygon(
            "",
            s.paint("snow", colour=(244, 246, 250), jitter=6),
            (x - cap * width, foot),
            (x, peak),
            (x + cap * width, foot),
            (x, foot + 0.05),
        )
    s.box("", s.paint("grass", colour=(80, 120, 75)), 0, horizon, 1, 1)


def snowfield(s: Sketch) -> None:
    horizon = s.draws.uniform(0.35, 0.55)
    _sky(s, horizon, (165, 185, 205), (215, 222, 230))
    snow = s.paint("snow", colour=(238, 242, 248), jitter=8)
    s.box("", snow, 0, horizon, 1, 1)
    s.ellipse("", snow.shaded(0.93), s.draws.uniform(0, 1), 0.95, 0.7, 0.25)
    for _ in range(14):
        s.ellipse("", snow, s.draws.uniform(0, 1), s.draws.uniform(0, horizon), 0.012, 0.012)


def street(s: Sketch) -> None:
    kerb = s.draws.uniform(0.55, 0.68)
    _sky(s, 0.4, (190, 200, 210), (215, 220, 225))
    left = -s.draws.uniform(0, 0.2)
    while left < 1:
        width = s.draws.uniform(0.25, 0.45)
        facade = s.paint(("brick", "stone"), colour=s.draws.choice(((165, 95, 75), (200, 180, 150), (150, 145, 140))))
        s.box("", facade, left, s.draws.uniform(0.05, 0.25), left + width, kerb)
        left += width
    s.box("", s.paint("stone", colour=(185, 183, 178)), 0, kerb, 1, kerb + 0.08)
    s.box("", s.paint("asphalt", colour=(78, 78, 82)), 0, kerb + 0.08, 1, 1)
    line, shift = s.paint("", colour=(240, 235, 215), jitter=8), s.draws.uniform(0, 0.25)
    for step in range(5):
        s.box("", line, shift + 0.3 * step - 0.3, 0.88, shift + 0.3 * step - 0.14, 0.91)


def night_city(s: Sketch) -> None:
    _sky(s, 1.0, (15, 18, 45), (55, 45, 85))
    left, lit = -s.draws.uniform(0, 0.1), s.paint("glass", colour=(250, 220, 120))
    while left < 1:
        width, top = s.draws.uniform(0.12, 0.24), s.draws.uniform(0.2, 0.55)
        s.box("", s.paint("stone", colour=(30, 30, 40), jitter=10), left, top, left + width, 1)
        for _ in range(6):
            x, y = left + s.draws.uniform(0.02, width - 0.04), s.draws.uniform(top + 0.03, 0.95)
            s.box("", lit, x, y, x + 0.025, y + 0.035)
        left += width + s.draws.uniform(0, 0.03)


def underwater(s: Sketch) -> None:
    s.box("", s.fade("water", (60, 170, 200), (10, 45, 105)), 0, 0, 1, 1)
    ray = s.paint("water", colour=(110, 200, 220))
    for _ in range(3):
        x, lean = s.draws.uniform(0, 1), s.draws.uniform(-0.3, 0.3)
        s.polygon("", ray, (x, 0), (x + 0.06, 0), (x + lean + 0.12, 0.55), (x + lean - 0.03, 0.55))
    s.blob(
        "",
        s.paint("sand", colour=(150, 150, 110)),
        (-0.3, 1.1),
        (-0.1, 0.85),
        (0.5, s.draws.uniform(0.8, 0.95)),
        (1.1, 0.85),
        (1.3, 1.1),
    )
    for _ in range(6):
        s.ring("", s.paint("", colour=(190, 230, 240), jitter=10), s.draws.uniform(0, 1), s.draws.uniform(0, 0.8), 0.025, 0.014)


def night_sky(s: Sketch) -> None:
    _sky(s, 1.0, (8, 10, 30), (30, 40, 90))
    star = s.paint("", colour=(250, 250, 225), jitter=5)
    for _ in range(28):
        size = s.draws.uniform(0.006, 0.014)
        s.ellipse("", star, s.draws.uniform(0, 1), s.draws.uniform(0, 0.9), size, size)
    s.ellipse("", s.paint("stone", colour=(235, 230, 200)), s.draws.uniform(0.1, 0.9), s.draws.uniform(0.1, 0.3), 0.09, 0.09)
    s.blob("", s.paint("soil", colour=(20, 30, 28), jitter=8), (-0.3, 1.2), (0, 0.85), (0.5, 0.92), (1, 0.8), (1.3, 1.2))


def sunset_sea(s: Sketch) -> None:
    horizon = s.draws.uniform(0.5, 0.65)
    _sky(s, horizon, (120, 60, 130), (255, 160, 70))
    x = s.draws.uniform(0.15, 0.85)
    s.ellipse("", s.paint("", colour=(255, 235, 150), jitter=8), x, horizon - 0.03, 0.13, 0.13)
    s.box("", s.fade("water", (235, 120, 80), (50, 30, 90)), 0, horizon, 1, 1)
    for step in range(4):
        y = horizon + 0.05 + 0.09 * step
        s.box("", s.paint("water", colour=(255, 200, 120)), x - 0.1, y, x + 0.1, y + 0.025)


def crop_field(s: Sketch) -> None:
    horizon, centre = s.draws.uniform(0.3, 0.45), s.draws.uniform(0.3, 0.7)
    _sky(s, horizon)
    s.box("", s.paint("soil", colour=(125, 90, 60)), 0, horizon, 1, 1)
    crop = s.paint("foliage", colour=s.draws.choice(((110, 160, 50), (205, 180, 70))))
    for row in range(-5, 6):
        s.polygon(
            "",
            crop,
            (centre + 0.06 * row - 0.01, horizon),
            (centre + 0.06 * row + 0.02, horizon),
            (centre + 0.4 * row + 0.17, 1),
            (centre + 0.4 * row - 0.06, 1),
        )


def canyon(s: Sketch) -> None:
    _sky(s, 0.5)
    rock = s.paint("stone", colour=(195, 105, 65))
    y = s.draws.uniform(0.15, 0.3)
    for step in range(7):
        edge = s.draws.uniform(0.28, 0.4) - 0.03 * step
        shade = rock.shaded(1.15 - 0.18 * (step % 3))
        s.box("", shade, 0, y, edge, y + 0.14)
        s.box("", shade, 1 - edge, y, 1, y + 0.14)
        y += 0.12
    s.polygon("", s.paint("sand", colour=(215, 150, 100)), (0.3, 0.5), (0.7, 0.5), (1, 1), (0, 1))


def playing_field(s: Sketch) -> None:
    top = s.draws.uniform(0.2, 0.35)
    s.box("", s.paint("plastic", colour=(70, 90, 150), jitter=40), 0, 0, 1, top)
    for _ in range(30):
        x, y = s.draws.uniform(0, 1), s.draws.uniform(0, top - 0.03)
        s.ellipse("", s.paint(""), x, y, 0.016, 0.016)
    grass, shift = s.paint("grass", colour=(60, 150, 60)), s.draws.uniform(0, 0.2)
    for step in range(6):
        s.box("", grass.shaded(1.15 if step % 2 else 0.85), shift + 0.2 * step - 0.2, top, shift + 0.2 * step, 1)
    line = s.paint("", colour=(245, 245, 245), jitter=6)
    y = s.draws.uniform(0.55, 0.85)
    s.box("", line, 0, y, 1, y + 0.03)
    s.box("", line, 0, top + 0.02, 1, top + 0.045)


def harbour(s: Sketch) -> None:
    horizon = s.draws.uniform(0.25, 0.4)
    _sky(s, horizon, (150, 170, 190), (220, 225, 225))
    s.box("", s.paint("water", colour=(60, 110, 125)), 0, horizon, 1, 1)
    deck, board = s.paint("wood", colour=(140, 105, 75)), s.draws.uniform(0.58, 0.68)
    for step in range(5):
        s.box("", deck.shaded(1.1 - 0.08 * (step % 2)), 0, board + 0.09 * step, 1, board + 0.09 * step + 0.08)
    for x in (s.draws.uniform(0.05, 0.2), s.draws.uniform(0.8, 0.95)):
        s.box("", deck.shaded(0.7), x - 0.03, board - 0.18, x + 0.03, board + 0.03)


def jungle(s: Sketch) -> None:
    green = s.paint("foliage", colour=(30, 80, 40))
    s.box("", green, 0, 0, 1, 1)
    for _ in range(16):
        x, y, size = s.draws.uniform(0, 1), s.draws.uniform(0, 1), s.draws.uniform(0.12, 0.22)
        s.ellipse("", green.shaded(s.draws.uniform(0.7, 1.9)), x, y, size, size * 0.3, s.draws.uniform(0, 3.1))


def swamp(s: Sketch) -> None:
    _sky(s, 0.5, (120, 130, 105), (175, 180, 145))
    s.box("", s.paint("water", colour=(75, 90, 60)), 0, 0.42, 1, 1)
    reed = s.paint("foliage", colour=(95, 110, 45))
    for _ in range(14):
        x, y = s.draws.uniform(0, 1), s.draws.uniform(0.45, 0.6)
        s.stroke("", reed, 0.018, (x, y), (x + s.draws.uniform(-0.05, 0.05), y - s.draws.uniform(0.15, 0.3)), end=0.006)
    for _ in range(5):
        s.ellipse("", reed.shaded(1.3), s.draws.uniform(0, 1), s.draws.uniform(0.65, 0.95), 0.09, 0.025)


OUTDOORS = {
    "beach": beach,
    "canyon": canyon,
    "crop field": crop_field,
    "desert": desert,
    "harbour": harbour,
    "jungle": jungle,
    "meadow": meadow,
    "mountains": mountains,
    "night city": night_city,
    "night sky": night_sky,
    "playing field": playing_field,
    "snowfield": snowfield,
    "street": street,
    "sunset sea": sunset_sea,
    "swamp": swamp,
    "underwater": underwater,
}
"""Scene name -> the function that draws it."""
