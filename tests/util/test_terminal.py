"""Untrusted text is safe for a terminal and fits its columns."""

import pytest

from calib.util.terminal import columns, padded, terminal_safe


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢", "plain é 漢"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\u202egnp", "\\u202egnp"),
        ("\ud800", "\\ud800"),
    ],
)
def test_control_characters_are_escaped(text, shown) -> None:
    assert terminal_safe(text) == shown


@pytest.mark.parametrize(("text", "width"), [("abc", 3), ("漢字", 4), ("e\u0301", 1)])
def test_columns(text, width) -> None:
    assert columns(text) == width


@pytest.mark.parametrize("text", ["short", "a rather long text of many words", "漢字" * 9])
def test_text_is_cut_in_the_middle_and_padded(text) -> None:
    assert columns(padded(text, 11)) == 11
    cut = terminal_safe(text, 11)
    assert columns(cut) <= 11
    assert cut == text or (cut[0] == text[0] and cut[-1] == text[-1] and "…" in cut)
