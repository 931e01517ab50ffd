"""HTML that is safe by construction: text is escaped unless a tag of ours made it."""

import html
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from calib.util.terminal import terminal_safe

_JOINERS = "\u200c\u200d"
"""Invisible, but parts of words in Persian and Hindi, and of emoji; harmless in a page."""
LONGEST = 20_000
"""Characters of a text that are shown."""


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: str | bool | None) -> Html:
    """An element; an underscore at the end of an attribute's name is dropped, another is a hyphen.

    Children that are not Html, and values of attributes, are text. False and None leave an
    attribute out, True gives it no value.
    """
    shown = "".join(
        f" {key.rstrip('_').replace('_', '-')}"
        + ("" if value is True else f'="{html.escape(_harmless(str(value)))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    inside = joined(children)
    end = "" if name in ("input", "meta", "br", "hr") else f"</{name}>"
    return Html(f"<{name}{shown}>{inside}{end}")


def joined(children: Iterable[str]) -> Html:
    """Markup and text, one after the other."""
    return Html("".join(c if isinstance(c, Html) else html.escape(visible(c)) for c in children))


def visible(text: str) -> str:
    """``text`` as a page shows it; very long text is cut in the middle, which is said there."""
    if len(text) > LONGEST:
        left_out = f"\n[… {len(text) - LONGEST:,} characters left out …]\n"
        text = text[: LONGEST // 2] + left_out + text[-LONGEST // 2 :]
    return _harmless(text)


def _harmless(text: str) -> str:
    """Everything that a page would not show as its escape; line breaks and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c if c in "\n\t" or c in _JOINERS else terminal_safe(c) for c in text.replace("\r\n", "\n")
    )


def link_to(path: Path) -> str:
    """Address of a file that lies relative to the page; never one with a scheme."""
    address = quote(path.as_posix().encode(errors="surrogateescape"))
    return address if path.is_absolute() else f"./{address}"
