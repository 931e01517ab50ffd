"""The object or letter that each patch of a picture shows, and shifted pictures.

Letters of rotated text are not located.
"""

import functools
import string

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from calib.data.mini.draw import SIZE, text_layout
from experiments.mini_internvl.build import PATCH
from experiments.mini_internvl.scenes import Scene

LETTERS = string.ascii_lowercase
SIDE = SIZE // PATCH
IGNORED = -100
LARGEST_SHIFT = 2  # pixels
CONTRAST = 40  # difference of a channel from the background, in grey values
COVERED = 0.15  # share of a patch's pixels from which on it shows the object
GAIN = 0.1  # largest relative change of brightness


def shifted(
    pictures: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The pictures moved by a few pixels and made brighter or darker, and their shifts (x, y)."""
    count, most = len(pictures), LARGEST_SHIFT
    shifts = rng.integers(-most, most + 1, (count, 2))
    gains = rng.uniform(1 - GAIN, 1 + GAIN, (count, 1, 1, 3)).astype(np.float32)
    padded = np.pad(pictures, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
    moved = np.stack(
        [
            one[most - y : most - y + SIZE, most - x : most - x + SIZE]
            for one, (x, y) in zip(padded, shifts, strict=True)
        ]
    )
    changed = np.clip(moved.astype(np.float32) * gains, 0, 255).astype(np.uint8)
    return changed, [(int(x), int(y)) for x, y in shifts]


def shown_objects(pictures: np.ndarray, objects: list[int]) -> np.ndarray:
    """By patch, 1 + the index of the picture's object if the patch shows it, else 0:
    [pictures, patches] int64. The corner of a picture shows its background."""
    background = pictures[:, :1, :1].astype(np.int16)
    differs = np.abs(pictures.astype(np.int16) - background).max(-1) > CONTRAST
    patches = differs.reshape(len(pictures), SIDE, PATCH, SIDE, PATCH).mean((2, 4))
    shown = patches.reshape(len(pictures), -1) >= COVERED
    return np.where(shown, 1 + np.array(objects, dtype=np.int64)[:, None], 0)


def letters(scene: Scene, shift: tuple[int, int]) -> np.ndarray:
    """By patch, 1 + the letter that covers most of it, else 0: [patches] int64; IGNORED where
    letters are not located."""
    found = np.zeros((SIDE, SIDE), dtype=np.int64)
    if scene.kind != "text" or scene.variant == "rotation":
        found[:] = IGNORED
        return found.ravel()
    most = np.full((SIDE, SIDE), PATCH * PATCH / 4)  # a smaller overlap is not counted
    for index, left, top, right, bottom in letter_boxes(scene):
        x, y = shift
        across = _overlaps(left + x, right + x)
        down = _overlaps(top + y, bottom + y)
        area = down[:, None] * across[None]
        found[area > most] = 1 + index
        most = np.maximum(most, area)
    return found.ravel()


def _overlaps(low: float, high: float) -> np.ndarray:
    """Length of each patch's overlap with an interval, along one side of the picture."""
    starts = np.arange(SIDE) * PATCH
    return np.clip(np.minimum(starts + PATCH, high) - np.maximum(starts, low), 0, None)


@functools.cache
def letter_boxes(scene: Scene) -> list[tuple[int, float, float, float, float]]:
    """Index, left, top, right and bottom (pixels) of each letter of a rendered text."""
    layout = text_layout(scene.name, scene.variant, np.random.default_rng(scene.seed))
    text, font_size, (x, y) = layout
    font = ImageFont.load_default(font_size)
    draw = ImageDraw.Draw(Image.new("L", (SIZE, SIZE)))
    centre = (SIZE / 2 + x, SIZE / 2 + y)
    _, top, _, bottom = draw.multiline_textbbox(centre, text, font, "mm", align="center")
    lines = text.splitlines()
    height = (bottom - top) / len(lines)
    boxes = []
    for number, line in enumerate(lines):
        start = centre[0] - font.getlength(line) / 2
        for k, letter in enumerate(line):
            if letter in LETTERS:
                left, right = (start + font.getlength(line[:end]) for end in (k, k + 1))
                upper = top + number * height
                boxes.append((LETTERS.index(letter), left, upper, right, upper + height))
    return boxes
