"""Any text is safe in a terminal and in a spreadsheet, fits its columns, and is read back."""

import csv
import io
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from property_profiles import share
from property_strategies import SIGNS, broken_texts

from calib.util.content import found_instead, quoted_text
from calib.util.errors import did_you_mean, first_line
from calib.util.files import csv_safe, from_csv_safe, without_control_characters
from calib.util.listing import shortened
from calib.util.terminal import columns, padded, terminal_safe

FORMULA = tuple("=+-@\t\r＝﹦⁼₌＋﹢⁺₊－﹣⁻₋−＠﹫")  # noqa: RUF001
long_texts = st.builds(
    lambda text, times: text * times, st.text(SIGNS, min_size=1), st.just(20_000)
)


@given(broken_texts, st.integers(1, 40))
@share(5)
def test_text_in_a_terminal_is_one_line_that_fits(text, width):
    shown = terminal_safe(text, width)
    assert columns(shown) <= width and columns(padded(text, width)) == width
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in shown)
    whole = terminal_safe(text)
    assert shown == whole or "…" in shown
    assert terminal_safe(whole) == whole
    whole.encode()


@given(long_texts, st.integers(1, 40))
@share(0.1)
def test_a_long_text_is_cut(text, width):
    assert columns(terminal_safe(text, width)) <= width


@given(broken_texts)
@share(5)
def test_a_cell_is_no_formula_and_is_read_back(text):
    cell = csv_safe(text)
    assert not cell.startswith(FORMULA)
    assert from_csv_safe(cell) == text
    safe = csv_safe(without_control_characters(text))
    assert without_control_characters(safe) == safe
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\r\n").writerow([safe, "x"])
    assert "\x1b" not in file.getvalue() and "\x00" not in file.getvalue()
    assert next(csv.reader(io.StringIO(file.getvalue(), newline=""))) == [safe, "x"]


@given(st.lists(broken_texts, max_size=12), st.integers(1, 6))
@share(3)
def test_a_short_list_counts_everything(items, most):
    shown = shortened(items, most)
    assert len(shown) <= most + 1
    if shown == items:
        assert len(items) <= most + 1
    else:
        assert shown == [*items[:most], f"{len(items) - most} more"]


@given(st.binary(max_size=80), broken_texts, st.lists(broken_texts, max_size=4))
@share(2)
def test_helpers_of_messages_take_any_text(content, text, choices):
    assert found_instead(content) or content
    assert quoted_text(content) is None or quoted_text(content).isprintable()
    hint = did_you_mean(text, choices)
    assert not hint or any(choice in hint for choice in choices)
    assert first_line(ValueError(text))
