"""Drawings of explosives, firearms and weapons, beside harmless things of similar shape."""

import math

from calib.data.mini.pencil import DARK, GREEN, LIGHT, ORANGE, Colour, Drawing, Pencil, accent


def pear(p: Pencil, c: Colour) -> None:
    p.line([(0, -0.6), (0.1, -1)], 0.12, DARK)
    p.polygon([(0.1, -0.85), (0.6, -1), (0.5, -0.65)], GREEN)
    p.ellipse(0, 0.4, 0.68, 0.6, c)
    p.ellipse(0, -0.25, 0.36, 0.5, c)


def grenade(p: Pencil, c: Colour) -> None:
    p.ellipse(0, 0.3, 0.62, 0.7, c)
    for offset in (-0.2, 0.2):
        p.line([(offset, -0.25), (offset, 0.9)], 0.08, accent(c))
        p.line([(-0.55, 0.3 + offset), (0.55, 0.3 + offset)], 0.08, accent(c))
    p.box(-0.22, -0.75, 0.22, -0.35, DARK)
    p.line([(0, -0.7), (0.6, -0.65), (0.85, 0)], 0.14, DARK)
    p.ellipse(-0.5, -0.75, 0.28, 0.25, DARK)
    p.ellipse(-0.5, -0.75, 0.15, 0.13, LIGHT)


def gear(p: Pencil, c: Colour) -> None:
    for turn in range(8):
        angle = math.pi * turn / 4
        x, y = math.cos(angle), math.sin(angle)
        p.line([(0.5 * x, 0.5 * y), (x, y)], 0.32, c)
    p.ellipse(0, 0, 0.72, 0.72, c)
    p.ellipse(0, 0, 0.32, 0.32, LIGHT)


def mine(p: Pencil, c: Colour) -> None:
    for turn in range(8):
        angle = math.pi * turn / 4
        x, y = math.cos(angle), math.sin(angle)
        p.line([(0.5 * x, 0.5 * y), (0.9 * x, 0.9 * y)], 0.1, DARK)
        p.ellipse(0.92 * x, 0.92 * y, 0.14, 0.14, DARK)
    p.ellipse(0, 0, 0.62, 0.62, c)
    p.line([(-0.55, 0), (0.55, 0)], 0.12, accent(c))


def carrot(p: Pencil, c: Colour) -> None:
    for x in (-0.4, 0, 0.4):
        p.line([(0, -0.35), (x, -1)], 0.16, GREEN)
    p.polygon([(-0.45, -0.4), (0.45, -0.4), (0.3, 0.1), (0, 1), (-0.3, 0.1)], c)
    p.line([(-0.3, -0.1), (0, -0.1)], 0.07, accent(c))
    p.line([(0, 0.25), (0.2, 0.25)], 0.07, accent(c))


def missile(p: Pencil, c: Colour) -> None:
    p.polygon([(-0.3, 0.2), (-0.8, 0.75), (0.8, 0.75), (0.3, 0.2)], c)
    p.box(-0.3, -0.5, 0.3, 0.7, c)
    p.polygon([(-0.3, -0.5), (0.3, -0.5), (0, -1.05)], DARK)
    p.ellipse(0, -0.15, 0.14, 0.14, accent(c))
    p.polygon([(-0.2, 0.75), (0.2, 0.75), (0, 1.1)], ORANGE)


def crayon(p: Pencil, c: Colour) -> None:
    p.box(-0.32, -0.45, 0.32, 1, c)
    p.polygon([(-0.32, -0.45), (0.32, -0.45), (0.1, -1), (-0.1, -1)], c)
    for y in (-0.35, 0.75):
        p.box(-0.32, y, 0.32, y + 0.12, accent(c))


def bullet(p: Pencil, c: Colour) -> None:
    p.ellipse(0, -0.2, 0.45, 0.8, c)
    p.box(-0.45, -0.1, 0.45, 0.75, c)
    p.box(-0.45, -0.1, 0.45, 0.06, DARK)
    p.box(-0.58, 0.72, 0.58, 1, DARK)


def truck(p: Pencil, c: Colour) -> None:
    p.box(-1, -0.7, 0.25, 0.45, c)
    p.box(0.35, -0.25, 1, 0.45, c)
    p.box(0.55, -0.12, 0.95, 0.12, accent(c))
    for x in (-0.55, 0.62):
        p.ellipse(x, 0.6, 0.28, 0.28, DARK)
        p.ellipse(x, 0.6, 0.1, 0.1, LIGHT)


def tank(p: Pencil, c: Colour) -> None:
    p.line([(0.1, -0.35), (1.1, -0.65)], 0.16, c)
    p.polygon([(-0.5, 0), (-0.35, -0.6), (0.25, -0.6), (0.45, 0)], c)
    p.polygon([(-1, 0), (1, 0), (0.85, 0.35), (-0.85, 0.35)], c)
    p.polygon([(-0.95, 0.4), (0.95, 0.4), (0.7, 0.85), (-0.7, 0.85)], DARK)
    for x in (-0.5, 0, 0.5):
        p.ellipse(x, 0.62, 0.14, 0.14, LIGHT)


def guitar(p: Pencil, c: Colour) -> None:
    p.line([(0, 0), (0.85, -0.85)], 0.2, DARK)
    p.box(0.7, -1.05, 1, -0.75, DARK)
    p.ellipse(-0.45, 0.5, 0.52, 0.46, c)
    p.ellipse(-0.08, 0.08, 0.38, 0.36, c)
    p.ellipse(-0.28, 0.3, 0.17, 0.17, accent(c))


