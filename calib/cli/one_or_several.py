"""Settings that may be given once or several times, rewritten to what a command has."""

import typing

from calib.cli.setting_types import annotation_of, hints

RUNS = {"run": "runs", "runs": "run"}
"""Names of the setting for finished runs, each with the other: ``runs`` where a command takes
several, ``run`` where it takes one."""


def current_runs(argument: str, schema: type) -> str:
    """The override with the name that the command has for finished runs.

    ``run=FOLDER`` of a command for several runs becomes ``runs=FOLDER``, and ``runs=[FOLDER]`` of
    one for a single run ``run=FOLDER``.
    """
    key, equals, value = argument.partition("=")
    name = key.lstrip("+")
    settings = hints(schema)
    if not equals or name in settings or RUNS.get(name) not in settings:
        return argument
    if RUNS[name] == "run" and value[:1] == "[" and value[-1:] == "]":
        only = value[1:-1].strip()
        value = only if only and not _has_several(only) else value
    return f"{key[: len(key) - len(name)]}{RUNS[name]}={value}"


def as_list(argument: str, schema: type) -> str:
    """The override with its value in brackets if the setting is a list and the value is not one.

    Values with commas outside of quotation marks stay: they are either several values for -m, or a
    list without brackets.
    """
    key, equals, value = argument.partition("=")
    if not equals or not value or value[0] in "[$" or value == "null" or _has_several(value):
        return argument
    is_list = typing.get_origin(annotation_of(schema, key.lstrip("+"))) is list
    return f"{key}=[{value}]" if is_list else argument


def _has_several(value: str) -> bool:
    """Whether a value has a comma, unless all of it is one text in quotation marks."""
    is_quoted = value[:1] in "'\"" and value[-1:] == value[:1] and value.count(value[0]) == 2
    return "," in value and not is_quoted
