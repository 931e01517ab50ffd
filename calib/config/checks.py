"""Checks of single settings, each with the message that the user reads.

All raise CalibError with code invalid-setting; ``key`` is the setting as the user writes it.
"""

import math
import numbers
import re
import urllib.parse
from collections.abc import Sequence
from typing import Any

from calib.config.choices import READ_POSITIONS, TEMPLATE_ARGUMENTS
from calib.util.errors import CalibError, did_you_mean


def one_of(key: str, value: str, choices: Sequence[str]) -> None:
    text(key, value)
    if value not in choices:
        hint = did_you_mean(value, choices)
        raise CalibError(
            "invalid-setting", f"{key}: '{value}' is not one of {', '.join(choices)}.{hint}"
        )


def text(key: str, value: Any) -> None:
    if not isinstance(value, str):
        raise CalibError(
            "invalid-setting", f"{key}: {value!r:.80} is of type {type(value).__name__}, not text."
        )


def some_of(key: str, values: str | list[str], choices: tuple[str, ...]) -> list[str]:
    """The distinct ``values``, in order; each must be one of ``choices``."""
    for value in not_empty(key, values := [values] if isinstance(values, str) else values):
        one_of(key, value, choices)
    return list(dict.fromkeys(values))


def at_least_one(key: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise CalibError("invalid-setting", f"{key}: {value} is too small. Give 1 or more.")


def count(key: str, value: Any, other: str) -> None:
    """Accept a whole number of 1 or more; ``other`` is what the setting takes as well."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CalibError(
            "invalid-setting", f"{key}: {value!r} is neither {other} nor a whole number from 1 on."
        )


def between(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # NaN fails, too
        raise CalibError("invalid-setting", f"{key}: {value} is not between {low:g} and {high:g}.")


def positive(key: str, value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise CalibError("invalid-setting", f"{key}: {value} is not a positive number.")


def not_empty(key: str, values: list[Any]) -> list[Any]:
    if not values:
        raise CalibError("invalid-setting", f"{key}: the list is empty. Give at least one value.")
    return values


def finite(key: str, values: list[float]) -> None:
    for value in not_empty(key, values):
        if not math.isfinite(value):
            raise CalibError("invalid-setting", f"{key}: {value} is not a finite number.")


def finite_number(key: str, value: Any) -> None:
    """Accept a finite number, of Python, numpy or torch."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value):
        raise CalibError("invalid-setting", f"{key}: {value!r:.80} is not a finite number.")


def template_kwargs(key: str, value: Any) -> None:
    """Check variables of a chat template: a table whose names are no arguments of calib's own."""
    if not isinstance(value, dict | None):
        raise CalibError(
            "invalid-setting",
            f"{key}: {value!r} is not a table. Give variables of the chat template by name: "
            f"{key}={{enable_thinking: false}}.",
        )
    for name in value or {}:
        if not isinstance(name, str) or name in TEMPLATE_ARGUMENTS:
            raise CalibError(
                "conflicting-settings",
                f"{key}: '{name}' is decided by the conversation, and is no setting. Omit it.",
            )


def path(key: str, value: str | None) -> None:
    # An unset shell variable gives an empty text, which as a path would mean the current folder.
    if value is not None and not value.strip():
        raise CalibError(
            "invalid-setting", f"{key}: the path is empty. Give a path, or omit the setting."
        )


def not_blank(key: str, value: str | None) -> None:
    # As for paths: an unset shell variable must not stand for the default.
    if value is not None and not value.strip():
        raise CalibError("invalid-setting", f"{key} is blank. Give a value, or omit the setting.")


def layers(key: str, value: Any, names: Sequence[str] = ("all",)) -> None:
    """Accept a layer's number (from 0), a list of numbers, or one of ``names``."""
    numbers = value if isinstance(value, list) else [value]
    are_layers = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers)
    if value not in names and not (numbers and are_layers):
        raise CalibError(
            "invalid-setting",
            f"{key}: {value!r} does not name layers. Give {', '.join(names)}, a layer's number "
            f"(from 0), or a list such as {key}=[3,4].",
        )