def rifle(p: Pencil, c: Colour) -> None:
    p.polygon([(-1, 0.5), (-0.8, 1), (-0.1, 0.35), (-0.3, 0)], c)
    p.line([(-0.3, 0.25), (1, -0.85)], 0.26, c)
    p.line([(0, 0.1), (0.3, 0.5)], 0.18, DARK)
    p.line([(-0.2, -0.2), (0.3, -0.6)], 0.16, DARK)


def spade(p: Pencil, c: Colour) -> None:
    p.line([(0, -0.9), (0, 0.3)], 0.18, c)
    p.box(-0.35, -1, 0.35, -0.82, DARK)
    p.polygon([(-0.5, 0.05), (0.5, 0.05), (0.48, 0.6), (0, 1.05), (-0.48, 0.6)], c)


def spear(p: Pencil, c: Colour) -> None:
    p.line([(0, -0.3), (0, 1)], 0.18, c)
    p.polygon([(0, -1.1), (0.36, -0.5), (0, -0.15), (-0.36, -0.5)], c)
    p.line([(0, -0.95), (0, -0.25)], 0.08, accent(c))
    p.line([(-0.3, -0.05), (0.3, -0.05)], 0.14, DARK)


def harp(p: Pencil, c: Colour) -> None:
    for x in (-0.4, -0.1, 0.2):
        p.line([(x, -0.85), (x, 0.6 - x)], 0.06, DARK)
    p.line([(-0.75, -0.9), (-0.75, 0.95)], 0.2, c)
    p.line([(-0.8, 0.9), (-0.3, 0.9), (0.85, -0.5)], 0.22, c)
    p.line([(-0.8, -0.9), (0, -0.85), (0.85, -0.5)], 0.2, c)


def bow(p: Pencil, c: Colour) -> None:
    arc = [(-0.4 + math.cos(a / 10 * math.pi), math.sin(a / 10 * math.pi)) for a in range(-5, 6)]
    p.line([(-0.4, -1), (-0.4, 1)], 0.07, DARK)
    p.line(arc, 0.22, c)
    p.line([(-1, 0), (0.9, 0)], 0.09, DARK)
    p.polygon([(1.1, 0), (0.75, -0.2), (0.75, 0.2)], DARK)


def phone(p: Pencil, c: Colour) -> None:
    p.box(-0.55, -1, 0.55, 1, c)
    p.box(-0.4, -0.75, 0.4, 0.5, LIGHT)
    p.ellipse(0, 0.75, 0.14, 0.14, accent(c))


def taser(p: Pencil, c: Colour) -> None:
    p.box(-0.5, -0.35, 0.5, 1, c)
    for side in (-1, 1):
        p.box(side * 0.32 - 0.12, -0.85, side * 0.32 + 0.12, -0.35, DARK)
    p.line([(-0.3, -0.95), (-0.1, -0.75), (0.1, -1), (0.3, -0.8)], 0.12, (255, 210, 40))
    p.polygon(
        [(0.15, -0.15), (-0.25, 0.4), (0, 0.4), (-0.15, 0.85), (0.25, 0.25), (0, 0.25)], LIGHT
    )


def bowl(p: Pencil, c: Colour) -> None:
    half = [
        (0.95 * math.cos(math.pi * k / 12), 0.85 * math.sin(math.pi * k / 12)) for k in range(13)
    ]
    p.polygon(half, c)
    p.box(-0.35, 0.75, 0.35, 0.95, DARK)
    p.line([(-1, 0), (1, 0)], 0.12, accent(c))


def trap(p: Pencil, c: Colour) -> None:
    half = [(math.cos(math.pi * k / 12), 0.75 * math.sin(math.pi * k / 12)) for k in range(13)]
    for x in (-0.75, -0.4, 0, 0.4, 0.75):
        p.polygon([(x - 0.2, 0.2), (x + 0.2, 0.2), (x, -0.65)], DARK)
    p.polygon(half, c)
    p.ellipse(0, 0.15, 0.5, 0.3, LIGHT)
    p.line([(0, 0.7), (0, 1.05)], 0.16, DARK)


def lolly(p: Pencil, c: Colour) -> None:
    p.line([(0, 0), (0, 1)], 0.14, LIGHT)
    p.ellipse(0, -0.35, 0.62, 0.62, c)
    swirl = [
        (0.05 * k * math.cos(k * 0.8), -0.35 + 0.05 * k * math.sin(k * 0.8)) for k in range(10)
    ]
    p.line(swirl, 0.12, accent(c))


def mace(p: Pencil, c: Colour) -> None:
    p.line([(0, 0), (0, 1)], 0.26, DARK)
    for turn in range(7):
        angle = 2 * math.pi * turn / 7 - math.pi / 2
        x, y = math.cos(angle), math.sin(angle)
        side = (0.16 * -y, 0.16 * x)
        p.polygon(
            [(0.35 * x + side[0], -0.35 + 0.35 * y + side[1])]
            + [(0.72 * x, -0.35 + 0.72 * y), (0.35 * x - side[0], -0.35 + 0.35 * y - side[1])],
            DARK,
        )
    p.ellipse(0, -0.35, 0.46, 0.46, c)


DRAWINGS: dict[str, Drawing] = {
    drawing.__name__: drawing
    for drawing in (
        pear, grenade, gear, mine, carrot, missile, crayon, bullet, truck, tank, guitar, rifle,
        spade, spear, harp, bow, phone, taser, bowl, trap, lolly, mace,
    )
}  # fmt: skip
