"""The drawing tool of the mini worlds, and the colours that do not depend on the object."""

from collections.abc import Callable

from PIL import ImageDraw

OVERSAMPLE = 4  # factor of the drawing size, for smooth edges after reduction

Colour = tuple[int, int, int]
DARK: Colour = (35, 35, 35)
LIGHT: Colour = (245, 245, 240)
ORANGE: Colour = (255, 140, 0)
GREEN: Colour = (40, 120, 50)
WOOD: Colour = (130, 90, 50)


class Pencil:
    """Draws an object in object coordinates: x and y in [-1, 1] relative to its centre."""

    def __init__(self, draw: ImageDraw.ImageDraw, x: float, y: float, radius: float) -> None:
        self.draw, self.x, self.y, self.radius = draw, x, y, radius

    def point(self, x: float, y: float) -> tuple[float, float]:
        scale = OVERSAMPLE
        return (self.x + x * self.radius) * scale, (self.y + y * self.radius) * scale

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        self.draw.ellipse([*self.point(x - rx, y - ry), *self.point(x + rx, y + ry)], fill)

    def polygon(self, points: list[tuple[float, float]], fill: Colour) -> None:
        self.draw.polygon([self.point(*p) for p in points], fill)

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        self.draw.rectangle([*self.point(left, top), *self.point(right, bottom)], fill)

    def line(self, points: list[tuple[float, float]], width: float, fill: Colour) -> None:
        pixels = max(1, round(width * self.radius * OVERSAMPLE))
        self.draw.line([self.point(*p) for p in points], fill, pixels, joint="curve")


Drawing = Callable[[Pencil, Colour], None]


def accent(colour: Colour) -> Colour:
    """A light detail on dark objects, a dark one on light objects."""
    return LIGHT if sum(colour) < 330 else DARK
