"""Keys and types of a command's settings, read from its dataclass."""

import dataclasses
import types
import typing
from collections.abc import Iterator
from typing import Any

from calib.config.prompts import MethodConfig
from calib.config.schemas import GROUPS

_TYPES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def setting_keys(schema: type, prefix: str = "") -> Iterator[str]:
    """Every full key of ``schema``, with any options of its groups."""
    for name, annotation in hints(schema).items():
        yield prefix + name
        if not prefix and is_settings(annotation):  # parts of a combined method are left out
            for kind in _kinds(annotation):
                yield from setting_keys(kind, f"{name}.")


def annotation_of(schema: type, key: str) -> Any:
    """The annotated type of a setting by its full key; None if there is none."""
    name, _, rest = key.partition(".")
    annotation = hints(schema).get(name)
    if rest and typing.get_origin(annotation) is dict:
        annotation, rest = typing.get_args(annotation)[1], rest.partition(".")[2]
    if not rest:
        return annotation
    annotations = (annotation_of(kind, rest) for kind in _kinds(annotation))
    return next((annotation for annotation in annotations if annotation is not None), None)


def _kinds(annotation: Any) -> list[type]:
    """The dataclasses that a field with this annotation accepts: a group's, or the annotation."""
    if not is_settings(annotation):
        return []
    known = [kind for kinds in GROUPS.values() for kind in kinds.values()]
    return [kind for kind in known if issubclass(kind, annotation)] or [annotation]


def is_settings(annotation: Any) -> typing.TypeGuard[type]:
    """Whether an annotation is a dataclass, i.e. several settings."""
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)


def hints(schema: type) -> dict[str, Any]:
    """The annotated types of a dataclass's fields, by name."""
    return typing.get_type_hints(schema)


def what_it_takes(key: str, annotation: Any) -> str | None:
    """What a setting takes, as a message says it; None for a type without a name."""
    if isinstance(annotation, types.UnionType):
        first = next(part for part in annotation.__args__ if part is not type(None))
        return f"{what_it_takes(key, first)} or null"
    if typing.get_origin(annotation) is list:
        numbers = typing.get_args(annotation)[0] in (int, float)
        return f"a list of numbers: {key}=[1,2]" if numbers else f"a list: {key}=[a,b]"
    if typing.get_origin(annotation) is dict:
        return f"entries, one by one: {key}.NAME"
    if annotation is MethodConfig:
        return f"settings, one by one, or a method: method@{key}=NAME"
    if dataclasses.is_dataclass(annotation):
        return f"settings, one by one: {key}.{next(iter(hints(typing.cast(type, annotation))))}"
    return _TYPES.get(annotation)