def shard(key: str, value: str) -> tuple[int, int]:
    """The number and the count of a part of a run, from text such as 2/5."""
    parts = re.fullmatch("([0-9]{1,6})/([0-9]{1,6})", value)
    number, count = map(int, parts.groups()) if parts else (0, 0)
    if not 1 <= number <= count:
        raise CalibError(
            "invalid-setting",
            f"{key}: '{value}' is no part of a run. Give its number and the count of parts, such "
            f"as {key}=2/5.",
        )
    return number, count


def read_positions(key: str, value: str) -> None:
    """Accept a name of READ_POSITIONS, or last_prompt-N."""
    text(key, value)
    if not re.fullmatch("last_prompt-[1-9][0-9]{0,5}", value):
        one_of(key, value, READ_POSITIONS)


def translation(key: str, value: Any) -> dict[str, str]:
    """A table from the user's words to ours, as text; empty for None.

    The schemas type such settings as Any with default None, because Hydra accepts no new keys in a
    typed table from the command line.
    """
    scalar = str | int | float | bool
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(
        isinstance(word, scalar) for pair in value.items() for word in pair
    ):
        raise CalibError(
            "invalid-setting",
            f"{key}: {value!r} is not a table of words. Write it as {key}={{YOURS: OURS}}.",
        )
    return {str(word): str(meaning) for word, meaning in value.items()}


def meanings(key: str, value: Any, choices: Sequence[str]) -> dict[str, str]:
    """The meaning, one of ``choices``, of each of the user's words, by their ``word_key``; empty
    for None.

    A table {YOURS: OURS}, or {OURS: YOURS} with a word or a list of words, since Hydra reads keys
    of few characters only. Typed as Any in the schemas, as in ``translation``.
    """
    if value is None:
        return {}
    example = f"Write it as {key}={{YOURS: {choices[0]}}} or {key}={{{choices[0]}: [YOURS]}}."
    if not isinstance(value, dict) or not value:
        raise CalibError("invalid-setting", f"{key}: {value!r} is not a table of words. {example}")
    found: dict[str, str] = {}
    for left, right in value.items():
        if right in choices:
            pairs = [(left, right)]
        elif left in choices:
            pairs = [(word, left) for word in (right if isinstance(right, list) else [right])]
        else:
            raise CalibError(
                "invalid-setting",
                f"{key}: neither {left!r} nor {right!r} is {' or '.join(choices)}. {example}",
            )
        for word, meaning in pairs:
            if not isinstance(word, str | int | float):
                raise CalibError("invalid-setting", f"{key}: {word!r} is not a word. {example}")
            if found.setdefault(word_key(word), meaning) != meaning:
                raise CalibError(
                    "conflicting-settings", f"{key}: '{word}' has two meanings. Omit one of them."
                )
    return found


def word_key(value: Any) -> str:
    """A cell or a word of a setting for comparison: yes, Yes and " YES " are the same, and so are 1
    and 1.0, and true and TRUE."""
    text = " ".join(str(value).split()).casefold()
    return text.partition(".")[0] if re.fullmatch(r"-?[0-9]+\.0+", text) else text


def address(key: str, url: str, key_env: str) -> None:
    """Accept the address of an endpoint; ``key_env`` is the setting that names its key's variable.

    A key inside the address is refused, and not repeated in the message.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
        valid = valid and parts.port != 0 and not re.search(r"[\s,]", url)
    except ValueError:
        valid = False
    if not valid:
        # What is malformed may hold a password where none is looked for.
        given = key if re.search("[@?#]", url) else f"{key}: '{url}'"
        raise CalibError(
            "invalid-setting", f"{given} is not an address. Give one like https://HOST/v1."
        )
    if parts.username is not None or parts.query or parts.fragment:
        # Not shown: messages end up in logs.
        raise CalibError(
            "invalid-setting",
            f"{key} contains a user name, a query or a fragment. Give the plain address, and put "
            f"the key into the environment variable that {key_env} names.",
        )


def environment(key: str, variable: str) -> None:
    """Accept the name of an environment variable; anything else is not repeated."""
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", variable):
        # Not shown: it may be the key itself.
        raise CalibError(
            "invalid-setting",
            f"{key} is not the name of an environment variable. Give the name of the variable "
            "that holds the key, never the key itself.",
        )
