"""One message with a remedy for each of Hydra's and OmegaConf's configuration errors."""

import difflib
import os.path
import re
import typing
from collections.abc import Sequence

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

from calib.cli.help import meanings
from calib.cli.setting_types import (
    annotation_of,
    hints,
    is_settings,
    setting_keys,
    what_it_takes,
)
from calib.config.method import Activation
from calib.config.prompts import Prompting
from calib.config.quoting import shell_override, unreadable_character
from calib.config.schemas import CONF, ENTRY_POINTS, GROUPS
from calib.config.typed import current_override
from calib.util.errors import CalibError, did_you_mean
from calib.util.listing import shortened

_MOST_NAMES = 4
"""Largest number of names from a long list in a message."""
_PATHS = ("runs", "run", "source", "file")
"""Main settings of the commands that take a path: what an argument without a key is meant for."""
_FILES = ("check", "direction")
"""Settings that a file, which is no run folder, is meant for before those."""
_QUOTING = (
    "Write settings as key=value, lists as key=[a,b]. Quote a value with '=', spaces, commas or "
    "brackets twice, for calib and for the shell: 'out=\"my runs/a=b\"'."
)


def explain(error: Exception, schema: type, overrides: Sequence[str]) -> CalibError:
    """The configuration error as a message that names the setting, its value and the remedy.

    ``schema`` is the command's dataclass, ``overrides`` are its command-line arguments.
    """
    # An error on the command line has a cause; one in a YAML file has a context and a location.
    inner = error.__cause__ or error.__context__
    cause = inner if isinstance(inner, OmegaConfBaseException) and inner.full_key else error
    location = re.match(r"In '[^']*': |", str(error))[0]  # type: ignore[index]
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _unknown_option(error)
    if isinstance(error, OverrideParseException):
        return CalibError("invalid-setting", _bad_syntax(error, schema))
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.full_key:
        unknown = unknown_setting(cause.full_key, schema, cause.object_type, overrides)
        return CalibError(unknown.code, location + unknown.message)
    if isinstance(cause, ValidationError | ConfigTypeError) and cause.full_key:
        return CalibError("invalid-setting", location + _wrong_type(cause, schema, overrides))
    if isinstance(cause, MissingMandatoryValue):
        return CalibError("missing-setting", _missing(cause, schema))
    several = re.match(r"(?:Ambiguous value for argument|Sweep parameters) '(.+)'", str(error))
    if several:
        return CalibError("invalid-setting", _several_values(several[1]))
    if isinstance(error, HydraException):
        texts = dict.fromkeys(text for text in (str(error), str(cause)) if text)
        return CalibError("invalid-setting", "\n".join(texts))
    key = getattr(cause, "full_key", None)
    text = f"{key}: {str(cause).splitlines()[0]}." if key else str(error)
    return CalibError("invalid-setting", text)


def unknown_setting(
    key: str, schema: type, owner: type | None = None, overrides: Sequence[str] = ()
) -> CalibError:
    """The error that setting ``key`` does not exist, with the setting that was probably meant.

    ``owner`` is the dataclass that lacks the setting, if it is known; ``overrides`` are the
    command-line arguments.
    """
    return CalibError("unknown-setting", _unknown_setting(key, schema, owner, overrides))


def _unknown_setting(key: str, schema: type, owner: type | None, overrides: Sequence[str]) -> str:
    present = current_override(key)
    if present != key:  # in a YAML file; on the command line it was replaced before
        return f"'{key}' is now called '{present}'."
    parent, _, leaf = key.rpartition(".")
    if parent == "methods":
        return _unknown_method(leaf, overrides)
    first = key.partition(".")[0]
    group = "method" if first == "methods" else first
    own = [f"{parent}.{name}" for name in hints(owner)] if is_settings(owner) and parent else []
    if own and owner is not None and group in GROUPS:
        option = _selected(group, schema, owner, overrides) if parent == group else None
        candidates = _candidates(group, parent, owner, option, overrides)
        homes = [name for name, kind in candidates.items() if leaf in hints(kind)]
        if homes:
            subject = f"{group}={option}" if option else parent
            verb = "has" if len(homes) == 1 else "have"
            return f"{subject} has no setting '{key}'; {_few(homes)} {verb} it."
    siblings = own
    if parent in ("", group):
        keys = list(dict.fromkeys(setting_keys(schema)))
        siblings = [known for known in keys if leaf and known.startswith(f"{group}.")]
        meant = _closest(key, own) or _closest(key, siblings) or _closest(key, keys)
    else:
        meant = _closest(key, own) or (None if own else _closest(key, list(setting_keys(schema))))
    if meant:
        return f"There is no setting '{key}'. Did you mean '{meant}'?"
    known = ", ".join(own or siblings or hints(schema))
    return f"There is no setting '{key}'. Choose from {known}; --help explains them."


