"""Extensions: methods, judges and data sets that other installed packages add, without a fork.

A package declares an entry point whose value is a module:

    [project.entry-points."calib.methods"]
    soften = "my_package.soften"

The module defines the function that a file of calib of that kind defines: ``method(fitting,
config)``, ``build(config)`` of a judge, or ``load(config)`` of a data set. The annotation of
``config`` is the dataclass of its settings, with their defaults. docs/adding.md has an example.
"""

import dataclasses
import functools
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from calib.config.data import DataConfig
from calib.config.judge import JudgeConfig
from calib.config.prompts import MethodConfig
from calib.config.schemas import CONF, GROUPS
from calib.util.errors import CalibError, first_line


@dataclass(frozen=True)
class _Kind:
    entry_points: str
    """Group of the entry points."""
    function: str
    """Function that the module defines."""
    base: type
    """Base class of the dataclass of settings."""


KINDS = {
    "method": _Kind("calib.methods", "method", MethodConfig),
    "judge": _Kind("calib.judges", "build", JudgeConfig),
    "data": _Kind("calib.data", "load", DataConfig),
}
"""What extensions can add, by config group."""


@dataclass(frozen=True)
class Extension:
    """One method, judge or data set of another package."""

    name: str
    module: ModuleType
    schema: type
    """Dataclass of its settings."""


@functools.cache
def extensions(group: str) -> Mapping[str, Extension]:
    """The extensions of a config group by name; empty for groups that take none.

    Raises CalibError for one that cannot be imported (unreadable), lacks its function or the
    dataclass of its settings (invalid-content), or has the name of another (duplicate).
    """
    kind = KINDS.get(group)
    if kind is None:
        return {}
    found: dict[str, Extension] = {}
    for point in sorted(entry_points(group=kind.entry_points), key=lambda point: point.name):
        if point.name in found or (CONF / group / f"{point.name}.yaml").is_file():
            owner = "another package" if point.name in found else "calib"
            raise CalibError(
                "duplicate",
                f"{_where(point)}: {owner} has a {group} of this name. Rename the entry point, or "
                "uninstall the package.",
            )
        found[point.name] = _loaded(point, kind)
    return found


def schemas_for(group: str, settings: Mapping[str, Any]) -> list[type]:
    """The dataclasses that settings of a group may have: the extension's own, or those of calib.

    Empty for settings that are no group.
    """
    named = [str(settings.get(key)) for key in ("file", "name")]
    own = [extensions(group)[name].schema for name in named if name in extensions(group)]
    return own[:1] or list(GROUPS.get(group, {}).values())


def _loaded(point: EntryPoint, kind: _Kind) -> Extension:
    if not re.fullmatch(r"[A-Za-z]\w*", point.name, re.ASCII):
        raise CalibError(
            "invalid-value",
            f"{_where(point)}: its name has other characters than letters, digits and _. Rename "
            "the entry point.",
        )
    try:
        module = point.load()
        function = getattr(module, kind.function, None)
        schema = typing.get_type_hints(function).get("config") if callable(function) else None
    except (Exception, SystemExit) as error:  # code of others can raise any
        raise CalibError(
            "unreadable",
            f"{_where(point)} cannot be loaded ({type(error).__name__}: {first_line(error)}). "
            "Repair the package, or uninstall it.",
        ) from error
    if not isinstance(module, ModuleType) or not callable(function):
        raise CalibError(
            "invalid-content",
            f"{_where(point)} is no module with a function '{kind.function}(... config ...)'. Give "
            "the module that defines it, without a colon.",
        )
    is_schema = isinstance(schema, type) and dataclasses.is_dataclass(schema)
    if not is_schema or not issubclass(typing.cast(type, schema), kind.base):
        raise CalibError(
            "invalid-content",
            f"{_where(point)}: the argument 'config' of its function '{kind.function}' is not "
            f"annotated with a dataclass derived from {kind.base.__module__}.{kind.base.__name__}.",
        )
    return Extension(point.name, module, typing.cast(type, schema))


def _where(point: EntryPoint) -> str:
    package = point.dist.name if point.dist is not None else "an unknown package"
    return f"The entry point {point.name} = {point.value} of {package}"
