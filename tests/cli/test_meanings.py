"""The meanings of settings are the strings below their fields."""

import dataclasses
from dataclasses import dataclass

import pytest

from calib.cli.help import meanings
from calib.config.method import Activation, Steer
from calib.config.prompts import MethodConfig
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

    """No field precedes this string."""


def test_meanings_are_in_one_line_and_in_the_order_of_the_fields() -> None:
    assert list(meanings(Parent).items()) == [
        ("depth", "How deep, in metres."),
        ("width", "How wide."),
    ]


def test_a_subclass_inherits_meanings_and_overrides_some() -> None:
    assert list(meanings(Child).items()) == [
        ("depth", "How deep it is here."),
        ("width", "How wide."),
        ("own", "Its own."),
    ]


def test_a_method_has_the_meanings_of_its_base_classes() -> None:
    assert meanings(Steer)["name"] == meanings(MethodConfig)["name"]
    assert meanings(Steer)["layers"] == meanings(Activation)["layers"]
    assert meanings(Steer)["strengths"] != meanings(Activation)["strengths"]


SCHEMAS = [
    GenerationConfig,
    *ENTRY_POINTS.values(),
    *(schema for schemas in GROUPS.values() for schema in schemas.values()),
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.__name__)
def test_every_setting_has_a_meaning(schema) -> None:
    def is_group(field) -> bool:
        return dataclasses.is_dataclass(field.type)

    documented = {field.name for field in dataclasses.fields(schema) if not is_group(field)}
    assert documented <= set(meanings(schema))
