"""Extensions: methods, judges and data sets that other installed packages add, without a fork.

A package declares an entry point whose value is a module:

    [project.entry-points."calib.methods"]
    soften = "my_package.soften"

The module defines the function that a file of calib of that kind defines: ``method(fitting,
config)``, ``build(config)`` of a judge, or ``load(config)`` of a data set. The annotation of
``config`` is the dataclass of its settings, with their defaults. docs/extensions.md has examples.

What the function returns, and what that returns later, is checked where it is called:
calib.interventions.extension_methods, calib.judges.extension_judges, calib.data.extension_data.
"""

import dataclasses
import errno
import functools
import re
import traceback
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from calib.config.data import DataConfig
from calib.config.judge import JudgeConfig
from calib.config.prompts import Prompting
from calib.config.schemas import CONF, GROUPS
from calib.config.steering import Activation
from calib.util.errors import CalibError, first_line


@dataclass(frozen=True)
class _Kind:
    entry_points: str
    """Group of the entry points."""
    function: str
    """Function that the module defines."""
    bases: tuple[type, ...]
    """Classes of settings; the dataclass of an extension derives from one of them."""


KINDS = {
    "method": _Kind("calib.methods", "method", (Prompting, Activation)),
    "judge": _Kind("calib.judges", "build", (JudgeConfig,)),
    "data": _Kind("calib.data", "load", (DataConfig,)),
}
"""What extensions can add, by config group."""


@dataclass(frozen=True)
class Extension:
    """One method, judge or data set of another package."""

    name: str
    module: ModuleType
    schema: type
    """Dataclass of its settings."""
    where: str
    """The entry point and its package, as a message begins."""

    @contextmanager
    def running(self, what: str) -> Iterator[None]:
        """Report what the extension's own code raises in a block as a CalibError (invalid-content)
        with the line that raised it; ``what`` is what was called. The cause keeps its traceback.

        CalibErrors stay, and so do a lack of memory and a full disk, which are not its fault.
        """
        try:
            yield
        except (CalibError, MemoryError):
            raise
        except (Exception, SystemExit) as error:  # code of others can raise any
            no_memory = any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)
            if no_memory or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise self.wrong(
                f"{what} raised {type(error).__name__}{self._line(error)}: {first_line(error)}"
            ) from error

    def wrong(self, problem: str) -> CalibError:
        """The error that the extension has a ``problem``."""
        return CalibError(
            "invalid-content", f"{self.where}: {problem}. Repair the package, or uninstall it."
        )

    def refused(self, error: BaseException) -> bool:
        """Whether an error passed through the module of the dataclass of settings."""
        return any(module == self.schema.__module__ for module, _ in _lines(error))

    def _line(self, error: BaseException) -> str:
        """The last line of the extension's package that an error passed through, in brackets."""
        package = self.module.__name__.partition(".")[0]
        own = [line for module, line in _lines(error) if module.partition(".")[0] == package]
        return f" ({own[-1]})" if own else ""


def _lines(error: BaseException) -> list[tuple[str, str]]:
    """The lines that an error passed through, each as the name of its module, and as text."""
    return [
        (str(frame.f_globals.get("__name__")), f"{Path(frame.f_code.co_filename).name}, line {n}")
        for frame, n in traceback.walk_tb(error.__traceback__)
    ]


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


def settings_objects(composed: DictConfig | ListConfig) -> Any:
    """Composed settings as objects of their dataclasses.

    Raises CalibError for a value that they do not take, and, naming the extension, for any error
    that the dataclass of an extension raises.
    """
    try:
        return OmegaConf.to_object(composed)
    except CalibError:
        raise
    except Exception as error:
        for extension in (each for group in KINDS for each in extensions(group).values()):
            if extension.refused(error):
                with extension.running(f"{extension.schema.__name__}(...)"):
                    raise
        raise


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
    bases = " or ".join(f"{base.__module__}.{base.__name__}" for base in kind.bases)
    is_schema = isinstance(schema, type) and dataclasses.is_dataclass(schema)
    if not is_schema or not issubclass(typing.cast(type, schema), kind.bases):
        raise CalibError(
            "invalid-content",
            f"{_where(point)}: the argument 'config' of its function '{kind.function}' is not "
            f"annotated with a dataclass derived from {bases}.",
        )
    extension = Extension(point.name, module, typing.cast(type, schema), _where(point))
    with extension.running(f"{extension.schema.__name__}(name='{point.name}')"):
        OmegaConf.structured(extension.schema(name=point.name))
    return extension


def _where(point: EntryPoint) -> str:
    package = point.dist.name if point.dist is not None else "an unknown package"
    return f"The entry point {point.name} = {point.value} of {package}"
