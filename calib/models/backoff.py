"""What an error of the package openai means: whether to ask again, and how long to wait."""

import email.utils
import random
import time
from collections.abc import Mapping
from types import ModuleType
from typing import Any

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds before the first repetition, doubled for each further one up to the longest."""
LONGEST_REQUESTED_WAIT = 300.0
"""An endpoint that asks for more patience than this, in seconds, is not waited for."""

PASSING = (408, 409, 429)
"""Statuses below 500 that may be gone the next time."""
TOO_LONG = "context_length_exceeded"
_FILTERED = ("content_filter", "content_policy_violation")
_MODERATED = ("reasons", "flagged_input")
"""What stands in the metadata of an error about a question that was moderated."""


def is_passing(error: Exception, openai: ModuleType) -> bool:
    if isinstance(error, openai.APIConnectionError):  # timeouts among them
        return True
    # The same status says "too fast" and "not paid"; waiting does not help the second.
    if getattr(error, "code", None) == "insufficient_quota":
        return False
    status = getattr(error, "status_code", 0)
    return status in PASSING or status >= 500


def backoff(error: Exception, tries: int) -> float:
    """Seconds to wait: what the endpoint asks for, else twice as long each time."""
    response = getattr(error, "response", None)
    asked_for = _seconds(response.headers.get("retry-after", "")) if response is not None else None
    if asked_for is not None:
        return asked_for
    # Not all threads at the same moment.
    return min(FIRST_WAIT * 2 ** (tries - 1), LONGEST_WAIT) * random.uniform(0.75, 1.0)


def _seconds(retry_after: str) -> float | None:
    """A Retry-After header, which is a number of seconds or a date; None for neither."""
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def rate_limited(error: Exception) -> str:
    """Why this one question was turned down, where others may be answered, or ""."""
    status = getattr(error, "status_code", None)
    if status not in (400, 403):
        return ""
    code = getattr(error, "code", None)
    if code in _FILTERED:  # Azure's way to say what others say with a finish reason
        return str(code)
    if status == 403:  # OpenRouter's way; otherwise the key may not do what is asked
        return _moderated(getattr(error, "body", None))
    too_long = "maximum context length" in str(getattr(error, "message", ""))
    return TOO_LONG if too_long or code == TOO_LONG else ""


def _moderated(body: Any) -> str:
    metadata = body.get("metadata") if isinstance(body, Mapping) else None
    if not isinstance(metadata, Mapping) or not any(key in metadata for key in _MODERATED):
        return ""
    reasons = metadata.get("reasons")
    named = ", ".join(map(str, reasons)) if isinstance(reasons, list) else ""
    return f"moderation: {named}" if named else "moderation"


def limit_is_called_otherwise(error: Exception) -> bool:
    """Whether the model wants max_completion_tokens, as OpenAI's newer ones do."""
    message = str(getattr(error, "message", ""))
    return getattr(error, "status_code", None) == 400 and "max_completion_tokens" in message
