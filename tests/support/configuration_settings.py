"""The settings that a schema adds to its base classes, with type, default and meaning."""

import dataclasses
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from configuration_words import code, group_of, sentence, type_text, written

from calib.cli.help import meanings
from calib.config.schemas import ENTRY_POINTS, GROUPS


@dataclasses.dataclass(frozen=True)
class Setting:
    name: str
    type: str
    default: str
    meaning: str


def settings(
    schema: type, given: dict[str, Any] | None = None, without: Iterable[str] = ()
) -> list[Setting]:
    """The settings that a schema adds to its base classes, or gives another meaning.

    ``given`` has the defaults of its YAML file; ``without`` are the fields that a group fills in.
    Raises KeyError for a field without a meaning.
    """
    known: dict[str, str] = {}
    for base in reversed(lineage(schema)[1:]):
        known |= meanings(base)
    own, hints = meanings(schema), typing.get_type_hints(schema)
    rows = []
    for name, field in fields_of(schema).items():
        if name in without or (name in known and own.get(name) == known[name]):
            continue
        if dataclasses.is_dataclass(hints[name]):
            own.setdefault(name, f"A table of settings: {name}.SETTING.")
        if name not in own:
            raise KeyError(f"{schema.__name__}.{name} has no meaning: write it below the field")
        default = "required"
        if given and name in given:
            default = code(written(given[name]))
        elif has_default(field):
            default = default_text(field)
        rows.append(Setting(name, type_text(hints[name]), default, sentence(own[name])))
    return rows


def lineage(schema: type) -> list[type]:
    """The schema and its base dataclasses, nearest first."""
    return [cls for cls in schema.__mro__ if dataclasses.is_dataclass(cls)]


def schema_of(path: Path, name: str) -> type:
    """The dataclass that an option extends."""
    for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["defaults"]:
        if isinstance(entry, dict) and f"/hydra/schema/{name}@_here_" in entry:
            return GROUPS[name][entry[f"/hydra/schema/{name}@_here_"]]
    raise ValueError(f"{path} extends no schema of its group")


def nested() -> list[type]:
    """Dataclasses inside the settings of commands and groups that are not groups themselves."""
    classes: dict[type, None] = {}
    users = [*ENTRY_POINTS.values(), *(cls for group in GROUPS.values() for cls in group.values())]
    for schema in users:
        for hint in typing.get_type_hints(schema).values():
            for part in (hint, *typing.get_args(hint)):
                if dataclasses.is_dataclass(part) and group_of(part) is None:
                    classes[typing.cast(type, part)] = None
    return list(classes)


def fields_of(schema: type) -> dict[str, dataclasses.Field]:
    return {field.name: field for field in dataclasses.fields(schema)}


def has_default(field: dataclasses.Field) -> bool:
    return not (
        field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    )


def default_of(field: dataclasses.Field) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory()  # type: ignore[misc]


def default_text(field: dataclasses.Field) -> str:
    value = default_of(field)
    if not dataclasses.is_dataclass(value):
        return code(written(value))
    if group_of(type(value)) is not None:
        return code(value.name)
    # A command may change some of its defaults, e.g. generation of calib.serve.
    changed = [
        f"{key}={written(getattr(value, key))}"
        for key, item in fields_of(type(value)).items()
        if has_default(item) and getattr(value, key) != default_of(item)
    ]
    return " ".join(map(code, changed)) or "its defaults"
