"""The meanings of settings are read from beneath their fields."""

import dataclasses
from dataclasses import dataclass

import pytest

from calib.cli.help import meanings
from calib.config.method import Steer
from calib.config.schemas import ENTRY_POINTS, GROUPS
from calib.config.sweep import GenerationConfig


@dataclass
class Parent:
    depth: int = 1
    """How deep,
    in metres."""
    bare: int = 0
    width: int = 2
    """How wide."""


@dataclass
class Child(Parent):
    width: int = 3
    depth: int = 4
    """How deep it is here."""
    own: str = ""
    """Its own."""

    """No field stands before this."""


def test_words_beneath_fields_are_theirs_in_one_line_and_in_order() -> None:
    assert list(meanings(Parent).items()) == [
        ("depth", "How deep, in metres."),
        ("width", "How wide."),
    ]


def test_a_subclass_says_what_differs_and_keeps_the_rest() -> None:
    assert list(meanings(Child).items()) == [
        ("depth", "How deep it is here."),
        ("width", "How wide."),
        ("own", "Its own."),
    ]


def test_a_method_has_the_meanings_of_all_its_kinds() -> None:
    said = meanings(Steer)
    assert said["strengths"].startswith("1.0 moves an activation by the distance")  # its own
    assert said["name"].startswith("Name of the method")  # of MethodConfig
    assert said["layers"].startswith("Decoder blocks, from 0")  # of Activation


SCHEMAS = [
    GenerationConfig,
    *ENTRY_POINTS.values(),
    *(schema for schemas in GROUPS.values() for schema in schemas.values()),
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.__name__)
def test_every_setting_has_a_meaning(schema) -> None:
    def is_group(field) -> bool:
        return dataclasses.is_dataclass(field.type)

    wanted = {field.name for field in dataclasses.fields(schema) if not is_group(field)}
    assert wanted <= set(meanings(schema))