def _unknown_method(name: str, overrides: Sequence[str]) -> str:
    known = list(_methods(overrides))
    add = name if name in _options("method") else "NAME"
    add = f"+method@methods.{name}={add} adds it"
    if known:
        hint = did_you_mean(name, known)
        return f"There is no 'methods.{name}'.{hint} methods has {', '.join(known)}; {add}."
    experiments = [f"experiment={experiment}" for experiment in _names("experiment")]
    return (
        f"There is no 'methods.{name}', because methods is empty. {_few(experiments, 'or')} fills "
        f"it; {add}. The settings of a single method are method.SETTING."
    )


def _candidates(
    group: str, parent: str, owner: type, option: str | None, overrides: Sequence[str]
) -> dict[str, type]:
    """Where else a setting could be that ``owner`` lacks, in the user's notation, with the
    dataclass there."""
    options = _options(group)
    methods = _methods(overrides) if group == "method" else {}
    if option and (parts := _parts(option, parent, overrides)):
        return {part: options[name] for part, name in parts.items() if name in options}
    if methods and (parent == "method" or parent.partition("methods.")[2] in methods):
        return {f"methods.{key}": options[name] for key, name in methods.items() if name in options}
    if parent == group:
        return {f"{group}={name}": kind for name, kind in options.items()}
    # A part of a combination accepts methods of one family.
    family = next((base for base in (Prompting, Activation) if issubclass(owner, base)), owner)
    return {
        f"{group}@{parent}={name}": kind
        for name, kind in options.items()
        if issubclass(kind, family)
    }


def _options(group: str) -> dict[str, type]:
    """The options of a group in conf/, with the dataclasses that their files extend."""
    options = {}
    for name in _names(group):
        schema = re.search(rf"/hydra/schema/{group}@_here_: (\w+)", _text(f"{group}/{name}"))
        if schema and schema[1] in GROUPS[group]:
            options[name] = GROUPS[group][schema[1]]
    return options


def _methods(overrides: Sequence[str]) -> dict[str, str]:
    """The options of ``methods`` that an experiment or the command line sets, by key."""
    lines = [_text(f"experiment/{name}") for name in _given("experiment", overrides)]
    return dict(re.findall(r"method@methods\.(\w+)(?:: |=)(\w+)", "\n".join([*lines, *overrides])))


def _parts(option: str, parent: str, overrides: Sequence[str]) -> dict[str, str]:
    """The options that a combined method consists of, by key."""
    defaults = dict(re.findall(r"- /method@(\w+): (\w+)", _text(f"method/{option}")))
    return {
        f"{parent}.{part}": (_given(f"method@{parent}.{part}", overrides) or [name])[-1]
        for part, name in defaults.items()
    }


def _selected(group: str, schema: type, owner: type, overrides: Sequence[str]) -> str | None:
    """The selected option of a group; of several options with -m, the one that ``owner`` is of."""
    if names := _given(group, overrides):
        options = _options(group)
        return next((name for name in names if options.get(name) is owner), names[0])
    command = next((name for name, kind in ENTRY_POINTS.items() if kind is schema), "")
    files = [*(f"experiment/{name}" for name in _given("experiment", overrides)), command]
    texts = "\n".join(_text(file) for file in files)
    default = re.search(rf"^ +- (?:override /)?{group}: (\w+)$", texts, re.MULTILINE)
    return default[1] if default else None


def _given(key: str, overrides: Sequence[str]) -> list[str]:
    """The option names that the last override of ``key`` gives."""
    texts = [text.lstrip("+") for text in overrides]
    values = [text.partition("=")[2] for text in texts if text.startswith(f"{key}=")]
    return [name for name in values[-1].strip("[]").split(",") if name] if values else []


