"""Checks of single settings, each with the message a user reads."""

import math
import re
import urllib.parse
from typing import Any

from calib.util.errors import CalibError, did_you_mean


def one_of(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        hint = did_you_mean(value, choices)
        raise CalibError(f"{key}: '{value}' is not one of {', '.join(choices)}.{hint}")


def at_least_one(key: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise CalibError(f"{key}: {value} is too small, give 1 or more.")


def between(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # also what is not a number
        raise CalibError(f"{key}: {value} is not between {low:g} and {high:g}.")


def positive(key: str, value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise CalibError(f"{key}: {value} is not a positive number.")


def not_empty(key: str, values: list[Any]) -> list[Any]:
    if not values:
        raise CalibError(f"{key}: the list is empty, give at least one.")
    return values


def finite(key: str, values: list[float]) -> None:
    for value in not_empty(key, values):
        if not math.isfinite(value):
            raise CalibError(f"{key}: {value} is not a finite number.")


def path(key: str, value: str | None) -> None:
    # What an unset shell variable leaves behind; as a path it would mean the current folder.
    if value is not None and not value.strip():
        raise CalibError(f"{key}: the path is empty. Give one, or leave the setting away.")


def layers(key: str, value: Any, names: tuple[str, ...] = ("all",)) -> None:
    numbers = value if isinstance(value, list) else [value]
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers)
    if value not in names and not (numbers and whole):
        raise CalibError(
            f"{key}: {value!r} names no layers. Give {', '.join(names)}, a layer's number counted "
            f"from 0, or a list such as {key}=[3,4]."
        )


def words(name: str, value: Any) -> dict[str, str]:
    """What each word stands for, as text; none where ``value`` is None.

    Any and None in a schema let the command line give such a table whole: Hydra takes no new key
    into one that is there.
    """
    plain = str | int | float | bool
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(
        isinstance(one, plain) for pair in value.items() for one in pair
    ):
        raise CalibError(f"{name}: {value!r} does not say what words stand for: {name}={{a: b}}.")
    return {str(key): str(one) for key, one in value.items()}


def address(key: str, url: str, key_env: str) -> None:
    """An endpoint's; ``key_env`` is the setting that names where its key is."""
    try:
        parts = urllib.parse.urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        whole = False
    if not whole:
        raise CalibError(f"{key}: '{url}' is no address. Give one like https://HOST/v1.")
    if parts.username is not None or parts.query:
        # Not shown: messages end up in logs.
        raise CalibError(
            f"{key} holds a user name or a query. Give the plain address, and the key in the "
            f"environment variable that {key_env} names."
        )


def environment(key: str, variable: str) -> None:
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", variable):
        # Not shown: it may be the key itself.
        raise CalibError(
            f"{key} is not the name of an environment variable. Name the one that holds the key; "
            "the key itself belongs in no setting."
        )
