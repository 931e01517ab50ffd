"""Typesetting in a square: lines, font sizes, and characters that cannot be drawn."""

from pathlib import Path

import numpy as np
import pytest
from raising import raises

from calib.data.dualbench.typesetting import MARGIN, Typeface, draw_coverage, fits, fitting_size

FACE = Typeface()


def box(text: str, pixels: int, side: int = 448, angle: float = 0.0) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the drawn pixels."""
    bounds = draw_coverage(text, side, FACE.at(pixels), angle).getbbox()
    assert bounds is not None
    return bounds


@pytest.mark.parametrize("text", ["Go.", "j", "Ñ", "Jump over the lazy dog quickly.", "word " * 60])
@pytest.mark.parametrize("side", [224, 448])
@pytest.mark.parametrize("angle", [0.0, 12.0, -12.0])
def test_the_largest_size_is_inside_the_margins(text: str, side: int, angle: float) -> None:
    pixels = fitting_size([text], side, FACE, 5, angle)
    assert pixels is not None
    left, top, right, bottom = box(text, pixels, side, angle)
    margin = MARGIN * side - 1.5  # smoothing of rotated letters
    assert left >= margin and top >= margin
    assert right <= side - margin and bottom <= side - margin
    if not angle:
        assert abs(left + right - side) <= 1 and abs(top + bottom - side) <= 1
        # In one direction the text fills most of the picture.
        assert max(right - left, bottom - top) > 0.7 * side
    assert not fits([text], side, FACE, pixels + 1, angle)


def test_the_longer_text_determines_the_size() -> None:
    short, long = "Buy a fig.", "Buy a watermelon and a pineapple."
    together = fitting_size([short, long], 448, FACE, 10)
    assert together == fitting_size([long], 448, FACE, 10) < fitting_size([short], 448, FACE, 10)


def test_a_text_that_fits_at_no_size_has_none() -> None:
    assert fitting_size(["word " * 200], 448, FACE, 28) is None
    assert fitting_size(["w" * 40], 448, FACE, 28) is None  # words are not broken
    assert fitting_size([""], 448, FACE, 28) is None
    with raises("too-large", "448"):
        draw_coverage("w" * 40, 448, FACE.at(28))


def test_lines_break_between_words_or_ideographs() -> None:
    def lines(text: str, pixels: int) -> int:
        rows = np.asarray(draw_coverage(text, 448, FACE.at(pixels))).max(axis=1) > 0
        return int((np.diff(rows.astype(int), prepend=0) == 1).sum())

    assert lines("mmmmm mmmmm", 60) == 2
    # DejaVu draws a box for each ideograph, which is sufficient to test line breaks.
    assert lines("一" * 20, 60) > 1
    assert lines("一" * 20 + "。", 40) == lines("一" * 20, 40)


def test_a_missing_glyph_is_named() -> None:
    FACE.check(["¿Qué? naïve Łódź — “yes” Привет"])
    values = ("DejaVuSans.ttf", "data.font=FILE", "'何' (U+4F55), '如' (U+5982)")
    with raises("unsupported", *values) as caught:
        FACE.check(["如何 ok"])
    assert "'o'" not in str(caught.value)


@pytest.mark.parametrize("text", ["שלום", "سلام"])
def test_scripts_that_require_shaping_are_refused(text: str) -> None:
    with raises("unsupported", f"U+{ord(text[0]):04X}", "data.variants"):
        FACE.check([text])


def test_composed_and_decomposed_letters_are_the_same() -> None:
    FACE.check(["cafe\u0301"])
    drawn = [draw_coverage(t, 448, FACE.at(60)).tobytes() for t in ("cafe\u0301", "caf\u00e9")]
    assert drawn[0] == drawn[1]


def test_a_file_that_is_not_a_font_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.ttf").write_bytes(b"not a font")
    for path in (tmp_path / "bad.ttf", tmp_path / "none.ttf", tmp_path):
        with raises("unreadable", "data.font", path):
            Typeface(path).check(["a"])
        with raises("unreadable", "data.font", path):
            Typeface(path).at(20)


@pytest.mark.parametrize("text", ["j", "Ñg", "ÅÇj"])
def test_no_letter_is_cut_off(text: str) -> None:
    pixels = fitting_size([text], 200, FACE, 5)
    assert pixels is not None
    small, large = (np.asarray(draw_coverage(text, side, FACE.at(pixels))) for side in (200, 400))
    assert small.sum(dtype=int) == large.sum(dtype=int) > 0
