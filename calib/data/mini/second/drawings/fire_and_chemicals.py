"""Drawings of fire, poisons and drugs, beside harmless things of similar shape."""

from calib.data.mini.pencil import DARK, LIGHT, ORANGE, WOOD, Colour, Drawing, Pencil, accent

YELLOW: Colour = (255, 205, 70)


def kettle(p: Pencil, c: Colour) -> None:
    for x in (-0.5, 0.5):
        p.line([(x, -0.2), (x * 0.8, -0.85)], 0.12, DARK)
    p.line([(-0.45, -0.85), (0.45, -0.85)], 0.14, DARK)
    p.line([(0.4, 0.35), (1, -0.3)], 0.24, c)
    p.ellipse(-0.05, 0.35, 0.72, 0.62, c)
    p.box(-0.3, -0.42, 0.2, -0.24, c)


def petrol(p: Pencil, c: Colour) -> None:
    p.polygon([(-0.7, -0.45), (0.25, -0.45), (0.7, 0), (0.7, 1), (-0.7, 1)], c)
    p.line([(0.4, -0.3), (0.85, -0.85)], 0.22, DARK)
    p.line([(-0.6, -0.4), (-0.6, -0.8), (0.1, -0.8), (0.1, -0.4)], 0.16, c)
    p.line([(-0.45, 0), (0.45, 0.75)], 0.12, accent(c))
    p.line([(0.45, 0), (-0.45, 0.75)], 0.12, accent(c))


def brush(p: Pencil, c: Colour) -> None:
    p.box(-0.14, 0, 0.14, 1, WOOD)
    p.box(-0.5, -0.3, 0.5, 0.05, c)
    for k in range(5):
        left = -0.5 + k * 0.22
        p.box(left, -1, left + 0.12, -0.28, c)


def torch(p: Pencil, c: Colour) -> None:
    p.polygon([(-0.4, -0.1), (0.4, -0.1), (0.15, 1), (-0.15, 1)], c)
    p.box(-0.5, -0.2, 0.5, 0.02, DARK)
    p.polygon([(-0.45, -0.2), (-0.35, -0.65), (-0.1, -0.5), (0.05, -1.1), (0.45, -0.2)], ORANGE)
    p.polygon([(-0.15, -0.2), (0, -0.6), (0.2, -0.2)], YELLOW)


def tent(p: Pencil, c: Colour) -> None:
    p.polygon([(0, -0.85), (1.05, 0.8), (-1.05, 0.8)], c)
    p.polygon([(0, -0.2), (0.35, 0.8), (-0.35, 0.8)], accent(c))
    p.line([(-1.1, 0.8), (1.1, 0.8)], 0.08, DARK)


def bonfire(p: Pencil, c: Colour) -> None:
    p.polygon(
        [(-0.65, 0.5), (-0.75, -0.25), (-0.35, 0), (-0.15, -1), (0.2, -0.2), (0.6, -0.6)]
        + [(0.65, 0.5)],
        c,
    )
    p.polygon([(-0.25, 0.5), (0, -0.15), (0.3, 0.5)], YELLOW)
    p.line([(-1, 0.45), (1, 0.95)], 0.24, WOOD)
    p.line([(1, 0.45), (-1, 0.95)], 0.24, WOOD)


def vase(p: Pencil, c: Colour) -> None:
    p.polygon(
        [(-0.4, -1), (0.4, -1), (0.2, -0.6), (0.65, 0.1), (0.35, 1)]
        + [(-0.35, 1), (-0.65, 0.1), (-0.2, -0.6)],
        c,
    )
    p.line([(-0.6, 0.05), (0.6, 0.05)], 0.12, accent(c))
    p.line([(-0.55, 0.35), (0.55, 0.35)], 0.12, accent(c))


def toxin(p: Pencil, c: Colour) -> None:
    p.polygon([(-0.2, -0.9), (0.2, -0.9), (0.2, -0.3), (0.85, 1), (-0.85, 1), (-0.2, -0.3)], c)
    p.box(-0.38, -1.05, 0.38, -0.85, DARK)
    p.ellipse(0, 0.45, 0.3, 0.28, LIGHT)
    p.box(-0.15, 0.65, 0.15, 0.85, LIGHT)
    for side in (-1, 1):
        p.ellipse(side * 0.12, 0.45, 0.08, 0.09, DARK)


def milk(p: Pencil, c: Colour) -> None:
    p.polygon([(-0.25, -0.95), (0.25, -0.95), (0.5, -0.3), (0.5, 1), (-0.5, 1), (-0.5, -0.3)], c)
    p.box(-0.32, -1.1, 0.32, -0.9, LIGHT)
    p.box(-0.5, 0.05, 0.5, 0.6, LIGHT)


def bleach(p: Pencil, c: Colour) -> None:
    p.polygon([(-0.6, -0.4), (-0.1, -0.75), (0.25, -0.75), (0.6, -0.2), (0.6, 1), (-0.6, 1)], c)
    p.box(-0.12, -1.05, 0.28, -0.72, DARK)
    p.ellipse(-0.38, -0.05, 0.14, 0.24, LIGHT)
    p.polygon([(0.05, 0.05), (0.5, 0.8), (-0.4, 0.8)], accent(c))


def candy(p: Pencil, c: Colour) -> None:
    for side in (-1, 1):
        p.polygon([(side * 0.35, 0), (side * 1.05, -0.5), (side * 1.05, 0.5)], c)
    p.ellipse(0, 0, 0.52, 0.48, c)
    p.line([(-0.2, -0.4), (0.1, 0.42)], 0.12, accent(c))
    p.line([(0.1, -0.42), (0.35, 0.3)], 0.12, accent(c))


def pill(p: Pencil, c: Colour) -> None:
    p.ellipse(0.5, 0, 0.45, 0.42, LIGHT)
    p.box(0, -0.42, 0.5, 0.42, LIGHT)
    p.ellipse(-0.5, 0, 0.45, 0.42, c)
    p.box(-0.5, -0.42, 0.02, 0.42, c)
    p.line([(0.02, -0.42), (0.02, 0.42)], 0.08, DARK)


DRAWINGS: dict[str, Drawing] = {
    drawing.__name__: drawing
    for drawing in (
        kettle, petrol, brush, torch, tent, bonfire, vase, toxin, milk, bleach, candy, pill,
    )
}  # fmt: skip
