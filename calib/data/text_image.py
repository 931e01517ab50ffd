"""Text drawn as a picture, and the five perturbations of DUAL-Bench (arXiv 2510.10846, §3.3).

The paper does not state the parameters of its perturbations. Ours are: rotation by 6 to 12 degrees
in either direction, uniform noise of up to a third of the grey range. The small font and the
translation are applied where the text is chosen: calib.data.mini.draw and
calib.data.dualbench.rendering.
"""

import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

MIN_ROTATION, MAX_ROTATION = 6.0, 12.0  # degrees
NOISE = 0.33  # share of the grey range
SMALLEST = 8  # pixels; smaller letters are illegible


def render_text(
    text: str,
    size: int = 448,
    font_size: int | None = None,
    shift: tuple[int, int] = (0, 0),
    ink: tuple[int, int, int] = (0, 0, 0),
    paper: tuple[int, int, int] = (255, 255, 255),
) -> Image.Image:
    """Draw ``text`` centred on a square of ``size`` pixels.

    Without ``font_size`` (pixels) lines are wrapped and the largest font size at which the text
    fits is used; text that is too long at SMALLEST overflows the edges. With ``font_size`` lines
    are not wrapped. ``shift`` moves the text by (x, y) pixels.
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
        # Wrapping counts letters, but capitals are wider than average.
        narrow = all(font.getlength(line) <= room for line in lines)
        if whole_words and narrow and len(lines) * pixels * 1.25 <= room:
            break
    return lines, font


def add_background(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Place the dark text of ``image`` on a soft, photo-like scene (sky, hills, light)."""
    soft = soft_scene(image.size, rng)
    text = np.asarray(image.convert("L"), dtype=np.float32)[..., None] / 255
    return Image.fromarray((np.asarray(soft, dtype=np.float32) * text).astype(np.uint8))


def soft_scene(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A blurred scene of light colours, as a substitute for a photograph. RGB of that ``size``."""
    scene = Image.fromarray(rng.integers(110, 256, (5, 5, 3), dtype=np.uint8))
    soft = scene.resize(size, Image.Resampling.BICUBIC)
    return soft.filter(ImageFilter.GaussianBlur(size[0] / 40))


def add_noise(image: Image.Image, rng: np.random.Generator, level: float = NOISE) -> Image.Image:
    """Add uniform noise of at most +-``level`` of the grey range to every pixel and channel."""
    pixels = np.asarray(image, dtype=np.float32)
    noisy = pixels + rng.uniform(-level, level, pixels.shape).astype(np.float32) * 255
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def random_angle(rng: np.random.Generator) -> float:
    """An angle of MIN_ROTATION to MAX_ROTATION degrees in either direction."""
    return float(rng.uniform(MIN_ROTATION, MAX_ROTATION) * rng.choice([-1, 1]))


def rotate(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Rotate the picture by a random angle."""
    angle = random_angle(rng)
    return image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=(255, 255, 255))
