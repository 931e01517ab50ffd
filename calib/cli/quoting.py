"""Quote values on the command line that Hydra's grammar has no characters for.

Hydra reads an unquoted value from letters of ASCII, digits, blanks and ``_-/\\+.$%*@?|:`` only. A
path such as /tmp/daté or ~/pictures ends in an error of its lexer. No unquoted reading of such a
value exists, so quoting it changes nothing else. Values that contain quotation marks, brackets or
equals signs have a syntax of their own and stay as they are; ``unreadable_character`` names what
Hydra could not read.
"""

import re

_READABLE = re.compile(r"[A-Za-z0-9_\-/\\+.$%*@?|: \t]*")
_READABLE_KEY = re.compile(r"[A-Za-z0-9_\-/.$@:+~]*")
_SYNTAX = frozenset("'\"(){}=")
_PIECES = re.compile(r"([\[\],])")


def quote_values(argument: str) -> str:
    """The override with each value that Hydra cannot read in quotation marks; lists and values for
    ``-m`` are quoted one by one.

    ``data.root=/tmp/daté`` becomes ``data.root='/tmp/daté'``.
    """
    key, equals, value = argument.partition("=")
    if not equals or key.startswith("-") or _SYNTAX & set(value):
        return argument
    return key + equals + "".join(map(_quoted, _PIECES.split(value)))


def unreadable_character(override: str) -> str | None:
    """The first character of an override, outside of quotation marks, that Hydra cannot read; None
    if there is none."""
    key, _, value = override.partition("=")
    rest = re.sub(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"", "", value)
    for text, readable in ((key, _READABLE_KEY), (rest, _READABLE)):
        for character in text:
            if not readable.fullmatch(character) and character not in "[](){},=":
                return character
    return None


def _quoted(value: str) -> str:
    text = value.strip()
    if _READABLE.fullmatch(text) or text in "[],":
        return value
    # A backslash before the closing quotation mark would escape it.
    backslashes = len(text) - len(text.rstrip("\\"))
    return f"'{text}{backslashes * chr(92)}'"
