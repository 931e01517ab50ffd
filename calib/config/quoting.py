"""Quoting of values on the command line, by Hydra's grammar and for the shell.

Hydra reads an unquoted value from letters of ASCII, digits, blanks and ``_-/\\+.$%*@?|:`` only. A
path such as /tmp/daté or ~/pictures ends in an error of its lexer. No unquoted reading of such a
value exists, so quoting it changes nothing else (``quote_values``). Values that contain quotation
marks, brackets or equals signs have a syntax of their own and stay as they are;
``unreadable_character`` names what Hydra could not read. ``override`` and ``shell_override`` write
a setting of any text, for commands that calib prints.
"""

import re
import shlex
from collections.abc import Mapping

_READABLE = re.compile(r"[A-Za-z0-9_\-/\\+.$%*@?|: \t]*")
_READABLE_KEY = re.compile(r"[A-Za-z0-9_\-/.$@:+~]*")
_SYNTAX = frozenset("'\"(){}=")
_PIECES = re.compile(r"([\[\],])")
_PLAIN = re.compile(r"[A-Za-z0-9_./](?:[A-Za-z0-9_./ -]*[A-Za-z0-9_./-])?")
_WORDS = ("null", "true", "false")
"""Texts besides numbers that Hydra reads as other values."""


def override(key: str, text: str) -> str:
    """The override that sets ``key`` to ``text``, in quotation marks where Hydra needs them."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS and not _is_number(text):
        return f"{key}={text}"
    # Backslashes are doubled where a sign that they would escape follows: ${ and quotation marks.
    escaped = escaped_interpolations(text)
    escaped = re.sub(r'(\\*)(")', r"\1\1\\\2", escaped)
    return f'{key}="{escaped}{_final_backslashes(escaped)}"'


def shell_override(key: str, text: str) -> str:
    """``override``, quoted for a POSIX shell."""
    return shlex.quote(override(key, text))


def shell_table(key: str, table: Mapping[str, str]) -> str:
    """The override that sets ``key`` to a table with plain keys, quoted for a POSIX shell."""
    texts = {name: override("", text).removeprefix("=") for name, text in table.items()}
    texts |= {name: f'"{text}"' for name, text in texts.items() if " " in text and text[0] != '"'}
    pairs = ", ".join(f"{name}: {text}" for name, text in texts.items())
    return shlex.quote(f"{key}={{{pairs}}}")


def escaped_interpolations(text: str) -> str:
    """``text`` with every ``${`` escaped, which OmegaConf would interpolate."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


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
    return f"'{text}{_final_backslashes(text)}'"


def _final_backslashes(text: str) -> str:
    """The backslashes at the end of a text again: one before the closing quotation mark would
    escape it."""
    return text[len(text.rstrip("\\")) :]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
