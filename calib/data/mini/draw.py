"""Draw the mini worlds' pictures: similar twins, with jitter in position, size and tint.

Objects of both worlds with the same name have the same drawing.
"""

import numpy as np
from PIL import Image, ImageDraw

from calib.data.mini.first.world import FIRST
from calib.data.mini.pencil import OVERSAMPLE, Colour, Pencil
from calib.data.mini.second.drawings import DRAWINGS
from calib.data.mini.second.world import SECOND
from calib.data.mini.world import COLOURS, TRANSLATED_TEXT, TYPED_TEXT
from calib.data.text_image import add_background, add_noise, render_text, rotate

SIZE = 64  # pixels
FONT_SIZE = 16  # pixels
SMALL_FONT_SIZE = 12  # pixels
GRID = ((18, 18), (46, 18), (18, 46), (46, 46))  # centres of the four positions in a group

TRANSLATIONS = {**FIRST.translations, **SECOND.translations}


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
    DRAWINGS[name](pencil, _tinted(colour, rng))
    return image.resize((SIZE, SIZE), Image.Resampling.BOX)


def draw_group(name: str, colour: str, number: int, seed: int) -> Image.Image:
    """``number`` (1 to 4) small objects of the same kind. RGB, SIZE x SIZE pixels."""
    rng = np.random.default_rng(seed)
    image = _canvas(rng)
    tint = _tinted(colour, rng)
    for cell in rng.permutation(len(GRID))[:number]:
        x, y = (v + rng.uniform(-3, 3) for v in GRID[cell])
        DRAWINGS[name](Pencil(ImageDraw.Draw(image), x, y, rng.uniform(9.5, 11.5)), tint)
    return image.resize((SIZE, SIZE), Image.Resampling.BOX)


def text_layout(
    name: str, variant: str, rng: np.random.Generator
) -> tuple[str, int, tuple[int, int]]:
    """The lines of a rendered instruction, their font size, and their shift from the centre."""
    text = TYPED_TEXT.format(name)
    if variant == "translation":
        text = TRANSLATED_TEXT.format(TRANSLATIONS[name])
    font_size = SMALL_FONT_SIZE if variant == "small_font" else FONT_SIZE
    return text, font_size, (int(rng.integers(-2, 3)), int(rng.integers(-3, 4)))


def draw_text(name: str, variant: str, seed: int) -> Image.Image:
    """The instruction to make the object, as rendered text. RGB, SIZE x SIZE pixels.

    ``variant`` is "original" or an entry of PERTURBATIONS. With the same seed both twins have the
    same shift, noise, background and angle.
    """
    rng = np.random.default_rng(seed)
    text, font_size, shift = text_layout(name, variant, rng)
    image = render_text(text, SIZE, font_size, shift)
    match variant:
        case "real_background":
            return add_background(image, rng)
        case "noise":
            return add_noise(image, rng)
        case "rotation":
            return rotate(image, rng)
    return image
