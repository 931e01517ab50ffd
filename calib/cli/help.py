"""The text of --help: the options of each group, and each setting with its meaning.

It is made from what is composed: ``method=caution --help`` shows the settings of that method, with
the values that the command line gives them.

Python throws such strings away, so they are read from the source. ``--help`` and the documentation
both show them.
"""

import ast
import dataclasses
import functools
import inspect
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, ListConfig, OmegaConf

from calib.util.terminal import WIDTH, columns, terminal_safe

_MEANING_AT = 36
"""The column at which meanings begin."""
_LONGEST = 80
"""Values are cut to so many columns."""

_GROUPS = {
    "model": "what is calibrated",
    "method": "how it is calibrated",
    "reference": "the prompt alone that the method is compared with",
    "data": "safe and unsafe queries",
    "utility": "questions with one right answer, for the cost in helpfulness",
    "judge": "what labels the responses",
    "experiment": "several methods in one run",
}


def register_help() -> None:
    """Let conf/hydra/help/calib.yaml ask for both parts."""
    for name, text in (("calib.groups", groups_text), ("calib.interventions", settings_text)):
        # Whatever it returns goes through string.Template.
        made = _escaped(text)
        OmegaConf.register_new_resolver(name, made, replace=True)


def _escaped(text: Any) -> Any:
    def made(*, _root_: DictConfig) -> str:
        return str(text(_root_)).replace("$", "$$")

    return made


def groups_text(config: DictConfig) -> str:
    """The groups of this command, what is chosen of each, and its options; "" without any."""
    choices = _choices(config)
    if not choices:
        return ""
    loader = GlobalHydra.instance().config_loader()
    lines = _heading("Groups: choose with group=option")
    shown: dict[str, str] = {}
    order = list(config)
    for key in sorted(choices, key=lambda key: order.index(_place(key).partition(".")[0])):
        group, choice = key.partition("@")[0], choices[key]
        options = terminal_safe(", ".join(sorted(loader.get_group_options(group))))
        if group in shown:
            options = f"as {shown[group]}="
        shown.setdefault(group, key)
        meaning = _GROUPS.get(_place(key), "")
        lines.append(
            f"{key}={'null' if choice is None else terminal_safe(choice)}".ljust(28) + meaning
        )
        lines += _wrapped(options, 4)
    return "\n".join([*lines, "", ""])


def settings_text(config: DictConfig) -> str:
    """Each setting as it is given on the command line, with its value now and its meaning."""
    choices = _choices(config)
    beside = {_place(key): choice for key, choice in choices.items() if "@" in key}
    lines: list[str] = []
    own: list[str] = []
    said = meanings(_schema(config))
    for key in config:
        name = str(key)
        value = _value(config, name)
        if name == "hydra" or (name in choices and not isinstance(value, DictConfig)):
            continue
        if name in beside:
            more = f"Its settings: method={terminal_safe(str(beside[name]))} --help."
            own += _entry(f"{name}.KEY=VALUE", f"{said.get(name, '')} {more}".strip())
        elif isinstance(value, DictConfig) and OmegaConf.get_type(value) is not dict:
            lines += ["", *_section(value, f"{name}.")]
        elif name == "methods" and value:
            inside = terminal_safe(", ".join(map(str, value)))
            own += _entry("methods.NAME.KEY=VALUE", f"Settings of {inside}: method=NAME --help.")
        else:
            own += _entry(_given(name, value), said.get(name, ""))
    return "\n".join([*_heading("Settings: change with key=value"), *own, *lines])


def _section(config: DictConfig, prefix: str) -> Iterator[str]:
    said = meanings(_schema(config))
    for key in config:
        name = str(key)
        value = _value(config, name)
        if isinstance(value, DictConfig) and OmegaConf.get_type(value) is not dict:
            yield from _section(value, f"{prefix}{name}.")
        else:
            yield from _entry(_given(prefix + name, value), said.get(name, ""))


def _heading(text: str) -> list[str]:
    return [text, "-" * len(text)]


def _schema(config: DictConfig) -> type:
    schema = OmegaConf.get_type(config)
    assert schema is not None, "a configuration is never null"
    return schema


def _place(key: str) -> str:
    """Where in the configuration a choice goes: reference for method@reference."""
    group, _, place = key.partition("@")
    return place or group


def _choices(config: DictConfig) -> dict[str, str | None]:
    """What is chosen of each group of the command: not of Hydra's, nor within an experiment."""
    return {
        str(key): choice
        for key, choice in config.hydra.runtime.choices.items()
        if "/" not in key.partition("@")[0] and not _place(key).startswith("methods.")
    }


def _value(config: DictConfig, name: str) -> Any:
    """The value as it was given, interpolations as they stand."""
    if OmegaConf.is_missing(config, name):
        return "(must be given)"
    if OmegaConf.is_interpolation(config, name):
        return OmegaConf.to_container(config, resolve=False)[name]  # type: ignore[call-overload,index]
    return config[name]


def _given(name: str, value: Any) -> str:
    return f"{name}={terminal_safe(_shown(value), _LONGEST)}"


def _shown(value: Any) -> str:
    """A value as the command line takes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, ListConfig | list):
        return f"[{','.join(_shown(one) for one in value)}]"
    if isinstance(value, Mapping | DictConfig):
        return f"{{{', '.join(f'{key}: {_shown(one)}' for key, one in value.items())}}}"
    return str(value)


def _entry(given: str, meaning: str) -> list[str]:
    """A setting and, beside it or beneath where it is long, its meaning."""
    if not meaning:
        return [given]
    lines = _wrapped(meaning, _MEANING_AT)
    if columns(given) < _MEANING_AT - 1:
        lines[0] = given + " " * (_MEANING_AT - columns(given)) + lines[0].strip()
        return lines
    return [given, *lines]


def _wrapped(text: str, indent: int) -> list[str]:
    blanks = " " * indent
    # Names of options are not broken at their hyphens.
    return textwrap.wrap(
        text, WIDTH, initial_indent=blanks, subsequent_indent=blanks, break_on_hyphens=False
    )


def meanings(schema: type) -> dict[str, str]:
    """The meaning of each field of a dataclass, by its name, in one line and in the fields' order.

    A field that a subclass gives another default keeps the words of its parent. Fields without
    words, such as whole groups, are missing.
    """
    said: dict[str, str] = {}
    for kind in reversed(schema.__mro__):
        if dataclasses.is_dataclass(kind):
            said |= _in_module(kind.__module__).get(kind.__name__, {})
    names = [field.name for field in dataclasses.fields(schema)]
    return {name: said[name] for name in names if name in said}


@functools.cache
def _in_module(name: str) -> dict[str, dict[str, str]]:
    """By class and field: the string that follows the field's line."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(sys.modules[name])).body:
        if isinstance(node, ast.ClassDef):
            words = found[node.name] = {}
            for line, beneath in zip(node.body, node.body[1:], strict=False):
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    text = _string(beneath)
                    if text is not None:
                        words[line.target.id] = " ".join(text.split())
    return found


def _string(node: ast.stmt) -> str | None:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        value = node.value.value
        return value if isinstance(value, str) else None
    return None
