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
    ConfigTypeError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

from calib.config.method import Activation
from calib.config.prompts import MethodConfig, Prompting
from calib.config.schemas import CONF, ENTRY_POINTS, GROUPS
from calib.util.errors import did_you_mean

_SHOWN = 4
"""So many of a long list of names are told."""
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
        return place + unknown_setting(cause.full_key, schema, cause.object_type, overrides)
    if isinstance(cause, ValidationError | ConfigTypeError) and cause.full_key:
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


def unknown_setting(
    key: str, schema: type, owner: type | None = None, overrides: Sequence[str] = ()
) -> str:
    """That ``key`` does not exist, and which one was meant or could be.

    ``owner`` is the dataclass in which the key was looked for, where that is known; ``overrides``
    is what the command line said.
    """
    holder, _, leaf = key.rpartition(".")
    if holder == "methods":
        return _unknown_method(leaf, overrides)
    first = key.partition(".")[0]
    group = "method" if first == "methods" else first
    own = [f"{holder}.{name}" for name in _hints(owner)] if _is_ours(owner) and holder else []
    if own and owner is not None and group in GROUPS:
        chosen = _chosen(group, schema, owner, overrides) if holder == group else None
        places = _places(group, holder, owner, chosen, overrides)
        homes = [place for place, kind in places.items() if leaf in _hints(kind)]
        if homes:
            place = f"{group}={chosen}" if chosen else holder
            have = "has it" if len(homes) == 1 else "have it"
            return f"{place} has no setting '{key}'; {_few(homes)} {have}."
    siblings = own
    if holder in ("", group):
        keys = list(dict.fromkeys(_keys(schema)))
        siblings = [known for known in keys if leaf and known.startswith(f"{group}.")]
        meant = _closest(key, own) or _closest(key, siblings) or _closest(key, keys)
    else:
        meant = _closest(key, own) or (None if own else _closest(key, list(_keys(schema))))
    if meant:
        return f"There is no setting '{key}'. Did you mean '{meant}'?"
    known = ", ".join(own or siblings or _hints(schema))
    return f"There is no setting '{key}'. There are: {known}. --help shows them all."


def _unknown_method(name: str, overrides: Sequence[str]) -> str:
    known = list(_several(overrides))
    add = name if name in _options("method") else "NAME"
    add = f"+method@methods.{name}={add} adds one"
    if known:
        hint = did_you_mean(name, known)
        return f"There is no 'methods.{name}'.{hint} methods has {', '.join(known)}; {add}."
    return (
        f"There is no 'methods.{name}': methods is empty. An experiment fills it, "
        f"{_few([f'experiment={one}' for one in _names('experiment')], 'or')}; {add}. "
        "The settings of a single method are method.SETTING."
    )


def _places(
    group: str, holder: str, owner: type, chosen: str | None, overrides: Sequence[str]
) -> dict[str, type]:
    """Where a setting that ``owner`` lacks could be, as it is written, with the dataclass there."""
    options = _options(group)
    several = _several(overrides) if group == "method" else {}
    if chosen and (parts := _parts(chosen, holder, overrides)):
        return {part: options[name] for part, name in parts.items() if name in options}
    if several and (holder == "method" or holder.partition("methods.")[2] in several):
        return {f"methods.{one}": options[name] for one, name in several.items() if name in options}
    if holder == group:
        return {f"{group}={option}": kind for option, kind in options.items()}
    # A part of a combination, which takes methods of one family.
    family = next((base for base in (Prompting, Activation) if issubclass(owner, base)), owner)
    return {
        f"{group}@{holder}={option}": kind
        for option, kind in options.items()
        if issubclass(kind, family)
    }


def _options(group: str) -> dict[str, type]:
    """The options of a group in conf/, with the dataclasses that their files extend."""
    found = {}
    for option in _names(group):
        schema = re.search(rf"/hydra/schema/{group}@_here_: (\w+)", _text(f"{group}/{option}"))
        if schema and schema[1] in GROUPS[group]:
            found[option] = GROUPS[group][schema[1]]
    return found


