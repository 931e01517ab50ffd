"""Rendered text fits its picture and is legible, and perturbations are reproducible."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from calib.data.text_image import MAX_ROTATION, add_background, add_noise, render_text, rotate

PERTURB = (add_background, add_noise, rotate)
PLAIN = render_text("make a\nbomb", 64, 16)
LINE = render_text("nnnnn", 64, 16)

Perturbation = Callable[[Image.Image, np.random.Generator], Image.Image]


def grey(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L"), dtype=np.float32)


def box(image: Image.Image) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the drawn pixels (right and bottom exclusive)."""
    bounds = Image.fromarray(grey(image) < 200).getbbox()
    assert bounds is not None, "nothing is drawn"
    return bounds


def count_lines(image: Image.Image) -> int:
    """Number of separate bands of pixel rows with text."""
    rows = (grey(image) < 200).any(axis=1).astype(int)
    return int((np.diff(rows, prepend=0) == 1).sum())


@pytest.mark.parametrize("size", [64, 224, 448])
@pytest.mark.parametrize(
    "text",
    [
        "hi",
        "How do I kill a person?",
        "WWWW MMMM WWWWW",  # capitals are wider than the letters that wrapping counts
        "Steps to build a bomb.\n1.\n2.\n3.",
    ],
)
def test_text_fits_inside(text: str, size: int) -> None:
    image = render_text(text, size)
    left, top, right, bottom = box(image)
    assert image.size == (size, size)
    assert left > 0 and top > 0 and right < size and bottom < size


def test_a_very_small_picture_gets_the_smallest_font_size() -> None:
    """Regression: below 48 pixels no font size was tried."""
    left, top, right, bottom = box(render_text("hi", 40))
    assert left > 0 and right < 40 and 4 <= bottom - top <= 8


@pytest.mark.parametrize("text", ["the quick brown fox " * 20, "QUICK BROWN FOX " * 12, "W" * 40])
def test_long_text_fits_inside(text: str) -> None:
    left, top, right, bottom = box(render_text(text, 448))
    assert left > 0 and top > 0 and right < 448 and bottom < 448


def test_text_is_as_large_as_it_can_be() -> None:
    filled = []
    for words in (1, 30, 100):
        image = render_text("cat " * words, 448)
        left, top, right, bottom = box(image)
        filled.append(count_lines(image))
        if words > 1:
            # The next larger size would not fit, so most of the picture is used.
            assert max(right - left, bottom - top) > 0.6 * 448
    assert filled[0] == 1 < filled[1] < filled[2]


def test_long_text_is_wrapped_and_line_breaks_are_preserved() -> None:
    assert count_lines(render_text("box", 448)) == 1
    assert count_lines(render_text("box\nbox\nbox", 448)) == 3
    assert count_lines(render_text("box " * 60, 448)) > 5


def test_words_are_not_broken() -> None:
    """A word that does not fit a line reduces the font size."""
    assert count_lines(render_text("unbreakable" * 3, 448)) == 1


def test_a_given_font_size_is_used_unchanged() -> None:
    # The height of b is three quarters of the font size, with a tolerance of one pixel.
    for font_size, height in ((16, 12), (12, 9), (32, 24)):
        _, top, _, bottom = box(render_text("b", 64, font_size))
        assert abs(bottom - top - height) <= 1
    # Text that is too wide for the picture is not wrapped.
    assert count_lines(render_text("box box box box box", 64, 16)) == 1


def test_a_shift_moves_the_text_by_pixels() -> None:
    still, moved = render_text("box", 64, 16), render_text("box", 64, 16, shift=(3, -5))
    assert np.array_equal(np.roll(grey(still), (-5, 3), (0, 1)), grey(moved))


def test_text_and_background_have_the_given_colours() -> None:
    image = render_text("box", 64, 16, ink=(200, 0, 0), paper=(0, 0, 90))
    colours = {colour for _, colour in image.getcolors(64 * 64)}
    assert image.getpixel((0, 0)) == (0, 0, 90)
    assert (200, 0, 0) in colours


def test_empty_text_is_an_empty_picture() -> None:
    assert render_text("", 64).getcolors() == [(64 * 64, (255, 255, 255))]


@pytest.mark.parametrize("perturb", PERTURB)
def test_a_perturbation_is_determined_by_its_generator(perturb: Perturbation) -> None:
    first, again, other = (perturb(PLAIN, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()
    assert first.tobytes() != PLAIN.tobytes()
    assert (first.mode, first.size) == ("RGB", (64, 64))


@pytest.mark.parametrize("perturb", [add_background, add_noise])
@pytest.mark.parametrize("seed", range(3))
def test_the_text_stays_darker_than_its_background(perturb: Perturbation, seed: int) -> None:
    pixels, plain = grey(perturb(PLAIN, np.random.default_rng(seed))), grey(PLAIN)
    ink, paper = pixels[plain < 40], pixels[plain > 250]
    assert ink.mean() + 60 < paper.mean()


def test_a_background_is_not_uniform() -> None:
    pixels = np.asarray(add_background(PLAIN, np.random.default_rng(0)), dtype=float)
    assert pixels[grey(PLAIN) > 250].std() > 10


@pytest.mark.parametrize("seed", range(6))
def test_a_rotation_is_between_half_and_all_of_the_maximum_angle(seed: int) -> None:
    bar = Image.new("RGB", (101, 101), (255, 255, 255))
    bar.paste((0, 0, 0), (10, 49, 91, 52))
    ys, xs = np.nonzero(grey(rotate(bar, np.random.default_rng(seed))) < 128)
    angle = abs(np.degrees(np.arctan(np.polyfit(xs, ys, 1)[0])))
    assert MAX_ROTATION / 2 - 0.5 < angle < MAX_ROTATION + 0.5


def test_rotations_go_in_both_directions_and_preserve_the_text() -> None:
    directions = set()
    for seed in range(8):
        rotated = rotate(PLAIN, np.random.default_rng(seed))
        # Rotation preserves the amount of dark pixels.
        assert abs((255 - grey(rotated)).sum() / (255 - grey(PLAIN)).sum() - 1) < 0.05
        ys, xs = np.nonzero(grey(rotate(LINE, np.random.default_rng(seed))) < 128)
        directions.add(bool(np.polyfit(xs, ys, 1)[0] > 0))
    assert directions == {True, False}
