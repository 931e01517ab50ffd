"""Drawings of animals: a harmless one beside a dangerous one of similar shape."""

import math

from calib.data.mini.pencil import DARK, LIGHT, ORANGE, Colour, Drawing, Pencil, accent


def fish(p: Pencil, c: Colour) -> None:
    p.ellipse(-0.2, 0, 0.75, 0.5, c)
    p.polygon([(0.4, 0), (1, -0.6), (1, 0.6)], c)
    p.ellipse(-0.55, -0.12, 0.12, 0.12, accent(c))


def shark(p: Pencil, c: Colour) -> None:
    p.polygon(
        [(-1, 0.05), (-0.4, -0.3), (-0.1, -0.35), (0.05, -1), (0.4, -0.3), (0.7, -0.05)]
        + [(1, -0.65), (0.95, 0.7), (0.65, 0.25), (0, 0.5), (-0.3, 0.95), (-0.45, 0.45)],
        c,
    )
    p.ellipse(-0.6, -0.03, 0.08, 0.08, accent(c))
    p.polygon([(-0.95, 0.15), (-0.45, 0.12), (-0.6, 0.32)], LIGHT)


def moth(p: Pencil, c: Colour) -> None:
    for side in (-1, 1):
        p.polygon([(0, -0.1), (side * 1, -0.9), (side * 0.95, 0.1), (side * 0.15, 0.15)], c)
        p.polygon([(0, 0), (side * 0.75, 0.2), (side * 0.5, 0.9)], c)
        p.ellipse(side * 0.65, -0.4, 0.16, 0.16, accent(c))
    p.ellipse(0, 0.05, 0.13, 0.6, DARK)


def wasp(p: Pencil, c: Colour) -> None:
    for side in (-1, 1):
        p.ellipse(side * 0.62, -0.2, 0.38, 0.2, (190, 205, 215))
    p.ellipse(0, 0.25, 0.36, 0.6, c)
    for y in (0.05, 0.35):
        p.box(-0.34, y, 0.34, y + 0.14, accent(c))
    p.polygon([(-0.1, 0.8), (0.1, 0.8), (0, 1.1)], DARK)
    p.ellipse(0, -0.55, 0.28, 0.25, c)
    p.line([(-0.1, -0.75), (-0.35, -1)], 0.08, DARK)
    p.line([(0.1, -0.75), (0.35, -1)], 0.08, DARK)


def crab(p: Pencil, c: Colour) -> None:
    for side in (-1, 1):
        p.line([(side * 0.4, 0.2), (side * 0.85, -0.2), (side * 0.7, -0.6)], 0.16, c)
        p.ellipse(side * 0.65, -0.7, 0.3, 0.28, c)
        p.polygon([(side * 0.6, -0.65), (side * 0.45, -1.05), (side * 0.75, -1.05)], LIGHT)
        for y in (0.35, 0.6):
            p.line([(side * 0.5, y), (side * 1, y + 0.3)], 0.12, c)
    p.ellipse(0, 0.3, 0.68, 0.42, c)
    for side in (-1, 1):
        p.ellipse(side * 0.22, 0.15, 0.09, 0.09, accent(c))


def spider(p: Pencil, c: Colour) -> None:
    for side in (-1, 1):
        for start, knee, foot in ((-0.25, -0.85, -0.4), (-0.1, -0.4, 0.1), (0.1, 0, 0.6)):
            p.line([(0, start), (side * 0.65, knee), (side * 1, foot)], 0.1, DARK)
        p.line([(0, 0.2), (side * 0.6, 0.45), (side * 0.75, 1)], 0.1, DARK)
    p.ellipse(0, 0.4, 0.42, 0.48, c)
    p.ellipse(0, -0.25, 0.27, 0.25, c)
    p.line([(0, 0.15), (0, 0.65)], 0.12, accent(c))


