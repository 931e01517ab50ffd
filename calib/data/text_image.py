"""Text drawn as a picture, and the five perturbations of DUAL-Bench (arXiv 2510.10846, §3.3).

The paper names the perturbations but not their parameters; the ones here are ours: rotation by 6 to
12 degrees either way, uniform noise of up to a third of the grey range either way. The small font
and the translation belong to whoever supplies the text: calib.data.mini.draw and
calib.data.dualbench.rendering.
"""

import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

PERTURBATIONS = ("real_background", "noise", "rotation", "small_font", "translation")

MIN_ROTATION, MAX_ROTATION = 6.0, 12.0  # degrees
NOISE = 0.33  # share of the grey range
SMALLEST = 8  # pixels: smaller letters cannot be read


def render_text(
    text: str,
    size: int = 448,
    font_size: int | None = None,
    shift: tuple[int, int] = (0, 0),
    ink: tuple[int, int, int] = (0, 0, 0),
    paper: tuple[int, int, int] = (255, 255, 255),
) -> Image.Image:
    """Draw ``text`` centred on a square of ``size`` pixels.

    Without ``font_size`` (pixels) lines are wrapped and the largest size at which everything fits
    is taken (text that is too long even at SMALLEST runs over the edges); with it the lines are
    drawn as they are. ``shift`` moves the text by pixels.
    """
    image = Image.new("RGB", (size, size), paper)
    lines, font = _fit(text, size, font_size)
    x, y = size / 2 + shift[0], size / 2 + shift[1]
    ImageDraw.Draw(image).multiline_text(
        (x, y), "\n".join(lines), fill=ink, font=font, anchor="mm", align="center"
    )
    return image


def _fit(
    text: str, size: int, font_size: int | None
) -> tuple[list[str], ImageFont.FreeTypeFont | ImageFont.ImageFont]:
    if font_size is not None:
        return text.splitlines(), ImageFont.load_default(font_size)
    room = size * 0.92
    for pixels in range(max(size // 6, SMALLEST), SMALLEST - 1, -2):
        font = ImageFont.load_default(pixels)
        letters = max(1, int(room / font.getlength("n")))
        lines = [
            piece for line in text.splitlines() for piece in textwrap.wrap(line, letters) or [""]
        ]
        whole_words = all(len(word) <= letters for word in text.split())
        # Wrapping counts letters, and capitals are wider than the average.
        narrow = all(font.getlength(line) <= room for line in lines)
        if whole_words and narrow and len(lines) * pixels * 1.25 <= room:
            break
    return lines, font


def add_background(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Put the dark text of ``image`` over a soft, photo-like scene (sky, hills, light)."""
    soft = soft_scene(image.size, rng)
    text = np.asarray(image.convert("L"), dtype=np.float32)[..., None] / 255
    return Image.fromarray((np.asarray(soft, dtype=np.float32) * text).astype(np.uint8))


def soft_scene(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Light colours that run into each other, in place of a photograph. RGB of that size."""
    scene = Image.fromarray(rng.integers(110, 256, (5, 5, 3), dtype=np.uint8))
    soft = scene.resize(size, Image.Resampling.BICUBIC)
    return soft.filter(ImageFilter.GaussianBlur(size[0] / 40))


def add_noise(image: Image.Image, rng: np.random.Generator, level: float = NOISE) -> Image.Image:
    """Add uniform noise to every pixel and channel: ``level`` of the grey range either way."""
    pixels = np.asarray(image, dtype=np.float32)
    noisy = pixels + rng.uniform(-level, level, pixels.shape).astype(np.float32) * 255
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def random_angle(rng: np.random.Generator) -> float:
    """An angle of MIN_ROTATION to MAX_ROTATION degrees, either way."""
    return float(rng.uniform(MIN_ROTATION, MAX_ROTATION) * rng.choice([-1, 1]))


def rotate(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Turn the whole picture by a random angle."""
    angle = random_angle(rng)
    return image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=(255, 255, 255))
