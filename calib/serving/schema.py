"""JSON objects with strict types, as pydantic models, and JSON texts of bounded size."""

import json
import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from calib.serving.api_errors import APIError
from calib.util.errors import did_you_mean
from calib.util.reading import require_moderate

MAX_VALUES = 1_000_000
"""Maximum number of values in a body, estimated from commas and brackets: a parsed value takes many
times its bytes in memory."""
MAX_DEPTH = 100
"""Maximum depth of lists and objects within each other: what reads or shows a body is recursive."""


def _to_float(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    return value


Number = Annotated[float, BeforeValidator(_to_float)]
"""A JSON number; integers beyond the range of floats become infinite."""


FiniteNumber = Annotated[Number, Field(allow_inf_nan=False)]
Index = Annotated[int, Field(ge=0, le=2**31)]


class Schema(BaseModel):
    """A JSON object with strict types, in which null means that the field is absent."""

    model_config = ConfigDict(strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        return {k: v for k, v in fields.items() if v is not None or k not in cls.model_fields}


class ClosedSchema(Schema):
    """A JSON object without other fields."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, fields: Any) -> Any:
        known = list(cls.model_fields)
        for name in fields if isinstance(fields, dict) else ():
            if name not in known:
                raise PydanticCustomError(
                    "unknown_field",
                    "has no field {name}.{hint} Choose from {known}",
                    {
                        "name": json.dumps(name[:80]),
                        "hint": did_you_mean(name[:80], known),
                        "known": ", ".join(known),
                    },
                )
        return fields


def load_json(text: bytes, name: str, param: str | None) -> Any:
    """The value of a JSON text; ``name`` and ``param`` are for errors.

    Raises APIError if it is not valid JSON, or if it has too many values or levels.
    """
    if sum(text.count(sign) for sign in (b",", b"[", b"{")) > MAX_VALUES:
        raise APIError(f"{name} has more than {MAX_VALUES:,} values.", param, "invalid_json")
    too_deep = APIError(f"{name} is nested too deeply.", param, "invalid_json")
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise too_deep from error
    except ValueError as error:  # includes invalid UTF-8 and numbers with thousands of digits
        reason = str(error)[:200]
        raise APIError(f"{name} is not valid JSON ({reason}).", param, "invalid_json") from error
    try:
        require_moderate(value, depth=MAX_DEPTH)
    except ValueError as error:
        raise too_deep from error
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON value")
