"""Text of others made harmless for a terminal, and cut to columns."""

import unicodedata

WIDTH = 100
"""Columns that what calib prints keeps to, save where a path alone is longer."""


def terminal_safe(text: str, width: int | None = None) -> str:
    """``text`` made harmless for a terminal, in one line, cut in the middle to ``width`` columns.

    Control characters (so ANSI escapes), direction overrides, invisible characters, line breaks
    and lone surrogates appear as their escapes, e.g. \\x1b.
    """
    shown = "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
        else character
        for character in text
    )
    if width is None or columns(shown) <= width:
        return shown
    head, tail = shown, shown
    while columns(head) > width // 2:
        head = head[:-1]
    while columns(tail) > width - width // 2 - 1:
        tail = tail[1:]
    return f"{head}…{tail}"


def padded(text: str, width: int) -> str:
    """``text`` as printable shows it, cut or filled with blanks to just ``width`` columns."""
    shown = terminal_safe(text, width)
    return shown + " " * (width - columns(shown))


def columns(text: str) -> int:
    """How many columns of a terminal ``text`` takes."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
