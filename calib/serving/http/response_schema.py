"""JSON schemas of the bodies of responses, for the OpenAPI document."""

from collections.abc import Mapping
from typing import Any

from calib.serving.api_errors import BUSY, INVALID, KEY, SERVER
from calib.serving.request_schema import MAX_STRENGTHS

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
COUNT: Json = {"type": "integer", "minimum": 0}
_OPTIONAL_TEXT: Json = {"type": ["string", "null"]}


def schema_of(properties: Mapping[str, Any], *optional: str) -> Json:
    """An object with these properties, all but the ``optional`` ones required."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required}


def reference(name: str) -> Json:
    """A reference to a schema among the document's components."""
    return {"$ref": f"#/components/schemas/{name}"}


def _closed(properties: Mapping[str, Any], *optional: str) -> Json:
    """``schema_of``, without further fields."""
    return {**schema_of(properties, *optional), "additionalProperties": False}


_TOKENS: Json = {"type": "array", "items": COUNT}
_CALIB = _closed(
    {
        "method": TEXT,
        "layer": {"type": ["integer", "null"]},
        "strength": {"type": "number"},
        "strengths": {"type": "array", "items": {"type": "number"}},
        "steering_vectors": COUNT,
    },
    "strength",
    "strengths",
    "steering_vectors",
)
_PROJECTIONS = _closed(
    {
        "layer": COUNT,
        "tokens": {"type": "array", "items": TEXT},
        "values": {"type": "array", "items": {"type": "number"}},
        "prompt_tokens": COUNT,
        "pictures": {"type": "array", "items": _TOKENS},
        "grid": {"type": ["array", "null"], "items": COUNT},
    }
)
_MESSAGE = _closed(
    {"role": {"const": "assistant"}, "content": TEXT, "refusal": {"type": "null"}},
)
_CHOICE = _closed(
    {
        "index": COUNT,
        "message": _MESSAGE,
        "logprobs": {"type": "null"},
        "finish_reason": {"enum": ["stop", "length"]},
        "token_ids": _TOKENS,
        "projections": _PROJECTIONS,
    },
    "token_ids",
    "projections",
)
_COMPLETION = _closed(
    {
        "id": TEXT,
        "object": {"const": "chat.completion"},
        "created": COUNT,
        "model": TEXT,
        "system_fingerprint": TEXT,
        "calib": _CALIB,
        "choices": {"type": "array", "minItems": 1, "maxItems": MAX_STRENGTHS, "items": _CHOICE},
        "usage": _closed(
            {"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT}
        ),
        "prompt_token_ids": _TOKENS,
        "activations": {"type": "object"},
    },
    "prompt_token_ids",
    "activations",
)
_MODEL = _closed(
    {
        "id": TEXT,
        "object": {"const": "model"},
        "created": COUNT,
        "owned_by": {"const": "calib"},
        "root": TEXT,
        "max_model_len": COUNT,
        "verdict": TEXT,
    },
    "verdict",
)
_ERROR = _closed(
    {
        "message": {"type": "string", "minLength": 1},
        "type": {"enum": [INVALID, SERVER, BUSY, KEY]},
        "param": _OPTIONAL_TEXT,
        "code": _OPTIONAL_TEXT,
    }
)
RESPONSES: Mapping[str, Json] = {
    "Error": _closed({"error": _ERROR}),
    "Completion": _COMPLETION,
    "Model": _MODEL,
    "ModelList": _closed(
        {"object": {"const": "list"}, "data": {"type": "array", "items": reference("Model")}}
    ),
    "Health": _closed(
        {
            "status": {"enum": ["ok", "failing"]},
            "waiting": COUNT,
            "restarts": COUNT,
            "reason": {"enum": ["failed_batches", "stalled", "worker_ended", "stopping"]},
        },
        "reason",
    ),
}
"""The bodies by name; none has other fields than these."""
