"""What a schema adds to those it extends: its settings, with type, default and meaning."""

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
    """The settings that a schema adds to those it extends, or gives another meaning.

    ``given`` holds defaults of its YAML file; ``without`` are those that a group fills in. Raises
    KeyError for a field without a meaning.
    """
    known: dict[str, str] = {}
    for base in reversed(lineage(schema)[1:]):
        known |= meanings(base)
    own, hints, found = meanings(schema), typing.get_type_hints(schema), []
    for name, field in fields_of(schema).items():
        if name in without or (name in known and own.get(name) == known[name]):
            continue
        if dataclasses.is_dataclass(hints[name]):
            own.setdefault(name, f"Its settings are {name}.SETTING.")
        if name not in own:
            raise KeyError(f"{schema.__name__}.{name} has no meaning: write it beneath the field")
        default = "must be given"
        if given and name in given:
            default = code(written(given[name]))
        elif has_default(field):
            default = default_text(field)
        found.append(Setting(name, type_text(hints[name]), default, sentence(own[name])))
    return found


def lineage(schema: type) -> list[type]:
    """The schema and the dataclasses that it extends, nearest first."""
    return [cls for cls in schema.__mro__ if dataclasses.is_dataclass(cls)]


def schema_of(path: Path, name: str) -> type:
    """The dataclass that an option extends."""
    for entry in yaml.safe_load(path.read_text())["defaults"]:
        if isinstance(entry, dict) and f"/hydra/schema/{name}@_here_" in entry:
            return GROUPS[name][entry[f"/hydra/schema/{name}@_here_"]]
    raise ValueError(f"{path} extends no schema of its group")


def nested() -> list[type]:
    """Dataclasses inside commands' and groups' settings that are no group of their own."""
    found: dict[type, None] = {}
    every = [
        *ENTRY_POINTS.values(),
        *(one for several in GROUPS.values() for one in several.values()),
    ]
    for schema in every:
        for hint in typing.get_type_hints(schema).values():
            for part in (hint, *typing.get_args(hint)):
                if dataclasses.is_dataclass(part) and group_of(part) is None:
                    found[typing.cast(type, part)] = None
    return list(found)


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
    # One that a command changes in part: generation of calib.serve.
    usual = type(value)
    changed = [
        f"{key}={written(getattr(value, key))}"
        for key, one in fields_of(usual).items()
        if has_default(one) and getattr(value, key) != default_of(one)
    ]
    return " ".join(map(code, changed)) or "its own"
