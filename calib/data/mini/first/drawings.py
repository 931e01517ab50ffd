"""Drawings of the first world's objects."""

import math

from calib.data.mini.pencil import DARK, GREEN, LIGHT, ORANGE, Colour, Drawing, Pencil, accent


def ball(p: Pencil, c: Colour) -> None:
    p.ellipse(0, 0.1, 0.85, 0.85, c)
    p.line([(-0.8, 0.1), (0.8, 0.1)], 0.16, accent(c))
    p.line([(0, -0.7), (0, 0.9)], 0.16, accent(c))


def bomb(p: Pencil, c: Colour) -> None:
    p.ellipse(0, 0.2, 0.78, 0.78, c)
    p.line([(0.3, -0.45), (0.5, -0.8), (0.85, -0.85)], 0.18, DARK)
    p.ellipse(0.85, -0.85, 0.22, 0.22, ORANGE)


def spoon(p: Pencil, c: Colour) -> None:
    p.ellipse(0, -0.55, 0.42, 0.45, c)
    p.line([(0, -0.2), (0, 1)], 0.24, c)


def knife(p: Pencil, c: Colour) -> None:
    p.polygon([(-0.3, 0.25), (-0.3, -0.6), (0.25, -1), (0.25, 0.25)], c)
    p.box(-0.2, 0.25, 0.15, 1, DARK)
    p.box(-0.45, 0.2, 0.4, 0.36, DARK)


def juice(p: Pencil, c: Colour) -> None:
    p.polygon([(-0.6, -0.4), (0.6, -0.4), (0.42, 1), (-0.42, 1)], c)
    p.line([(0.1, -0.3), (0.35, -1), (0.7, -1)], 0.16, DARK)


def poison(p: Pencil, c: Colour) -> None:
    p.polygon([(-0.6, 0), (0.6, 0), (0.6, 1), (-0.6, 1)], c)
    p.box(-0.25, -0.7, 0.25, 0, c)
    p.box(-0.34, -1, 0.34, -0.7, DARK)
    p.line([(-0.3, 0.25), (0.3, 0.8)], 0.17, accent(c))
    p.line([(0.3, 0.25), (-0.3, 0.8)], 0.17, accent(c))


def hat(p: Pencil, c: Colour) -> None:
    p.box(-1, 0.45, 1, 0.72, c)
    p.box(-0.55, -0.75, 0.55, 0.5, c)
    p.box(-0.55, 0.15, 0.55, 0.4, accent(c))


def mask(p: Pencil, c: Colour) -> None:
    p.ellipse(0, 0, 0.95, 0.72, c)
    p.ellipse(-0.38, -0.08, 0.25, 0.2, accent(c))
    p.ellipse(0.38, -0.08, 0.25, 0.2, accent(c))


def pen(p: Pencil, c: Colour) -> None:
    p.line([(-0.75, 0.75), (0.7, -0.7)], 0.34, c)
    p.polygon([(-1, 1), (-0.92, 0.62), (-0.62, 0.92)], DARK)


def syringe(p: Pencil, c: Colour) -> None:
    p.line([(-1, 1), (-0.4, 0.4)], 0.1, DARK)
    p.line([(-0.45, 0.45), (0.45, -0.45)], 0.46, c)
    p.line([(0.45, -0.45), (0.8, -0.8)], 0.14, DARK)
    p.line([(0.55, -1), (1, -0.55)], 0.2, DARK)


def flower(p: Pencil, c: Colour) -> None:
    p.line([(0, 0), (0, 1)], 0.16, GREEN)
    for turn in range(5):
        angle = 2 * math.pi * turn / 5 - math.pi / 2
        p.ellipse(0.42 * math.cos(angle), -0.3 + 0.42 * math.sin(angle), 0.3, 0.3, c)
    p.ellipse(0, -0.3, 0.22, 0.22, LIGHT)


def flame(p: Pencil, c: Colour) -> None:
    p.polygon(
        [(0, -1), (0.35, -0.3), (0.7, -0.5), (0.75, 0.4), (0.4, 0.95), (-0.4, 0.95)]
        + [(-0.75, 0.4), (-0.6, -0.3), (-0.25, -0.1)],
        c,
    )
    p.ellipse(0, 0.5, 0.25, 0.38, (255, 200, 80))


def drill(p: Pencil, c: Colour) -> None:
    p.box(-0.75, -0.6, 0.35, 0, c)
    p.polygon([(-0.7, 0), (-0.25, 0), (-0.25, 0.95), (-0.7, 0.95)], c)
    p.polygon([(0.35, -0.55), (0.35, -0.05), (0.6, -0.25), (0.6, -0.35)], DARK)
    p.line([(0.55, -0.3), (1, -0.3)], 0.14, DARK)
    p.box(-0.85, 0.75, -0.1, 1, DARK)


def gun(p: Pencil, c: Colour) -> None:
    p.box(-0.8, -0.55, 1, -0.15, c)
    p.polygon([(-0.8, -0.15), (-0.3, -0.15), (-0.5, 0.9), (-1, 0.9)], c)
    p.line([(-0.3, -0.1), (-0.2, 0.3), (0.2, 0.25), (0.25, -0.1)], 0.13, DARK)


def rope(p: Pencil, c: Colour) -> None:
    for y in (-0.6, 0, 0.6):
        p.ellipse(0, y, 0.85, 0.42, c)
        p.ellipse(0, y, 0.5, 0.16, LIGHT)


def snake(p: Pencil, c: Colour) -> None:
    wave = [(x / 10, 0.45 * math.sin(x / 10 * 4.2) + 0.25) for x in range(-10, 8)]
    p.line(wave, 0.3, c)
    p.ellipse(0.75, -0.02, 0.3, 0.24, c)
    p.ellipse(0.8, -0.08, 0.09, 0.09, accent(c))
    p.line([(1, 0.02), (1.2, -0.15)], 0.09, (220, 30, 60))


DRAWINGS: dict[str, Drawing] = {
    drawing.__name__: drawing
    for drawing in (
        ball, bomb, spoon, knife, juice, poison, hat, mask, pen, syringe, flower, flame, drill, gun,
        rope, snake,
    )
}  # fmt: skip
