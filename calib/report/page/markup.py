"""HTML markup in which text is always escaped, on top of markupsafe."""

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup, escape

from calib.util.terminal import terminal_safe

_JOINERS = "\u200c\u200d"
"""Invisible and harmless; they are part of words in Persian and Hindi, and of emoji."""
MAX_TEXT = 20_000
"""Maximum number of characters of a text that are shown."""


def tag(name: str, /, *children: str, **attributes: str | bool | None) -> Markup:
    """Return an element.

    Children that are not Markup, and values of attributes, are text and are escaped. A trailing
    underscore of an attribute's name is dropped, other underscores become hyphens. False and None
    omit an attribute, True gives it no value.
    """
    pairs = (
        f" {key.rstrip('_').replace('_', '-')}"
        + ("" if value is True else f'="{escape(_with_escapes(str(value)))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    end = "" if name in ("input", "meta", "br", "hr") else f"</{name}>"
    return Markup(f"<{name}{''.join(pairs)}>{joined(children)}{end}")


def joined(children: Iterable[str]) -> Markup:
    """Concatenate markup and text; text is escaped."""
    return Markup("").join(c if isinstance(c, Markup) else visible(c) for c in children)


def visible(text: str) -> str:
    """Return ``text`` with invisible characters as escapes and the middle of a long text cut out.

    The number of characters left out is stated in their place.
    """
    if len(text) > MAX_TEXT:
        left_out = f"\n[… {len(text) - MAX_TEXT:,} characters left out …]\n"
        text = text[: MAX_TEXT // 2] + left_out + text[-MAX_TEXT // 2 :]
    return _with_escapes(text)


def _with_escapes(text: str) -> str:
    """Replace control and invisible characters by escapes, except line breaks and tabs."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c if c in "\n\t" or c in _JOINERS else terminal_safe(c) for c in text.replace("\r\n", "\n")
    )


def link_to(path: Path) -> str:
    """Return the address of a file relative to the page; it never has a scheme."""
    address = quote(path.as_posix().encode(errors="surrogateescape"))
    return address if path.is_absolute() else f"./{address}"
