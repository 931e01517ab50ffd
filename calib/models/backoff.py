"""Decide from an error of the openai package whether to retry, and after how many seconds."""

import email.utils
import random
import re
import time
from collections.abc import Mapping
from types import ModuleType
from typing import Any

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds before the first retry, doubled for each further retry up to the longest."""
LONGEST_REQUESTED_WAIT = 300.0
"""Seconds. If an endpoint requests a longer wait, the request fails instead."""

TRANSIENT_STATUSES = (408, 409, 429)
"""HTTP statuses below 500 that a retry may resolve."""
TOO_LONG = "context_length_exceeded"
_TOO_LONG_WORDS = (
    "maximum context length",  # OpenAI, vLLM, OpenRouter
    "maximum model length",  # vLLM, for prompts with pictures
    "prompt is too long",  # Anthropic
    "input token count",  # Gemini: "... exceeds the maximum number of tokens allowed"
    "model's context length",  # SGLang
    "available context size",  # llama.cpp
)
"""Parts of an error's message, in lower case, that say that a prompt is too long."""
_FILTER_CODES = ("content_filter", "content_policy_violation")
_MODERATION_KEYS = ("reasons", "flagged_input")
"""Keys in an error's metadata when the prompt was moderated."""


def server_message(error: Exception) -> str:
    """What the server says about an error, in one line and without the status, which the openai
    package puts before a quoted reply."""
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, Mapping) else None
    if not isinstance(message, str) or not message.strip():
        message = re.sub(r"^Error code: \d+ - ", "", str(getattr(error, "message", error)))
    return " ".join(message.split())


def is_transient(error: Exception, openai: ModuleType) -> bool:
    """Whether a retry may succeed: timeouts, lost connections, rate limits and server errors."""
    if isinstance(error, openai.APIConnectionError):  # includes timeouts
        return True
    # Status 429 means "too fast" or "out of credit"; waiting does not help with the second.
    if getattr(error, "code", None) == "insufficient_quota":
        return False
    status = getattr(error, "status_code", 0)
    return status in TRANSIENT_STATUSES or status >= 500


def backoff(error: Exception, tries: int) -> float:
    """Seconds to wait after failed attempt number ``tries``.

    The endpoint's Retry-After header if present, else exponential backoff.
    """
    response = getattr(error, "response", None)
    if response is not None:
        requested = _retry_after(response.headers.get("retry-after", ""))
        if requested is not None:
            return requested
    # Jitter, so that the threads do not all retry at the same moment.
    return min(FIRST_WAIT * 2 ** (tries - 1), LONGEST_WAIT) * random.uniform(0.75, 1.0)


def _retry_after(header: str) -> float | None:
    """Seconds in a Retry-After header, a number or a date; None if it is neither."""
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def blocked_reason(error: Exception) -> str:
    """The reason if the provider rejected this prompt (filter, moderation, length), else "".

    Other prompts may still be answered.
    """
    status = getattr(error, "status_code", None)
    if status not in (400, 403):
        return ""
    code = getattr(error, "code", None)
    if code in _FILTER_CODES:  # Azure; other providers use the finish reason
        return str(code)
    if status == 403:  # OpenRouter's moderation; otherwise the key lacks a permission
        return _moderation(getattr(error, "body", None))
    message = str(getattr(error, "message", "")).casefold()
    too_long = any(words in message for words in _TOO_LONG_WORDS)
    return TOO_LONG if too_long or code == TOO_LONG else ""


def _moderation(body: Any) -> str:
    metadata = body.get("metadata") if isinstance(body, Mapping) else None
    if not isinstance(metadata, Mapping) or not any(key in metadata for key in _MODERATION_KEYS):
        return ""
    reasons = metadata.get("reasons")
    listed = ", ".join(map(str, reasons)) if isinstance(reasons, list) else ""
    return f"moderation: {listed}" if listed else "moderation"


def wants_max_completion_tokens(error: Exception) -> bool:
    """Whether the model rejects max_tokens in favour of max_completion_tokens, as OpenAI's newer
    models do."""
    message = str(getattr(error, "message", ""))
    return getattr(error, "status_code", None) == 400 and "max_completion_tokens" in message
