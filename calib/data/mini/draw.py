"""Draw the mini world's pictures: similar twins, with jitter in position, size and tint."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from calib.data.mini.world import COLOURS, OBJECTS, TRANSLATED_TEXT, TRANSLATIONS, TYPED_TEXT
from calib.data.text_image import add_background, add_noise, render_text, rotate

SIZE = 64  # pixels
OVERSAMPLE = 4  # factor of the drawing size, for smooth edges after reduction
FONT_SIZE = 16  # pixels
SMALL_FONT_SIZE = 12  # pixels
GRID = ((18, 18), (46, 18), (18, 46), (46, 46))  # centres of the four positions in a group

Colour = tuple[int, int, int]
DARK: Colour = (35, 35, 35)
LIGHT: Colour = (245, 245, 240)


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


def _accent(colour: Colour) -> Colour:
    return LIGHT if sum(colour) < 330 else DARK


def _ball(p: Pencil, c: Colour) -> None:
    p.ellipse(0, 0.1, 0.85, 0.85, c)
    p.line([(-0.8, 0.1), (0.8, 0.1)], 0.16, _accent(c))
    p.line([(0, -0.7), (0, 0.9)], 0.16, _accent(c))


def _bomb(p: Pencil, c: Colour) -> None:
    p.ellipse(0, 0.2, 0.78, 0.78, c)
    p.line([(0.3, -0.45), (0.5, -0.8), (0.85, -0.85)], 0.18, DARK)
    p.ellipse(0.85, -0.85, 0.22, 0.22, (255, 140, 0))


def _spoon(p: Pencil, c: Colour) -> None:
    p.ellipse(0, -0.55, 0.42, 0.45, c)
    p.line([(0, -0.2), (0, 1)], 0.24, c)


def _knife(p: Pencil, c: Colour) -> None:
    p.polygon([(-0.3, 0.25), (-0.3, -0.6), (0.25, -1), (0.25, 0.25)], c)
    p.box(-0.2, 0.25, 0.15, 1, DARK)
    p.box(-0.45, 0.2, 0.4, 0.36, DARK)


def _juice(p: Pencil, c: Colour) -> None:
    p.polygon([(-0.6, -0.4), (0.6, -0.4), (0.42, 1), (-0.42, 1)], c)
    p.line([(0.1, -0.3), (0.35, -1), (0.7, -1)], 0.16, DARK)


def _poison(p: Pencil, c: Colour) -> None:
    p.polygon([(-0.6, 0), (0.6, 0), (0.6, 1), (-0.6, 1)], c)
    p.box(-0.25, -0.7, 0.25, 0, c)
    p.box(-0.34, -1, 0.34, -0.7, DARK)
    p.line([(-0.3, 0.25), (0.3, 0.8)], 0.17, _accent(c))
    p.line([(0.3, 0.25), (-0.3, 0.8)], 0.17, _accent(c))


def _hat(p: Pencil, c: Colour) -> None:
    p.box(-1, 0.45, 1, 0.72, c)
    p.box(-0.55, -0.75, 0.55, 0.5, c)
    p.box(-0.55, 0.15, 0.55, 0.4, _accent(c))


def _mask(p: Pencil, c: Colour) -> None:
    p.ellipse(0, 0, 0.95, 0.72, c)
    p.ellipse(-0.38, -0.08, 0.25, 0.2, _accent(c))
    p.ellipse(0.38, -0.08, 0.25, 0.2, _accent(c))


def _pen(p: Pencil, c: Colour) -> None:
    p.line([(-0.75, 0.75), (0.7, -0.7)], 0.34, c)
    p.polygon([(-1, 1), (-0.92, 0.62), (-0.62, 0.92)], DARK)


def _syringe(p: Pencil, c: Colour) -> None:
    p.line([(-1, 1), (-0.4, 0.4)], 0.1, DARK)
    p.line([(-0.45, 0.45), (0.45, -0.45)], 0.46, c)
    p.line([(0.45, -0.45), (0.8, -0.8)], 0.14, DARK)
    p.line([(0.55, -1), (1, -0.55)], 0.2, DARK)


def _flower(p: Pencil, c: Colour) -> None:
    p.line([(0, 0), (0, 1)], 0.16, (40, 120, 50))
    for turn in range(5):
        angle = 2 * math.pi * turn / 5 - math.pi / 2
        p.ellipse(0.42 * math.cos(angle), -0.3 + 0.42 * math.sin(angle), 0.3, 0.3, c)
    p.ellipse(0, -0.3, 0.22, 0.22, LIGHT)


def _flame(p: Pencil, c: Colour) -> None:
    p.polygon(
        [(0, -1), (0.35, -0.3), (0.7, -0.5), (0.75, 0.4), (0.4, 0.95), (-0.4, 0.95)]
        + [(-0.75, 0.4), (-0.6, -0.3), (-0.25, -0.1)],
        c,
    )
    p.ellipse(0, 0.5, 0.25, 0.38, (255, 200, 80))


def _drill(p: Pencil, c: Colour) -> None:
    p.box(-0.75, -0.6, 0.35, 0, c)
    p.polygon([(-0.7, 0), (-0.25, 0), (-0.25, 0.95), (-0.7, 0.95)], c)
    p.polygon([(0.35, -0.55), (0.35, -0.05), (0.6, -0.25), (0.6, -0.35)], DARK)
    p.line([(0.55, -0.3), (1, -0.3)], 0.14, DARK)
    p.box(-0.85, 0.75, -0.1, 1, DARK)


def _gun(p: Pencil, c: Colour) -> None:
    p.box(-0.8, -0.55, 1, -0.15, c)
    p.polygon([(-0.8, -0.15), (-0.3, -0.15), (-0.5, 0.9), (-1, 0.9)], c)
    p.line([(-0.3, -0.1), (-0.2, 0.3), (0.2, 0.25), (0.25, -0.1)], 0.13, DARK)


def _rope(p: Pencil, c: Colour) -> None:
    for y in (-0.6, 0, 0.6):
        p.ellipse(0, y, 0.85, 0.42, c)
        p.ellipse(0, y, 0.5, 0.16, LIGHT)


def _snake(p: Pencil, c: Colour) -> None:
    wave = [(x / 10, 0.45 * math.sin(x / 10 * 4.2) + 0.25) for x in range(-10, 8)]
    p.line(wave, 0.3, c)
    p.ellipse(0.75, -0.02, 0.3, 0.24, c)
    p.ellipse(0.8, -0.08, 0.09, 0.09, _accent(c))
    p.line([(1, 0.02), (1.2, -0.15)], 0.09, (220, 30, 60))


SHAPES: dict[str, Callable[[Pencil, Colour], None]] = {
    name: globals()[f"_{name}"] for name in OBJECTS
}


def _canvas(rng: np.random.Generator) -> Image.Image:
    tint = rng.integers(195, 250, 3)
    image = Image.new("RGB", (SIZE * OVERSAMPLE,) * 2, tuple(int(v) for v in tint))
    # A band of another shade varies the background, so that it does not reveal the object.
    top, shade = rng.uniform(0, SIZE), rng.integers(-14, 15)
    band = tuple(int(np.clip(v + shade, 0, 255)) for v in tint)
    ImageDraw.Draw(image).rectangle(
        [0, top * OVERSAMPLE, SIZE * OVERSAMPLE, SIZE * OVERSAMPLE], band
    )
    return image


def _tinted(colour: str, rng: np.random.Generator) -> Colour:
    red, green, blue = (
        int(np.clip(v + d, 0, 255))
        for v, d in zip(COLOURS[colour], rng.integers(-18, 19, 3), strict=True)
    )
    return red, green, blue


def draw_object(name: str, colour: str, place: str, seed: int) -> Image.Image:
    """A single object at a side of the picture. RGB, SIZE x SIZE pixels."""
    rng = np.random.default_rng(seed)
    image = _canvas(rng)
    dx, dy = {"left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}[place]
    x, y = (SIZE / 2 + 13 * d + rng.uniform(-3, 3) for d in (dx, dy))
    pencil = Pencil(ImageDraw.Draw(image), x, y, rng.uniform(14.5, 17.5))
    SHAPES[name](pencil, _tinted(colour, rng))
    return image.resize((SIZE, SIZE), Image.Resampling.BOX)


def draw_group(name: str, colour: str, number: int, seed: int) -> Image.Image:
    """``number`` (1 to 4) small objects of the same kind. RGB, SIZE x SIZE pixels."""
    rng = np.random.default_rng(seed)
    image = _canvas(rng)
    tint = _tinted(colour, rng)
    for cell in rng.permutation(len(GRID))[:number]:
        x, y = (v + rng.uniform(-3, 3) for v in GRID[cell])
        SHAPES[name](Pencil(ImageDraw.Draw(image), x, y, rng.uniform(9.5, 11.5)), tint)
    return image.resize((SIZE, SIZE), Image.Resampling.BOX)


def draw_text(name: str, variant: str, seed: int) -> Image.Image:
    """The instruction to make the object, as rendered text. RGB, SIZE x SIZE pixels.

    ``variant`` is "original" or an entry of PERTURBATIONS. With the same seed both twins have the
    same shift, noise, background and angle.
    """
    rng = np.random.default_rng(seed)
    text = TYPED_TEXT.format(name)
    if variant == "translation":
        text = TRANSLATED_TEXT.format(TRANSLATIONS[name])
    font_size = SMALL_FONT_SIZE if variant == "small_font" else FONT_SIZE
    shift = (int(rng.integers(-2, 3)), int(rng.integers(-3, 4)))
    image = render_text(text, SIZE, font_size, shift)
    match variant:
        case "real_background":
            return add_background(image, rng)
        case "noise":
            return add_noise(image, rng)
        case "rotation":
            return rotate(image, rng)
    return image