def _names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def _text(name: str) -> str:
    """The text of a file in conf/; "" for the user's own options, which are elsewhere."""
    path = CONF / f"{name}.yaml"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _few(names: Sequence[str], word: str = "and") -> str:
    *others, last = shortened(names, _MOST_NAMES)
    return f"{', '.join(others)} {word} {last}" if others else last


def _unknown_option(error: MissingConfigException) -> CalibError:
    group, _, given = str(error.missing_cfg_file).rpartition("/")
    options = error.options or []
    if not group:
        return CalibError("not-found", str(error).splitlines()[0])
    if given.startswith("submitit") and group.endswith("launcher"):
        return CalibError(
            "needs-package",
            f"{group}={given} needs hydra-submitit-launcher. Run pip install 'calib[slurm]'.",
        )
    return CalibError(
        "unknown-name",
        f"There is no {group} '{given}'.{did_you_mean(given, options)} "
        f"Choose from {', '.join(options) or 'none'}.",
    )


def _bad_syntax(error: OverrideParseException, schema: type) -> str:
    if "=" not in error.override:
        return f"'{error.override}' is not a setting.{_intended(error.override, schema)} {_QUOTING}"
    if character := unreadable_character(error.override):
        shown = ascii(character) if not character.isprintable() else f'"{character}"'
        if re.search(rf'[{{,][^:,"]*{re.escape(character)}[^:,"]*:', error.override):
            return (
                f"Cannot read the setting '{error.override}': the character {shown} cannot be left "
                f"of a colon. Write a word of yours right of its meaning, e.g. "
                'data.labels={unsafe: ["gefährlich"]}.'
            )
        return (
            f"Cannot read the setting '{error.override}': the character {shown} needs quotation "
            f"marks around the value. {_QUOTING}"
        )
    # The first line has the override and the parser's complaint; the rest is a link.
    lines = [line for line in error.message.splitlines() if "https://" not in line]
    named = any(error.override in line for line in lines)
    override = "" if named else f" '{error.override}'"
    return f"Cannot read the setting{override}: {' '.join(lines)}. {_QUOTING}"


def _intended(argument: str, schema: type) -> str:
    """The setting that an argument without an equals sign was probably meant for, or nothing."""
    settings = hints(schema)
    if argument in settings:
        return f" Did you mean {argument}=VALUE?"
    is_file = os.path.isfile(argument)  # noqa: PTH113  # Path raises for some texts
    keys = (*_FILES, *_PATHS) if is_file else _PATHS
    key = next((key for key in keys if key in settings), None)
    return f" Did you mean {shell_override(key, argument)}?" if key else ""


def _wrong_type(cause: OmegaConfBaseException, schema: type, overrides: Sequence[str]) -> str:
    key = str(cause.full_key).partition("[")[0]
    given = next((text for text in overrides if text.lstrip("+").startswith(f"{key}=")), None)
    expected = what_it_takes(key, annotation_of(schema, key))
    if given is None or expected is None:
        return f"{key}: {str(cause).splitlines()[0]}."
    return f"{given}: '{given.partition('=')[2]}' is not valid; {key} takes {expected}."


def _missing(cause: MissingMandatoryValue, schema: type) -> str:
    key = cause.full_key or str(cause).partition(": ")[2].splitlines()[0]
    if key in GROUPS:
        return f"No {key} is selected: add {key}=NAME. --help lists the options."
    meaning = meanings(schema).get(key, "").partition(". ")[0].rstrip(".")
    if typing.get_origin(annotation_of(schema, key)) is list:
        return f"'{key}' is required: add {key}=VALUE, or several, {key}=[A,B]. {meaning}."
    expected = what_it_takes(key, annotation_of(schema, key)) or "a value"
    return f"'{key}' is required: add {key}=VALUE, {expected}."


def _several_values(given: str) -> str:
    key, _, values = given.partition("=")
    return (
        f"{given}: one setting has several values. Add -m to run them one after the other, or "
        f"write a list in brackets: {key}=[{values}]."
    )


def _closest(key: str, keys: Sequence[str]) -> str | None:
    # Only the last parts are compared: strengths then finds method.strengths, and a long common
    # prefix does not make two keys similar. Of two keys with the same last part the first wins.
    names = {known.rpartition(".")[2]: known for known in reversed(keys)}
    close = difflib.get_close_matches(key.rpartition(".")[2], list(names), n=1, cutoff=0.7)
    return names[close[0]] if close else None
