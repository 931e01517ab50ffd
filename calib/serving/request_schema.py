"""Schema of a chat-completions request, as pydantic models.

Unsupported fields that would change the response are refused; unknown fields are ignored.
"""

import json
import secrets
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from calib.serving.api_errors import APIError
from calib.serving.messages import Conversation, parse_messages
from calib.serving.pictures import DEFAULT_LIMITS, PictureLimits
from calib.serving.schema import ClosedSchema, FiniteNumber, Index, Number, Schema, load_json
from calib.serving.steering_vectors import RESIDUAL, VllmArguments

THINKING = (
    "reasoning_effort", "reasoning", "enable_thinking", "thinking", "thinking_budget",
    "thinking_token_budget",
)  # fmt: skip
"""Fields that decide in other servers whether and how long a model thinks."""
IN_VLLM_XARGS = (
    "extra_args", "steering_vectors", "apply_steering_vectors", "apply_hooks",
    "output_residual_stream", "output_qk",
)  # fmt: skip
"""Fields of ``vllm_xargs``, and names of them in Python, which are not fields of a request."""
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "prompt_logprobs": (0,),
    "echo": (False,),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "length_penalty": (1,),
    "top_k": (-1, 0),
    "min_p": (0,),
    "min_tokens": (0,),
    "use_beam_search": (False,),
    "ignore_eos": (False,),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "stop_token_ids": ([],),
    "chat_template": (),
    **dict.fromkeys(THINKING, ()),
    "include_reasoning": (True,),
    "documents": ([],),
    "mm_processor_kwargs": ({},),
    "truncate_prompt_tokens": (),
    "bad_words": ([],),
    "allowed_token_ids": (),
    "skip_special_tokens": (True,),
    "verbosity": (),
    "web_search_options": (),
    "audio": (),
    "structured_outputs": (),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    **dict.fromkeys(IN_VLLM_XARGS, ()),
}
"""Unsupported fields that would change the response, with the values that have no effect and are
accepted. null is always accepted."""
MAX_STOPS, MAX_STOP_LENGTH = 16, 1024
MAX_STRENGTHS = 16
"""Maximum number of strengths at which one request is answered."""
CODES = {
    **dict.fromkeys(
        (
            "int_type",
            "float_type",
            "bool_type",
            "string_type",
            "list_type",
            "dict_type",
            "model_type",
            "invalid_type",
        ),
        "invalid_type",
    ),
    **dict.fromkeys(
        ("greater_than", "greater_than_equal", "less_than_equal", "finite_number"), "invalid_value"
    ),
}
"""Error codes of pydantic's error types; other types have none."""
MESSAGES = {"missing": "is required", "model_type": "must be an object"}
"""Messages in place of pydantic's own."""


class CalibOverride(ClosedSchema):
    """The field ``calib``: a setting for this request, in place of the operating point."""

    strength: FiniteNumber | None = None
    strengths: Annotated[list[FiniteNumber], Field(min_length=1, max_length=MAX_STRENGTHS)] = []
    """Strengths in place of one: the response has a choice for each, in their order."""
    layer: Index | None = None
    projections: bool = False
    """Whether each choice has the projections of its tokens on the method's direction."""

    @model_validator(mode="after")
    def _one_or_several(self) -> "CalibOverride":
        if self.strength is not None and self.strengths:
            raise PydanticCustomError("conflict", "has strength and strengths: give one of them")
        return self


class StreamOptions(Schema):
    """The field ``stream_options``."""

    include_usage: bool = False
    """Whether a stream ends with the token counts."""


