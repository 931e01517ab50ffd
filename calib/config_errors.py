"""Says in one message what Hydra and OmegaConf say in several, and adds what to do."""

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from hydra.errors import (
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

from calib.config import GROUPS
from calib.errors import did_you_mean

_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_QUOTING = (
    "Settings are written key=value, lists key=[a,b]. Quote a value that holds '=', spaces, commas "
    "or brackets, once for calib and once for the shell: 'out=\"my runs/a=b\"'."
)


def explain(error: Exception, schema: type, overrides: Sequence[str]) -> str:
    """What was wrong with a configuration, with which value, and what to do.

    ``schema`` is the entry point's dataclass, ``overrides`` what the command line said.
    """
    # An error in the command line has a cause; one in a YAML file only a context, and its place.
    inner = error.__cause__ or error.__context__
    cause = inner if isinstance(inner, OmegaConfBaseException) else error
    place = re.match(r"In '[^']*': |", str(error))[0]  # type: ignore[index]
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _unknown_option(error)
    if isinstance(error, OverrideParseException):
        return _bad_syntax(error)
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.full_key:
        return place + unknown_setting(cause.full_key, schema, cause.object_type)
    if isinstance(cause, ValidationError) and cause.full_key:
        return place + _wrong_type(cause, schema, overrides)
    if isinstance(cause, MissingMandatoryValue):
        return _missing(cause, schema)
    several = re.match(r"(?:Ambiguous value for argument|Sweep parameters) '(.+)'", str(error))
    if several:
        return _several_values(several[1])
    if isinstance(error, HydraException):
        return "\n".join(dict.fromkeys(text for text in (str(error), str(cause)) if text))
    key = getattr(cause, "full_key", None)
    return f"{key}: {str(cause).splitlines()[0]}." if key else str(error)


def unknown_setting(key: str, schema: type, owner: type | None = None) -> str:
    """That ``key`` does not exist, and which one was meant or could be.

    ``owner`` is the dataclass in which the key was looked for, where that is known.
    """
    group, _, leaf = key.partition(".")
    options = {option: kind for option, kind in GROUPS.get(group, {}).items() if option != "any"}
    chosen = next((option for option, kind in options.items() if kind is owner), None)
    homes = [option for option, kind in options.items() if leaf in _hints(kind)]
    if chosen and homes:
        return f"{group}={chosen} has no setting '{key}'; {group}={' and '.join(homes)} has it."
    keys = list(_keys(schema))
    siblings = [known for known in keys if leaf and known.startswith(f"{group}.")]
    meant = _closest(key, siblings) or _closest(key, keys)
    if meant:
        return f"There is no setting '{key}'. Did you mean '{meant}'?"
    known = ", ".join(siblings or _hints(schema))
    return f"There is no setting '{key}'. There are: {known}. --help shows them all."


def _unknown_option(error: MissingConfigException) -> str:
    group, _, given = str(error.missing_cfg_file).rpartition("/")
    options = error.options or []
    if not group:
        return str(error).splitlines()[0]
    hint = did_you_mean(given, options)
    return f"There is no {group} '{given}'.{hint} Choose from: {', '.join(options) or 'none'}."


def _bad_syntax(error: OverrideParseException) -> str:
    # The first line says which override and what the parser stumbled over; the rest is a link.
    lines = [line for line in error.message.splitlines() if "https://" not in line]
    named = any(error.override in line for line in lines)
    where = "" if named else f" '{error.override}'"
    return f"Cannot read the setting{where}: {' '.join(lines)}. {_QUOTING}"


def _wrong_type(cause: ValidationError, schema: type, overrides: Sequence[str]) -> str:
    key = str(cause.full_key).partition("[")[0]
    given = next((text for text in overrides if text.lstrip("+").startswith(f"{key}=")), None)
    expected = _expected(key, _annotation(schema, key))
    if given is None or expected is None:
        return f"{key}: {str(cause).splitlines()[0]}."
    return f"{given}: '{given.partition('=')[2]}' does not fit, {key} takes {expected}."


def _missing(cause: MissingMandatoryValue, schema: type) -> str:
    key = cause.full_key or str(cause).partition(": ")[2].splitlines()[0]
    if key in GROUPS:
        return f"Nothing says which {key} to use: add {key}=NAME. --help lists the choices."
    expected = _expected(key, _annotation(schema, key)) or "a value"
    return f"'{key}' must be given: add {key}=VALUE, {expected}."


def _several_values(given: str) -> str:
    key, _, values = given.partition("=")
    return (
        f"{given}: several values for one setting. Add -m to run them one after the other; a list "
        f"is written in brackets, {key}=[{values}]."
    )


def _keys(schema: type, prefix: str = "") -> Iterator[str]:
    """Every full key of ``schema``, under whichever options of its groups."""
    for name, annotation in _hints(schema).items():
        yield prefix + name
        for kind in _kinds(name, annotation):
            yield from _keys(kind, f"{prefix}{name}.")


def _annotation(schema: type, key: str) -> Any:
    name, _, rest = key.partition(".")
    annotation = _hints(schema).get(name)
    if not rest:
        return annotation
    found = (_annotation(kind, rest) for kind in _kinds(name, annotation))
    return next((annotation for annotation in found if annotation is not None), None)


def _kinds(name: str, annotation: Any) -> list[type]:
    if not dataclasses.is_dataclass(annotation):
        return []
    return list(GROUPS[name].values()) if name in GROUPS else [typing.cast(type, annotation)]


def _hints(schema: type) -> dict[str, Any]:
    return typing.get_type_hints(schema)


def _closest(key: str, keys: Sequence[str]) -> str | None:
    # The last part is compared alone, so that strengths finds method.strengths and a long prefix
    # makes no two keys alike; of two with the same last part the first and shortest wins.
    names = {known.rpartition(".")[2]: known for known in reversed(keys)}
    close = difflib.get_close_matches(key.rpartition(".")[2], list(names), n=1, cutoff=0.7)
    return names[close[0]] if close else None


def _expected(key: str, annotation: Any) -> str | None:
    if isinstance(annotation, types.UnionType):
        first = next(part for part in annotation.__args__ if part is not type(None))
        return f"{_expected(key, first)} or null"
    if typing.get_origin(annotation) is list:
        numbers = typing.get_args(annotation)[0] in (int, float)
        return f"a list of numbers: {key}=[1,2]" if numbers else f"a list: {key}=[a,b]"
    if dataclasses.is_dataclass(annotation):
        return f"its settings one by one: {key}.{next(iter(_hints(typing.cast(type, annotation))))}"
    return _KINDS.get(annotation)