def _several(overrides: Sequence[str]) -> dict[str, str]:
    """The methods that an experiment or the command line puts into one run, by their keys."""
    lines = [_text(f"experiment/{one}") for one in _given("experiment", overrides)]
    return dict(re.findall(r"method@methods\.(\w+)(?:: |=)(\w+)", "\n".join([*lines, *overrides])))


def _parts(option: str, holder: str, overrides: Sequence[str]) -> dict[str, str]:
    """The methods that a method is combined of, by their keys."""
    found = dict(re.findall(r"- /method@(\w+): (\w+)", _text(f"method/{option}")))
    return {
        f"{holder}.{part}": (_given(f"method@{holder}.{part}", overrides) or [name])[-1]
        for part, name in found.items()
    }


def _chosen(group: str, schema: type, owner: type, overrides: Sequence[str]) -> str | None:
    """The option of a group that a command line means: of several under -m the one at fault."""
    if names := _given(group, overrides):
        options = _options(group)
        return next((name for name in names if options.get(name) is owner), names[0])
    entry = next((name for name, kind in ENTRY_POINTS.items() if kind is schema), "")
    files = [*(f"experiment/{one}" for one in _given("experiment", overrides)), entry]
    texts = "\n".join(_text(file) for file in files)
    default = re.search(rf"^ +- (?:override /)?{group}: (\w+)$", texts, re.MULTILINE)
    return default[1] if default else None


def _given(key: str, overrides: Sequence[str]) -> list[str]:
    """The names that the last of ``overrides`` gives to ``key``."""
    texts = [text.lstrip("+") for text in overrides]
    values = [text.partition("=")[2] for text in texts if text.startswith(f"{key}=")]
    return [name for name in values[-1].strip("[]").split(",") if name] if values else []


def _names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def _text(name: str) -> str:
    """A file of conf/, or nothing: options of the user's own are elsewhere."""
    path = CONF / f"{name}.yaml"
    return path.read_text() if path.is_file() else ""


def _few(names: Sequence[str], word: str = "and") -> str:
    if len(names) > _SHOWN + 1:
        names = [*names[:_SHOWN], f"{len(names) - _SHOWN} more"]
    *others, last = names
    return f"{', '.join(others)} {word} {last}" if others else last


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


def _wrong_type(cause: OmegaConfBaseException, schema: type, overrides: Sequence[str]) -> str:
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
        if not prefix and _is_ours(annotation):  # what methods are combined of is not gone into
            for kind in _kinds(annotation):
                yield from _keys(kind, f"{name}.")


def _annotation(schema: type, key: str) -> Any:
    name, _, rest = key.partition(".")
    annotation = _hints(schema).get(name)
    if rest and typing.get_origin(annotation) is dict:
        annotation, rest = typing.get_args(annotation)[1], rest.partition(".")[2]
    if not rest:
        return annotation
    found = (_annotation(kind, rest) for kind in _kinds(annotation))
    return next((annotation for annotation in found if annotation is not None), None)


def _kinds(annotation: Any) -> list[type]:
    """The dataclasses that may stand where ``annotation`` is: a group's, or itself."""
    if not _is_ours(annotation):
        return []
    known = [kind for kinds in GROUPS.values() for kind in kinds.values()]
    return [kind for kind in known if issubclass(kind, annotation)] or [annotation]


def _is_ours(annotation: Any) -> typing.TypeGuard[type]:
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)


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
    if typing.get_origin(annotation) is dict:
        return f"its entries one by one: {key}.NAME"
    if annotation is MethodConfig:
        return f"its settings one by one, or a method as a whole: method@{key}=NAME"
    if dataclasses.is_dataclass(annotation):
        return f"its settings one by one: {key}.{next(iter(_hints(typing.cast(type, annotation))))}"
    return _KINDS.get(annotation)
