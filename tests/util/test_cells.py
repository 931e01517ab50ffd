"""Cells of CSV files: no spreadsheet runs them, and nothing of the text is lost."""

import pytest

from calib.util.files import csv_safe, from_csv_safe


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("'=1+1", "''=1+1"),
        ("''@a", "'" + "''@a"),
        ("\ttab", "'\ttab"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("-", "'-"),
        ("'tis", "'tis"),
        ("a=b", "a=b"),
        ("'", "'"),
        ("", ""),
    ],
)
def test_a_cell_is_made_safe_and_is_what_it_was_again(text, cell) -> None:
    assert csv_safe(text) == cell
    assert from_csv_safe(cell) == text
