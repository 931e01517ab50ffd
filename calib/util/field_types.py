"""Fields of a dataclass object that have values of other types than annotated."""

import collections.abc
import dataclasses
import functools
import numbers
import types
import typing
from typing import Any

_NUMBERS = {int: numbers.Integral, float: numbers.Real}


def wrong_field(made: Any) -> str | None:
    """What is wrong with the first field of a dataclass object whose value is not of the annotated
    type, e.g. "split is 'dev', not one of train, validation, test"; None if all are.

    Fields that another package adds in a class derived from one of calib are its own affair.
    """
    hints = _hints(made.__class__)
    for field in dataclasses.fields(made):
        if field.name not in hints:
            continue
        value = getattr(made, field.name)
        if not fits(value, hints[field.name]):
            nested = wrong_field(value) if dataclasses.is_dataclass(value) else None
            if nested:
                return f"{field.name}.{nested}"
            return f"{field.name} is {shown(value)}, not {_described(hints[field.name])}"
    return None


def fits(value: Any, kind: Any) -> bool:
    """Whether ``value`` is of the annotated type ``kind``, with all that it contains.

    Of a protocol, only that it is an object: a type checker compares its methods.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return any(value is each or (type(value) is type(each) and value == each)
                   for each in arguments)  # fmt: skip
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, each) for each in arguments)
    if origin is collections.abc.Callable:
        return callable(value)
    if origin is not None:
        return _contains(value, origin, arguments)
    if kind is Any or getattr(kind, "_is_protocol", False):
        return True
    if kind is None:
        return value is None
    if kind in _NUMBERS:
        return isinstance(value, _NUMBERS[kind]) and not isinstance(value, bool)
    return isinstance(value, kind) and not (
        dataclasses.is_dataclass(kind) and wrong_field(value) is not None
    )


def shown(value: Any) -> str:
    """A value in a message: itself if it is short and simple, or else its type."""
    simple = isinstance(value, str | int | float | bool | None)
    return f"{value!r:.80}" if simple else f"a value of type {type(value).__name__}"


def _contains(value: Any, origin: Any, arguments: tuple[Any, ...]) -> bool:
    """Whether ``value`` is such a collection, and all that it contains is of the annotated type."""
    if not isinstance(value, origin) or isinstance(value, str):
        return False
    if isinstance(value, collections.abc.Mapping):
        key, of = arguments
        return all(fits(each, key) and fits(value[each], of) for each in value)
    if origin is tuple and arguments[-1] is not ...:
        return len(value) == len(arguments) and all(map(fits, value, arguments))
    return all(fits(each, arguments[0]) for each in value)


@functools.cache
def _hints(made: Any) -> dict[str, Any]:
    """The annotations of the nearest class of calib: others may have any, even unknown names."""
    classes = [each for each in made.__mro__ if each.__module__.startswith("calib.")]
    return typing.get_type_hints(classes[0]) if classes else typing.get_type_hints(made)


def _described(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return f"one of {', '.join(map(str, typing.get_args(kind)))}"
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return " or ".join(map(_described, typing.get_args(kind)))
    if kind is types.NoneType:
        return "None"
    return (
        str(getattr(kind, "__name__", kind))
        if typing.get_origin(kind) is None
        else str(kind).replace("collections.abc.", "").replace("typing.", "")
    )
