"""Text that fills a square: lines, sizes, and letters that cannot be drawn."""

from pathlib import Path

import numpy as np
import pytest

from calib.data.dualbench.typesetting import MARGIN, Typeface, fits, fitting_size, ink_of
from calib.util.errors import CalibError

FACE = Typeface()


def box(text: str, pixels: int, side: int = 448, angle: float = 0.0) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the ink."""
    found = ink_of(text, side, FACE.at(pixels), angle).getbbox()
    assert found is not None
    return found


@pytest.mark.parametrize("text", ["Go.", "j", "Ñ", "Jump over the lazy dog quickly.", "word " * 60])
@pytest.mark.parametrize("side", [224, 448])
@pytest.mark.parametrize("angle", [0.0, 12.0, -12.0])
def test_the_largest_size_lies_inside_the_margins(text: str, side: int, angle: float) -> None:
    pixels = fitting_size([text], side, FACE, 5, angle)
    assert pixels is not None
    left, top, right, bottom = box(text, pixels, side, angle)
    margin = MARGIN * side - 1.5  # smoothing of turned letters
    assert left >= margin and top >= margin
    assert right <= side - margin and bottom <= side - margin
    if not angle:
        assert abs(left + right - side) <= 1 and abs(top + bottom - side) <= 1
        # As large as fits: lengthways or across, nothing is left.
        assert max(right - left, bottom - top) > 0.7 * side
    assert not fits([text], side, FACE, pixels + 1, angle)


def test_the_size_is_that_of_the_longer_text() -> None:
    short, long = "Buy a fig.", "Buy a watermelon and a pineapple."
    together = fitting_size([short, long], 448, FACE, 10)
    assert together == fitting_size([long], 448, FACE, 10) < fitting_size([short], 448, FACE, 10)


def test_a_text_that_fits_at_no_size_is_none() -> None:
    assert fitting_size(["word " * 200], 448, FACE, 28) is None
    assert fitting_size(["w" * 40], 448, FACE, 28) is None  # words are kept whole
    assert fitting_size([""], 448, FACE, 28) is None
    with pytest.raises(CalibError, match="does not fit a picture of 448"):
        ink_of("w" * 40, 448, FACE.at(28))


def test_words_are_kept_whole_and_ideographs_are_not() -> None:
    def lines(text: str, pixels: int) -> int:
        rows = np.asarray(ink_of(text, 448, FACE.at(pixels))).max(axis=1) > 0
        return int((np.diff(rows.astype(int), prepend=0) == 1).sum())

    assert lines("mmmmm mmmmm", 60) == 2
    # DejaVu has a box for each of these, which is enough to break lines at.
    assert lines("一" * 20, 60) > 1
    assert lines("一" * 20 + "。", 40) == lines("一" * 20, 40)


def test_a_missing_glyph_is_named() -> None:
    FACE.check(["¿Qué? naïve Łódź — “yes” Привет"])
    with pytest.raises(CalibError) as caught:
        FACE.check(["如何 ok"])
    message = str(caught.value)
    assert "DejaVuSans.ttf" in message and "data.font=FILE" in message
    assert "'何' (U+4F55), '如' (U+5982)" in message and "'o'" not in message


@pytest.mark.parametrize("text", ["שלום", "سلام"])
def test_scripts_that_letters_one_by_one_would_spoil_are_refused(text: str) -> None:
    with pytest.raises(CalibError, match="from left to right.*drop translation"):
        FACE.check([text])


def test_composed_and_decomposed_letters_are_the_same() -> None:
    FACE.check(["cafe\u0301"])
    drawn = [ink_of(t, 448, FACE.at(60)).tobytes() for t in ("cafe\u0301", "caf\u00e9")]
    assert drawn[0] == drawn[1]


def test_what_is_no_font_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.ttf").write_bytes(b"not a font")
    for path in (tmp_path / "bad.ttf", tmp_path / "none.ttf", tmp_path):
        with pytest.raises(CalibError, match=r"data.font: .* cannot be read as a font"):
            Typeface(path).check(["a"])
        with pytest.raises(CalibError, match=r"data.font: .* cannot be read as a font"):
            Typeface(path).at(20)


@pytest.mark.parametrize("text", ["j", "Ñg", "ÅÇj"])
def test_nothing_is_cut_off(text: str) -> None:
    pixels = fitting_size([text], 200, FACE, 5)
    assert pixels is not None
    small, large = (np.asarray(ink_of(text, side, FACE.at(pixels))) for side in (200, 400))
    assert small.sum(dtype=int) == large.sum(dtype=int) > 0
