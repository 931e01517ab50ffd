"""The text of --help: the options of each config group, and every setting with its meaning.

It describes the composed configuration: ``method=caution --help`` shows the settings of method
caution, with the values from the command line. The meaning of a setting is the string below its
field; Python does not keep these strings, so they are read from the source.
"""

import ast
import dataclasses
import functools
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, ListConfig, OmegaConf

from calib.util.terminal import WIDTH, columns, terminal_safe

_MEANING_COLUMN = 36
"""Column at which meanings begin."""
_VALUE_WIDTH = 80
"""Columns to which values are cut."""

GROUP_MEANINGS = {
    "model": "the model to calibrate",
    "method": "the calibration method",
    "reference": "a prompt-only method to compare with",
    "data": "safe and unsafe queries",
    "utility": "questions with one right answer, to measure helpfulness",
    "judge": "the judge that labels responses",
    "engine": "the engine that generates responses",
    "experiment": "several methods in one run",
}
"""The meaning of each config group, and of the key reference. A new group needs a line."""


def register_help() -> None:
    """Register both parts of the text as resolvers, for conf/hydra/help/calib.yaml."""
    for name, text in (("calib.groups", groups_text), ("calib.settings", settings_text)):
        OmegaConf.register_new_resolver(name, _escaped(text), replace=True)


def _escaped(text: Callable[[DictConfig], str]) -> Callable[..., str]:
    def resolver(*, _root_: DictConfig) -> str:
        return text(_root_).replace("$", "$$")  # Hydra passes it through string.Template

    return resolver


def groups_text(config: DictConfig) -> str:
    """The config groups of the command, the selected option of each, and all options; "" if there
    are no groups."""
    choices = _choices(config)
    if not choices:
        return ""
    loader = GlobalHydra.instance().config_loader()
    lines = _heading("Groups: select with group=option")
    shown: dict[str, str] = {}
    order = list(config)
    for key in sorted(choices, key=lambda key: order.index(_package(key).partition(".")[0])):
        group, choice = key.partition("@")[0], choices[key]
        options = terminal_safe(", ".join(sorted(loader.get_group_options(group))))
        if group in shown:
            options = f"as for {shown[group]}="
        shown.setdefault(group, key)
        meaning = GROUP_MEANINGS.get(_package(key), "")
        lines.append(
            f"{key}={'null' if choice is None else terminal_safe(choice)}".ljust(28) + meaning
        )
        lines += _wrapped(options, 4)
    return "\n".join([*lines, "", ""])


def settings_text(config: DictConfig) -> str:
    """Every setting in command-line notation, with its value and meaning."""
    choices = _choices(config)
    elsewhere = {_package(key): choice for key, choice in choices.items() if "@" in key}
    sections: list[str] = []
    own: list[str] = []
    meaning = meanings(_schema(config))
    for key in config:
        name = str(key)
        value = _value(config, name)
        if name == "hydra" or (name in choices and not isinstance(value, DictConfig)):
            continue
        if name in elsewhere:
            more = f"For its settings see method={terminal_safe(str(elsewhere[name]))} --help."
            own += _entry(f"{name}.KEY=VALUE", f"{meaning.get(name, '')} {more}".strip())
        elif isinstance(value, DictConfig) and OmegaConf.get_type(value) is not dict:
            sections += ["", *_section(value, f"{name}.")]
        elif name == "methods" and value:
            names = terminal_safe(", ".join(map(str, value)))
            text = f"Settings of {names}; see method=NAME --help."
            own += _entry("methods.NAME.KEY=VALUE", text)
        else:
            own += _entry(_override(name, value), meaning.get(name, ""))
    return "\n".join([*_heading("Settings: change with key=value"), *own, *sections])


def _section(config: DictConfig, prefix: str) -> Iterator[str]:
    meaning = meanings(_schema(config))
    for key in config:
        name = str(key)
        value = _value(config, name)
        if isinstance(value, DictConfig) and OmegaConf.get_type(value) is not dict:
            yield from _section(value, f"{prefix}{name}.")
        else:
            yield from _entry(_override(prefix + name, value), meaning.get(name, ""))


def _heading(text: str) -> list[str]:
    return [text, "-" * len(text)]


def _schema(config: DictConfig) -> type:
    schema = OmegaConf.get_type(config)
    assert schema is not None, "a configuration is never null"
    return schema


def _package(key: str) -> str:
    """The configuration key that a group's option is placed at: reference for method@reference."""
    group, _, package = key.partition("@")
    return package or group


def _choices(config: DictConfig) -> dict[str, str | None]:
    """The selected option of each group of the command, without Hydra's groups and without the
    methods of an experiment."""
    return {
        str(key): choice
        for key, choice in config.hydra.runtime.choices.items()
        if "/" not in key.partition("@")[0] and not _package(key).startswith("methods.")
    }


def _value(config: DictConfig, name: str) -> Any:
    """The value of a setting, with interpolations unresolved."""
    if OmegaConf.is_missing(config, name):
        return "(required)"
    if OmegaConf.is_interpolation(config, name):
        return OmegaConf.to_container(config, resolve=False)[name]  # type: ignore[call-overload,index]
    return config[name]


def _override(name: str, value: Any) -> str:
    return f"{name}={terminal_safe(_shown(value), _VALUE_WIDTH)}"


def _shown(value: Any) -> str:
    """A value in command-line notation."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, ListConfig | list):
        return f"[{','.join(map(_shown, value))}]"
    if isinstance(value, Mapping | DictConfig):
        return f"{{{', '.join(f'{key}: {_shown(item)}' for key, item in value.items())}}}"
    return str(value)


def _entry(override: str, meaning: str) -> list[str]:
    """A setting and its meaning, on the same line if the setting is short."""
    if not meaning:
        return [override]
    lines = _wrapped(meaning, _MEANING_COLUMN)
    if columns(override) < _MEANING_COLUMN - 1:
        lines[0] = override + " " * (_MEANING_COLUMN - columns(override)) + lines[0].strip()
        return lines
    return [override, *lines]


def _wrapped(text: str, indent: int) -> list[str]:
    blanks = " " * indent
    # Option names must not be broken at hyphens.
    return textwrap.wrap(
        text, WIDTH, initial_indent=blanks, subsequent_indent=blanks, break_on_hyphens=False
    )


def meanings(schema: type) -> dict[str, str]:
    """The meaning of each field of a dataclass, in one line, by name and in the fields' order.

    A subclass that only changes a field's default inherits its meaning. Fields without a meaning,
    such as groups, are left out.
    """
    by_field: dict[str, str] = {}
    for kind in reversed(schema.__mro__):
        if dataclasses.is_dataclass(kind):
            by_field |= _in_module(kind.__module__).get(kind.__name__, {})
    names = [field.name for field in dataclasses.fields(schema)]
    return {name: by_field[name] for name in names if name in by_field}


@functools.cache
def _in_module(name: str) -> dict[str, dict[str, str]]:
    """The string below each field, by class and field."""
    classes: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(sys.modules[name])).body:
        if isinstance(node, ast.ClassDef):
            fields = classes[node.name] = {}
            for line, below in zip(node.body, node.body[1:], strict=False):
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    text = _string(below)
                    if text is not None:
                        fields[line.target.id] = " ".join(text.split())
    return classes


def _string(node: ast.stmt) -> str | None:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        value = node.value.value
        return value if isinstance(value, str) else None
    return None
