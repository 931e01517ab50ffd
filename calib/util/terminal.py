"""Untrusted text made safe for a terminal, and fitted to columns."""

import itertools
import unicodedata

WIDTH = 100
"""Columns of calib's own output; only a long path exceeds them."""


def terminal_safe(text: str, width: int | None = None) -> str:
    """``text`` in one line, safe for a terminal, with the middle cut out to fit ``width`` columns.

    Control characters (including ANSI escapes), direction overrides, invisible characters, line
    breaks and lone surrogates are shown as escapes, e.g. \\x1b.
    """
    shown = "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
        else character
        for character in text
    )
    if width is None or columns(shown) <= width:
        return shown
    head = _fitting(shown, width // 2)
    tail = _fitting(shown[::-1], width - width // 2 - 1)[::-1]
    return f"{head}…{tail}"


def _fitting(text: str, width: int) -> str:
    """The longest beginning of a text that fits ``width`` columns."""
    taken = itertools.accumulate(map(columns, text))
    return text[: sum(1 for _ in itertools.takewhile(lambda reached: reached <= width, taken))]


def padded(text: str, width: int) -> str:
    """``text``, safe for a terminal, cut or padded to exactly ``width`` columns."""
    shown = terminal_safe(text, width)
    return shown + " " * (width - columns(shown))


def columns(text: str) -> int:
    """The number of terminal columns that ``text`` takes."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
