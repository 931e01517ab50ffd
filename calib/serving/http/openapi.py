"""The OpenAPI document of the server: its URLs, the fields of requests, and every response."""

from typing import Any

from calib import __version__
from calib.serving.http.response_schema import RESPONSES, TEXT, Json, reference, schema_of
from calib.serving.messages import MAX_MESSAGES, MAX_PARTS, SYSTEM_ROLES
from calib.serving.request_schema import MAX_STOP_LENGTH, MAX_STOPS, NEUTRAL, ChatRequest

STATUSES = {
    400: "A field has an invalid or unsupported value; param names it.",
    401: "The API key is missing or wrong.",
    403: "The Host header has a name that is not the server's.",
    404: "There is no such model.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not declared as application/json.",
    429: "Too many requests are open; try again after Retry-After seconds.",
    500: "The server failed; its log says how.",
    503: "The server is stopping, its worker has ended, or its model hangs.",
}
"""Statuses of errors, with their meanings. Every error has the same form."""
_OF_ALL = (401, 403, 500, 503)


def openapi() -> Json:
    """The document, in OpenAPI 3.1."""
    name = {"name": "name", "in": "path", "required": True, "schema": TEXT}
    health = {200: "Healthy", 503: "Batches fail, or the model hangs"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "calib.serve", "version": __version__},
        "paths": {
            "/v1/chat/completions": {"post": _completions()},
            "/v1/models": {"get": _get("The served models", "ModelList")},
            "/v1/models/{name}": {
                "get": _get("A served model", "Model", 404),
                "parameters": [name],
            },
            "/health": {
                "get": {
                    "summary": "Whether batches succeed",
                    "responses": _errors(403, 500)
                    | {
                        str(status): {"description": text, "content": _content("Health")}
                        for status, text in health.items()
                    },
                }
            },
        },
        "components": {
            "schemas": {"ChatRequest": _chat_request(), **_parts_of_requests(), **RESPONSES},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _completions() -> Json:
    stream = {"text/event-stream": {"schema": TEXT}}
    found = {
        "description": "The response; events with stream=true",
        "content": _content("Completion") | stream,
    }
    return {
        "summary": "A response to messages",
        "requestBody": {"required": True, "content": _content("ChatRequest")},
        "responses": {"200": found, **_errors(*STATUSES)},
    }


def _get(summary: str, schema: str, *statuses: int) -> Json:
    found = {"200": {"description": summary, "content": _content(schema)}}
    return {"summary": summary, "responses": found | _errors(*statuses, *_OF_ALL)}


def _content(name: str) -> Json:
    return {"application/json": {"schema": reference(name)}}


def _errors(*statuses: int) -> Json:
    return {
        str(status): {"description": STATUSES[status], "content": _content("Error")}
        for status in statuses
    }


_STOP: Json = {"type": "string", "minLength": 1, "maxLength": MAX_STOP_LENGTH}
_STOPS: Json = {"anyOf": [_STOP, {"type": "array", "maxItems": MAX_STOPS, "items": _STOP}]}
_PART: Json = {
    "anyOf": [
        schema_of({"type": {"const": "text"}, "text": TEXT}),
        schema_of({"type": {"const": "refusal"}, "refusal": TEXT}),
        schema_of({"type": {"const": "image_url"}, "image_url": schema_of({"url": TEXT})}),
    ]
}
_PARTS: Json = {"type": "array", "minItems": 1, "maxItems": MAX_PARTS, "items": _PART}
_MESSAGE = schema_of(
    {
        "role": {"enum": [*SYSTEM_ROLES, "user", "assistant"]},
        "content": {"anyOf": [TEXT, _PARTS, {"type": "null"}]},
    },
    "content",
)
_MESSAGES: Json = {
    "description": "An optional system message, then user and assistant in turn, ending with user.",
    "type": "array",
    "minItems": 1,
    "maxItems": MAX_MESSAGES,
    "items": _MESSAGE,
}


def _pydantic() -> Json:
    return ChatRequest.model_json_schema(ref_template="#/components/schemas/{model}")


def _chat_request() -> Json:
    """The body of a request: the fields that have an effect, and those that must not have one."""
    schema = {key: value for key, value in _pydantic().items() if key != "$defs"}
    neutral = {name: {"enum": list(values)} for name, values in NEUTRAL.items()}
    fields = _with_nulls(
        {**schema, "properties": neutral | schema["properties"] | {"stop": _STOPS}}
    )
    fields["properties"]["messages"] = _MESSAGES
    return {**fields, "required": ["model", "messages"]}


def _parts_of_requests() -> dict[str, Any]:
    return {name: _with_nulls(schema) for name, schema in _pydantic()["$defs"].items()}


def _with_nulls(schema: Json) -> Json:
    """``schema`` with null for every field that may be absent: null means absent."""
    required = schema.get("required", ())
    fields = {
        name: field if name in required else {"anyOf": [field, {"type": "null"}]}
        for name, field in schema.get("properties", {}).items()
    }
    return {**schema, "properties": fields}
