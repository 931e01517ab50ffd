"""Numbers that mean nothing are refused by the name of their setting, in every schema."""

import dataclasses
import math
import typing

import pytest
from raising import raises

from calib.config import commands
from calib.config.choose import ChooseConfig
from calib.config.engine import VllmChoice
from calib.config.model import ModelConfig
from calib.config.prompts import MethodConfig
from calib.config.schemas import GROUPS
from calib.config.sweep import GenerationConfig
from calib.util.errors import CalibError

SCHEMAS = {
    cls
    for cls in (
        *(schema for group in GROUPS.values() for schema in group.values()),
        *(value for value in vars(commands).values() if dataclasses.is_dataclass(value)),
        ChooseConfig, GenerationConfig, VllmChoice,
    )
}  # fmt: skip
REQUIRED = {"name": "x", "model": ModelConfig("internvl"), "method": MethodConfig("none"),
            "format": "native", "file": "f", "out": "o", "source": "s", "runs": ["r"], "run": "r",
            "data": None}  # fmt: skip


def floats(cls):
    """The names of the settings of a schema that hold floats, and a value that holds one."""
    hints = typing.get_type_hints(cls)
    shapes = {
        list: lambda number: [number, 1.0],
        dict: lambda number: {"sra_u": number, "sra_s": 1},
    }
    for field in dataclasses.fields(cls):
        kind = hints[field.name]
        if float in (kind, *typing.get_args(kind)):
            yield field.name, shapes.get(typing.get_origin(kind), lambda number: number)


def without(cls, name):
    """Values for the settings that a schema requires."""
    return {
        field.name: REQUIRED[field.name]
        for field in dataclasses.fields(cls)
        if field.default is field.default_factory is dataclasses.MISSING and field.name != name
    }


@pytest.mark.parametrize(
    ("cls", "name", "holding"),
    [
        pytest.param(cls, name, holding, id=f"{cls.__name__}.{name}")
        for cls in sorted(SCHEMAS, key=lambda schema: schema.__name__)
        for name, holding in floats(cls)
    ],
)
def test_nan_and_infinity_are_refused(cls, name, holding):
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(CalibError) as refused:
            cls(**without(cls, name), **{name: holding(value)})
        assert refused.value.code == "invalid-setting"
        assert name in str(refused.value) and str(value) in str(refused.value)


def test_the_schemas_with_floats_are_found():
    found = {f"{cls.__name__}.{name}" for cls in SCHEMAS for name, _ in floats(cls)}
    assert found >= {"GenerationConfig.temperature", "Steer.strengths", "Surgical.refusal_strength",
                     "ServeConfig.stalled_after", "PairsData.train"}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", -1e-300), ("temperature", 1e300), ("top_p", 0.0), ("top_p", -1e-300),
     ("top_p", 1.0000001), ("max_new_tokens", 0), ("max_new_tokens", -1), ("batch_rows", 0),
     ("memory_gb", 0.0)],
)  # fmt: skip
def test_settings_of_sampling_out_of_range(name, value):
    with raises("invalid-setting", f"generation.{name}"):
        GenerationConfig(**{name: value})
