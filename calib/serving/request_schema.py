"""A request's body as what is asked for: a conversation, and how it is to be answered."""

import json
import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from calib.serving.api_errors import APIError
from calib.serving.messages import Conversation, conversation_of
from calib.util.errors import did_you_mean

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
    "audio": (),
    "structured_outputs": (),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
}
"""Fields that would change the answer and are not served, with the values that ask for nothing, as
null always does. Fields that are named nowhere are ignored, as other servers do."""
MOST_STOPS, LONGEST_STOP = 16, 1024
MOST_VALUES = 1_000_000
"""Values in a body, by its commas and brackets: each takes many times its bytes in memory."""
SEEDS = 2**63


@dataclass(frozen=True)
class ChatRequest:
    """What one request asks for."""

    model: str
    conversation: Conversation
    max_tokens: int | None
    """None where the request does not say."""
    temperature: float | None
    top_p: float | None
    seed: int
    """Drawn where the request does not say."""
    stop: tuple[str, ...]
    stream: bool
    include_usage: bool
    """Whether a stream ends with the number of tokens."""
    strength: float | None
    """In place of the operating point's."""
    layer: int | None


def parsed(body: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises Refused where there is none.
    """
    if sum(body.count(sign) for sign in (b",", b"[", b"{")) > MOST_VALUES:
        raise APIError(f"the body holds more than {MOST_VALUES:,} values.", None, "invalid_json")
    try:
        found = json.loads(body, parse_constant=_no_constant)
    except RecursionError as error:
        raise APIError("the body is nested too deeply.", None, "invalid_json") from error
    except ValueError as error:  # bad UTF-8 and numbers of thousands of digits too
        said = str(error)[:200]
        raise APIError(f"the body is no JSON ({said}).", None, "invalid_json") from error
    if not isinstance(found, dict):
        raise APIError("the body is no JSON object.", None, "invalid_json")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def wish_of(body: Mapping[str, Any]) -> ChatRequest:
    """What a request asks for, without a look at the model.

    Raises Refused for fields of a wrong type, and for values that are not served.
    """
    _refuse_unserved(body)
    model = body.get("model")
    if not isinstance(model, str):
        raise APIError("model is not a text. GET /v1/models lists the names.", "model")
    seed = _integer(body, "seed", -SEEDS, SEEDS - 1)
    strength, layer = _override(body.get("calib"))
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise APIError("stream_options is not an object.", "stream_options", "invalid_type")
    return ChatRequest(
        model=model,
        max_tokens=_limit(body),
        temperature=_number(body, "temperature", 0.0, 2.0),
        top_p=_top_p(body),
        seed=secrets.randbits(62) if seed is None else seed,
        stop=_stops(body.get("stop")),
        stream=_flag(body, "stream"),
        include_usage=_flag(options or {}, "include_usage", "stream_options."),
        strength=strength,
        layer=layer,
        conversation=conversation_of(body.get("messages")),
    )


def _refuse_unserved(body: Mapping[str, Any]) -> None:
    for name, neutral in NEUTRAL.items():
        given = body.get(name)
        # True is 1 to Python, and not to whoever reads the request.
        alike = any(given == one and isinstance(given, bool) == isinstance(one, bool)
                    for one in neutral)  # fmt: skip
        if given is not None and not alike:
            only = " or ".join(json.dumps(one) for one in neutral)
            hint = f"; leave it away, or give {only}" if neutral else "; leave it away"
            raise APIError(
                f"{name} is not served with this value{hint}.", name, "unsupported_value"
            )


def _limit(body: Mapping[str, Any]) -> int | None:
    names = ("max_completion_tokens", "max_tokens")
    found = {name: _integer(body, name, 1, 2**31) for name in names}
    given = {value for value in found.values() if value is not None}
    if len(given) > 1:
        raise APIError(
            "max_tokens and max_completion_tokens say different things. Give one.", "max_tokens"
        )
    return next(iter(given), None)


def _top_p(body: Mapping[str, Any]) -> float | None:
    value = _number(body, "top_p", 0.0, 1.0)
    if value == 0:
        raise APIError("top_p is 0, which leaves no token to draw.", "top_p", "invalid_value")
    return value


def _stops(given: Any) -> tuple[str, ...]:
    found = [given] if isinstance(given, str) else [] if given is None else given
    if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
        raise APIError("stop is neither a text nor a list of texts.", "stop", "invalid_type")
    if len(found) > MOST_STOPS or any(len(one) > LONGEST_STOP for one in found):
        raise APIError(
            f"stop has more than {MOST_STOPS} texts, or one of more than {LONGEST_STOP} "
            "characters.",
            "stop",
        )
    return tuple(found)


def _override(given: Any) -> tuple[float | None, int | None]:
    """Strength and layer of this request."""
    if given is None:
        return None, None
    if not isinstance(given, dict):
        raise APIError('calib is not an object like {"strength": 2.0}.', "calib", "invalid_type")
    known = ("strength", "layer")
    for name in given:
        if name not in known:
            hint = did_you_mean(str(name)[:80], known)
            raise APIError(
                f"calib holds '{str(name)[:80]}'.{hint} Choose from strength, layer.", "calib"
            )
    strength = _number(given, "strength", -math.inf, math.inf, "calib.")
    return strength, _integer(given, "layer", 0, 2**31, "calib.")


def _number(
    body: Mapping[str, Any], name: str, low: float, high: float, within: str = ""
) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise APIError(f"{within}{name} is not a number.", f"{within}{name}", "invalid_type")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or not low <= number <= high:
        between = f"between {low:g} and {high:g}" if math.isfinite(high) else "finite"
        raise APIError(f"{within}{name} is not {between}.", f"{within}{name}", "invalid_value")
    return number


def _integer(
    body: Mapping[str, Any], name: str, low: int, high: int, within: str = ""
) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise APIError(f"{within}{name} is not a whole number.", f"{within}{name}", "invalid_type")
    if not low <= value <= high:
        raise APIError(
            f"{within}{name} is not between {low} and {high}.", f"{within}{name}", "invalid_value"
        )
    return value


def _flag(body: Mapping[str, Any], name: str, within: str = "") -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise APIError(f"{within}{name} is neither true nor false.", f"{within}{name}")
    return bool(value)