def cat(p: Pencil, c: Colour) -> None:
    for side in (-1, 1):
        p.polygon([(side * 0.7, 0.1), (side * 0.75, -0.95), (side * 0.05, -0.4)], c)
    p.ellipse(0, 0.2, 0.8, 0.7, c)
    for side in (-1, 1):
        p.ellipse(side * 0.32, 0.05, 0.12, 0.16, accent(c))
        p.line([(side * 0.3, 0.45), (side * 1, 0.35)], 0.06, accent(c))
        p.line([(side * 0.3, 0.52), (side * 1, 0.62)], 0.06, accent(c))


def wolf(p: Pencil, c: Colour) -> None:
    p.polygon(
        [(-0.85, -1), (-0.3, -0.55), (0.3, -0.55), (0.85, -1), (0.95, 0.05), (0.35, 0.45)]
        + [(0.2, 1), (-0.2, 1), (-0.35, 0.45), (-0.95, 0.05)],
        c,
    )
    for side in (-1, 1):
        p.polygon([(side * 0.15, 0), (side * 0.6, -0.25), (side * 0.5, 0.02)], accent(c))
    p.polygon([(-0.2, 0.75), (0.2, 0.75), (0, 1)], DARK)


def swan(p: Pencil, c: Colour) -> None:
    p.ellipse(0.2, 0.5, 0.75, 0.42, c)
    p.polygon([(0.6, 0.3), (1, -0.15), (0.9, 0.5)], c)
    p.line([(-0.4, 0.5), (-0.65, 0.1), (-0.35, -0.35), (-0.5, -0.75)], 0.2, c)
    p.ellipse(-0.55, -0.78, 0.24, 0.2, c)
    p.polygon([(-0.7, -0.85), (-1.05, -0.68), (-0.7, -0.65)], ORANGE)


def cobra(p: Pencil, c: Colour) -> None:
    for y in (0.85, 0.6):
        p.ellipse(0, y, 0.8, 0.22, c)
        p.ellipse(0, y, 0.45, 0.06, LIGHT)
    p.line([(0, 0.6), (0, -0.3)], 0.26, c)
    p.ellipse(0, -0.35, 0.5, 0.5, c)
    p.ellipse(0, -0.75, 0.24, 0.24, c)
    for side in (-1, 1):
        p.ellipse(side * 0.2, -0.3, 0.11, 0.14, accent(c))
    p.line([(0, -0.9), (0, -1.15)], 0.07, (220, 30, 60))


def snail(p: Pencil, c: Colour) -> None:
    p.line([(-0.9, 0.75), (0.85, 0.75)], 0.3, c)
    p.line([(-0.85, 0.75), (-0.8, 0.1)], 0.2, c)
    p.line([(-0.8, 0.2), (-1, -0.2)], 0.07, DARK)
    p.line([(-0.75, 0.2), (-0.6, -0.2)], 0.07, DARK)
    p.ellipse(0.2, 0.1, 0.62, 0.6, c)
    p.ellipse(0.2, 0.1, 0.42, 0.4, accent(c))
    p.ellipse(0.25, 0.15, 0.24, 0.22, c)


def leech(p: Pencil, c: Colour) -> None:
    bend = [(x / 10, 0.55 - 0.9 * math.exp(-(((x - 1) / 4.5) ** 2))) for x in range(-9, 10)]
    p.line(bend, 0.42, c)
    p.ellipse(-0.85, 0.6, 0.3, 0.26, c)
    p.ellipse(0.85, 0.6, 0.24, 0.22, c)
    p.ellipse(-0.85, 0.6, 0.13, 0.11, accent(c))
    for x, y in ((-0.45, 0.2), (0.1, -0.32), (0.6, 0.1)):
        p.line([(x - 0.12, y - 0.12), (x + 0.12, y + 0.12)], 0.08, accent(c))


DRAWINGS: dict[str, Drawing] = {
    drawing.__name__: drawing
    for drawing in (
        fish, shark, moth, wasp, crab, spider, cat, wolf, swan, cobra, snail, leech,
    )
}  # fmt: skip