class ChatRequest(Schema):
    """The parameters of a chat-completions request, without its messages."""

    model: str
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] = Field(
        default_factory=lambda: secrets.randbits(62)
    )
    """Sampling seed; random by default."""
    calib: CalibOverride = CalibOverride()
    vllm_xargs: VllmArguments = VllmArguments()
    chat_template_kwargs: dict[str, Any] = {}
    """Variables of the chat template; only those that the server was started with."""
    stream_options: StreamOptions = StreamOptions()
    max_completion_tokens: Annotated[int, Field(ge=1, le=2**31)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=2**31)] | None = None
    """The older name of ``max_completion_tokens``."""
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    stop: tuple[str, ...] = ()
    """Stop sequences."""
    stream: bool = False
    return_token_ids: bool = False
    """Whether the response has the tokens of prompt and response, as in vLLM."""

    @field_validator("stop", mode="before")
    @classmethod
    def _stop_sequences(cls, stop: Any) -> tuple[str, ...]:
        texts = [stop] if isinstance(stop, str) else stop
        if not isinstance(texts, list) or not all(isinstance(t, str) and t for t in texts):
            raise PydanticCustomError(
                "invalid_type", "must be a non-empty string or a list of non-empty strings"
            )
        if len(texts) > MAX_STOPS or any(len(text) > MAX_STOP_LENGTH for text in texts):
            raise PydanticCustomError(
                "too_long",
                f"must have at most {MAX_STOPS} strings of at most {MAX_STOP_LENGTH} characters",
            )
        return tuple(texts)

    @property
    def token_limit(self) -> int | None:
        """Maximum number of generated tokens; None if the request sets none."""
        return self.max_completion_tokens or self.max_tokens


def parse_json(body: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises APIError if there is none, or if it has too many values.
    """
    fields = load_json(body, "The body", None)
    if not isinstance(fields, dict):
        raise APIError("The body must be a JSON object.", None, "invalid_json")
    return fields


def parse_request(
    body: bytes, pictures: PictureLimits = DEFAULT_LIMITS
) -> tuple[ChatRequest, Conversation]:
    """The parameters and the conversation of a request, checked without the model.

    Raises APIError for invalid JSON, for fields with a wrong type or an invalid value, for
    unsupported fields, and for pictures beyond the limits. Pictures are not decoded yet.
    """
    fields = parse_json(body)
    _refuse_unsupported(fields)
    try:
        request = ChatRequest.model_validate(fields)
    except ValidationError as error:
        raise _api_error(error) from error
    limits = {request.max_completion_tokens, request.max_tokens} - {None}
    if len(limits) > 1:
        raise APIError(
            "max_tokens and max_completion_tokens have different values. Give one of them.",
            "max_tokens",
        )
    for name, wanted in (
        ("return_token_ids", request.return_token_ids),
        (RESIDUAL, request.vllm_xargs.output_residual_stream),
    ):
        other = "stream" if request.stream else "calib.strengths" if request.calib.strengths else ""
        if other and wanted:
            raise APIError(
                f"{name} is not supported together with {other}. Omit one of them.",
                name,
                "unsupported_value",
            )
    return request, parse_messages(fields.get("messages"), pictures)


def _refuse_unsupported(fields: Mapping[str, Any]) -> None:
    for name, neutral in NEUTRAL.items():
        value = fields.get(name)
        # In Python True == 1, but in JSON they are different values.
        accepted = value is None or any(
            value == other and isinstance(value, bool) == isinstance(other, bool)
            for other in neutral
        )
        if not accepted:
            values = " or ".join(json.dumps(other) for other in neutral)
            advice = f"Omit it, or set it to {values}." if neutral else "Omit it."
            if name in THINKING:
                advice += (
                    " The server's setting model.chat_template_kwargs decides whether a model "
                    "thinks, where its chat template has a choice."
                )
            raise APIError(
                f"This value of {name} is not supported. {advice}", name, "unsupported_value"
            )


def _api_error(error: ValidationError) -> APIError:
    """The first validation error, with the dotted name of its field."""
    first = error.errors(include_url=False, include_input=False)[0]
    param = ".".join(map(str, first["loc"]))
    message = MESSAGES.get(first["type"], first["msg"]).replace("Input should", "must", 1)
    advice = " GET /v1/models lists the names." if param == "model" else ""
    return APIError(f"{param} {message}.{advice}", param, CODES.get(first["type"]))
