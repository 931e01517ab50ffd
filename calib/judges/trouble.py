"""What an error of the package openai means: whether to ask again, and how long to wait."""

import email.utils
import random
import time
from types import ModuleType

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds before the first repetition, doubled for each further one up to the longest."""
LONGEST_REQUESTED_WAIT = 300.0
"""An endpoint that asks for more patience than this, in seconds, is not waited for."""

PASSING = (408, 409, 429)
"""Statuses below 500 that may be gone the next time."""
_FILTERED = ("content_filter", "content_policy_violation")


def is_passing(error: Exception, openai: ModuleType) -> bool:
    if isinstance(error, openai.APIConnectionError):  # timeouts among them
        return True
    # The same status says "too fast" and "not paid"; waiting does not help the second.
    if getattr(error, "code", None) == "insufficient_quota":
        return False
    status = getattr(error, "status_code", 0)
    return status in PASSING or status >= 500


def wait(error: Exception, tries: int) -> float:
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


def held(error: Exception) -> str:
    """Why this one question was turned down, where others may be answered, or ""."""
    if getattr(error, "status_code", None) != 400:
        return ""
    code = getattr(error, "code", None)
    if code in _FILTERED:  # Azure's way to say what others say with a finish reason
        return str(code)
    too_long = "maximum context length" in str(getattr(error, "message", ""))
    return "context_length_exceeded" if too_long or code == "context_length_exceeded" else ""


def limit_is_called_otherwise(error: Exception) -> bool:
    """Whether the model wants max_completion_tokens, as OpenAI's newer ones do."""
    message = str(getattr(error, "message", ""))
    return getattr(error, "status_code", None) == 400 and "max_completion_tokens" in message
