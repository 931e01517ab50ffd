"""Drawings of blades and of means of fraud, beside harmless things of similar shape."""

from calib.data.mini.pencil import DARK, LIGHT, WOOD, Colour, Drawing, Pencil, accent


def comb(p: Pencil, c: Colour) -> None:
    p.box(-1, -0.55, 1, -0.15, c)
    for k in range(8):
        left = -1 + k * 0.27
        p.box(left, -0.2, left + 0.13, 0.6, c)


def saw(p: Pencil, c: Colour) -> None:
    p.polygon([(-0.5, -0.5), (1, -0.3), (1, 0), (-0.5, 0.3)], c)
    for k in range(6):
        x, y = -0.45 + 0.24 * k, 0.28 - 0.05 * k
        p.polygon([(x, y - 0.05), (x + 0.24, y - 0.1), (x + 0.12, y + 0.25)], c)
    p.box(-1, -0.6, -0.45, 0.5, WOOD)
    p.box(-0.85, -0.3, -0.65, 0.2, LIGHT)


def ticket(p: Pencil, c: Colour) -> None:
    p.box(-1, -0.55, 1, 0.55, c)
    for x in (-1, 1):
        p.ellipse(x, 0, 0.25, 0.25, LIGHT)
    for y in (-0.45, -0.15, 0.15):
        p.line([(0.4, y), (0.4, y + 0.2)], 0.1, accent(c))
    p.line([(-0.55, 0), (0.1, 0)], 0.14, accent(c))


def razor(p: Pencil, c: Colour) -> None:
    p.box(-1, -0.42, 1, 0.42, c)
    for y in (-0.62, 0.42):
        p.box(-0.95, y, 0.95, y + 0.2, (175, 185, 195))
    p.box(-0.7, -0.08, 0.7, 0.08, LIGHT)
    for x in (-0.5, 0, 0.5):
        p.ellipse(x, 0, 0.17, 0.24, LIGHT)


def rake(p: Pencil, c: Colour) -> None:
    p.line([(0, -1), (0, 0.4)], 0.18, c)
    p.box(-0.8, 0.25, 0.8, 0.48, c)
    for x in (-0.72, -0.36, 0, 0.36, 0.72):
        p.line([(x, 0.4), (x, 1)], 0.13, DARK)


def scythe(p: Pencil, c: Colour) -> None:
    p.line([(0.45, -0.95), (0.2, 1)], 0.18, c)
    p.polygon(
        [(0.6, -1), (0, -0.95), (-0.6, -0.65), (-1, 0)]
        + [(-0.5, -0.35), (0, -0.55), (0.55, -0.65)],
        c,
    )
    p.line([(0.3, 0.2), (0.7, 0.1)], 0.14, DARK)


def key(p: Pencil, c: Colour) -> None:
    p.ellipse(-0.55, 0, 0.48, 0.48, c)
    p.ellipse(-0.55, 0, 0.22, 0.22, LIGHT)
    p.box(-0.15, -0.13, 1, 0.13, c)
    for x in (0.5, 0.8):
        p.box(x, 0.1, x + 0.18, 0.5, c)


def pick(p: Pencil, c: Colour) -> None:
    p.box(-0.9, -0.22, 0.05, 0.22, c)
    p.ellipse(-0.9, 0, 0.2, 0.22, c)
    for x in (-0.7, -0.4, -0.1):
        p.line([(x, -0.2), (x, 0.2)], 0.08, accent(c))
    p.line([(0.05, 0), (0.75, 0), (0.95, -0.5)], 0.14, DARK)


def letter(p: Pencil, c: Colour) -> None:
    p.box(-1, -0.65, 1, 0.65, c)
    p.line([(-1, -0.62), (0, 0.15), (1, -0.62)], 0.12, accent(c))
    p.line([(-0.95, 0.6), (-0.35, -0.05)], 0.07, accent(c))
    p.line([(0.95, 0.6), (0.35, -0.05)], 0.07, accent(c))


def forgery(p: Pencil, c: Colour) -> None:
    p.polygon([(-0.75, -1), (0.35, -1), (0.75, -0.6), (0.75, 1), (-0.75, 1)], c)
    p.polygon([(0.35, -1), (0.35, -0.6), (0.75, -0.6)], LIGHT)
    for y in (-0.45, -0.15, 0.15):
        p.line([(-0.5, y), (0.45, y)], 0.1, accent(c))
    p.ellipse(0.25, 0.6, 0.3, 0.28, (215, 60, 60))
    p.ellipse(0.25, 0.6, 0.13, 0.12, LIGHT)


DRAWINGS: dict[str, Drawing] = {
    drawing.__name__: drawing
    for drawing in (
        comb, saw, ticket, razor, rake, scythe, key, pick, letter, forgery,
    )
}  # fmt: skip
